"""The one kind of error that is shown to a user without a traceback."""


class UserError(Exception):
    """A mistake or mishap that the user can mend: one printable line that ends in the remedy."""

    def __init__(self, message: str) -> None:
        # File names may hold line breaks, escape sequences or undecodable bytes.
        super().__init__("".join(c if c.isprintable() else "?" for c in message))

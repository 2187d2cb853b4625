"""What a restoration shows while it runs."""

import time
from collections.abc import Callable
from pathlib import Path

from torch import Tensor

from mimicgan.commands.screen import Advance
from mimicgan.files import unwritable, written_whole
from mimicgan.image_files import DRAWN
from mimicgan.images import to_user
from mimicgan.mimic import Step
from mimicgan.overview import grid
from mimicgan.presets import REALISM
from mimicgan.restore import Settings


def expected_steps(settings: Settings, observed: Tensor, *, fresh: bool = False) -> int | None:
    """About how many updates the method will report for images (n, c, h, w); None where it makes
    none. ``fresh``: the prior has no restorer to start from."""
    count, channels, height, width = observed.shape
    parts = -(-count // settings.batch)
    sharpening = parts * REALISM.iterations if settings.output != "fidelity" else 0
    if settings.method == "auto" and count >= settings.match.fewest:
        match = settings.match.sized((channels, height, width), count)
        # Drawn ones, the nearest of them again, and variations: drawn anew, turned and matched.
        alike = 6 * (1 + match.parents // 2)
        search = match.draws + 4 * match.parents + match.rounds * (match.children + 18 + alike)
        fit = match.starts * match.short_steps + 2 * match.long_steps
        # Some of the simpler damages that are tried get steps, most do not.
        trained = match.fresh_steps if fresh else match.restorer_steps
        return search + fit + 4 * match.pruning_steps + trained + sharpening
    if settings.method in ("auto", "universal"):
        return sharpening if settings.output == "realism" else None
    own = settings.mimic if settings.method == "mimicgan" else settings.pgd
    fitted = own.surrogate_steps if own.surrogate != "identity" else 0
    return parts * own.iterations * (fitted + own.latent_steps)


def watched(
    path: Path | None, observed: Tensor, callback: Callable[[Step], None], every: float = 3.0
) -> Callable[[Step], None]:
    """``callback``, which also writes ``path`` anew ``every`` so many seconds: the first of the
    images (n, c, h, w) in [0, 1] as observed, and restored so far (nothing where they
    have neither 1 nor 3 channels). The callback raises UserError when it cannot be written."""
    if path is None or observed.shape[1] not in DRAWN:
        return callback
    last = -every

    def see(step: Step) -> None:
        nonlocal last
        callback(step)
        # The picture shows the first images; later ones are not them.
        if step.estimate is None or step.first or time.monotonic() - last < every:
            return
        images = to_user(step.estimate().cpu())
        title = f"{step.kind} {step.iteration}, loss {step.loss:.4f}"
        try:
            with written_whole(path) as partial:
                grid([("observed", observed), ("so far", images)], title=title).save(partial, "PNG")
        except OSError as error:
            raise unwritable(f"--watch {path}", error) from error
        last = time.monotonic()

    return see


PHASES = {
    "search": "looking for the damage",
    "surrogate": "fitting the damage",
    "restorer": "training the restorer",
    "latent": "fitting the images",
}
"""Kinds of updates in words."""


def shown(advance: Advance) -> Callable[[Step], None]:
    """A callback of the solver that moves a progress bar."""
    seen = 0

    def see(step: Step) -> None:
        nonlocal seen
        seen += 1
        phase = PHASES.get(step.kind, step.kind)
        advance(seen, f"{step.kind} {step.loss:.4f}", phase)

    return see

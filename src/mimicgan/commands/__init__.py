"""The commands, one per file: each is a dataclass whose fields are its flags."""

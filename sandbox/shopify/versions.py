"""Which version of the Admin API answers. One schema serves all; they differ in nothing we use."""

import re

SUPPORTED = ("2026-01", "2026-04", "2026-07", "2026-10")


def served(asked: str, *, forced: str = "") -> str | None:
    """The version for the header: an older one than is supported falls forward to the oldest.

    None for what is no version, or none yet. `forced`: whatever was asked for.
    """
    if forced:
        return forced
    if asked in SUPPORTED:
        return asked
    is_past = re.fullmatch(r"\d{4}-\d{2}", asked) and asked < SUPPORTED[0]
    return SUPPORTED[0] if is_past else None

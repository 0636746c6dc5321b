"""Colours that stay readable: a merchant picks one accent, the rest follows from contrast.

Contrast is WCAG's: (lighter + 0.05) / (darker + 0.05) of the relative luminances.
"""

import re
from typing import Final

COLOR: Final = re.compile("#[0-9a-fA-F]{6}")
DARK: Final = "#1d1b19"  # never pure black or white: clients that invert colours leave these be
LIGHT: Final = "#fffefc"
READABLE: Final = 4.5  # of text
VISIBLE: Final = 3.0  # of a button against what is around it
STEPS: Final = 20

Channels = tuple[float, float, float]


def contrast(one: str, other: str) -> float:
    """1 (the same) to 21 (black on white)."""
    darker, lighter = sorted((_luminance(one), _luminance(other)))
    return (lighter + 0.05) / (darker + 0.05)


def readable_on(color: str) -> str:
    """Nearly white or nearly black, whichever contrasts more with `#rrggbb`."""
    return max((LIGHT, DARK), key=lambda text: contrast(text, color))


def mixed(color: str, into: str, share: float) -> str:
    """`share` of `color`, the rest `into`."""
    pairs = zip(_channels(color), _channels(into), strict=True)
    return "#" + "".join(f"{round(a * share + b * (1 - share)):02x}" for a, b in pairs)


def moved_until(color: str, *, against: str, ratio: float) -> str:
    """`color`, moved towards black or white as far as `ratio` against a background asks for."""
    towards = readable_on(against)
    for step in range(STEPS + 1):
        moved = mixed(towards, color, step / STEPS)
        if contrast(moved, against) >= ratio:
            return moved
    return towards


def _luminance(color: str) -> float:
    linear = [
        value / 12.92 if value <= 0.04045 else ((value + 0.055) / 1.055) ** 2.4  # noqa: PLR2004
        for value in (channel / 255 for channel in _channels(color))
    ]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def _channels(color: str) -> Channels:
    red, green, blue = (float(int(color[start : start + 2], 16)) for start in (1, 3, 5))
    return red, green, blue

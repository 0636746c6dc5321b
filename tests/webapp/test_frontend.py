"""The front-end lock and the colours."""

import json
import re
from itertools import combinations
from typing import Any

import pytest

from core.models.enums import Segment
from core.paths import PROJECT_ROOT

STYLES = (PROJECT_ROOT / "webapp" / "frontend" / "app.css").read_text()
Rgb = tuple[float, float, float]

# Machado, Oliveira & Fernandes 2009, severity 1.0, on linear RGB.
SIGHTS: dict[str, tuple[Rgb, Rgb, Rgb]] = {
    "all": ((1, 0, 0), (0, 1, 0), (0, 0, 1)),
    "protanopia": (
        (0.152286, 1.052583, -0.204868),
        (0.114503, 0.786281, 0.099216),
        (-0.003882, -0.048116, 1.051998),
    ),
    "deuteranopia": (
        (0.367322, 0.860646, -0.227968),
        (0.280085, 0.672501, 0.047413),
        (-0.011820, 0.042940, 0.968881),
    ),
    "tritanopia": (
        (1.255528, -0.076749, -0.178779),
        (-0.078411, 0.930809, 0.147602),
        (0.004733, 0.691367, 0.303900),
    ),
}


def theme(name: str) -> dict[str, str]:
    """daisyUI's variables of a theme, and ours beside them."""
    plugin = re.search(rf'name: "{name}";(.*?)\n}}', STYLES, re.DOTALL)
    ours = re.search(rf'\[data-theme="{name}"\] {{(.*?)}}', STYLES, re.DOTALL)
    assert plugin
    assert ours
    return dict(re.findall(r"--([\w-]+): (#\w{6});", plugin[1] + ours[1]))


def linear(color: str) -> Rgb:
    values = (int(color[i : i + 2], 16) / 255 for i in (1, 3, 5))
    red, green, blue = (v / 12.92 if v <= 0.04045 else ((v + 0.055) / 1.055) ** 2.4 for v in values)
    return red, green, blue


def contrast(one: str, other: str) -> float:
    lights = sorted(
        0.2126 * red + 0.7152 * green + 0.0722 * blue
        for red, green, blue in (linear(one), linear(other))
    )
    return (lights[1] + 0.05) / (lights[0] + 0.05)


def product(matrix: tuple[Rgb, Rgb, Rgb], vector: Rgb) -> Rgb:
    first, second, third = (sum(a * b for a, b in zip(row, vector, strict=True)) for row in matrix)
    return first, second, third


def oklab(color: Rgb) -> Rgb:
    to_cones = ((0.4122, 0.5363, 0.0514), (0.2119, 0.6807, 0.1074), (0.0883, 0.2817, 0.6300))
    to_lab = (
        (0.2105, 0.7936, -0.0041),
        (1.9780, -2.4286, 0.4506),
        (0.0259, 0.7828, -0.8087),
    )
    red, green, blue = (max(value, 0) ** (1 / 3) for value in product(to_cones, color))
    return product(to_lab, (red, green, blue))


def difference(one: str, other: str, sight: tuple[Rgb, Rgb, Rgb]) -> float:
    labs = [oklab(product(sight, linear(color))) for color in (one, other)]
    return 100 * sum((a - b) ** 2 for a, b in zip(*labs, strict=True)) ** 0.5


@pytest.mark.parametrize("name", ["light", "dark"])
def test_text_is_readable_on_every_surface(name: str) -> None:
    colors = theme(name)
    for surface in ("color-base-100", "color-base-200"):
        for text in ("color-base-content", "muted", "color-primary", "color-error"):
            assert contrast(colors[text], colors[surface]) >= 4.5, (text, surface)
    for pair in ("primary", "error", "warning", "success", "info", "neutral"):
        assert contrast(colors[f"color-{pair}"], colors[f"color-{pair}-content"]) >= 4.5, pair


@pytest.mark.parametrize("name", ["light", "dark"])
def test_segment_colours_stand_out_from_the_surface(name: str) -> None:
    colors = theme(name)
    segments = [colors[f"segment-{segment.replace('_', '-')}"] for segment in Segment]
    assert min(contrast(color, colors["color-base-100"]) for color in segments) >= 3


@pytest.mark.parametrize("sight", SIGHTS)
@pytest.mark.parametrize("name", ["light", "dark"])
def test_segment_colours_differ_for_every_kind_of_sight(name: str, sight: str) -> None:
    colors = theme(name)
    segments = [colors[f"segment-{segment.replace('_', '-')}"] for segment in Segment]
    closest = min(difference(one, other, SIGHTS[sight]) for one, other in combinations(segments, 2))
    assert closest >= 10


def test_a_chosen_theme_has_the_colours_of_the_systems() -> None:
    blocks = re.findall(r"--muted: .*?--segment-lost: #\w{6};", STYLES, re.DOTALL)
    light, dark_by_system, dark_by_choice = (
        [line.split() for line in b.split(";")] for b in blocks
    )
    assert dark_by_system == dark_by_choice != light


def lock() -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads((PROJECT_ROOT / "package-lock.json").read_text())
    return loaded


def test_the_lock_pins_every_package_by_hash_and_names_no_host() -> None:
    packages = {path: entry for path, entry in lock()["packages"].items() if path}
    unpinned = [
        path
        for path, entry in packages.items()
        if "integrity" not in entry and not entry.get("inBundle")
    ]
    assert unpinned == []
    assert not any({"resolved", "funding"} & entry.keys() for entry in packages.values())


def test_the_lock_serves_every_platform() -> None:
    paths = set(lock()["packages"])
    for platform in ("linux-x64-gnu", "linux-arm64-gnu", "darwin-arm64", "win32-x64-msvc"):
        assert f"node_modules/@tailwindcss/oxide-{platform}" in paths
    for platform in ("linux-x64", "linux-arm64", "darwin-arm64", "win32-x64"):
        assert f"node_modules/@esbuild/{platform}" in paths


def test_the_front_end_asks_for_exact_versions() -> None:
    wanted = json.loads((PROJECT_ROOT / "package.json").read_text())["devDependencies"]
    assert all(re.fullmatch(r"\d+\.\d+\.\d+", version) for version in wanted.values()), wanted


def test_the_notes_list_the_colours_in_use() -> None:
    notes = (PROJECT_ROOT / "webapp" / "frontend" / "THEME.md").read_text()
    for segment in Segment:
        key = f"segment-{segment.replace('_', '-')}"
        row = f"| {segment} | `{theme('light')[key]}` | `{theme('dark')[key]}` |"
        assert row in notes

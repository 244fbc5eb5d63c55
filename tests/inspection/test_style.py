"""The colours of the page can be told apart, light and dark: the contrasts of WCAG 2.2, criteria 1.4.3 and 1.4.11."""

import re
from itertools import product

import pytest

from inspection.web_files import style

TEXT, GRAPHIC = 4.5, 3.0


def colours(scheme: str) -> dict[str, str]:
    """The variables of a scheme, by name."""
    light: list[str] = []
    dark: list[str] = []
    for block in re.finditer(r"(@media screen and \(prefers-color-scheme: dark\) \{\s*)?:root \{(.*?)\}", style(), re.DOTALL):
        (dark if block[1] else light).append(block[2])
    found: dict[str, str] = {}
    for block_of in light + (dark if scheme == "dark" else []):
        found |= dict(re.findall(r"--([a-z0-9-]+): (#[0-9a-f]{6})", block_of))
    return found


def luminance(colour: str) -> float:
    parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one: str, other: str) -> float:
    dark, light = sorted((luminance(one), luminance(other)))
    return (light + 0.05) / (dark + 0.05)


def test_contrast_is_computed_as_wcag_defines_it() -> None:
    assert contrast("#000000", "#ffffff") == pytest.approx(21)
    assert contrast("#777777", "#ffffff") == pytest.approx(4.48, abs=0.01)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_and_graphics_can_be_seen(scheme: str) -> None:
    found = colours(scheme)
    assert (found["paper"] == "#14161d") == (scheme == "dark")
    pairs = [
        (text, ground, TEXT) for text, ground in product(("ink", "muted", "sky", "brick", "pipe"), ("paper", "card", "note"))
    ]
    pairs += [("on-tone", "sky", TEXT), ("on-tone", "brick", TEXT), ("ink", "line", TEXT)]
    tones = ("sky", "brick", "pipe", "coin", "plum", "castle", "a6", "a7", "a8", "a9", "a10", "a11", "edge")
    pairs += [(tone, "card", GRAPHIC) for tone in tones]
    faint = {
        f"{front} on {back}": round(contrast(found[front], found[back]), 2)
        for front, back, least in pairs
        if contrast(found[front], found[back]) < least
    }
    assert faint == {}


@pytest.mark.parametrize("colour", ["#ffd479", "#d5dcee", "#ffffff"])
def test_the_header_can_be_read(colour: str) -> None:
    assert colour in style() or colour == "#ffffff"
    assert contrast(colour, colours("light")["night"]) >= TEXT

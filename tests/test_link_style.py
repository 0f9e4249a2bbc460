"""The page's look, and that a fragment's style keeps to the fragment."""

import re

from hf_blink.link_style import FRAGMENT_STYLE, PAGE_STYLE, PALETTE


def outer_selectors(style: str) -> list[str]:
    """Selectors of the rules that are in no other rule."""
    selectors, depth, start = [], 0, 0
    for match in re.finditer("[{}]", style):
        if match[0] == "{":
            if depth == 0:
                selectors.append(style[start : match.start()].strip())
            depth += 1
        else:
            depth -= 1
            start = match.end()
        assert depth >= 0
    assert depth == 0
    return selectors


def test_outer_selectors_are_found():
    assert outer_selectors("a { b { } } .c, d { e: f; } @media (g) { h { } }") == ["a", ".c, d", "@media (g)"]


def test_fragment_style_is_nested_in_its_class():
    assert outer_selectors(FRAGMENT_STYLE) == [".entity-links", ".dark .entity-links"]
    assert "prefers-color-scheme" not in FRAGMENT_STYLE


def test_page_style_follows_the_systems_dark_mode():
    assert ":root" in outer_selectors(PAGE_STYLE)
    assert "@media (prefers-color-scheme: dark)" in outer_selectors(PAGE_STYLE)


def test_both_styles_have_every_colour_and_load_nothing():
    for style in (PAGE_STYLE, FRAGMENT_STYLE):
        assert all(f".c{number} {{ --colour: {colour}; }}" in style for number, colour in enumerate(PALETTE))
        assert "url(" not in style and "@import" not in style and "<" not in style


def test_white_letters_are_readable_on_every_colour():
    """Contrast of at least 4.5, as WCAG 2 counts it."""
    for colour in PALETTE:
        parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
        linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
        luminance = 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
        assert 1.05 / (luminance + 0.05) >= 4.5, colour

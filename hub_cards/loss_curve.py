"""The picture of a training run: loss by step, and recall on development mentions where it was measured, as an SVG.

SVG because it needs no library, shows text sharply, and is displayed by the Hub's pages as an image of the repository.
A run of many logged steps is drawn as means of equal stretches, so that the file stays small. The background is
white, since an image does not know whether the page around it is dark.
"""

import math
from collections.abc import Sequence

WIDTH, HEIGHT = 720, 340  # of the picture, in pixels
_LEFT, _RIGHT, _TOP, _BOTTOM = 64, 56, 24, 52  # margins
_MOST_POINTS = 300
_LOSS_COLOUR, _RECALL_COLOUR = "#2563eb", "#c2410c"

Point = tuple[float, float]


def loss_curve_svg(losses: Sequence[Point], recalls: Sequence[Point] = ()) -> str:
    """Draws the loss of a training run.

    Args:
        losses: `(step, loss)`, in any order.
        recalls: `(step, recall)`, recall@64 on development mentions, between 0 and 1; drawn where there are two of them.

    Returns:
        The text of an SVG file.

    Raises:
        ValueError: fewer than two losses, or a number that is not finite.
    """
    if len(losses) < 2 or not all(math.isfinite(value) for point in (*losses, *recalls) for value in point):
        raise ValueError(f"expected at least two points of finite numbers, got {len(losses)}: {losses[:3]!r}")
    shown = sorted((step, recall) for step, recall in recalls) if len(recalls) > 1 else []
    drawn = _thinned(sorted((step, loss) for step, loss in losses))
    all_steps = [step for step, _ in (*losses, *shown)]
    across = (min(all_steps), max(all_steps))
    low, high = min(loss for _, loss in drawn), max(loss for _, loss in drawn)
    levels = _ticks(min(low, 0.0), high)
    up = (levels[0], max(levels[-1], high))
    parts = [_grid(levels, up), _axis(_ticks(*across), across)]
    parts += [_title("step", "loss", "recall@64 on dev" if shown else "")]
    parts.append(_line(drawn, across, up, _LOSS_COLOUR))
    if shown:
        parts += [_line(_thinned(shown), across, (0.0, 1.0), _RECALL_COLOUR), _recall_axis()]
    return _PAGE.format(width=WIDTH, height=HEIGHT, parts="\n".join(parts))


def _thinned(points: list[Point]) -> list[Point]:
    """The points, or means of equally many of them where there are too many to tell apart."""
    size = math.ceil(len(points) / _MOST_POINTS)
    groups = [points[start : start + size] for start in range(0, len(points), size)]
    return [
        (math.fsum(x for x, _ in group) / len(group), math.fsum(y for _, y in group) / len(group))
        for group in groups
    ]


def _ticks(low: float, high: float, most: int = 6) -> list[float]:
    """Round numbers that cover low to high: multiples of 1, 2 or 5 times a power of ten."""
    span = (high - low) or abs(high) or 1.0
    power = 10.0 ** math.floor(math.log10(span / most))
    step = next(factor * power for factor in (1, 2, 5, 10, 20) if span / (factor * power) <= most)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [number * step for number in range(first, max(last, first + 1) + 1)]


def _x(value: float, across: Point) -> float:
    share = (value - across[0]) / ((across[1] - across[0]) or 1.0)
    return _LEFT + share * (WIDTH - _LEFT - _RIGHT)


def _y(value: float, up: Point) -> float:
    return HEIGHT - _BOTTOM - (value - up[0]) / ((up[1] - up[0]) or 1.0) * (HEIGHT - _TOP - _BOTTOM)


def _line(points: list[Point], across: Point, up: Point, colour: str) -> str:
    path = " ".join(f"{_x(x, across):.1f},{_y(y, up):.1f}" for x, y in points)
    return (
        f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2" stroke-linejoin="round"/>'
    )


def _grid(levels: list[float], up: Point) -> str:
    return "\n".join(
        f'<path d="M{_LEFT} {_y(level, up):.1f}H{WIDTH - _RIGHT}" stroke="#e2e5ea"/>'
        f'<text x="{_LEFT - 8}" y="{_y(level, up) + 4:.1f}" text-anchor="end">{level:.4g}</text>'
        for level in levels
    )


def _axis(steps: list[float], across: Point) -> str:
    return "\n".join(
        f'<text x="{_x(step, across):.1f}" y="{HEIGHT - _BOTTOM + 20}" text-anchor="middle">{step:,.10g}</text>'
        for step in steps
        if across[0] <= step <= across[1]
    )


def _recall_axis() -> str:
    return "\n".join(
        f'<text x="{WIDTH - _RIGHT + 8}" y="{_y(share, (0.0, 1.0)) + 4:.1f}" fill="{_RECALL_COLOUR}">{share:.0%}</text>'
        for share in (0.0, 0.25, 0.5, 0.75, 1.0)
    )


def _title(below: str, left: str, right: str) -> str:
    parts = [
        f'<text x="{(WIDTH + _LEFT - _RIGHT) / 2}" y="{HEIGHT - 12}" text-anchor="middle">{below}</text>',
        f'<text x="{_LEFT - 8}" y="14" text-anchor="end" fill="{_LOSS_COLOUR}">{left}</text>',
    ]
    if right:
        parts.append(f'<text x="{WIDTH - 8}" y="14" text-anchor="end" fill="{_RECALL_COLOUR}">{right}</text>')
    return "\n".join(parts)


_PAGE = """<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" viewBox="0 0 {width} {height}" \
font-family="system-ui, sans-serif" font-size="12" fill="#5c6573">
<rect width="{width}" height="{height}" rx="8" fill="#fff"/>
{parts}
</svg>
"""

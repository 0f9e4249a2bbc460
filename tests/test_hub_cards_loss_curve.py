import math
import re
from xml.etree import ElementTree

import pytest

from hf_blink.hub_cards.loss_curve import HEIGHT, WIDTH, loss_curve_svg

SVG = "{http://www.w3.org/2000/svg}"


def read(svg: str) -> tuple[list[list[tuple[float, float]]], list[str]]:
    """The points of each line, and all texts."""
    root = ElementTree.fromstring(svg)
    assert root.tag == f"{SVG}svg"
    lines = [
        [(float(x), float(y)) for x, y in (pair.split(",") for pair in line.get("points", "").split())]
        for line in root.iter(f"{SVG}polyline")
    ]
    assert all(0 <= x <= WIDTH and 0 <= y <= HEIGHT for line in lines for x, y in line)
    return lines, [text.text or "" for text in root.iter(f"{SVG}text")]


def test_curve_goes_through_its_points():
    (line,), texts = read(loss_curve_svg([(100, 0.0), (0, 4.0), (50, 1.0)]))
    (x0, y0), (x1, y1), (x2, y2) = line
    assert x1 - x0 == pytest.approx(x2 - x1)
    assert (y2 - y1) / (y2 - y0) == pytest.approx(0.25)
    assert y2 > y0  # a lower loss is lower in the picture
    assert {"loss", "step", "0", "4", "100"} <= set(texts) and "recall@64 on dev" not in texts


def test_recall_has_a_line_and_an_axis_of_its_own():
    losses = [(0, 4.0), (10, 3.0), (20, 2.0), (30, 1.0)]
    (loss, recall), texts = read(loss_curve_svg(losses, [(30, 1.0), (15, 0.5)]))
    assert (len(loss), len(recall)) == (4, 2)
    assert {"recall@64 on dev", "0%", "50%", "100%"} <= set(texts)
    assert recall[1] == (loss[3][0], loss[0][1])  # 100 % is as high as the highest loss level
    assert recall[0][0] == pytest.approx((loss[1][0] + loss[2][0]) / 2), "measured between two logged losses"
    (loss, recall), _ = read(loss_curve_svg(losses, [(20, 0.5), (40, 0.5)]))
    assert recall[1][0] > loss[3][0], "the last measurement may be after the last logged loss"


def test_a_single_recall_is_not_drawn():
    lines, texts = read(loss_curve_svg([(0, 4.0), (10, 3.0)], [(10, 0.5)]))
    assert len(lines) == 1 and not [text for text in texts if "recall" in text]


def test_many_points_become_means_of_equal_stretches():
    (line,), _ = read(loss_curve_svg([(step, step % 2) for step in range(60_000)]))
    assert 200 <= len(line) <= 300
    assert len({y for _, y in line[:-1]}) == 1  # the mean of 0 and 1, everywhere


@pytest.mark.parametrize(
    "points",
    [
        [(0, 1.0), (0, 1.0)],
        [(1, 0.0), (2, 0.0)],
        [(0, -3.0), (1, 5.0)],
        [(0, 1e-9), (1, 2e-9)],
        [(0, 1e12), (10**9, 1.0)],
    ],
)
def test_odd_ranges_are_drawn(points):
    (line,), texts = read(loss_curve_svg(points))
    assert len(line) == 2 and 3 <= len(texts) <= 30
    assert not any(re.search("nan|inf", text) for text in texts)


@pytest.mark.parametrize("points", [[], [(0, 1.0)], [(0, 1.0), (1, math.nan)], [(0, math.inf), (1, 1.0)]])
def test_refuses_too_few_or_no_numbers(points):
    with pytest.raises(ValueError, match="expected at least two points of finite numbers, got"):
        loss_curve_svg(points)

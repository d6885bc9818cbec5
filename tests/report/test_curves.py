"""Curves on a page: every point has its place, infinite ones as well."""

from __future__ import annotations

from math import inf

from torchmetrics_sess.curves import Curve
from torchmetrics_sess.report.curves import curve_section


def test_infinite_points_lie_at_the_top() -> None:
    curve = Curve.of_means("mine", "bpp", [0.2, 0.5, 1.0], {"sess": [0.9, 0.99, 1 - 1e-9], "psnr": [30.0, 35.0, inf]})
    for panel in curve_section([curve], [], [], []).panels[1:]:
        [(_, stops)] = panel.curves
        assert [stop.y == 100 for stop in stops] == [False, False, True]
        assert [panel.up.label(tick) for tick in panel.up.ticks][-1] == "∞"
    for panel in curve_section([curve.only([2])], [], [], []).panels[1:]:
        assert [panel.up.label(tick) for tick in panel.up.ticks] == ["∞"]
        assert [stop.y for _, stops in panel.curves for stop in stops] == [100]


def test_a_rate_can_be_read_off() -> None:
    curve = Curve.of_means("mine", "bpp", [0.21, 0.91], {"sess": [0.9, 0.99]})
    assert curve_section([curve], [], [], []).panels[0].across.ticks == [0.2, 0.4, 0.6, 0.8]

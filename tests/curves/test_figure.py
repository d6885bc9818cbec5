"""Curves drawn: whatever lies on an axis, values can be read off it."""

from __future__ import annotations

from dataclasses import replace
from math import inf

import pytest
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.axes import Axes

from torchmetrics_sess.curves import Curve, plot_curves
from torchmetrics_sess.curves.figure import Use, log_ticks


def curve(axis: str, rates: list[float], **metrics: list[float]) -> Curve:
    return Curve.of_means("mine", axis, rates, metrics or {"psnr": [20.0 + rate for rate in rates]})


def labels(axes: Axes, name: str) -> list[str]:
    """Return what is written along an axis, of what lies on it."""
    axes.figure.draw_without_rendering()  # type: ignore[union-attr]
    axis = axes.xaxis if name == "x" else axes.yaxis
    low, high = sorted(axis.get_view_interval())
    texts = zip(axis.get_ticklocs(), axis.get_ticklabels(), strict=True)
    return [text.get_text() for place, text in texts if low <= place <= high]


@given(st.floats(1e-4, 1e2), st.floats(1.001, 1e4), st.integers(3, 8))
def test_a_logarithmic_axis_has_three_round_numbers_or_more(low: float, ratio: float, most: int) -> None:
    ticks = log_ticks(low, low * ratio, most)
    assert 3 <= len(ticks) <= max(most + 1, 6)
    assert ticks == sorted(ticks)
    assert low * 0.999999 <= ticks[0]
    assert ticks[-1] <= low * ratio * 1.000001
    # What is written tells them apart.
    assert len({f"{tick:g}" for tick in ticks}) == len(ticks)


@pytest.mark.parametrize("use", ["paper", "slides"])
@pytest.mark.parametrize(
    ("axis", "rates"),
    [
        ("bpp", [0.21, 0.4, 0.91]),
        ("bpp", [0.55, 0.93]),
        ("bpp", [0.55]),
        ("cbr", [1 / 96, 1 / 48, 1 / 24]),
        ("snr", [3.0]),
        ("snr", [float(snr) for snr in range(-6, 20, 1)]),
    ],
)
def test_a_rate_can_be_read_off(axis: str, rates: list[float], use: Use) -> None:
    figure = plot_curves([curve(axis, rates)], use=use)
    assert 3 <= len(set(labels(figure.axes[0], "x"))) <= 8
    low, high = figure.axes[0].get_xlim()
    assert low < min(rates) <= max(rates) < high


@pytest.mark.parametrize("values", [[0.9999, 0.99995, 0.99999], [0.2, 0.9, 0.95], [1 - 1e-9, 1 - 2e-9, 1.0], [0.5] * 3])
def test_a_score_can_be_read_off(values: list[float]) -> None:
    [axes] = plot_curves([curve("bpp", [0.2, 0.5, 1.0], sess=values)], ["sess"]).axes
    written = [float(label) for label in labels(axes, "y")]
    assert 3 <= len(set(written)) <= 6
    # They are the values themselves: nothing is to be added to them, or multiplied.
    assert written == pytest.approx(axes.get_yticks().tolist(), abs=1e-12)
    assert axes.yaxis.get_offset_text().get_text() == ""
    low, high = axes.get_ylim()
    assert low < min(values) <= max(values) < high
    # Rounding is not blown up.
    assert high - low > 1e-5


def test_infinite_points_lie_on_a_line_of_their_own() -> None:
    lossy = curve("bpp", [0.2, 0.5, 1.0], sess=[0.9, 0.99, 1 - 1e-9], psnr=[30.0, 35.0, inf])
    lossless = replace(curve("bpp", [3.0, 5.0], sess=[1.0, 1 - 1e-9], psnr=[inf, inf]), name="lossless")
    figure = plot_curves([lossy, lossless])
    assert len({axes.get_xlim() for axes in figure.axes[:3]}) == 1
    for axes in figure.axes[1:3]:
        *finite, infinity = labels(axes, "y")
        assert infinity == "∞"
        assert len(finite) >= 3
        first, second = (line.get_ydata() for line in axes.lines)
        top = axes.get_yticks()[-1]
        assert [value == top for value in [*first, *second]] == [False, False, True, True, True]  # type: ignore[misc]
    for axes in plot_curves([lossless], ["sess_db", "psnr"]).axes:
        assert labels(axes, "y") == ["∞"]


def test_whoever_lacks_a_metric_is_in_the_legend_all_the_same() -> None:
    known = curve("bpp", [0.2, 0.5], sess=[0.8, 0.9])
    other = replace(curve("bpp", [0.3, 0.9], psnr=[28.0, 30.0]), name="other")
    figure = plot_curves([other, known])
    figure.draw_without_rendering()
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["other", "mine"]
    assert [len(line.get_xdata()) for line in figure.axes[0].lines] == [0, 2]  # type: ignore[arg-type]

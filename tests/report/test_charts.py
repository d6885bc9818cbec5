"""Where marks go: round ticks, nothing beyond the axes, no pair lost."""

from __future__ import annotations

from math import inf

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from torchmetrics_sess.images import FilePair
from torchmetrics_sess.report.charts import Axis, compare, histograms, scatter
from torchmetrics_sess.results import Row, summarise

scores = st.lists(st.floats(0, 1), min_size=1, max_size=30)


def row(score: float | None, name: str = "a.png", folder: str = "out", **metrics: float) -> Row:
    return Row(FilePair(name, "", "", folder), score, "ok" if score is not None else "broken", metrics)


@settings(derandomize=True, max_examples=100, deadline=None)
@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=20))
def test_every_value_lies_between_ticks_that_are_few(values: list[float]) -> None:
    axis = Axis.over(values)
    slack = (axis.high - axis.low) * 1e-5
    assert axis.low - slack <= min(values) <= max(values) <= axis.high + slack
    assert 2 <= len(axis.ticks) <= 8
    assert axis.place(axis.low) == 0
    assert axis.place(axis.high) == 100
    places = [axis.place(value) for value in sorted(values)]
    assert places == sorted(places)
    assert len({axis.label(tick) for tick in axis.ticks}) == len(axis.ticks)


def test_infinite_values_have_a_place_of_their_own() -> None:
    axis = Axis.over([20.0, 40.0, inf])
    assert axis.place(40.0) < axis.place(inf) == 100
    assert axis.label(axis.ticks[-1]) == "∞"
    assert axis.label(axis.ticks[0]) == "20"


@settings(derandomize=True, max_examples=50, deadline=None)
@given(scores, scores)
def test_histograms_count_every_score(first: list[float], second: list[float]) -> None:
    charts = histograms({"first": first, "second": second})
    assert [sum(bar.count for bar in chart.bars) for chart in charts] == [len(first), len(second)]
    assert charts[0].across == charts[1].across
    for bar in (bar for chart in charts for bar in chart.bars):
        assert 0 <= bar.left <= bar.left + bar.width <= 100.01
        assert 0 < bar.height <= 100


def test_scatter_draws_some_and_correlates_all() -> None:
    rows = [row(index / 99, psnr=float(100 - index)) for index in range(100)]
    chart = scatter("psnr", rows, dots=30)
    assert len(chart.dots) == 25
    assert chart.total == 100
    assert chart.correlation == pytest.approx(-1)


@pytest.mark.parametrize("values", [[2.0], [1.0, 1.0, 1.0]])
def test_no_correlation_is_claimed_where_there_is_none(values: list[float]) -> None:
    assert (
        scatter("psnr", [row(index / 9, psnr=value) for index, value in enumerate(values)], dots=9).correlation is None
    )


@pytest.mark.parametrize(("value", "low", "high"), [(1.0, 0.98, 1.0), (0.0, 0.0, 0.02), (0.43, 0.42, 0.44)])
def test_equal_scores_have_an_axis_too(value: float, low: float, high: float) -> None:
    axis = Axis.over([value, value])
    assert (axis.low, axis.high) == pytest.approx((low, high))


def test_a_comparison_follows_originals_through_the_folders() -> None:
    rows = [row(0.2, "a.png", "x"), row(0.4, "b.png", "x"), row(0.6, "a.png", "y"), row(None, "b.png", "y")]
    chart = compare(summarise(rows), rows, traces=5)
    assert [level.summary.folder for level in chart.levels] == ["x", "y"]
    assert [(trace.name, [level for level, _ in trace.stops]) for trace in chart.traces] == [("a.png", [0, 1])]
    assert chart.levels[0].left <= chart.levels[0].mean <= chart.levels[0].right
    assert chart.levels[1].left == chart.levels[1].right == chart.levels[1].mean

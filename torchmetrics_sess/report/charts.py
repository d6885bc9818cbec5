"""Where the marks of the charts go, in percent of the chart's width and height; the template draws them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import ceil, floor, inf, isfinite, isnan, log10
from typing import TypeVar

import numpy as np

from torchmetrics_sess.results import FolderSummary, Row

T = TypeVar("T")

# How much of an axis is left to finite values where there are infinite ones, too.
_FINITE = 0.92


@dataclass(frozen=True)
class Axis:
    """An axis from ``low`` to ``high``, with ``inf`` beyond it if some value is.

    Args:
        low: the value at 0 %.
        high: the value at 100 %, or near it if there are infinite values.
        step: what lies between two ticks.
        infinite: whether there are infinite values.
    """

    low: float
    high: float
    step: float
    infinite: bool = False

    @classmethod
    def over(cls, values: Iterable[float], *, ticks: int = 5, whole: bool = False) -> Axis:
        """Return an axis that all ``values`` lie on, whose ticks are round numbers.

        Args:
            values: the values.
            ticks: at most how many steps to cut the axis into.
            whole: whether only whole numbers can be ticks.

        Examples:
            >>> axis = Axis.over([0.43, 0.97])
            >>> axis.ticks
            [0.4, 0.6, 0.8, 1.0]
            >>> axis.place(0.7)
            50.0
        """
        values = list(values)
        finite = [value for value in values if isfinite(value)] or [0.0]
        low, high = min(finite), max(finite)
        size = max(1.0, abs(low), abs(high))
        # What differs by rounding errors only is not to be blown up.
        span = high - low if high - low > 1e-6 * size else size / 10
        magnitude = 10.0 ** floor(log10(span / ticks))
        step = next(factor * magnitude for factor in (1, 2, 5, 10) if factor * magnitude * ticks >= span * (1 - 1e-9))
        step = max(1.0, float(ceil(step))) if whole else step
        # A value a rounding error beyond a tick needs no further one.
        first, last = floor(low / step + 1e-6), ceil(high / step - 1e-6)
        if first == last:
            first, last = (first - 1, last) if last > 0 else (first, last + 1)
        return cls(first * step, last * step, step, infinite=len(finite) < len(values))

    @property
    def ticks(self) -> list[float]:
        """The values to label."""
        count = round((self.high - self.low) / self.step)
        finite = [round(self.low + index * self.step, 10) for index in range(count + 1)]
        return [*finite, inf] if self.infinite else finite

    def place(self, value: float) -> float:
        """Return where ``value`` goes, in percent."""
        if not isfinite(value):
            return 100.0
        share = (value - self.low) / (self.high - self.low)
        return round(100 * min(max(share, 0.0), 1.0) * (_FINITE if self.infinite else 1), 2)

    def label(self, value: float) -> str:
        """Return ``value``, a tick, as text."""
        if not isfinite(value):
            return "∞"
        return f"{value:.{max(0, -floor(log10(self.step) + 1e-9))}f}"


@dataclass(frozen=True)
class Bar:
    """A bar of a histogram, from ``low`` to ``high``; places in percent."""

    low: float
    high: float
    count: int
    left: float
    width: float
    height: float


@dataclass(frozen=True)
class Histogram:
    """How many scores there are of each size."""

    title: str
    across: Axis
    up: Axis
    bars: list[Bar]
    mean: float


def histograms(scores: Mapping[str, Sequence[float]]) -> list[Histogram]:
    """Return a histogram for each of several sets of scores, given by title, all on the same axes."""
    across = Axis.over(score for values in scores.values() for score in values)
    steps = len(across.ticks) - 1
    edges = np.linspace(across.low, across.high, steps * (4 if steps > 4 else 5) + 1)
    counts = {title: np.histogram(np.clip(values, edges[0], edges[-1]), edges)[0] for title, values in scores.items()}
    up = Axis.over([0.0, max(float(count.max()) for count in counts.values())], ticks=3, whole=True)
    places = [across.place(float(edge)) for edge in edges]
    return [
        Histogram(
            title,
            across,
            up,
            [
                Bar(
                    float(edges[i]),
                    float(edges[i + 1]),
                    int(count),
                    places[i],
                    round(places[i + 1] - places[i], 2),
                    up.place(float(count)),
                )
                for i, count in enumerate(counts[title])
                if count
            ],
            float(np.mean(values)),
        )
        for title, values in scores.items()
    ]


@dataclass(frozen=True)
class Dot:
    """A pair in a scatter plot; places in percent."""

    row: Row
    x: float
    y: float


@dataclass(frozen=True)
class Scatter:
    """Scores against another metric: some pairs of ``total``, and the rank correlation of all, if there is one."""

    metric: str
    across: Axis
    up: Axis
    dots: list[Dot]
    total: int
    correlation: float | None


def scatter(metric: str, rows: Sequence[Row], *, dots: int) -> Scatter:
    """Return the plot of scores against ``metric``.

    Args:
        metric: what all ``rows`` have a value of.
        rows: pairs, sorted by score.
        dots: at most how many to draw, evenly spread over the scores.
    """
    from torchmetrics_sess.comparison import rank_correlation

    values = [row.metrics[metric] for row in rows]
    scores = [row.score or 0.0 for row in rows]
    across, up = Axis.over(values), Axis.over(scores)
    drawn = [Dot(row, across.place(row.metrics[metric]), up.place(row.score or 0.0)) for row in _spread(rows, dots)]
    correlation = rank_correlation(values, scores)
    return Scatter(metric, across, up, drawn, len(rows), None if isnan(correlation) else correlation)


@dataclass(frozen=True)
class Level:
    """A folder in a comparison; its mean and the ends of the interval in percent."""

    summary: FolderSummary
    mean: float
    left: float
    right: float


@dataclass(frozen=True)
class Trace:
    """An original through a comparison: the level, and the place in percent, of each of its scores."""

    name: str
    stops: list[tuple[int, float]]


@dataclass(frozen=True)
class Comparison:
    """Folders side by side, and some of ``total`` originals that are in several of them."""

    across: Axis
    levels: list[Level]
    traces: list[Trace]
    total: int


def compare(summaries: Sequence[FolderSummary], rows: Sequence[Row], *, traces: int) -> Comparison:
    """Return the comparison of several folders.

    Args:
        summaries: the folders, each with a score at least.
        rows: their pairs.
        traces: at most how many originals to draw, evenly spread over all.
    """
    levels = {summary.folder: index for index, summary in enumerate(summaries)}
    scored = [row for row in rows if row.score is not None]
    across = Axis.over(row.score for row in scored if row.score is not None)
    stops: dict[str, list[tuple[int, float]]] = {}
    for row in scored:
        stops.setdefault(row.pair.name, []).append((levels[row.pair.recon_folder], across.place(row.score or 0.0)))
    found = [Trace(name, sorted(places)) for name, places in stops.items() if len(places) > 1]
    return Comparison(across, [_level(summary, across) for summary in summaries], _spread(found, traces), len(found))


def _spread(entries: Sequence[T], count: int) -> list[T]:
    return list(entries[:: max(1, ceil(len(entries) / count))])


def _level(summary: FolderSummary, across: Axis) -> Level:
    centre = summary.mean or 0.0
    left, right = summary.interval or (centre, centre)
    return Level(summary, across.place(centre), across.place(left), across.place(right))

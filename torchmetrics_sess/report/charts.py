"""Where the marks of the charts go, in percent of the chart's width and height; the template draws them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import ceil, floor, inf, isfinite, log10

import numpy as np

from torchmetrics_sess.report.results import Row
from torchmetrics_sess.report.summary import Summary

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

        Example:
            >>> axis = Axis.over([0.43, 0.97])
            >>> axis.ticks
            [0.4, 0.6, 0.8, 1.0]
            >>> axis.place(0.7)
            50.0
        """
        values = list(values)
        finite = [value for value in values if isfinite(value)] or [0.0]
        low, high = min(finite), max(finite)
        span = (high - low) or abs(high) / 10 or 1.0
        magnitude = 10.0 ** floor(log10(span / ticks))
        step = next(factor * magnitude for factor in (1, 2, 5, 10) if factor * magnitude * ticks >= span * (1 - 1e-9))
        step = max(1.0, float(ceil(step))) if whole else step
        # A value a rounding error beyond a tick needs no further one.
        first, last = floor(low / step + 1e-6), ceil(high / step - 1e-6)
        return cls(first * step, max(last, first + 1) * step, step, infinite=len(finite) < len(values))

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
    up = Axis.over([0, max(int(count.max()) for count in counts.values())], ticks=3, whole=True)
    places = [across.place(edge) for edge in edges]
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
                    up.place(count),
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
    """Scores against another metric, and Spearman's correlation of the two."""

    metric: str
    across: Axis
    up: Axis
    dots: list[Dot]
    correlation: float | None


def scatter(metric: str, rows: Sequence[Row]) -> Scatter:
    """Return the plot of scores against ``metric``, which all ``rows`` have to have."""
    values = [row.metrics[metric] for row in rows]
    scores = [row.score or 0.0 for row in rows]
    across, up = Axis.over(values), Axis.over(scores)
    places = zip(rows, map(across.place, values), map(up.place, scores), strict=True)
    return Scatter(metric, across, up, [Dot(*dot) for dot in places], rank_correlation(values, scores))


def rank_correlation(first: Sequence[float], second: Sequence[float]) -> float | None:
    """Return Spearman's correlation, or ``None`` where it is not defined.

    Example:
        >>> rank_correlation([1, 2, 3, 4], [1, 4, 9, float("inf")])
        1.0
    """
    from scipy.stats import rankdata

    ranks = np.stack([rankdata(first), rankdata(second)])
    if len(first) < 3 or not ranks.std(axis=1).all():
        return None
    return round(float(np.corrcoef(ranks)[0, 1]), 10)


@dataclass(frozen=True)
class Level:
    """A folder in a comparison; its mean and the ends of the interval in percent."""

    summary: Summary
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
    """Folders side by side, and the originals in all of them."""

    across: Axis
    levels: list[Level]
    traces: list[Trace]


def compare(summaries: Sequence[Summary], rows: Sequence[Row], *, traces: int) -> Comparison:
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
        stops.setdefault(row.name, []).append((levels[row.recon_folder], across.place(row.score or 0.0)))
    drawn = [Trace(name, sorted(places)) for name, places in stops.items() if len(places) > 1]
    return Comparison(across, [_level(summary, across) for summary in summaries], drawn[:: ceil(len(drawn) / traces) or 1])


def _level(summary: Summary, across: Axis) -> Level:
    centre = summary.mean or 0.0
    left, right = summary.interval or (centre, centre)
    return Level(summary, across.place(centre), across.place(left), across.place(right))

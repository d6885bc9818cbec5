"""Curves on the page of a report: where their marks go, and what is said of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import inf, isfinite, isnan, log10
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from torchmetrics_sess.report.charts import Axis
from torchmetrics_sess.report.pictures import Picture, as_picture

if TYPE_CHECKING:
    from torchmetrics_sess.curves import Curve, Delta
    from torchmetrics_sess.curves.pictures import Comparison

# What there is room for across a chart.
_TICKS = 7


@dataclass(frozen=True)
class LogAxis:
    """A logarithmic axis from ``low`` to ``high``, whose ticks are round numbers.

    Examples:
        >>> axis = LogAxis(0.1, 10.0)
        >>> axis.ticks, axis.place(1.0)
        ([0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0], 50.0)
    """

    low: float
    high: float

    @property
    def ticks(self) -> list[float]:
        """The values to label."""
        from torchmetrics_sess.curves.figure import log_ticks

        return log_ticks(self.low, self.high, _TICKS)

    def place(self, value: float) -> float:
        """Return where ``value`` goes, in percent."""
        return round(100 * log10(value / self.low) / log10(self.high / self.low), 2)

    def label(self, value: float) -> str:
        """Return ``value``, a tick, as text."""
        return f"{value:g}"


@dataclass(frozen=True)
class Infinity:
    """An axis of which nothing is known but its end, as all that lies on it is infinite."""

    ticks = (inf,)

    def place(self, value: float) -> float:
        """Return where ``value`` goes, in percent."""
        return 100.0

    def label(self, value: float) -> str:
        """Return ``value``, a tick, as text."""
        return "∞"


@dataclass(frozen=True)
class Stop:
    """A point of a curve: places in percent, and what it says under the pointer."""

    x: float
    y: float
    text: str
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True)
class CurvePanel:
    """The curves of one metric: the stops of each, by its place among all."""

    title: str
    across_title: str
    across: Axis | LogAxis
    up: Axis | Infinity
    curves: list[tuple[int, list[Stop]]]


@dataclass(frozen=True)
class CodecLook:
    """What a codec makes of an image: what is said of it, its reconstruction, and what is lost."""

    codec: str
    rate: str
    values: str
    recon: Picture
    lost: Picture


@dataclass(frozen=True)
class ImageLook:
    """An original, and what codecs make of it at about the same rate."""

    name: str
    original: Picture
    codecs: list[CodecLook]


@dataclass(frozen=True)
class CurveSection:
    """What a page says about curves.

    Args:
        names: of the codecs.
        panels: the charts.
        anchor: what deltas are against.
        deltas: of rate and of quality, in pairs, each with the title of the metric and how its differences are written.
        sentences: where metrics disagree.
        looks: pictures at equal rate.
        unit: of deltas of rate.
        intervals: whether there are any of SeSS.
    """

    names: list[str]
    panels: list[CurvePanel]
    anchor: str
    deltas: list[tuple[Delta, Delta, str, str]]
    sentences: list[str]
    looks: list[ImageLook]
    unit: str
    intervals: bool


def curve_section(
    curves: Sequence[Curve], deltas: Sequence[Delta], sentences: Sequence[str], comparisons: Sequence[Comparison]
) -> CurveSection:
    """Return what a page is to say about curves."""
    from torchmetrics_sess.curves.curve import digits_of, title_of
    from torchmetrics_sess.curves.figure import usual_metrics

    return CurveSection(
        [curve.name for curve in curves],
        [_panel(curves, metric) for metric in usual_metrics(curves)],
        deltas[0].anchor if deltas else "",
        [
            (rate, quality, title_of(rate.metric), f"%+.{digits_of(rate.metric)}f")
            for rate, quality in zip(deltas[::2], deltas[1::2], strict=True)
        ],
        list(sentences),
        list(map(_image_look, comparisons)),
        "dB" if curves[0].axis == "snr" else "%",
        any(curve.has("sess") and curve.interval("sess") for curve in curves),
    )


def _image_look(comparison: Comparison) -> ImageLook:
    from torchmetrics_sess.curves.pictures import overlay, rate_of, values_of

    found = []
    for look, recon, lost in zip(comparison.looks, comparison.pictures, comparison.lost, strict=True):
        what = f"{comparison.name}, {look.codec} {look.point}"
        red = (255 * overlay(comparison.original, lost)).round().astype(np.uint8)
        pictures = _picture(recon, what), _picture(red, f"What of {what} is lost, in red")
        found.append(CodecLook(look.codec, rate_of(look, comparison.axis), values_of(look), *pictures))
    return ImageLook(comparison.name, _picture(comparison.original, f"{comparison.name}, the original"), found)


def _picture(pixels: np.ndarray, alt: str) -> Picture:
    return as_picture(Image.fromarray(pixels), alt)


def _panel(curves: Sequence[Curve], metric: str) -> CurvePanel:
    from torchmetrics_sess.curves.curve import AXES, title_of

    axis = AXES[curves[0].axis]
    rates = [rate for curve in curves for rate in curve.rates.tolist()]
    across = _log_axis(rates) if axis.logarithmic else Axis.over(rates)
    known = [curve for curve in curves if curve.has(metric)]
    ends = {curve.name: curve.interval(metric) for curve in known} if metric == "sess" else {}
    values = [value for curve in known for value in curve.means(metric).tolist()]
    values += [end for both in ends.values() for pair in both or () for end in pair]
    values = [value for value in values if not isnan(value)]
    up = Axis.over(values) if any(map(isfinite, values)) else Infinity()
    drawn = []
    for index, curve in enumerate(curves):
        if not curve.has(metric):
            continue
        sure = ends.get(curve.name)
        stops = []
        for place, (rate, value) in enumerate(zip(curve.rates.tolist(), curve.means(metric).tolist(), strict=True)):
            if isnan(value):
                continue
            text = f"{curve.name}, {curve.points[place]}: {rate:.4g} {axis.unit}, {title_of(metric)} {value:.5g}"
            low, high = sure[place] if sure else (None, None)
            text += f", 95 % interval {low:.4f} to {high:.4f}" if sure else ""
            sides = [None if end is None else up.place(end) for end in (low, high)]
            stops.append(Stop(across.place(rate), up.place(value), text, *sides))
        drawn.append((index, stops))
    return CurvePanel(title_of(metric), axis.title, across, up, drawn)


def _log_axis(rates: Sequence[float]) -> LogAxis:
    low, high = min(rates), max(rates)
    # A little room, and something to divide by where there is a single rate.
    return LogAxis(low / 1.08, high * 1.08)

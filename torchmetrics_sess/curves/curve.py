"""What a curve holds: quality over rate, point by point and image by image."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from math import inf

import numpy as np
from jaxtyping import Float, Int

from torchmetrics_sess.bootstrap import confidence_interval


@dataclass(frozen=True)
class Axis:
    """What a curve runs over.

    Args:
        title: for the axis of a figure, with the unit.
        name: for the heading of a column, and for sentences.
        unit: what follows a value.
        logarithmic: whether ratios count, as they do for rates; decibels are logarithms already.
        more: what a codec that needs more of it is said to need.
    """

    title: str
    name: str
    unit: str
    logarithmic: bool
    more: str


AXES = {
    "bpp": Axis("rate (bits per pixel)", "bpp", "bpp", logarithmic=True, more="bits"),
    "cbr": Axis("channel bandwidth ratio", "CBR", "CBR", logarithmic=True, more="channel uses"),
    "snr": Axis("SNR (dB)", "SNR", "dB", logarithmic=False, more="SNR"),
}
"""What a curve can run over, by name: bits per pixel, channel uses per value of a pixel, or signal-to-noise ratio."""

DECIBELS = {"sess_db": "sess", "ms_ssim_db": "ms_ssim"}
"""Metrics that are others in decibels, -10 · log10(1 - mean), which tells values near 1 apart."""

# Networks and metrics compute in single precision, so that what lies this near to 1 is 1.
_ROUNDING = 2.0**-23


@dataclass(frozen=True, eq=False)
class Curve:
    """A codec, or a transmitter, at several points, each of them with the same images.

    Points are sorted by the mean of ``x``.

    Args:
        name: of the codec.
        axis: what ``x`` is, one of ``AXES``.
        points: what each point is called, such as its quality.
        x: where every image lies at every point, such as its bits per pixel, ``[p, n]``.
        metrics: the values of every image at every point, by metric, ``[p, n]`` each.
        images: what the images are called; empty if only their means are known, so that n is 1.

    Raises:
        ValueError: if the axis is unknown, shapes do not fit, a rate is not positive, or there is no point.
        TypeError: if ``x`` or a metric is no array.

    Examples:
        >>> curve = Curve.of_means("mine", "bpp", [1.0, 0.5], {"sess": [0.99, 0.9]})
        >>> curve.rates.tolist(), curve.means("sess").tolist(), curve.means("sess_db").round(6).tolist()
        ([0.5, 1.0], [0.9, 0.99], [10.0, 20.0])
    """

    name: str
    axis: str
    points: Sequence[str]
    x: Float[np.ndarray, "_ _"]
    metrics: Mapping[str, Float[np.ndarray, "_ _"]]
    images: Sequence[str] = field(default_factory=tuple)
    # Table, files, figures and page all ask for them, and a bootstrap takes its time.
    _intervals: dict[str, list[tuple[float, float]]] = field(default_factory=dict, init=False, repr=False)

    def __post_init__(self) -> None:
        if self.axis not in AXES:
            raise ValueError(f"`axis` must be one of {', '.join(AXES)}, got {self.axis!r}")
        shape = (len(self.points), len(self.images) or 1)
        for name, values in {self.axis: self.x, **self.metrics}.items():
            if not isinstance(values, np.ndarray):
                raise TypeError(f"{self.name}: {name} must be a NumPy array, got {type(values).__name__}")
            if values.shape != shape:
                raise ValueError(
                    f"{self.name}: {name} must have the shape {shape}, points by images, got {values.shape}"
                )
        if len(self.points) == 0:
            raise ValueError(f"{self.name} has no point")
        if not np.isfinite(self.x).all() or (AXES[self.axis].logarithmic and (self.x <= 0).any()):
            kind = "positive" if AXES[self.axis].logarithmic else "a finite number"
            raise ValueError(f"{self.name}: every {AXES[self.axis].name} must be {kind}, got {self.x.min():g}")
        order = np.argsort(self.x.mean(1), kind="stable")
        object.__setattr__(self, "points", tuple(self.points[index] for index in order))
        object.__setattr__(self, "x", self.x[order])
        object.__setattr__(self, "metrics", {name: values[order] for name, values in self.metrics.items()})

    @classmethod
    def of_means(
        cls,
        name: str,
        axis: str,
        x: Sequence[float | int],
        metrics: Mapping[str, Sequence[float | int]],
        points: Sequence[str] | None = None,
    ) -> Curve:
        """Return a curve of which only the means over images are known.

        Args:
            name: of the codec.
            axis: what ``x`` is.
            x: where the points lie.
            metrics: their means, by metric, as many each.
            points: what they are called; by default, by ``x``.

        Raises:
            ValueError: as for a curve, or if something is no sequence of numbers.
        """
        rates = _column(name, "x", x)
        columns = {metric: _column(name, metric, values) for metric, values in metrics.items()}
        return cls(name, axis, points or [f"{value:g}" for value in x], rates, columns)

    @property
    def rates(self) -> Float[np.ndarray, " p"]:
        """The mean of ``x`` at every point, in ascending order."""
        rates: np.ndarray = self.x.mean(1)
        return rates

    @property
    def has_images(self) -> bool:
        """Whether values of single images are known, not the means alone."""
        return len(self.images) > 0

    def has(self, metric: str) -> bool:
        """Say whether a metric is known, as it is or in decibels."""
        return DECIBELS.get(metric, metric) in self.metrics

    def means(self, metric: str) -> Float[np.ndarray, " p"]:
        """Return the mean of a metric at every point; infinite where 1 has no decibels, or a PSNR is.

        Raises:
            ValueError: if the metric is not known.
        """
        return in_decibels(metric, self._values(metric).mean(1))

    def interval(self, metric: str) -> list[tuple[float, float]] | None:
        """Return the 95 % interval of the mean at every point, by bootstrap over images; None where there is none."""
        import torch

        values = self._values(metric)
        if len(self.images) < 2 or not np.isfinite(values).all():
            return None
        if metric not in self._intervals:
            ends = np.array([confidence_interval(torch.from_numpy(row)) for row in values])
            self._intervals[metric] = [(low, high) for low, high in in_decibels(metric, ends).tolist()]
        return self._intervals[metric]

    def resample(self, draws: Int[np.ndarray, "r n"], metric: str) -> tuple[np.ndarray, np.ndarray]:
        """Return the rates and the means of a metric, ``[r, p]`` each, over images drawn anew ``r`` times."""
        counts = np.stack([np.bincount(draw, minlength=len(self.images)) for draw in draws]) / draws.shape[1]
        return counts @ self.x.T, in_decibels(metric, counts @ self._values(metric).T)

    def only(self, points: Sequence[int]) -> Curve:
        """Return the curve of some of the points, by their places.

        Raises:
            ValueError: if there is none, or no such place.
        """
        chosen = list(points)
        if any(not -len(self.points) <= place < len(self.points) for place in chosen):
            raise ValueError(f"`points` must be places of the {len(self.points)} points of {self.name}, got {chosen}")
        return replace(
            self,
            points=[self.points[index] for index in chosen],
            x=self.x[chosen],
            metrics={name: values[chosen] for name, values in self.metrics.items()},
        )

    def _values(self, metric: str) -> Float[np.ndarray, "p n"]:
        if not self.has(metric):
            raise ValueError(f"{self.name} has no {metric!r}; it has {', '.join(metrics_of([self])) or 'no metric'}")
        return self.metrics[DECIBELS.get(metric, metric)]


def _column(name: str, what: str, values: object) -> Float[np.ndarray, "p 1"]:
    try:
        column = np.array(values, dtype=np.float64)
    except (TypeError, ValueError):
        column = np.array(0.0)
    if column.ndim != 1:
        raise ValueError(f"{name}: `{what}` must be a sequence of numbers, got {values!r:.60}")
    return column[:, None]


def in_decibels(metric: str, means: Float[np.ndarray, "*shape"]) -> Float[np.ndarray, "*shape"]:
    """Return means in decibels if ``metric`` is one of ``DECIBELS``, else as they are.

    Examples:
        >>> in_decibels("sess_db", np.array([0.9, 1 - 1e-6, 1 - 1e-9])).round(6).tolist()
        [10.0, 60.0, inf]
    """
    if metric not in DECIBELS:
        return means
    lost = 1 - means
    return np.where(lost > _ROUNDING, -10 * np.log10(np.maximum(lost, _ROUNDING)), inf)


def digits_of(metric: str) -> int:
    """Return how many digits after the point a difference of a metric is given with.

    Examples:
        >>> digits_of("sess"), digits_of("sess_db")
        (4, 2)
    """
    return 2 if metric in DECIBELS or metric == "psnr" else 4


def title_of(metric: str) -> str:
    """Return what a metric is called in a figure or a sentence.

    Examples:
        >>> title_of("ms_ssim"), title_of("sess_db"), title_of("mine")
        ('MS-SSIM', 'SeSS (dB)', 'mine')
    """
    from torchmetrics_sess.comparison import METRICS

    if metric in DECIBELS:
        return f"{title_of(DECIBELS[metric])} (dB)"
    return METRICS[metric].title if metric in METRICS else metric


def sign_of(metric: str) -> int:
    """Return 1 if a greater value of a metric is better, else -1."""
    from torchmetrics_sess.comparison import METRICS

    return 1 if metric not in METRICS or METRICS[metric].higher_is_better else -1


def metrics_of(curves: Sequence[Curve]) -> list[str]:
    """Return the metrics that some curve has, SeSS first, each of ``DECIBELS`` after the one that it is made of."""
    found = list(dict.fromkeys(name for curve in curves for name in curve.metrics))
    found.sort(key=lambda name: name != "sess")
    decibels = {source: name for name, source in DECIBELS.items()}
    return [name for metric in found for name in (metric, decibels.get(metric)) if name is not None]

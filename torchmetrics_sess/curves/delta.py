"""How far one curve lies from another on average: Bjøntegaard's deltas, or a sentence why there are none.

The numbers are those of the library ``bjontegaard``, with Akima's interpolation, which follows the points more closely
than the cubic polynomial of 2001 (Herglotz et al., arXiv 2202.12565 and 2304.12852).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, TypeAlias, get_args

import numpy as np

from torchmetrics_sess.curves.arguments import (
    check_choice,
    check_curve,
    check_curves,
    check_metrics,
    check_resamples,
)
from torchmetrics_sess.curves.curve import AXES, Curve, sign_of, title_of

Kind: TypeAlias = Literal["rate", "quality"]

METHOD = "akima"
RESAMPLES = 1000
# An interval of what is left says nothing if more of the resamples than this have no delta.
_LOST_RESAMPLES = 0.05


@dataclass(frozen=True)
class Delta:
    """How far a curve lies from its anchor, averaged over the range that both cover.

    Args:
        anchor: what it is compared with.
        test: the curve.
        metric: what quality is measured by.
        kind: ``"rate"``, how much more of the rate is needed for equal quality, in percent (over SNR: in dB); or
            ``"quality"``, how much higher the metric is at equal rate, in its own unit.
        value: the delta, or ``None`` if there is none.
        interval: its 95 % interval, by bootstrap over the images that both curves have in common; ``None`` if unknown.
        overlap: the range that both cover, as a share of what they cover together; a delta over little of it says
            little.
        note: why there is no value or no interval: a sentence, or empty.
    """

    anchor: str
    test: str
    metric: str
    kind: Kind
    value: float | None
    interval: tuple[float, float] | None = None
    overlap: float = 0.0
    note: str = ""


def delta(
    anchor: Curve, test: Curve, metric: str, kind: Kind = "rate", *, resamples: int = RESAMPLES, seed: int = 0
) -> Delta:
    """Return how far ``test`` lies from ``anchor``.

    Args:
        anchor: what to compare with.
        test: what to compare.
        metric: what quality is measured by, one that both have; ``sess_db`` and ``ms_ssim_db`` as well.
        kind: whether rates are compared at equal quality, or the other way round.
        resamples: how often to draw images for the interval, the same ones for both curves at all points; 0 for none.
        seed: of the draws.

    Returns:
        The delta; a curve that has none, because it folds back, has a single point or none in the range of the other,
        gets a sentence in its place.

    Raises:
        ValueError: if the curves run over different axes, ``kind`` is another, or ``resamples`` is below 0.
        TypeError: if one of them is no curve.
        ModuleNotFoundError: if the extra ``curves`` is not installed.

    Examples:
        >>> anchor = Curve.of_means("jpeg", "bpp", [0.25, 0.5, 1.0], {"psnr": [28.0, 31.0, 34.0]})
        >>> test = Curve.of_means("mine", "bpp", [0.2, 0.4, 0.8], {"psnr": [28.0, 31.0, 34.0]})
        >>> round(delta(anchor, test, "psnr").value, 6)
        -20.0
        >>> delta(anchor, test.only([0]), "psnr").note
        'mine has a single point: a curve takes two'
    """
    check_curve("anchor", anchor)
    check_curve("test", test)
    check_choice("kind", kind, get_args(Kind))
    check_resamples(resamples)
    if anchor.axis != test.axis:
        raise ValueError(f"{anchor.name} runs over {anchor.axis}, {test.name} over {test.axis}: there is no delta")
    found = Delta(anchor.name, test.name, metric, kind, None)
    for curve in (anchor, test):
        if problem := _problem(curve, metric, kind):
            return replace(found, note=problem)
    ends = [_base(curve.rates, curve.means(metric), metric, kind, anchor.axis) for curve in (anchor, test)]
    overlap = _overlap(*ends)
    if overlap <= 0:
        return replace(found, note=_no_overlap(anchor, test, metric, kind))
    both = [(curve.rates, curve.means(metric)) for curve in (anchor, test)]
    value = _compute(both[0], both[1], metric, kind, anchor.axis)
    interval, doubt = _interval(anchor, test, metric, kind, resamples, seed) if resamples else (None, "")
    return replace(found, value=value, interval=interval, overlap=overlap, note=doubt)


def deltas(
    anchor: Curve, tests: Sequence[Curve], metrics: Sequence[str], *, resamples: int = RESAMPLES, seed: int = 0
) -> list[Delta]:
    """Return the deltas of several curves, by every metric and of both kinds; see ``delta``."""
    check_curves("tests", tests)
    check_metrics("metrics", metrics)
    return [
        delta(anchor, test, metric, kind, resamples=resamples, seed=seed)
        for test in tests
        for metric in metrics
        for kind in ("rate", "quality")
    ]


def _problem(curve: Curve, metric: str, kind: Kind) -> str:
    """Return why a curve cannot be compared, or nothing."""
    name, title, axis = curve.name, title_of(metric), AXES[curve.axis]
    if not curve.has(metric):
        return f"{name} has no {title}"
    if len(curve.points) < 2:
        return f"{name} has a single point: a curve takes two"
    rates, quality = curve.rates, curve.means(metric) * sign_of(metric)
    if not np.isfinite(quality).all():
        place = int(np.flatnonzero(~np.isfinite(quality))[0])
        return f"{title} of {name} is infinite at {rates[place]:.3g} {axis.unit}: leave lossless points out"
    if (np.diff(rates) <= 0).any():
        place = int(np.flatnonzero(np.diff(rates) <= 0)[0])
        return f"the points {curve.points[place]} and {curve.points[place + 1]} of {name} have equal {axis.name}"
    if kind == "rate" and (np.diff(quality) <= 0).any():
        place = int(np.flatnonzero(np.diff(quality) <= 0)[0])
        before, after = curve.means(metric)[place : place + 2]
        what = "saturates" if (np.diff(quality[place:]) <= 0).all() else "folds back"
        return (
            f"{title} of {name} {what}: {before:.5g} at {rates[place]:.3g} {axis.unit}, then {after:.5g} at "
            f"{rates[place + 1]:.3g}, so that one quality has several rates"
        )
    return ""


def _base(rates: np.ndarray, quality: np.ndarray, metric: str, kind: Kind, axis: str) -> np.ndarray:
    """Return what is integrated over: quality for rates, and the other way round."""
    if kind == "rate":
        return quality * sign_of(metric)
    return np.log10(rates) if AXES[axis].logarithmic else rates


def _overlap(a: np.ndarray, b: np.ndarray) -> float:
    shared = min(a.max(), b.max()) - max(a.min(), b.min())
    return max(0.0, float(shared / (max(a.max(), b.max()) - min(a.min(), b.min()))))


def _compute(
    anchor: tuple[np.ndarray, np.ndarray], test: tuple[np.ndarray, np.ndarray], metric: str, kind: Kind, axis: str
) -> float:
    """Ask the library."""
    try:
        import bjontegaard
    except ModuleNotFoundError as error:
        message = "Bjøntegaard's deltas need the library bjontegaard: install torchmetrics-sess[curves]"
        raise ModuleNotFoundError(message, name=error.name) from error
    sign = sign_of(metric)
    options: dict[str, Any] = {"method": METHOD, "require_matching_points": False, "min_overlap": 0}
    (anchor_rates, anchor_quality), (rates, quality) = anchor, test
    if AXES[axis].logarithmic:
        function = bjontegaard.bd_rate if kind == "rate" else bjontegaard.bd_psnr
        found = function(anchor_rates, sign * anchor_quality, rates, sign * quality, **options)
    elif kind == "rate":
        found = bjontegaard.bd_linear(sign * anchor_quality, anchor_rates, sign * quality, rates, **options)
    else:
        found = bjontegaard.bd_linear(anchor_rates, sign * anchor_quality, rates, sign * quality, **options)
    return float(found) if kind == "rate" else sign * float(found)


def _interval(
    anchor: Curve, test: Curve, metric: str, kind: Kind, resamples: int, seed: int
) -> tuple[tuple[float, float] | None, str]:
    """Return the interval of a delta, and why there is none."""
    if not (anchor.has_images and test.has_images):
        which = test if anchor.has_images else anchor
        return None, f"no interval: of {which.name}, the means alone are known"
    if tuple(anchor.images) != tuple(test.images):
        return None, "no interval: the two curves are of different images"
    if len(test.images) < 2:
        return None, "no interval: there is a single image"
    draws = np.random.default_rng(seed).integers(len(test.images), size=(resamples, len(test.images)))
    values = []
    drawn = (curve.resample(draws, metric) for curve in (anchor, test))
    for a_rates, a_quality, b_rates, b_quality in zip(*(column for pair in drawn for column in pair), strict=True):
        both = ((a_rates, a_quality), (b_rates, b_quality))
        if all(_is_defined(*each, metric, kind) for each in both):
            bases = [_base(*each, metric, kind, anchor.axis) for each in both]
            if _overlap(*bases) > 0:
                values.append(_compute(*both, metric, kind, anchor.axis))
    lost = 1 - len(values) / resamples
    if lost > _LOST_RESAMPLES:
        return None, f"no interval: with {lost:.0%} of the draws of images, a curve folds back or saturates"
    low, high = np.quantile(values, [0.025, 0.975]).tolist()
    return (low, high), ""


def _is_defined(rates: np.ndarray, quality: np.ndarray, metric: str, kind: Kind) -> bool:
    rising = (np.diff(rates) > 0).all() and np.isfinite(quality).all()
    return bool(rising and (kind == "quality" or (np.diff(sign_of(metric) * quality) > 0).all()))


def _no_overlap(anchor: Curve, test: Curve, metric: str, kind: Kind) -> str:
    if kind == "rate":
        low, high = sorted((anchor, test), key=lambda curve: float(curve.means(metric).min()))
        title, ends = title_of(metric), (low.means(metric).max(), high.means(metric).min())
        names, unit = (f"{title} of {low.name}", f"that of {high.name}"), ""
    else:
        low, high = sorted((anchor, test), key=lambda curve: float(curve.rates.min()))
        ends = low.rates.max(), high.rates.min()
        names, unit = (low.name, high.name), f" {AXES[anchor.axis].unit}"
    return (
        f"the curves do not overlap: {names[0]} ends at {ends[0]:.4g}{unit}, {names[1]} begins at {ends[1]:.4g}{unit}"
    )

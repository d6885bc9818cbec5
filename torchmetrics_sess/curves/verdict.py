"""Where metrics disagree on which of two codecs is better, in sentences."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations

from torchmetrics_sess.curves.arguments import check_curves, check_known, check_metrics, check_resamples
from torchmetrics_sess.curves.curve import AXES, DECIBELS, Curve, title_of
from torchmetrics_sess.curves.delta import RESAMPLES, Delta, delta


def disagreements(
    curves: Sequence[Curve], metrics: Sequence[str], *, resamples: int = RESAMPLES, seed: int = 0
) -> list[str]:
    r"""Say of which two curves one is better by one metric and the other by another.

    A metric decides if the interval of its BD-rate leaves out 0; where means alone are known, by the sign of it. A
    metric in decibels is not asked beside the one that it is made of.

    Args:
        curves: all over the same axis.
        metrics: which to ask.
        resamples: how often to draw images for the intervals.
        seed: of the draws.

    Raises:
        ValueError: if the curves run over different axes, no curve has a metric, or ``resamples`` is below 0.
        TypeError: if ``curves`` holds something else, or ``metrics`` is a single name.

    Examples:
        >>> old = Curve.of_means("old", "bpp", [0.25, 0.5, 1.0], {"psnr": [28, 31, 34], "sess": [0.8, 0.9, 0.95]})
        >>> new = Curve.of_means("new", "bpp", [0.2, 0.4, 0.8], {"psnr": [28, 31, 34], "sess": [0.7, 0.8, 0.9]})
        >>> print(*disagreements([old, new], ["psnr", "sess"]), sep="\n")
        new or old? For equal PSNR, new needs 20.0 % fewer bits than old; for equal SeSS, it needs 69.5 % more.
    """
    check_curves("curves", curves)
    check_metrics("metrics", metrics)
    check_known("metrics", metrics, curves)
    check_resamples(resamples)
    asked = [metric for metric in metrics if DECIBELS.get(metric) not in metrics]
    sentences = []
    for anchor, test in combinations(curves, 2):
        signs = {}
        for metric in asked:
            found = delta(anchor, test, metric, resamples=0)
            if found.value:
                signs[metric] = found.value > 0
        if len(set(signs.values())) < 2:
            continue
        decided = [delta(anchor, test, metric, resamples=resamples, seed=seed) for metric in signs]
        fewer = [found for found in decided if _decides(found) and (found.value or 0) < 0]
        more = [found for found in decided if _decides(found) and (found.value or 0) > 0]
        if fewer and more:
            sentences.append(_sentence(fewer, more, AXES[anchor.axis].logarithmic, AXES[anchor.axis].more))
    return sentences


def _decides(found: Delta) -> bool:
    if found.interval is None:
        # Draws that have no delta leave the sign open; curves of means alone have no draws.
        return found.value is not None and "draws" not in found.note
    return found.interval[0] > 0 or found.interval[1] < 0


def _sentence(fewer: Sequence[Delta], more: Sequence[Delta], logarithmic: bool, what: str) -> str:
    anchor, test = fewer[0].anchor, fewer[0].test
    unit = " %" if logarithmic else " dB"
    less = "fewer" if logarithmic else "less"

    def listed(found: Sequence[Delta]) -> str:
        parts = [f"{title_of(each.metric)} {_amount(each, unit)}" for each in found]
        return " and ".join(([", ".join(parts[:-1])] if parts[:-1] else []) + parts[-1:])

    if len(fewer) == len(more) == 1:
        return (
            f"{test} or {anchor}? For equal {title_of(fewer[0].metric)}, {test} needs {_amount(fewer[0], unit)} {less} "
            f"{what} than {anchor}; for equal {title_of(more[0].metric)}, it needs {_amount(more[0], unit)} more."
        )
    return (
        f"{test} or {anchor}? By some metrics {test} needs {less} {what} than {anchor} for equal quality "
        f"({listed(fewer)}), by others more ({listed(more)})."
    )


def _amount(found: Delta, unit: str) -> str:
    """Return how much it is, without a sign."""
    text = f"{abs(found.value or 0):.1f}{unit}"
    if found.interval is None:
        return text
    low, high = sorted(map(abs, found.interval))
    return f"{text} [{low:.1f}, {high:.1f}]"

"""Is a difference of two measures more than the choice of photographs? Paired, as both saw the same ones."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from torchmetrics_sess.bootstrap import confidence_interval

RESAMPLES = 9999


class Difference(NamedTuple):
    """A mean difference, its 95 % interval by bootstrap over photographs, and the p-value of a sign-flip test."""

    mean: float
    low: float
    high: float
    p: float


def paired_difference(first: NDArray[Any], second: NDArray[Any]) -> Difference:
    """Compare two measures by a number for every photograph, ``[n]`` each, in the same order.

    The interval is the percentile bootstrap of the mean difference over photographs. The test is two-sided: how often
    signs of the differences, drawn at random, give a mean as far from 0.

    Examples:
        >>> import numpy as np
        >>> difference = paired_difference(np.linspace(0.4, 0.9, 30), np.linspace(0.3, 0.7, 30))
        >>> bool(0 < difference.low < difference.mean < difference.high), bool(difference.p < 0.01)
        (True, True)
    """
    differences = np.asarray(first, dtype=float) - np.asarray(second, dtype=float)
    low, high = confidence_interval(torch.from_numpy(differences))
    signs = np.random.default_rng(0).choice([-1, 1], size=(RESAMPLES, len(differences)))
    # What was found is one of the draws; equal means may differ by rounding.
    as_far = np.abs(signs @ differences) >= abs(differences.sum()) - 1e-12
    return Difference(float(differences.mean()), low, high, float((1 + as_far.sum()) / (1 + RESAMPLES)))


def leads(number: str, by_measure: Mapping[str, NDArray[Any]], of: str = "SeSS") -> list[dict[str, Any]]:
    """Return a row per other measure: how far ``of`` is above it by ``number``, which may be below 0.

    Args:
        number: what is compared.
        by_measure: its value for every photograph, ``[n]``, by measure.
        of: the measure that is compared with all others.
    """
    own = by_measure[of]
    rows = []
    for measure, values in by_measure.items():
        if measure != of:
            difference = paired_difference(own, values)
            rows.append({"lead": number, "over": measure, "n": len(own), **difference._asdict()})
    return rows

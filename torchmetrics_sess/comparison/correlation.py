"""How far two measures agree on an order."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

_Numbers: TypeAlias = Sequence[float] | NDArray[np.float64]


def rank_correlation(a: _Numbers, b: _Numbers) -> float:
    """Return Spearman's rank correlation of two sequences; NaN if either is constant, which orders nothing.

    Args:
        a: numbers without NaN; infinite ones rank first or last.
        b: as many.

    Examples:
        >>> round(rank_correlation([1.0, 2.0, 3.0, float("inf")], [10.0, 20.0, 40.0, 30.0]), 6)
        0.8
    """
    from scipy.stats import rankdata

    ranks = rankdata(a), rankdata(b)
    if any(np.ptp(each) == 0 for each in ranks):
        return math.nan
    return float(np.corrcoef(*ranks)[0, 1])

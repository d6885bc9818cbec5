"""How well a similarity measure tells two groups of changes apart, in numbers that need no unit."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray


def separation(higher: Sequence[float] | NDArray[Any], lower: Sequence[float] | NDArray[Any]) -> float:
    """Return the area under the ROC curve: how often one of ``higher`` exceeds one of ``lower``, ties counting half.

    NaN if there is nothing to compare.

    Example:
        >>> separation([0.9, 0.8], [0.1, 0.8])
        0.875
    """
    difference = np.subtract.outer(np.asarray(higher, dtype=float), np.asarray(lower, dtype=float))
    return float(np.mean((difference > 0) + 0.5 * (difference == 0))) if difference.size else float("nan")


def ordering_rate(pairs: Sequence[tuple[Sequence[float], Sequence[float]]]) -> float:
    """Return how often, within each pair of sequences, one of the first strictly exceeds one of the second.

    All combinations of all pairs count the same; NaN if there are none.

    Example:
        >>> ordering_rate([([0.9, 0.5], [0.6]), ([0.8], [0.8])])
        0.3333333333333333
    """
    hits = [np.greater.outer(np.asarray(first), np.asarray(second)).ravel() for first, second in pairs]
    return float(np.concatenate(hits).mean()) if sum(hit.size for hit in hits) else float("nan")

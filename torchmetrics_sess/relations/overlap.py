"""Which masks cover the same object, counted pixel by pixel where nothing cheaper decides."""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
from jaxtyping import Bool
from numpy.typing import NDArray
from torch import Tensor

from torchmetrics_sess.compilation import compiled

Bytes: TypeAlias = NDArray[np.uint8]
Booleans: TypeAlias = NDArray[np.bool_]
Counts: TypeAlias = NDArray[np.int64]


def overlapping(a: Bool[Tensor, "n h w"], b: Bool[Tensor, "m h w"], candidates: Booleans) -> Booleans:
    """Return the candidates whose masks have an IoU of at least .5; no two empty masks do.

    Args:
        a: masks.
        b: masks of the same size.
        candidates: which pairs of them to look at, ``[n, m]``.

    Examples:
        >>> import torch
        >>> masks = torch.tensor([[[True, True, False]], [[False, True, False]], [[False, False, True]]])
        >>> overlapping(masks, masks[:2], np.ones((3, 2), dtype=bool)).tolist()
        [[True, True], [True, True], [False, False]]
    """
    first, second = (np.ascontiguousarray(masks.cpu().numpy()).view(np.uint8) for masks in (a, b))
    return _overlapping(first, second, candidates)


@compiled
def _row_counts(masks: Bytes, wanted: Booleans) -> Counts:
    """Return how many pixels each row of the wanted masks has."""
    n, height, width = masks.shape
    counts = np.zeros((n, height), np.int64)
    for i in range(n):
        if wanted[i]:
            for y in range(height):
                count = 0
                for x in range(width):
                    count += masks[i, y, x]
                counts[i, y] = count
    return counts


@compiled
def _overlapping(a: Bytes, b: Bytes, candidates: Booleans) -> Booleans:
    """See ``overlapping``; IoU ≥ 1/2 where three times the shared area is at least the sum of both."""
    n, height, width = a.shape
    m = len(b)
    rows_a = _row_counts(a, np.array([candidates[i].any() for i in range(n)]))
    rows_b = _row_counts(b, np.array([candidates[:, j].any() for j in range(m)]))
    areas_a, areas_b = rows_a.sum(1), rows_b.sum(1)
    same = np.zeros((n, m), np.bool_)
    for i in range(n):
        for j in range(m):
            total = areas_a[i] + areas_b[j]
            if not candidates[i, j] or total == 0:
                continue
            # No row has more in common than the smaller count in it, which rules most pairs out.
            most = 0
            for y in range(height):
                most += min(rows_a[i, y], rows_b[j, y])
            if 3 * most < total:
                continue
            shared = 0
            for y in range(height):
                if rows_a[i, y] > 0 and rows_b[j, y] > 0:
                    for x in range(width):
                        shared += a[i, y, x] & b[j, y, x]
            same[i, j] = 3 * shared >= total
    return same

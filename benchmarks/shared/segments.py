"""Photographs whose segments people drew, and how well other segments agree with theirs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Labels: TypeAlias = NDArray[np.int64]

# Of a boundary, so much of the diagonal may be missed: what the Berkeley benchmark allows.
_TOLERANCE = 0.0075


class SegmentedPhotograph(NamedTuple):
    """A photograph as people see it.

    Args:
        image: RGB.
        segments: as each of several people drew them, ``[height, width]``.
        object: where the main object is, ``[height, width]``.
    """

    image: Image.Image
    segments: tuple[Labels, ...]
    object: NDArray[np.bool_]


def load_segmented(folder: Path, half: str | None = None) -> dict[str, SegmentedPhotograph]:
    """Return the photographs of a folder with ``NAME.jpg``, ``NAME.segmentsK.png`` and ``NAME.object.png``, by name.

    Args:
        folder: where they lie.
        half: ``"tune"`` or ``"report"`` for every other one by name; None for all.

    Raises:
        ValueError: if there is none.
    """
    names = sorted(path.stem for path in folder.glob("*.jpg") if any(folder.glob(f"{path.stem}.segments*.png")))
    if not names:
        raise ValueError(f"{folder} must hold NAME.jpg with NAME.segmentsK.png and NAME.object.png, got none")
    start, step = {None: (0, 1), "tune": (0, 2), "report": (1, 2)}[half]
    return {name: _load(folder, name) for name in names[start::step]}


def _load(folder: Path, name: str) -> SegmentedPhotograph:
    with Image.open(folder / f"{name}.jpg") as image, Image.open(folder / f"{name}.object.png") as drawn:
        photograph, thing = image.convert("RGB"), np.asarray(drawn.convert("L")) > 127
    segments = []
    for path in sorted(folder.glob(f"{name}.segments*.png")):
        with Image.open(path) as labels:
            segments.append(np.asarray(labels).astype(np.int64))
    return SegmentedPhotograph(photograph, tuple(segments), thing)


def overlap(a: Labels, b: Labels) -> NDArray[np.int64]:
    """Return how many pixels every label of ``a`` shares with every one of ``b``; labels count from 0."""
    rows, columns = int(a.max()) + 1, int(b.max()) + 1
    return np.bincount((a * columns + b).ravel(), minlength=rows * columns).reshape(rows, columns)


def covering(drawn: Labels, ours: Labels) -> float:
    """Return the mean over pixels of the best IoU that a segment of ``ours`` has with their drawn segment.

    Source:
        Arbelaez et al., *Contour Detection and Hierarchical Image Segmentation*, TPAMI 2011.

    Examples:
        >>> covering(np.array([[0, 0, 1, 1]]), np.array([[0, 0, 0, 0]]))
        0.5
    """
    shared = overlap(drawn, ours)
    union = shared.sum(1, keepdims=True) + shared.sum(0, keepdims=True) - shared
    return float(shared.sum(1) @ (shared / np.maximum(union, 1)).max(1) / shared.sum())


def variation_of_information(drawn: Labels, ours: Labels) -> float:
    """Return how many bits either segmentation leaves unknown of the other; 0 if they are the same (Meila, 2005).

    Examples:
        >>> variation_of_information(np.array([[0, 0, 1, 1]]), np.array([[0, 0, 0, 0]]))
        1.0
    """
    shares = overlap(drawn, ours) / drawn.size
    entropy = [
        -float(p @ np.log2(p)) for p in (each[each > 0] for each in (shares.ravel(), shares.sum(0), shares.sum(1)))
    ]
    return 2 * entropy[0] - entropy[1] - entropy[2]


def adjusted_rand(a: Labels, b: Labels) -> float:
    """Return the adjusted Rand index of two segmentations: 1 if they are the same, 0 on average by chance.

    Source:
        Hubert and Arabie, *Comparing Partitions*, Journal of Classification 1985.

    Examples:
        >>> adjusted_rand(np.array([[0, 0, 1, 1]]), np.array([[1, 1, 0, 0]]))
        1.0
    """
    shared = overlap(a, b).astype(np.float64)
    both, rows, columns = (float((n * (n - 1) / 2).sum()) for n in (shared, shared.sum(1), shared.sum(0)))
    expected = rows * columns / (a.size * (a.size - 1) / 2)
    highest = (rows + columns) / 2
    return 1.0 if highest == expected else (both - expected) / (highest - expected)


def best_iou(thing: NDArray[np.bool_], ours: Labels) -> float:
    """Return the IoU of a drawn object with the segment that meets it best.

    Examples:
        >>> best_iou(np.array([[True, True, False, False]]), np.array([[0, 0, 0, 1]])).__round__(3)
        0.667
    """
    inside, total = np.bincount(ours[thing], minlength=int(ours.max()) + 1), np.bincount(ours.ravel())
    return float((inside / (thing.sum() + total - inside)).max())


def boundary_f(drawn: Sequence[Labels], ours: Labels) -> float:
    """Return the F measure of boundaries: precision against those of anyone, recall averaged over people.

    A boundary pixel counts as found if one of the other side is within .0075 of the diagonal. Pixels are not assigned
    one to one, as the Berkeley benchmark does it, so that numbers are a little higher than there.
    """
    from scipy.ndimage import distance_transform_edt

    near = _TOLERANCE * np.hypot(*ours.shape)
    mine, theirs = _boundary(ours), [_boundary(labels) for labels in drawn]
    if not mine.any():
        return 0.0
    anyone = np.logical_or.reduce(theirs)
    precision = float((distance_transform_edt(~anyone)[mine] <= near).mean()) if anyone.any() else 0.0
    away = distance_transform_edt(~mine)
    recall = float(np.mean([(away[boundary] <= near).mean() for boundary in theirs if boundary.any()] or [0.0]))
    return 2 * precision * recall / (precision + recall) if precision + recall > 0 else 0.0


def _boundary(labels: Labels) -> NDArray[np.bool_]:
    edge = np.zeros(labels.shape, dtype=bool)
    edge[:-1] |= labels[:-1] != labels[1:]
    edge[:, :-1] |= labels[:, :-1] != labels[:, 1:]
    return edge

"""What many scores come to, for every folder of reconstructions."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from math import fsum
from pathlib import Path

from torchmetrics_sess.rows import Row


@dataclass(frozen=True)
class Summary:
    """The pairs of a folder in a few numbers.

    Args:
        folder: the folder.
        label: a short name for it.
        scores: the scores, in the order of the results.
        mean: their mean.
        interval: the 95 % confidence interval of the mean, as `sess score` shows it; ``None`` for a single pair.
        lowest: the lowest score.
        failures: how many pairs have no score.
        metrics: the means of the other metrics, by column.
    """

    folder: str
    label: str
    scores: tuple[float, ...]
    mean: float | None
    interval: tuple[float, float] | None
    lowest: float | None
    failures: int
    metrics: dict[str, float]


def summarise(rows: Sequence[Row]) -> list[Summary]:
    """Sum the pairs of every folder up, in the order in which the folders occur.

    Examples:
        >>> from torchmetrics_sess.images import FilePair
        >>> rows = [Row(FilePair(f"{i}.png", "", ""), score) for i, score in enumerate((0.8, 0.9, 1.0))]
        >>> [summary] = summarise(rows)
        >>> len(summary.scores), round(summary.mean, 3), summary.lowest
        (3, 0.9, 0.8)
    """
    by_folder: dict[str, list[Row]] = {}
    for row in rows:
        by_folder.setdefault(row.pair.recon_folder, []).append(row)
    labels = folder_labels(list(by_folder))
    return [_summarise(folder, labels[folder], members) for folder, members in by_folder.items()]


def folder_labels(folders: Sequence[str]) -> dict[str, str]:
    """Return what tells folders apart: their paths without the folder that all of them lie in.

    Examples:
        >>> folder_labels(["out/jpeg/10", "out/jpeg/20", "out/webp/10"])
        {'out/jpeg/10': 'jpeg/10', 'out/jpeg/20': 'jpeg/20', 'out/webp/10': 'webp/10'}
    """
    try:
        shared = os.path.commonpath([Path(folder).parent for folder in folders])
    except ValueError:
        # There is none, or some paths are absolute and others not.
        shared = ""
    return {folder: os.path.relpath(folder, shared) if folder and shared else folder for folder in folders}


def _summarise(folder: str, label: str, rows: Sequence[Row]) -> Summary:
    scored = [row for row in rows if row.score is not None]
    scores = tuple(row.score for row in scored if row.score is not None)
    columns = dict.fromkeys(column for row in scored for column in row.metrics)
    return Summary(
        folder,
        label,
        scores,
        _mean(scores) if scores else None,
        _interval(scores),
        min(scores, default=None),
        len(rows) - len(scored),
        {column: _mean([row.metrics[column] for row in scored if column in row.metrics]) for column in columns},
    )


def _mean(values: Sequence[float]) -> float:
    return fsum(values) / len(values)


def _interval(scores: Sequence[float]) -> tuple[float, float] | None:
    import torch

    from torchmetrics_sess.bootstrap import confidence_interval

    return confidence_interval(torch.tensor(scores, dtype=torch.float64)) if len(scores) > 1 else None

"""What rows come to, folder by folder: the one place that sums them up, for commands, files and the page."""

from __future__ import annotations

import heapq
from array import array
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import fsum, isfinite, isnan
from typing import Any

from torchmetrics_sess.results.rows import Row

_WORST = 5
_FAILURES_SHOWN = 20


@dataclass(frozen=True)
class FolderSummary:
    """The pairs of one folder of reconstructions in a few numbers.

    Args:
        folder: the folder.
        scores: the scores, in the order of the rows.
        failures: how many pairs have none.
        mean: of the scores; ``None`` without one.
        interval: the 95 % confidence interval of the mean; ``None`` for less than two scores.
        lowest: the lowest score; ``None`` without one.
        worst: names and scores of the worst pairs, the very worst first.
        values: what other metrics say of the scored pairs, by column; NaN where they say nothing.
        means: the means of ``values``, of those that are there, or ``None`` if none is; empty without a score.
    """

    folder: str
    scores: Sequence[float]
    failures: int
    mean: float | None
    interval: tuple[float, float] | None
    lowest: float | None
    worst: Sequence[tuple[str, float]]
    values: Mapping[str, Sequence[float]]
    means: Mapping[str, float | None]

    def describe(self) -> dict[str, Any]:
        """Return what a results file says of the folder."""
        low, high = self.interval or (None, None)
        return {
            "recon_folder": self.folder,
            "pairs": len(self.scores),
            "failed": self.failures,
            "mean": self.mean,
            "low": low,
            "high": high,
            "min": self.lowest,
            "worst": [{"name": name, "score": score} for name, score in self.worst],
        }


class Summary:
    """Sums rows up as they come; a row takes 8 bytes for its score, and 8 for each further column.

    Args:
        metrics: the columns of other metrics to sum up.

    Examples:
        >>> from torchmetrics_sess.images import FilePair
        >>> summary = Summary(["psnr"])
        >>> for score, psnr in [(0.8, 30.0), (0.9, 40.0)]:
        ...     summary.add(Row(FilePair("a.png", "", "", "jpeg"), score, metrics={"psnr": psnr}))
        >>> [folder] = summary.folders()
        >>> folder.folder, round(folder.mean, 2), folder.lowest, folder.means
        ('jpeg', 0.85, 0.8, {'psnr': 35.0})
    """

    def __init__(self, metrics: Iterable[str] = ()) -> None:
        self.failures: list[tuple[str, str]] = []
        """The first pairs without a score, and why."""
        self._metrics = tuple(metrics)
        self._folders: dict[str, _Folder] = {}

    @property
    def scored(self) -> int:
        """How many pairs have a score."""
        return sum(len(folder.scores) for folder in self._folders.values())

    @property
    def failed(self) -> int:
        """How many pairs have none."""
        return sum(folder.failures for folder in self._folders.values())

    def add(self, row: Row) -> None:
        """Count a row in."""
        self._folders.setdefault(row.pair.recon_folder, _Folder(self._metrics)).add(row)
        if row.score is None and len(self.failures) < _FAILURES_SHOWN:
            self.failures.append((row.pair.origin or row.pair.recon, row.status))

    def folders(self) -> list[FolderSummary]:
        """Return what every folder comes to so far, in the order in which they came."""
        return [folder.sum_up(name) for name, folder in self._folders.items()]


def summarise(rows: Sequence[Row]) -> list[FolderSummary]:
    """Sum rows up that are all there, with every metric that occurs in them."""
    summary = Summary(dict.fromkeys(name for row in rows if row.score is not None for name in row.metrics))
    for row in rows:
        summary.add(row)
    return summary.folders()


class _Folder:
    """The rows of one folder so far."""

    def __init__(self, metrics: Sequence[str]) -> None:
        self.scores = array("d")
        self.failures = 0
        self._values = {name: array("d") for name in metrics}
        # The best of the worst comes first, to make room for a worse one.
        self._worst: list[tuple[float, int, str]] = []

    def add(self, row: Row) -> None:
        if row.score is None:
            self.failures += 1
            return
        entry = (-row.score, -len(self.scores), row.pair.name)
        self.scores.append(row.score)
        for name, values in self._values.items():
            values.append(row.metrics.get(name, float("nan")))
        if len(self._worst) < _WORST:
            heapq.heappush(self._worst, entry)
        else:
            heapq.heappushpop(self._worst, entry)

    def sum_up(self, folder: str) -> FolderSummary:
        return FolderSummary(
            folder=folder,
            scores=self.scores,
            failures=self.failures,
            mean=_mean(self.scores),
            interval=_interval(self.scores),
            lowest=min(self.scores, default=None),
            worst=[(name, -score) for score, _, name in sorted(self._worst, reverse=True)],
            values=self._values,
            means={name: _mean([v for v in values if not isnan(v)]) for name, values in self._values.items()}
            if self.scores
            else {},
        )


def _mean(values: Sequence[float]) -> float | None:
    # An exact sum of infinities of both signs is an error; the plain one is NaN.
    total = fsum(values) if all(map(isfinite, values)) else sum(values)
    return total / len(values) if values else None


def _interval(scores: Sequence[float]) -> tuple[float, float] | None:
    if len(scores) < 2:
        return None
    import torch

    from torchmetrics_sess.bootstrap import confidence_interval

    return confidence_interval(torch.tensor(scores, dtype=torch.float64))

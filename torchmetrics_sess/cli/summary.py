"""What the rows of a run come to, folder by folder, in memory that hardly grows with their number."""

from __future__ import annotations

import heapq
from array import array
from collections.abc import Mapping, Sequence
from math import fsum
from typing import Any

from torchmetrics_sess.cli.output import results
from torchmetrics_sess.rows import Row

_WORST = 5
_FAILURES_SHOWN = 20


class FolderSummary:
    """What the rows of one folder of reconstructions come to."""

    def __init__(self) -> None:
        self.scores = array("d")
        self.failed = 0
        # The best of the worst comes first, to make room for a worse one.
        self._worst: list[tuple[float, int, str]] = []

    def add(self, row: Row) -> None:
        """Count a row in."""
        if row.score is None:
            self.failed += 1
            return
        entry = (-row.score, -len(self.scores), row.pair.name)
        self.scores.append(row.score)
        if len(self._worst) < _WORST:
            heapq.heappush(self._worst, entry)
        else:
            heapq.heappushpop(self._worst, entry)

    def worst(self) -> list[tuple[str, float]]:
        """Return names and scores of the worst, the very worst first."""
        return [(name, -score) for score, _, name in sorted(self._worst, reverse=True)]

    def mean(self) -> float | None:
        """Return the mean score, if there is any."""
        return fsum(self.scores) / len(self.scores) if self.scores else None

    def interval(self) -> tuple[float, float] | None:
        """Return the 95 % confidence interval of the mean, if there are several scores."""
        import torch

        from torchmetrics_sess.bootstrap import confidence_interval

        return confidence_interval(torch.tensor(self.scores, dtype=torch.float64)) if len(self.scores) > 1 else None

    def describe(self) -> dict[str, Any]:
        """Return everything as it is written into a file."""
        low, high = self.interval() or (None, None)
        return {
            "pairs": len(self.scores),
            "failed": self.failed,
            "mean": self.mean(),
            "low": low,
            "high": high,
            "min": min(self.scores, default=None),
            "worst": [{"name": name, "score": score} for name, score in self.worst()],
        }


class Summary:
    """What the rows of a run come to."""

    def __init__(self) -> None:
        self.folders: dict[str, FolderSummary] = {}
        self.failures: list[tuple[str, str]] = []

    @property
    def scored(self) -> int:
        """How many pairs have a score."""
        return sum(len(folder.scores) for folder in self.folders.values())

    @property
    def failed(self) -> int:
        """How many pairs have none."""
        return sum(folder.failed for folder in self.folders.values())

    def add(self, row: Row) -> None:
        """Count a row in."""
        self.folders.setdefault(row.pair.recon_folder, FolderSummary()).add(row)
        if row.score is None and len(self.failures) < _FAILURES_SHOWN:
            self.failures.append((row.pair.origin or row.pair.recon, row.status))

    def describe(self) -> list[dict[str, Any]]:
        """Return everything as it is written into a file."""
        return [{"recon_folder": name, **folder.describe()} for name, folder in self.folders.items()]

    def show(self, found: Sequence[Mapping[str, Any]], signature: str) -> None:
        """Print what ``describe`` has found, and the signature under it."""
        console = results()
        if not self.scored:
            console.print("no pair could be scored", soft_wrap=True)
        elif self.scored + self.failed == 1:
            [folder] = self.folders.values()
            console.print(f"{folder.scores[0]:.4f}")
        else:
            _show_tables(found)
        self.show_failures()
        console.print(f"\n{signature}", soft_wrap=True)

    def show_failures(self) -> None:
        """Print what could not be scored, if anything, and why."""
        console = results()
        if self.failed:
            console.print(f"\nnot scored: {self.failed}")
            for name, reason in self.failures:
                # Most reasons begin with the name of the file at fault.
                console.print(f"  {reason}" if name in reason else f"  {name}: {reason}", soft_wrap=True)
            if self.failed > len(self.failures):
                console.print(f"  and {self.failed - len(self.failures)} more; --out lists all of them")


def _show_tables(found: Sequence[Mapping[str, Any]]) -> None:
    console = results()
    rows = []
    for folder in found:
        low, high = folder["low"], folder["high"]
        interval = "" if low is None else f"{low:.4f} - {high:.4f}"
        rows.append(
            [folder["recon_folder"], str(folder["pairs"]), _score(folder["mean"]), interval, _score(folder["min"])]
        )
    console.print(_table(["", "pairs", "mean", "95 % interval", "min"], rows))
    for folder in found:
        rows = [[worst["name"], _score(worst["score"])] for worst in folder["worst"]]
        if rows:
            console.print(_table([f"worst of {folder['recon_folder']}", "score"], rows))


def _score(value: float | None) -> str:
    return "" if value is None else f"{value:.4f}"


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> Any:
    from rich import box
    from rich.table import Table
    from rich.text import Text

    # File names are text, whatever markup they look like.
    table = Table(box=box.SIMPLE_HEAD)
    for index, title in enumerate(header):
        table.add_column(Text(title), justify="right" if index else "left", overflow="fold")
    for row in rows:
        table.add_row(*(Text(entry) for entry in row))
    return table

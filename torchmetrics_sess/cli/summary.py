"""What the rows of a run come to, printed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torchmetrics_sess.cli.output import results
from torchmetrics_sess.results import FolderSummary, Summary


def show(summary: Summary, folders: Sequence[FolderSummary], signature: str) -> None:
    """Print what ``summary`` found in ``folders``, and the signature under it."""
    console = results()
    if not summary.scored:
        console.print("no pair could be scored", soft_wrap=True)
    elif summary.scored + summary.failed == 1:
        console.print(f"{folders[0].mean:.4f}")
    else:
        _show_tables(folders)
    show_failures(summary)
    console.print(f"\n{signature}", soft_wrap=True)


def show_failures(summary: Summary) -> None:
    """Print what could not be scored, if anything, and why."""
    console = results()
    if summary.failed:
        console.print(f"\nnot scored: {summary.failed}")
        for name, reason in summary.failures:
            # Most reasons begin with the name of the file at fault.
            console.print(f"  {reason}" if name in reason else f"  {name}: {reason}", soft_wrap=True)
        if summary.failed > len(summary.failures):
            console.print(f"  and {summary.failed - len(summary.failures)} more; --out lists all of them")


def _show_tables(folders: Sequence[FolderSummary]) -> None:
    console = results()
    rows = []
    for folder in folders:
        interval = "{:.4f} - {:.4f}".format(*folder.interval) if folder.interval else ""
        rows.append([folder.folder, str(len(folder.scores)), _score(folder.mean), interval, _score(folder.lowest)])
    console.print(_table(["", "pairs", "mean", "95 % interval", "min"], rows))
    for folder in folders:
        if folder.worst:
            console.print(
                _table([f"worst of {folder.folder}", "score"], [[name, _score(score)] for name, score in folder.worst])
            )


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

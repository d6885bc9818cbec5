"""The results of ``sess score`` and ``sess compare``, read back from their files."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable
from dataclasses import dataclass, replace
from math import isfinite, isnan
from pathlib import Path

from torchmetrics_sess.images import FilePair
from torchmetrics_sess.results.rows import COLUMNS, OK, Row, from_json


@dataclass(frozen=True)
class Results:
    """What a results file holds.

    Args:
        rows: one for each pair, in the order of the file.
        unfinished: whether the last line was cut off, as a run that is killed leaves it. It is not among ``rows``.
    """

    rows: list[Row]
    unfinished: bool = False


def read_results(path: Path) -> Results:
    """Read a file that ``sess score --out`` or ``sess compare --out`` wrote.

    Of a pair that occurs twice, because its run was taken up again, the last row counts. A metric that is NaN has no
    value.

    Args:
        path: a ``.csv`` or ``.json`` file.

    Raises:
        ValueError: if the file cannot be read or is none of the two; the message names file, line and cause.
    """
    try:
        # A run that lost power may leave a tail of zeros.
        content = path.read_bytes().rstrip(b"\0")
    except OSError as error:
        raise ValueError(f"{path} cannot be read: {(error.strerror or str(error)).lower()}") from error
    # File names need not be valid text.
    text = content.decode("utf-8-sig", errors="surrogateescape")
    if path.suffix.lower() == ".json":
        return Results(_latest(_read_json(text, path)))
    if path.suffix.lower() == ".csv":
        records, unfinished = _read_csv(text, path)
        return Results(_latest(records), unfinished)
    raise ValueError(f"{path} is no results file: its name must end in .csv or .json")


def _read_csv(text: str, path: Path) -> tuple[list[Row], bool]:
    # The end of a line is written last.
    unfinished = not text.endswith("\n")
    lines = csv.reader(io.StringIO(text, newline=""), strict=True)
    records: list[tuple[int, list[str]]] = []
    try:
        for record in lines:
            records.append((lines.line_num, record))  # noqa: PERF401 - what came before an error is kept
    except csv.Error as error:
        if text.splitlines()[lines.line_num :]:
            raise ValueError(f"{path}, line {lines.line_num}: {error}") from error
        # The last line was cut off within quotes.
        unfinished = True
    else:
        if unfinished and len(records) > 1:
            records.pop()
    if not records:
        raise ValueError(f"{path} is empty")
    (_, header), *records = records
    if missing := [column for column in COLUMNS if column not in header]:
        raise ValueError(
            f"{path}, line 1: no column {', '.join(missing)}; "
            "a file of `sess score --out` or `sess compare --out` is expected"
        )
    rows = []
    for line, record in records:
        where = f"{path}, line {line}"
        if len(record) != len(header):
            raise ValueError(f"{where}: {len(record)} values for {len(header)} columns")
        rows.append(_row(dict(zip(header, record, strict=True)), where))
    return rows, unfinished


def _read_json(text: str, path: Path) -> list[Row]:
    try:
        pairs = from_json(text)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error
    return [_row(pair, f"{path}, pair {number}") for number, pair in enumerate(pairs, 1)]


def _row(texts: dict[str, str], where: str) -> Row:
    try:
        row = Row.from_texts(texts)
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from error
    if row.status == OK and (row.score is None or not isfinite(row.score)):
        raise ValueError(f"{where}: the status is ok, but the score is no finite number")
    return replace(
        row,
        score=row.score if row.status == OK else None,
        metrics={name: value for name, value in row.metrics.items() if not isnan(value)},
    )


def _latest(rows: Iterable[Row]) -> list[Row]:
    latest: dict[FilePair, Row] = {row.pair: row for row in rows}
    return list(latest.values())

"""The results of ``sess score`` and ``sess compare``, read back from their files."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from math import isfinite, isnan
from pathlib import Path

COLUMNS = ("recon_folder", "name", "origin", "recon", "score", "status", "signature")


@dataclass(frozen=True, slots=True)
class Row:
    """What is known of one pair.

    Args:
        recon_folder: the reconstructions that it belongs to: a codec, or one of its settings.
        name: what to call it: the path of the original within its folder.
        origin: path of the original.
        recon: path of the reconstruction.
        score: the score, or ``None`` if there is none.
        status: ``ok``, or the reason why there is no score.
        signature: what the score was computed with.
        metrics: what other metrics say, by column.
    """

    recon_folder: str
    name: str
    origin: str
    recon: str
    score: float | None
    status: str
    signature: str
    metrics: Mapping[str, float] = field(default_factory=dict)


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

    Of a pair that occurs twice, because its run was taken up again, the last row counts.

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
        content = json.loads(text)
    except json.JSONDecodeError as error:
        raise ValueError(f"{path}, line {error.lineno}: {error.msg}") from error
    pairs = content.get("pairs") if isinstance(content, dict) else None
    if not isinstance(pairs, list):
        raise ValueError(f"{path} holds no list `pairs`, as a file of `sess score --out` or `sess compare --out` does")
    rows = []
    for number, pair in enumerate(pairs, 1):
        where = f"{path}, pair {number}"
        if not isinstance(pair, dict):
            raise ValueError(f"{where}: {pair!r} is not a mapping")
        if missing := [column for column in COLUMNS if column not in pair]:
            raise ValueError(f"{where}: no value for {', '.join(missing)}")
        rows.append(_row({key: "" if value is None else str(value) for key, value in pair.items()}, where))
    return rows


def _row(values: dict[str, str], where: str) -> Row:
    texts = {column: values.pop(column) for column in COLUMNS if column != "score"}
    score = _number(values.pop("score"), "score", where)
    if texts["status"] == "ok" and (score is None or not isfinite(score)):
        raise ValueError(f"{where}: the status is ok, but the score is no finite number")
    metrics = {name: _number(value, name, where) for name, value in values.items()}
    return Row(
        **texts,
        score=score if texts["status"] == "ok" else None,
        metrics={name: value for name, value in metrics.items() if value is not None},
    )


def _number(text: str, column: str, where: str) -> float | None:
    if not text:
        return None
    try:
        value = float(text)
    except ValueError:
        raise ValueError(f"{where}: `{column}` must be a number, got {text!r}") from None
    return None if isnan(value) else value


def _latest(rows: Iterable[Row]) -> list[Row]:
    return list({(row.recon_folder, row.name, row.origin, row.recon): row for row in rows}.values())

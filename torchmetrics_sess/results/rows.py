"""What is known of one pair of image files, and how a results file says it: the one home of both formats."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from torchmetrics_sess.images import FilePair

COLUMNS = ("recon_folder", "name", "origin", "recon", "score", "status", "signature")
"""What every results file has; a column for each further metric follows."""

OK = "ok"


@dataclass(frozen=True, slots=True)
class Row:
    """What became of one pair.

    Args:
        pair: which one.
        score: its score, or ``None`` if it has none.
        status: ``"ok"``, or why there is no score, in one line.
        metrics: what other metrics say, by column; those that are left out have no value.
        sizes_differ: whether the two images did, if that is known; no file says so.
        signature: what the score was computed with; empty for a row that is in no file yet.

    Examples:
        >>> row = Row(FilePair("a.png", "o/a.png", "r/a.png", "r"), 0.75, metrics={"psnr": float("inf")})
        >>> row.texts(["psnr", "ssim"])
        ['r', 'a.png', 'o/a.png', 'r/a.png', '0.75', 'ok', '', 'inf', '']
        >>> Row.from_texts(dict(zip([*COLUMNS, "psnr", "ssim"], row.texts(["psnr", "ssim"])))) == row
        True
    """

    pair: FilePair
    score: float | None
    status: str = OK
    metrics: Mapping[str, float] = field(default_factory=dict)
    sizes_differ: bool = False
    signature: str = ""

    def texts(self, metrics: Iterable[str] = ()) -> list[str]:
        """Return a line of CSV: the texts under ``COLUMNS``, then those of some metrics; no value is an empty text."""
        pair, status = self.pair, " ".join(self.status.split())
        fixed = [pair.recon_folder, pair.name, pair.origin, pair.recon, _text(self.score), status, self.signature]
        return [*fixed, *(_text(self.metrics.get(metric)) for metric in metrics)]

    @classmethod
    def from_texts(cls, texts: Mapping[str, str]) -> Row:
        """Undo ``texts``, by column.

        Raises:
            ValueError: if there is no number where one belongs.
        """
        numbers = {
            column: number
            for column, text in texts.items()
            if (column == "score" or column not in COLUMNS) and (number := _number(text, column)) is not None
        }
        pair = FilePair(texts["name"], texts["origin"], texts["recon"], texts["recon_folder"])
        return cls(pair, numbers.pop("score", None), texts["status"], numbers, signature=texts["signature"])


def to_json(texts: Mapping[str, str]) -> str:
    """Return a line of CSV, by column, as a JSON object.

    Scores and metrics are numbers, or ``null`` without a value. JSON knows no infinity and no NaN: these stay texts.

    Examples:
        >>> to_json({"name": "a.png", "score": "0.5", "psnr": "inf", "ssim": ""})
        '{"name": "a.png", "score": 0.5, "psnr": "inf", "ssim": null}'
    """
    values: dict[str, str | float | None] = dict(texts)
    for column, text in texts.items():
        if column == "score" or column not in COLUMNS:
            values[column] = json_number(_number(text, column))
    return json.dumps(values)


def json_number(value: float | None) -> str | float | None:
    """Return a number as JSON can say it: as a number, or as a text if it is infinite or NaN."""
    return value if value is None or math.isfinite(value) else _text(value)


def from_json(content: str) -> list[dict[str, str]]:
    """Return the lines of CSV, by column, that the JSON of a results file holds.

    Raises:
        ValueError: if it is none; the message says where, and what is wrong.
    """
    try:
        found = json.loads(content)
    except json.JSONDecodeError as error:
        raise ValueError(f"line {error.lineno}: {error.msg}") from error
    pairs = found.get("pairs") if isinstance(found, dict) else None
    if not isinstance(pairs, list):
        raise ValueError("no list `pairs`, as a file of `sess score --out` or `sess compare --out` has")
    for number, pair in enumerate(pairs, 1):
        if not isinstance(pair, dict):
            raise ValueError(f"pair {number}: {pair!r} is not a mapping")
        if missing := [column for column in COLUMNS if column not in pair]:
            raise ValueError(f"pair {number}: no value for {', '.join(missing)}")
    return [{column: "" if value is None else str(value) for column, value in pair.items()} for pair in pairs]


def _text(number: float | None) -> str:
    # The shortest text that is read back as the same number.
    return "" if number is None else repr(float(number))


def _number(text: str, column: str) -> float | None:
    try:
        return float(text) if text else None
    except ValueError:
        raise ValueError(f"`{column}` must be a number, got {text!r}") from None

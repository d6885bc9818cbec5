"""What people answered, one by one: the rows of ``ratings.csv``, and what they come to for every question."""

from __future__ import annotations

import csv
import hashlib
import io
import math
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeAlias, get_args

import numpy as np
from numpy.typing import NDArray

from torchmetrics_sess.atomic import replacing
from torchmetrics_sess.judgements.datasets import Judgements

Kind: TypeAlias = Literal["rate", "choose"]
Role: TypeAlias = Literal["question", "repeat", "check"]

KINDS: tuple[Kind, ...] = get_args(Kind)
STEPS = 5
COLUMNS = (
    "study",
    "rater",
    "time",
    "seconds",
    "role",
    "kind",
    "origin",
    "recon",
    "other",
    "codec",
    "other_codec",
    "answer",
)
"""The columns of ``ratings.csv``; ``origin``, ``recon``, ``kind``, ``rater`` and ``answer`` have to be there."""

_NEEDED = ("rater", "kind", "origin", "recon", "answer")
_CHOICES = {"left": 0.0, "equal": 0.5, "right": 1.0}


@dataclass(frozen=True, slots=True)
class Answer:
    """One answer of one person.

    Args:
        kind: ``"rate"`` for how much of the meaning is kept, or ``"choose"`` for which of two keeps more.
        rater: name or code of the person.
        origin: path of the original.
        recon: path of what was rated, or was shown on the left.
        other: path of what was shown on the right; empty for a rating.
        value: a rating from 1 to 5; or 0 for left, 1 for right and 0.5 for equal.
        role: ``"question"``; ``"repeat"`` for a question that the person had answered before; or ``"check"`` for a pair
            of identical images.
        codec: what ``recon`` was made by: the name of its folder.
        other_codec: likewise of ``other``.
        time: when it was given, in ISO 8601.
        seconds: how long the question was shown; NaN if that is not known.
        study: signature of the study.
    """

    kind: Kind
    rater: str
    origin: str
    recon: str
    other: str
    value: float
    role: Role = "question"
    codec: str = ""
    other_codec: str = ""
    time: str = ""
    seconds: float = math.nan
    study: str = ""

    @property
    def question(self) -> tuple[str, ...]:
        """What was asked, whichever side was left: the original, then the others in order."""
        return (self.origin, *sorted(filter(None, (self.recon, self.other))))

    @property
    def towards_last(self) -> float:
        """The value as if the images had been shown in the order of ``question``."""
        return 1 - self.value if self.other and self.other < self.recon else self.value


@dataclass(frozen=True)
class Answers:
    """All answers of a file.

    Args:
        rows: the answers, in the order of the file.
        digest: SHA-256 of the file.
    """

    rows: Sequence[Answer]
    digest: str

    @property
    def kinds(self) -> list[Kind]:
        """The kinds of question that were answered."""
        return [kind for kind in KINDS if any(row.kind == kind for row in self.rows)]

    @property
    def raters(self) -> list[str]:
        """Everybody who answered, sorted."""
        return sorted({row.rater for row in self.rows})


@dataclass(frozen=True)
class Table:
    """The answers of one kind, by rater and question; repeats and checks left out.

    Args:
        kind: the kind.
        raters: who answered.
        questions: what was asked: original and one other, or original and two.
        values: ``[raters, questions]``, NaN where there is no answer. A choice is 0 for the first of the two and 1 for
            the second.
        codecs: what the others of every question were made by.
    """

    kind: Kind
    raters: Sequence[str]
    questions: Sequence[tuple[str, ...]]
    values: NDArray[np.float64]
    codecs: Sequence[tuple[str, ...]]

    @property
    def count(self) -> int:
        """How many answers there are."""
        return int(np.isfinite(self.values).sum())

    def without(self, raters: Iterable[str]) -> Table:
        """Return the table without some raters, and without the questions that only they answered."""
        gone = set(raters)
        rows = [index for index, rater in enumerate(self.raters) if rater not in gone]
        values = self.values[rows]
        asked = np.flatnonzero(np.isfinite(values).any(axis=0)).tolist()
        return Table(
            self.kind,
            [self.raters[index] for index in rows],
            [self.questions[index] for index in asked],
            values[:, asked],
            [self.codecs[index] for index in asked],
        )

    def judgements(self) -> Judgements:
        """Return the mean answer to every question.

        Raises:
            ValueError: if there is none.
        """
        if not self.questions:
            raise ValueError("no answer is left")
        # Every question has an answer.
        return Judgements(
            references=[Path(question[0]) for question in self.questions],
            others=[tuple(map(Path, question[1:])) for question in self.questions],
            human=np.nanmean(self.values, axis=0).tolist(),
            votes=np.isfinite(self.values).sum(axis=0).tolist(),
        )


def tabulate(answers: Answers, kind: Kind) -> Table:
    """Lay the answers of one kind out by rater and question; of several by one rater to one question, the first counts.

    Raises:
        ValueError: if there is none.
    """
    rows = [row for row in answers.rows if row.kind == kind and row.role == "question"]
    if not rows:
        raise ValueError(f"there is no answer to a question of the kind {kind!r}")
    raters = {rater: index for index, rater in enumerate(sorted({row.rater for row in rows}))}
    questions = {question: index for index, question in enumerate(sorted({row.question for row in rows}))}
    values = np.full((len(raters), len(questions)), np.nan)
    codecs: dict[tuple[str, ...], tuple[str, ...]] = {}
    for row in rows:
        place = raters[row.rater], questions[row.question]
        if np.isnan(values[place]):
            values[place] = row.towards_last
        codec = {row.recon: row.codec, row.other: row.other_codec}
        codecs[row.question] = tuple(codec[path] for path in row.question[1:])
    return Table(kind, list(raters), list(questions), values, [codecs[question] for question in questions])


def read_answers(path: Path) -> Answers:
    """Read a ``ratings.csv``; its paths are relative to its own folder.

    Raises:
        ValueError: if the file cannot be read, or a line of it is not what it should be; the message names the line.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise ValueError(f"{path} cannot be read: {(error.strerror or str(error)).lower()}") from error
    # File names need not be valid text.
    text = content.decode("utf-8-sig", errors="surrogateescape")
    reader = csv.DictReader(io.StringIO(text, newline=""), strict=True)
    try:
        header = reader.fieldnames or []
        if missing := [column for column in _NEEDED if column not in header]:
            raise ValueError(
                f"{path} has no column {', '.join(missing)}; a file of `sess annotate --export` is expected"
            )
        rows = [_answer(row, path, reader.line_num) for row in reader]
    except csv.Error as error:
        raise ValueError(f"{path}, line {reader.line_num}: {error}") from error
    if not rows:
        raise ValueError(f"{path} holds no answer")
    return Answers(rows, hashlib.sha256(content).hexdigest())


def write_answers(rows: Iterable[Answer], path: Path) -> int:
    """Write ``ratings.csv``, all of it or none, with paths relative to its folder, and return the number of rows.

    Raises:
        OSError: if it cannot be written.
    """
    count = 0
    with (
        replacing(path) as part,
        part.open("w", encoding="utf-8", errors="surrogateescape", newline="") as file,
    ):
        writer = csv.writer(file)
        writer.writerow(COLUMNS)
        for row in rows:
            places = [os.path.relpath(name, path.parent) if name else "" for name in (row.origin, row.recon, row.other)]
            writer.writerow(
                [
                    row.study,
                    row.rater,
                    row.time,
                    f"{row.seconds:.3f}",
                    row.role,
                    row.kind,
                    *places,
                    row.codec,
                    row.other_codec,
                    _text(row),
                ]
            )
            count += 1
    return count


def _answer(row: Mapping[str, str | None], path: Path, line: int) -> Answer:
    where = f"{path}, line {line}"
    if None in row or None in row.values():
        raise ValueError(f"{where}: not as many values as columns")
    texts = {column: (row.get(column) or "").strip() for column in COLUMNS}
    kind, role = texts["kind"], texts["role"] or "question"
    if kind not in KINDS:
        raise ValueError(f"{where}: `kind` must be rate or choose, got {kind!r}")
    if role not in get_args(Role):
        raise ValueError(f"{where}: `role` must be question, repeat or check, got {role!r}")
    for column in ("rater", "origin", "recon", *(("other",) if kind == "choose" else ())):
        if not texts[column]:
            raise ValueError(f"{where}: `{column}` is empty")
    paths = [os.path.normpath(path.parent / texts[name]) if texts[name] else "" for name in ("origin", "recon")]
    other = os.path.normpath(path.parent / texts["other"]) if kind == "choose" else ""
    return Answer(
        kind="rate" if kind == "rate" else "choose",
        rater=texts["rater"],
        origin=paths[0],
        recon=paths[1],
        other=other,
        value=_value(texts["answer"], kind, where),
        role="question" if role == "question" else "repeat" if role == "repeat" else "check",
        codec=texts["codec"] or Path(paths[1]).parent.name,
        other_codec=texts["other_codec"] or (Path(other).parent.name if other else ""),
        time=texts["time"],
        seconds=_seconds(texts["seconds"]),
        study=texts["study"],
    )


def _value(text: str, kind: str, where: str) -> float:
    if kind == "choose":
        if text not in _CHOICES:
            raise ValueError(f"{where}: a choice is left, equal or right, got {text!r}")
        return _CHOICES[text]
    if text not in map(str, range(1, STEPS + 1)):
        raise ValueError(f"{where}: a rating is a whole number from 1 to {STEPS}, got {text!r}")
    return float(text)


def _seconds(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return math.nan


def _text(row: Answer) -> str:
    if row.kind == "rate":
        return f"{row.value:g}"
    return next(name for name, value in _CHOICES.items() if value == row.value)

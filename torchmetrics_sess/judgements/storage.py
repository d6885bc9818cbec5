"""The answers of a study in a file of SQLite: whatever was acknowledged is there, whenever the server is killed."""

from __future__ import annotations

import math
import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path

from torchmetrics_sess.judgements.answers import Answer, Kind, Role
from torchmetrics_sess.judgements.study import Catalogue

_LAYOUT = "torchmetrics-sess/answers/1"
_TABLES = """
CREATE TABLE IF NOT EXISTS about (name TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT;
CREATE TABLE IF NOT EXISTS questions (
    key TEXT PRIMARY KEY, kind TEXT NOT NULL, origin TEXT NOT NULL, recon TEXT NOT NULL, other TEXT NOT NULL,
    codec TEXT NOT NULL, other_codec TEXT NOT NULL
) STRICT;
CREATE TABLE IF NOT EXISTS turns (
    id INTEGER PRIMARY KEY, rater TEXT NOT NULL, position INTEGER NOT NULL, question TEXT NOT NULL,
    role TEXT NOT NULL, flipped INTEGER NOT NULL, offered TEXT NOT NULL,
    value REAL, seconds REAL, answered TEXT, undone INTEGER NOT NULL DEFAULT 0,
    UNIQUE (rater, position)
) STRICT;
CREATE INDEX IF NOT EXISTS by_question ON turns (question);
"""


@dataclass(frozen=True, slots=True)
class Turn:
    """A question as it is put to a rater.

    Args:
        rater: to whom.
        position: the how-manieth question, from 0.
        question: key of the question.
        role: question, repeat or check.
        flipped: whether the second of the two images to choose from is on the left.
        value: the answer, with the images in the order in which they are shown; ``None`` if there is none yet.
    """

    rater: str
    position: int
    question: str
    role: Role
    flipped: bool
    value: float | None = None


class ConflictError(ValueError):
    """An answer to a turn that has another answer already, or is not the rater's next."""


class Storage:
    """Turns and answers of one study. Safe to use from several threads, and from several processes.

    Args:
        path: the file; made if it is not there.
        study: whose answers it holds; ``None`` opens what is there, to read it.

    Raises:
        ValueError: if the file is none of this layout, belongs to another study, or cannot be opened.
    """

    def __init__(self, path: Path, study: Catalogue | None = None) -> None:
        if study is None and not path.is_file():
            raise ValueError(f"{path} does not exist: no answer has been given yet")
        self._lock = threading.Lock()
        self._connection: sqlite3.Connection | None = None
        try:
            self._connection = sqlite3.connect(path, timeout=30, isolation_level=None, check_same_thread=False)
            self._connection.execute("PRAGMA journal_mode = WAL")
            # Not even a power cut takes an answer away that was acknowledged.
            self._connection.execute("PRAGMA synchronous = FULL")
            with self._writing() as connection:
                for statement in filter(str.strip, _TABLES.split(";")):
                    connection.execute(statement)
                about = dict(connection.execute("SELECT name, value FROM about").fetchall())
                if study is not None:
                    self._open(connection, about, study, path)
                elif about.get("layout") != _LAYOUT:
                    raise ValueError(f"{path} holds no answers of a study")
        except sqlite3.Error as error:
            self.close()
            raise ValueError(f"{path} cannot be used for answers: {error}") from error
        except ValueError:
            self.close()
            raise

    def close(self) -> None:
        """Close the file."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def turns(self, rater: str) -> list[Turn]:
        """Return all turns of a rater, in order: those with an answer come first."""
        with self._lock:
            rows = self._open_connection.execute(
                "SELECT rater, position, question, role, flipped, value FROM turns WHERE rater = ? ORDER BY position",
                (rater,),
            ).fetchall()
        return [Turn(row[0], row[1], row[2], row[3], bool(row[4]), row[5]) for row in rows]

    def counts(self) -> tuple[dict[str, int], dict[str, int]]:
        """Return how often every question proper was answered, and how often it lies before somebody unanswered."""
        with self._lock:
            rows = self._open_connection.execute(
                "SELECT question, COUNT(value), COUNT(*) - COUNT(value) FROM turns WHERE role = 'question' "
                "GROUP BY question"
            ).fetchall()
        return {row[0]: row[1] for row in rows}, {row[0]: row[2] for row in rows}

    def offer(self, rater: str, until: int, choose: Callable[[list[Turn]], Turn | None]) -> list[Turn]:
        """Let a rater have turns up to ``until`` that have no answer, if there are questions, and return all turns.

        Args:
            rater: who.
            until: how many turns without an answer there are to be.
            choose: returns the next turn of a rater who has had these, or ``None`` if there is none.
        """
        turns = self.turns(rater)
        while sum(turn.value is None for turn in turns) < until and (turn := choose(turns)) is not None:
            with self._writing() as connection:
                connection.execute(
                    "INSERT OR IGNORE INTO turns (rater, position, question, role, flipped, offered) "
                    "VALUES (?, ?, ?, ?, ?, ?)",
                    (rater, turn.position, turn.question, turn.role, turn.flipped, _now()),
                )
            # Another window of the same rater may have been quicker.
            turns = self.turns(rater)
        return turns

    def answer(self, rater: str, position: int, value: float, seconds: float) -> None:
        """Take an answer. The same answer to the same turn may come any number of times; it counts once.

        Raises:
            ConflictError: if the turn has another answer, or is not the rater's next.
        """
        with self._writing() as connection:
            row = connection.execute(
                "SELECT value, (SELECT MIN(position) FROM turns WHERE rater = :rater AND value IS NULL) FROM turns "
                "WHERE rater = :rater AND position = :position",
                {"rater": rater, "position": position},
            ).fetchone()
            if row is None:
                raise ConflictError(f"there is no question {position} for this rater")
            known, due = row
            if known is not None:
                if known != value:
                    raise ConflictError(f"question {position} has another answer already")
                return
            if position != due:
                raise ConflictError(f"question {due} comes before question {position}")
            connection.execute(
                "UPDATE turns SET value = ?, seconds = ?, answered = ? WHERE rater = ? AND position = ?",
                (value, seconds, _now(), rater, position),
            )

    def undo(self, rater: str, position: int) -> None:
        """Take the answer to a turn back, if it is the rater's last; otherwise, nothing is done."""
        with self._writing() as connection:
            connection.execute(
                "UPDATE turns SET value = NULL, seconds = NULL, answered = NULL, undone = undone + 1 "
                "WHERE rater = :rater AND position = :position AND value IS NOT NULL "
                "AND position = (SELECT MAX(position) FROM turns WHERE rater = :rater AND value IS NOT NULL)",
                {"rater": rater, "position": position},
            )

    def answers(self) -> Iterator[Answer]:
        """Return all answers, in the order in which they were given."""
        with self._lock:
            rows = self._open_connection.execute(
                "SELECT q.kind, t.rater, q.origin, q.recon, q.other, t.value, t.role, q.codec, q.other_codec, "
                "t.answered, t.seconds, t.flipped FROM turns t JOIN questions q ON q.key = t.question "
                "WHERE t.value IS NOT NULL ORDER BY t.answered, t.id"
            ).fetchall()
            signature = self._open_connection.execute("SELECT value FROM about WHERE name = 'signature'").fetchone()[0]
        for kind, rater, origin, recon, other, value, role, codec, other_codec, answered, seconds, flipped in rows:
            shown = [(recon, codec), (other, other_codec)]
            (recon, codec), (other, other_codec) = reversed(shown) if flipped and other else shown
            yield Answer(
                _kind(kind),
                rater,
                origin,
                recon,
                other,
                value,
                role,
                codec,
                other_codec,
                answered,
                math.nan if seconds is None else seconds,
                signature,
            )

    def people(self) -> list[tuple[str, int, str]]:
        """Return every rater with the number of answers, and when the last was given."""
        with self._lock:
            rows = self._open_connection.execute(
                "SELECT rater, COUNT(value), COALESCE(MAX(answered), '') FROM turns GROUP BY rater ORDER BY rater"
            ).fetchall()
        return [(row[0], row[1], row[2]) for row in rows]

    def remember(self, name: str, value: str) -> str:
        """Keep a value by its name, unless there is one already, and return the one that is kept."""
        with self._writing() as connection:
            connection.execute("INSERT OR IGNORE INTO about VALUES (?, ?)", (name, value))
            found: str = connection.execute("SELECT value FROM about WHERE name = ?", (name,)).fetchone()[0]
        return found

    @property
    def _open_connection(self) -> sqlite3.Connection:
        if self._connection is None:
            raise ValueError("the file of answers is closed")
        return self._connection

    @contextmanager
    def _writing(self) -> Iterator[sqlite3.Connection]:
        """Hold the file: all that is written comes to be at the end, or nothing."""
        with self._lock:
            connection = self._open_connection
            connection.execute("BEGIN IMMEDIATE")
            try:
                yield connection
            except BaseException:
                connection.execute("ROLLBACK")
                raise
            connection.execute("COMMIT")

    @staticmethod
    def _open(connection: sqlite3.Connection, about: dict[str, str], study: Catalogue, path: Path) -> None:
        if about and about.get("layout") != _LAYOUT:
            raise ValueError(f"{path} holds no answers of a study")
        if about and about["signature"] != study.signature:
            raise ValueError(
                f"{path} holds the answers of another study ({about['signature']}; this one is {study.signature}): "
                "what is asked or its images have changed. Name another file with --answers"
            )
        connection.executemany(
            "INSERT OR REPLACE INTO about VALUES (?, ?)", [("layout", _LAYOUT), ("signature", study.signature)]
        )
        # Images may have moved since: what counts is what they hold.
        connection.executemany(
            "INSERT OR REPLACE INTO questions VALUES (?, ?, ?, ?, ?, ?, ?)",
            [
                (each.key, each.kind, each.origin, each.recon, each.other, each.codec, each.other_codec)
                for each in [*study.questions.values(), *study.checks.values()]
            ],
        )


def _kind(text: str) -> Kind:
    return "rate" if text == "rate" else "choose"


def _now() -> str:
    return datetime.now(timezone.utc).isoformat(timespec="milliseconds")

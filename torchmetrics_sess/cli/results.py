"""Results of a run in a file: appended as they come, and taken up again where a run was cut off."""

from __future__ import annotations

import csv
import io
import json
import os
import shlex
import sys
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO

from torchmetrics_sess.atomic import replacing
from torchmetrics_sess.images import FilePair
from torchmetrics_sess.results import COLUMNS, Row, from_json, to_json

# What a power cut may cost, in seconds of work. A kill costs less: the system has what was written.
_SYNC_EVERY = 5.0


class ResultsError(ValueError):
    """A results file is not what this run could go on with; the message says why and what to do."""


class ResultsFile:
    """A results file, ``.csv`` or ``.json``, that survives the end of the run that writes it.

    A CSV file grows row by row. For JSON, the rows grow in a CSV file beside it, ``.NAME.part``, and ``finish``
    puts the JSON in place at once. A run that is started again reads with ``kept`` what is there, and goes on with
    what is not. Work comes in batches, of which only whole ones are kept: so the networks see the same batches as in
    an uninterrupted run, and the file is the same to the last bit.

    Args:
        path: the file.
        signature: of the scores, written into every row.
        columns: names of further numbers to write, after the fixed ``COLUMNS``.
        overwrite: start anew, whatever is there.

    Raises:
        ResultsError: if the extension is another, the file cannot be written, is in use by another run, or is not one
            that this run could go on with.
    """

    def __init__(self, path: Path, *, signature: str, columns: Sequence[str] = (), overwrite: bool = False) -> None:
        if path.suffix.lower() not in (".csv", ".json"):
            raise ResultsError(f"results are written as .csv or .json, got {path}")
        self.path = path
        self._signature = signature
        self._columns = columns
        self._header = [*COLUMNS, *columns]
        self._journal = path if path.suffix.lower() == ".csv" else path.with_name(f".{path.name}.part")
        self._file: BinaryIO
        self._synced = time.monotonic()
        if overwrite:
            self._open(anew=True)
        elif self._journal == path or self._journal.exists() or not path.exists():
            self._open(anew=False)
        else:
            # Nothing is written any more, so that the rows of a finished file need no place on the disk.
            self._file = io.BytesIO(self._read_json())
        try:
            self._start = self._end = self._check_header()
        except ResultsError:
            self.close()
            raise

    def kept(self, batches: Iterable[Sequence[FilePair]]) -> Iterator[list[Row]]:
        """Pass on the rows that are there already, batch by batch, up to the first batch that is not all there.

        What comes after them in the file is overwritten by the next ``append``: a batch cut short, half a line.

        Raises:
            ResultsError: if the file holds results of other pairs, or of another signature.
        """
        self._end = self._start
        self._file.seek(self._start)
        records = self._records()
        for batch in batches:
            rows: list[Row] = []
            end = self._end
            for pair in batch:
                record = next(records, None)
                if record is None and isinstance(self._file, io.BytesIO):
                    raise ResultsError(f"{self.path} is finished, and holds fewer pairs than there are now; {_REMEDY}")
                if record is None:
                    return
                fields, end = record
                rows.append(self._row(fields, pair))
            self._end = end
            yield rows
        if next(records, None) is not None:
            raise ResultsError(f"{self.path} holds more pairs than there are now; {_REMEDY}")

    def append(self, rows: Iterable[Row]) -> None:
        """Write the rows of a batch, after those that were kept.

        Raises:
            ResultsError: if the disk does not take them.
        """
        lines = (replace(row, signature=self._signature).texts(self._columns) for row in rows)
        self._write("".join(map(_line, lines)))

    def finish(self, summary: Sequence[Mapping[str, Any]]) -> None:
        """Make the file complete: for JSON, write it, with a summary of every folder and the command that made it."""
        if isinstance(self._file, io.BytesIO):
            return
        if self._file.seek(0, os.SEEK_END) > self._end:
            self._file.truncate(self._end)
        os.fsync(self._file.fileno())
        if self._journal == self.path:
            return
        with replacing(self.path) as part, part.open("w", encoding="utf-8") as file:
            head = {"signature": self._signature, "command": shlex.join(["sess", *sys.argv[1:]]), "summary": summary}
            file.write(json.dumps(head, indent=2)[: -len("\n}")] + ',\n  "pairs": [')
            self._file.seek(0)
            records = self._records()
            next(records)
            for index, (fields, _) in enumerate(records):
                file.write(",\n    " if index else "\n    ")
                file.write(to_json(dict(zip(self._header, fields, strict=True))))
            file.write("\n  ]\n}\n")
            file.flush()
            os.fsync(file.fileno())
        self._journal.unlink()

    def close(self) -> None:
        """Let go of the file."""
        # What the disk did not take has been told of already.
        with suppress(OSError):
            self._file.close()

    def __enter__(self) -> ResultsFile:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def _open(self, *, anew: bool) -> None:
        try:
            # Nothing that is there may be lost before it is known whose it is.
            self._file = os.fdopen(os.open(self._journal, os.O_RDWR | os.O_CREAT | _BINARY, 0o666), "r+b")
        except OSError as error:
            raise ResultsError(f"cannot write {self.path}: {error.strerror}") from error
        if not _lock(self._file):
            self._file.close()
            raise ResultsError(f"{self.path} is being written by another run")
        if anew:
            self._file.truncate(0)

    def _check_header(self) -> int:
        """Return where the rows begin, after writing the header if there is none."""
        header = _line(self._header)
        expected = header.encode("utf-8")
        found = self._file.readline(1 << 16)
        if found == expected:
            return len(expected)
        if not expected.startswith(found):
            columns = ",".join(self._header)
            raise ResultsError(f"{self.path} is no results file with the columns {columns}; {_REMEDY}")
        # No file so far, or one that got no further than this.
        self._end = 0
        self._write(header)
        return self._end

    def _write(self, text: str) -> None:
        content = text.encode("utf-8", _ERRORS)
        try:
            self._file.seek(self._end)
            self._file.truncate()
            self._file.write(content)
            self._file.flush()
            if time.monotonic() - self._synced > _SYNC_EVERY:
                os.fsync(self._file.fileno())
                self._synced = time.monotonic()
        except OSError as error:
            raise ResultsError(f"cannot write {self.path}: {error.strerror}; the same command will go on") from error
        self._end += len(content)

    def _records(self) -> Iterator[tuple[list[str], int]]:
        """Read whole records from here on, each with the place where it ends; one that was cut off ends them."""
        end = self._file.tell()
        while True:
            record = self._file.readline()
            # A file name may hold a line break.
            while record.count(b'"') % 2 and (line := self._file.readline()):
                record += line
            end += len(record)
            if not record.endswith(b"\n") or b"\0" in record:
                return
            try:
                [fields] = csv.reader(io.StringIO(record.decode("utf-8", _ERRORS), newline=""))
            except (csv.Error, UnicodeDecodeError, ValueError):
                return
            if len(fields) != len(self._header):
                return
            yield fields, end

    def _row(self, fields: list[str], pair: FilePair) -> Row:
        found = dict(zip(self._header, fields, strict=True))
        for column in ("recon_folder", "name", "origin", "recon"):
            expected = getattr(pair, column)
            if found[column] != expected:
                raise ResultsError(
                    f"{self.path} holds results of other images: {column} {found[column]!r} "
                    f"where {expected!r} is to be scored; {_REMEDY}"
                )
        if found["signature"] != self._signature:
            raise ResultsError(f"{self.path} holds scores of another signature, {found['signature']}; {_REMEDY}")
        try:
            return replace(Row.from_texts(found), pair=pair)
        except ValueError as error:
            raise ResultsError(f"{self.path} holds something else than numbers for {pair.name}; {_REMEDY}") from error

    def _read_json(self) -> bytes:
        try:
            pairs = from_json(self.path.read_text(encoding="utf-8"))
            lines = [[pair[name] for name in self._header] for pair in pairs]
        except (OSError, ValueError, KeyError) as error:
            columns = ",".join(self._header)
            raise ResultsError(f"{self.path} is no results file with the columns {columns}; {_REMEDY}") from error
        return "".join(_line(line) for line in [self._header, *lines]).encode("utf-8", _ERRORS)


_REMEDY = "name another file, or pass --overwrite to start anew"
_BINARY = getattr(os, "O_BINARY", 0)
# File names need not be valid text, and come back from the file as they were.
_ERRORS = sys.getfilesystemencodeerrors()


def _line(fields: Sequence[str]) -> str:
    with io.StringIO(newline="") as text:
        # Only what a line may end with is quoted within it, hence both characters.
        csv.writer(text, lineterminator="\r\n").writerow(fields)
        return text.getvalue().removesuffix("\r\n") + "\n"


def _lock(file: BinaryIO) -> bool:
    """Keep other runs off a file for as long as it is open, where the system knows how."""
    if sys.platform == "win32":
        return True
    import fcntl

    # Some network drives know no locks; nothing is wrong with writing there.
    with suppress(OSError):
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
    return True

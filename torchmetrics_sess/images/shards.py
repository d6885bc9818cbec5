"""Pairs of images in shards: tar files as of WebDataset, Parquet files, and Arrow files as of Hugging Face data sets.

An image in a shard has a path, as if the shard were a folder: ``shards/000.tar/17.origin.png`` is a member of a tar
file, ``train.parquet/17/origin`` the value of a column in a row. Whoever wants an image jumps to its place, so that
processes that share a data set read their own part of it alone.
"""

from __future__ import annotations

import os
import tarfile
import threading
from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import accumulate
from pathlib import Path, PurePosixPath
from typing import Any

IMAGES = ("origin", "recon")
"""What the two images of a pair are called: a field of a sample in a tar file, or a column of a table."""

_TABLES = (".parquet", ".arrow")
_SUFFIXES = (".tar", *_TABLES)
# Columns that may say what a pair is called: as in a list of pairs, or as WebDataset calls it.
_NAMES = ("name", "__key__")
# Readers in several threads wait for one that looks a shard through, and do not do it themselves.
_LOOKING = threading.RLock()


@dataclass(frozen=True, slots=True)
class Sample:
    """A pair in a shard.

    Args:
        name: its key.
        images: paths of those of its images that are there, by ``IMAGES``.
        group: which pairs it belongs to, if the shard says so.
    """

    name: str
    images: dict[str, str] = field(default_factory=dict)
    group: str = ""


def find_shards(path: Path) -> list[Path]:
    """Return the shards that a path is or that lie in the folder that it is, sorted; there may be none."""
    if path.is_file():
        return [path] if path.suffix in _SUFFIXES else []
    inside = (Path(parent, name) for parent, _, names in os.walk(path) for name in names)
    return sorted(
        file
        for file in inside
        if file.suffix in _SUFFIXES and not any(part.startswith(".") for part in file.relative_to(path).parts)
    )


def read_samples(shard: Path) -> Iterator[Sample]:
    """Pass on the pairs of a shard in its order, without reading an image.

    Raises:
        ValueError: if the shard cannot be read, has no place for pairs, or ends too early, after those before.
        ModuleNotFoundError: if it is a table and pyarrow is not installed.
    """
    yield from _rows(shard) if shard.suffix in _TABLES else _tar_samples(shard)


def read_bytes(path: Path) -> bytes | None:
    """Return the file of an image in a shard, or None if ``path`` leads into none.

    Raises:
        ValueError: if there is no such image in the shard.
        OSError: if the shard cannot be read.
        ModuleNotFoundError: if it is a table and pyarrow is not installed.
    """
    shard = shard_of(path)
    if shard is None:
        return None
    inside = path.relative_to(shard).as_posix()
    return _table_bytes(shard, inside) if shard.suffix in _TABLES else _tar_bytes(shard, inside)


def shard_of(path: Path) -> Path | None:
    """Return the shard that a path leads into, or None if it leads into none."""
    return next((above for above in path.parents if above.suffix in _SUFFIXES and above.is_file()), None)


def _stamp(shard: Path) -> tuple[int, int]:
    """Return what changes with the content of a file."""
    status = shard.stat()
    return status.st_mtime_ns, status.st_size


def _tar_samples(shard: Path) -> Iterator[Sample]:
    with _LOOKING:
        members, problem = _tar_members(shard, _stamp(shard))
    samples: dict[str, Sample] = {}
    for member in members:
        # A key ends at the first dot of the file's name, as in WebDataset.
        name = PurePosixPath(member)
        stem, _, extension = name.name.partition(".")
        image = extension.partition(".")[0]
        if image in IMAGES:
            key = str(name.with_name(stem))
            samples.setdefault(key, Sample(key)).images[image] = f"{shard}/{member}"
    yield from samples.values()
    if problem:
        raise ValueError(f"{shard} cannot be read to its end: {problem}")


def _tar_bytes(shard: Path, member: str) -> bytes:
    with _LOOKING:
        members, _ = _tar_members(shard, _stamp(shard))
    if member not in members:
        raise ValueError(f"{shard} has no member of this name")
    offset, size = members[member]
    with shard.open("rb") as file:
        file.seek(offset)
        return file.read(size)


@lru_cache(maxsize=4)
def _tar_members(shard: Path, stamp: tuple[int, int]) -> tuple[dict[str, tuple[int, int]], str]:
    """Return where every file of a tar file begins and how long it is, and what is wrong behind them, if anything."""
    members: dict[str, tuple[int, int]] = {}
    try:
        with tarfile.open(shard, "r:") as tar:
            for member in tar:
                if member.isreg():
                    members[str(PurePosixPath(member.name.lstrip("/")))] = member.offset_data, member.size
    except tarfile.TarError as error:
        return members, str(error)
    return members, ""


def _rows(shard: Path) -> Iterator[Sample]:
    arrow = _pyarrow(shard)
    try:
        table = _table(shard, _stamp(shard))
        missing = [column for column in IMAGES if column not in table.columns]
        if missing:
            raise ValueError(f"{shard} has no column {missing[0]!r}; a table of pairs has the columns origin and recon")
        texts = table.texts([column for column in (*_NAMES, "recon_folder") if column in table.columns])
    except (arrow.ArrowException, OSError) as error:
        raise ValueError(f"{shard} cannot be read: {str(error).splitlines()[0]}") from error
    names = next((texts[column] for column in _NAMES if column in texts), None)
    groups = texts.get("recon_folder")
    for row in range(table.length):
        yield Sample(
            str(names[row]) if names else f"{shard.stem}/{row}",
            {image: f"{shard}/{row}/{image}" for image in IMAGES},
            str(groups[row]) if groups else "",
        )


def _table_bytes(shard: Path, place: str) -> bytes:
    row, _, column = place.partition("/")
    with _LOOKING:
        table = _table(shard, _stamp(shard))
        if not row.isdecimal() or int(row) >= table.length or column not in table.columns:
            raise ValueError(f"{shard} has no image in this place")
        value = table.value(int(row), column)
    # Data sets of Hugging Face hold the bytes of an image beside its path, or the path alone.
    if isinstance(value, dict):
        value = value.get("bytes") or value.get("path")
    if isinstance(value, str):
        return (shard.parent / value).read_bytes()
    if not isinstance(value, bytes):
        raise ValueError(f"{column} of row {row} is no image, but {type(value).__name__}")
    return value


class _Table:
    """A table on the disk, of which parts are read when they are asked for."""

    def __init__(self, shard: Path) -> None:
        arrow = _pyarrow(shard)
        self._file: Any = None
        self._part: tuple[int, Any] = (-1, None)
        if shard.suffix == ".parquet":
            self._file = arrow.parquet.ParquetFile(shard, memory_map=True)
            groups = range(self._file.num_row_groups)
            # A part is a row group, which cannot be read but as a whole.
            self._starts = [*accumulate((self._file.metadata.row_group(g).num_rows for g in groups), initial=0)]
            self.columns: list[str] = self._file.schema_arrow.names
            self.length: int = self._starts[-1]
        else:
            source = arrow.memory_map(str(shard))
            try:
                whole = arrow.ipc.open_stream(source).read_all()
            except arrow.ArrowInvalid:
                whole = arrow.ipc.open_file(source).read_all()
            self._part = 0, whole
            self._starts = [0, whole.num_rows]
            self.columns, self.length = whole.column_names, whole.num_rows

    def texts(self, columns: list[str]) -> dict[str, list[Any]]:
        """Return whole columns."""
        table = self._file.read(columns=columns) if self._file else self._part[1].select(columns)
        found: dict[str, list[Any]] = table.to_pydict()
        return found

    def value(self, row: int, column: str) -> Any:
        """Return what is in one place."""
        number = bisect_right(self._starts, row) - 1
        if self._part[0] != number:
            self._part = number, self._file.read_row_group(number, columns=list(IMAGES))
        return self._part[1].column(column)[row - self._starts[number]].as_py()


def _pyarrow(shard: Path) -> Any:
    try:
        import pyarrow.ipc
        import pyarrow.parquet
    except ModuleNotFoundError as error:
        message = f"reading {shard} needs pyarrow: install torchmetrics-sess[datasets]"
        raise ModuleNotFoundError(message, name=error.name) from error
    return pyarrow


@lru_cache(maxsize=2)
def _table(shard: Path, stamp: tuple[int, int]) -> _Table:
    return _Table(shard)

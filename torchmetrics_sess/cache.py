"""Scene graphs of images that were seen before: a validation compares with the same targets every epoch."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
import os
import secrets
import threading
import time
import warnings
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Literal, NamedTuple, Protocol

import torch
from torch import Tensor

from torchmetrics_sess.extractor import to_cpu
from torchmetrics_sess.graph import FORMAT, SceneGraph

_STALE_SECONDS = 3600


class CacheInfo(NamedTuple):
    """What a cache has done so far, in the manner of ``functools.lru_cache``.

    Args:
        hits: targets whose graph was at hand.
        misses: targets whose graph had to be extracted.
        size: graphs in the cache.
        bytes: memory, or space on the disk, that they take.
    """

    hits: int
    misses: int
    size: int
    bytes: int


class GraphCache:
    """Keeps the scene graphs of images, by what the images hold and by all else that a graph depends on.

    Copies share what is kept. A pickle carries the settings alone: where it wakes up, memory is empty, and a folder
    holds what it holds there.

    Args:
        place: ``True`` for memory, or a folder, which processes may share. The least recently used graphs make room
            for new ones.
        size_mib: how much to keep at most; by default, 512 MiB in memory and 10240 MiB in a folder.

    Raises:
        ValueError: if ``size_mib`` is not positive, or nothing can be written in the folder.
        TypeError: if ``place`` is neither ``True`` nor a folder.

    Examples:
        >>> GraphCache().info()
        CacheInfo(hits=0, misses=0, size=0, bytes=0)
    """

    def __init__(self, place: Literal[True] | str | Path = True, size_mib: float | int | None = None) -> None:
        if size_mib is None:
            size_mib = 512 if place is True else 10240
        if not (math.isfinite(size_mib) and size_mib > 0):
            raise ValueError(f"`cache_size_mib` must be a positive number, got {size_mib}")
        if place is not True and not isinstance(place, str | Path):
            raise TypeError(f"`cache_targets` must be True, False or a folder, got {place!r} ({type(place).__name__})")
        limit = int(size_mib * 2**20)
        self.__setstate__(_Memory(limit) if place is True else _Folder(_opened(place), limit))

    def keys(self, images: Sequence[Tensor], recipe: str) -> list[str]:
        """Return the keys of images: digests of their pixels, as they are handed in, and of ``recipe``.

        The same image as bytes and as floats has two keys. Images on another device are brought to the CPU in one
        transfer per dtype.

        Args:
            images: ``[c, h, w]`` or ``[h, w]``, of any dtype.
            recipe: everything else that a graph depends on.
        """
        return [_digest(recipe, {"image": image}) for image in to_cpu([image.detach() for image in images])]

    def find(self, keys: Sequence[str]) -> dict[str, SceneGraph]:
        """Return the graphs that are kept for some keys, and count what was found and what was not."""
        with self._lock:
            found = {key: graph for key in dict.fromkeys(keys) if (graph := self._store.get(key)) is not None}
            missed = len(set(keys) - found.keys())
            self._misses += missed
            self._hits += len(keys) - missed
        return found

    def keep(self, graphs: Mapping[str, SceneGraph]) -> None:
        """Keep graphs by their keys."""
        with self._lock:
            for key, graph in graphs.items():
                self._store.put(key, _parts(graph))

    def info(self) -> CacheInfo:
        """Say how much was found and missed, by this process, and how much is kept."""
        with self._lock:
            return CacheInfo(self._hits, self._misses, *self._store.size())

    def __deepcopy__(self, memo: dict[int, Any]) -> GraphCache:
        return self

    def __getstate__(self) -> _Store:
        return self._store

    def __setstate__(self, store: _Store) -> None:
        self._store = store
        self._hits = self._misses = 0
        self._lock = threading.Lock()


class _Store(Protocol):
    """A place for graphs."""

    def get(self, key: str) -> SceneGraph | None: ...

    def put(self, key: str, parts: dict[str, Tensor]) -> None: ...

    def size(self) -> tuple[int, int]:
        """Return how many graphs there are, and their bytes."""
        ...


class _Memory:
    """Keeps graphs up to a number of bytes; the least recently used ones go first."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._graphs: OrderedDict[str, SceneGraph] = OrderedDict()
        self._bytes = 0
        self._full = False

    def get(self, key: str) -> SceneGraph | None:
        graph = self._graphs.get(key)
        if graph is not None:
            self._graphs.move_to_end(key)
        return graph

    def put(self, key: str, parts: dict[str, Tensor]) -> None:
        # Another thread may have been here in the meantime.
        if key in self._graphs:
            return
        self._graphs[key] = SceneGraph(**parts)
        self._bytes += _bytes(parts)
        while self._bytes > self._limit:
            _, dropped = self._graphs.popitem(last=False)
            self._bytes -= _bytes(vars(dropped))
            self._warn()

    def size(self) -> tuple[int, int]:
        return len(self._graphs), self._bytes

    def __reduce__(self) -> tuple[type[_Memory], tuple[int]]:
        return type(self), (self._limit,)

    def _warn(self) -> None:
        # An epoch that does not fit finds nothing at all: every graph goes before its turn comes round again.
        if not self._full:
            warnings.warn(
                f"the cache of target graphs is full at {self._limit / 2**20:g} MiB, {len(self._graphs)} graphs: if an "
                f"epoch has more targets than that, raise `cache_size_mib` or let `cache_targets` be a folder",
                stacklevel=2,
            )
        self._full = True


class _Folder:
    """Keeps every graph in a file that ``SceneGraph.load`` reads too, named by its key.

    A file appears whole or not at all, so that any number of processes may read and write. What is in a file is
    believed only if the digest in its header is that of its content and its key.
    """

    def __init__(self, path: Path, limit: int) -> None:
        self._path = path
        self._limit = limit
        # What others write is seen when the folder is looked through.
        self._bytes: int | None = None
        self._failed = self._full = False

    def get(self, key: str) -> SceneGraph | None:
        from safetensors import SafetensorError

        path = self._path / _file(key)
        try:
            graph = _decode(key, path.read_bytes())
            # In a folder of somebody else's, it counts as old.
            with suppress(OSError):
                os.utime(path)
            return graph
        except FileNotFoundError:
            return None
        except (SafetensorError, OSError, LookupError, TypeError, ValueError) as error:
            warnings.warn(f"the cached scene graph {path} is not used, but written anew: {error}", stacklevel=2)
            return None

    def put(self, key: str, parts: dict[str, Tensor]) -> None:
        from safetensors.torch import save

        content = save(parts, {"format": FORMAT, "digest": _digest(key, parts)})
        part = self._path / _part(key)
        try:
            try:
                part.write_bytes(content)
                part.replace(self._path / _file(key))
            finally:
                part.unlink(missing_ok=True)
            self._make_room(len(content))
        except OSError as error:
            # A cache saves time; it must not end a validation halfway.
            if not self._failed:
                warnings.warn(f"scene graphs cannot be kept in {self._path} any more: {error}", stacklevel=2)
            self._failed = True

    def size(self) -> tuple[int, int]:
        files = self._files()
        return len(files), sum(size for _, size, _ in files)

    def __reduce__(self) -> tuple[type[_Folder], tuple[Path, int]]:
        return type(self), (self._path, self._limit)

    def _files(self) -> list[tuple[int, int, Path]]:
        """Return when every graph was last used, its size and its file."""
        found = []
        for path in self._path.glob(_file("*")):
            # Another process may have made room in the meantime.
            with suppress(FileNotFoundError):
                stat = path.stat()
                found.append((stat.st_mtime_ns, stat.st_size, path))
        return found

    def _make_room(self, written: int) -> None:
        self._bytes = self.size()[1] if self._bytes is None else self._bytes + written
        if self._bytes <= self._limit:
            return
        files = sorted(self._files())
        self._bytes = sum(size for _, size, _ in files)
        if self._bytes <= self._limit:
            return
        for _, size, path in files:
            # With room to spare, so that not every graph has the whole folder looked through.
            if self._bytes <= 0.9 * self._limit:
                break
            path.unlink(missing_ok=True)
            self._bytes -= size
        if not self._full:
            warnings.warn(
                f"the cache of target graphs in {self._path} is full at {self._limit / 2**20:g} MiB: if an epoch has "
                "more targets than that, raise `cache_size_mib`",
                stacklevel=2,
            )
        self._full = True


def _opened(place: str | Path) -> Path:
    folder = Path(place).expanduser().absolute()
    # Permissions alone do not tell whether a file can be written.
    probe = folder / _part("probe")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise ValueError(
            f"`cache_targets` must be a folder that can be written to, got {folder}: {error.strerror}"
        ) from error
    for part in folder.glob(_part("*", "*")):
        # A write takes no time: what is older was left by a process that was killed.
        with suppress(OSError):
            if time.time() - part.stat().st_mtime > _STALE_SECONDS:
                part.unlink()
    return folder


def _file(key: str) -> str:
    return f"{key}.safetensors"


def _part(key: str, token: str = "") -> str:
    """Return the name of a file that no other process, on any machine, is writing."""
    return f".{key}.{token or secrets.token_hex(8)}.part"


def _decode(key: str, content: bytes) -> SceneGraph:
    from safetensors.torch import load

    parts = load(content)
    header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
    if header.get("__metadata__", {}).get("digest") != _digest(key, parts):
        raise ValueError("its content is not what was written for this image and these settings")
    return SceneGraph(**parts)


def _parts(graph: SceneGraph) -> dict[str, Tensor]:
    """Return copies of the tensors of a graph by name: as they come, they may hold on to those of a whole batch."""
    return {
        field.name: value.clone(memory_format=torch.contiguous_format)
        for field in dataclasses.fields(graph)
        if (value := getattr(graph, field.name)) is not None
    }


def _bytes(parts: Mapping[str, Tensor | None]) -> int:
    return sum(part.nbytes for part in parts.values() if part is not None)


def _digest(name: str, tensors: Mapping[str, Tensor]) -> str:
    digest = hashlib.sha256(name.encode())
    for label, tensor in sorted(tensors.items()):
        digest.update(f"|{label} {tensor.dtype} {list(tensor.shape)}|".encode())
        # Seen as bytes, because numpy does not know every dtype.
        digest.update(tensor.contiguous().view(torch.uint8).numpy().data)
    return digest.hexdigest()

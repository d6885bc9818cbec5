"""The cache itself: keys of images, what is found for them, and what was not."""

from __future__ import annotations

import dataclasses
import math
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple, Protocol

import torch
from torch import Tensor

from torchmetrics_sess.cache.digest import digest_of
from torchmetrics_sess.cache.folder import Folder, open_folder
from torchmetrics_sess.cache.memory import Memory
from torchmetrics_sess.extractor import to_cpu
from torchmetrics_sess.graph import SceneGraph


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
        self.__setstate__(Memory(limit) if place is True else Folder(open_folder(place), limit))

    def keys(self, images: Sequence[Tensor], recipe: str) -> list[str]:
        """Return the keys of images: digests of their pixels, as they are handed in, and of ``recipe``.

        The same image as bytes and as floats has two keys. Images on another device are brought to the CPU in one
        transfer per dtype.

        Args:
            images: ``[c, h, w]`` or ``[h, w]``, of any dtype.
            recipe: everything else that a graph depends on.
        """
        return [digest_of(recipe, {"image": image}) for image in to_cpu([image.detach() for image in images])]

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

    def __getstate__(self) -> Store:
        return self._store

    def __setstate__(self, store: Store) -> None:
        self._store = store
        self._hits = self._misses = 0
        self._lock = threading.Lock()


class Store(Protocol):
    """A place for graphs."""

    def get(self, key: str) -> SceneGraph | None:
        """Return the graph of a key, if it is kept."""
        ...

    def put(self, key: str, parts: dict[str, Tensor]) -> None:
        """Keep a graph, of tensors by name."""
        ...

    def size(self) -> tuple[int, int]:
        """Return how many graphs there are, and their bytes."""
        ...


def _parts(graph: SceneGraph) -> dict[str, Tensor]:
    """Return copies of the tensors of a graph by name: as they come, they may hold on to those of a whole batch."""
    return {
        field.name: value.clone(memory_format=torch.contiguous_format)
        for field in dataclasses.fields(graph)
        if (value := getattr(graph, field.name)) is not None
    }

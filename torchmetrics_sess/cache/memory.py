"""Scene graphs kept in memory."""

from __future__ import annotations

import warnings
from collections import OrderedDict
from collections.abc import Mapping

from torch import Tensor

from torchmetrics_sess.graph import SceneGraph


class Memory:
    """Keeps graphs up to a number of bytes; the least recently used ones go first.

    Args:
        limit: how many bytes.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._graphs: OrderedDict[str, SceneGraph] = OrderedDict()
        self._bytes = 0
        self._full = False

    def get(self, key: str) -> SceneGraph | None:
        """Return the graph of a key, if it is kept."""
        graph = self._graphs.get(key)
        if graph is not None:
            self._graphs.move_to_end(key)
        return graph

    def put(self, key: str, parts: dict[str, Tensor]) -> None:
        """Keep a graph, of tensors by name."""
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
        """Return how many graphs there are, and their bytes."""
        return len(self._graphs), self._bytes

    def __reduce__(self) -> tuple[type[Memory], tuple[int]]:
        return type(self), (self._limit,)

    def _warn(self) -> None:
        # An epoch that does not fit finds nothing at all: every graph goes before its turn comes round again.
        if not self._full:
            warnings.warn(
                f"the cache of target graphs is full at {self._limit / 2**20:.4g} MiB, {len(self._graphs)} graphs: if "
                f"an epoch has more targets than that, raise `cache_size_mib` or let `cache_targets` be a folder",
                stacklevel=2,
            )
        self._full = True


def _bytes(parts: Mapping[str, Tensor | None]) -> int:
    return sum(part.nbytes for part in parts.values() if part is not None)

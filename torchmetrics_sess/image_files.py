"""Image files: found in folders, paired by name, and read into the tensors that the metric takes."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import UInt8
from PIL import Image, ImageOps, UnidentifiedImageError
from torch import Tensor

# Pillow recognises these but cannot decode them itself, or only through another program.
_NOT_DECODED = {"BUFR", "EMF", "EPS", "GRIB", "HDF5", "MPEG", "WMF"}


@dataclass(frozen=True, slots=True)
class FilePair:
    """Two image files to compare, and what to call them in a table."""

    name: str
    origin: str
    recon: str


@dataclass(frozen=True)
class Pairing:
    """How the images of two folders pair up.

    Args:
        pairs: what is to be compared, sorted by name.
        unpaired: every file that is left over, with the reason.
    """

    pairs: list[FilePair]
    unpaired: dict[str, str]


def pair_files(origin: Path, recon: Path) -> Pairing:
    """Pair two image files, or the images of two folders.

    In folders, which are searched with all their subfolders, images pair up by their path relative to the folder: by
    the whole path where both folders have it, else by the path without its extension, if it is the only one.

    Args:
        origin: the originals.
        recon: what was made of them.

    Raises:
        ValueError: if a path does not exist, one is a file and the other a folder, or a folder holds no image.
    """
    for path in (origin, recon):
        if not path.exists():
            raise ValueError(f"{path} does not exist")
    if origin.is_dir() != recon.is_dir():
        folder, file = (origin, recon) if origin.is_dir() else (recon, origin)
        raise ValueError(f"{folder} is a folder, but {file} is a file; compare two folders, or two files")
    if not origin.is_dir():
        return Pairing([FilePair(origin.name, str(origin), str(recon))], {})

    origins, recons = set(find_images(origin)), set(find_images(recon))
    for folder, found in ((origin, origins), (recon, recons)):
        if not found:
            raise ValueError(f"{folder} holds no image that can be read")
    partners = {name: name for name in origins & recons}
    origins_left, recons_left = _by_stem(origins - recons), _by_stem(recons - origins)
    unpaired: dict[str, str] = {}
    for stem in origins_left.keys() | recons_left.keys():
        names, candidates = origins_left[stem], recons_left[stem]
        if len(names) == len(candidates) == 1:
            partners[names[0]] = candidates[0]
            continue
        ambiguous = names and candidates
        for folder, other, left_over in ((origin, recon, names), (recon, origin, candidates)):
            reason = f"no single partner: several images are called {stem}" if ambiguous else f"no partner in {other}"
            unpaired |= {str(folder / name): reason for name in left_over}
    pairs = [FilePair(name, str(origin / name), str(recon / partner)) for name, partner in sorted(partners.items())]
    return Pairing(pairs, dict(sorted(unpaired.items())))


def find_images(folder: Path) -> list[str]:
    """Find the files in ``folder`` and its subfolders whose extension is that of an image.

    Hidden files and folders are passed over; links are followed.

    Returns:
        Their paths relative to ``folder``, sorted: text, because millions of path objects fill a machine.
    """
    Image.init()
    extensions = {
        extension
        for extension, kind in Image.registered_extensions().items()
        if kind in Image.OPEN and kind not in _NOT_DECODED
    }
    return sorted(name for name in _files(folder) if f".{name.rpartition('.')[2].lower()}" in extensions)


def read_image(path: str | Path) -> UInt8[Tensor, "3 h w"]:
    """Read an image file of any format that Pillow decodes, as 8-bit RGB.

    - The orientation that EXIF states is applied; colour profiles are ignored.
    - Transparent pixels are laid on white.
    - 16-bit greyscale is rounded to 8 bits; Pillow itself cuts 16-bit colour to 8 bits.
    - CMYK and the other colour models are converted by Pillow's formulas.
    - Of an animation or a file with several pages, the first is read.

    Raises:
        ValueError: if the file is missing, empty, truncated, no image, larger than Pillow takes for safe, or of pixels
            that have no fixed range (floating point, or integers beyond 16 bits). The message names file and cause.
    """
    path = Path(path)
    try:
        with Image.open(path) as image:
            return image_tensor(_as_rgb(ImageOps.exif_transpose(image)))
    # Decoders meet bytes that nobody vetted, and fail with whatever their parsing stumbles over.
    except Exception as error:
        raise ValueError(f"{path} cannot be read: {_cause(error, path)}") from error


def image_tensor(image: Image.Image) -> UInt8[Tensor, "3 h w"]:
    """Return an RGB image as a tensor."""
    return torch.from_numpy(np.array(image)).permute(2, 0, 1).contiguous()


def _files(folder: Path) -> Iterator[str]:
    seen: set[str] = set()
    for parent, subfolders, files in os.walk(folder, followlinks=True):
        # A link to a folder above would otherwise be walked down for ever.
        real = os.path.realpath(parent)
        if real in seen:
            subfolders.clear()
            continue
        seen.add(real)
        subfolders[:] = [name for name in subfolders if not name.startswith(".")]
        inside = Path(parent).relative_to(folder)
        yield from (str(inside / name) for name in files if not name.startswith("."))


def _by_stem(names: set[str]) -> defaultdict[str, list[str]]:
    stems: defaultdict[str, list[str]] = defaultdict(list)
    for name in names:
        stems[name.rpartition(".")[0]].append(name)
    return stems


def _as_rgb(image: Image.Image) -> Image.Image:
    if image.mode == "F":
        raise ValueError("floating-point pixels have no fixed range; save the image with 8 or 16 bits")
    # Pillow holds 16-bit greyscale in a mode of its own or, from some formats, among 32-bit integers.
    if image.mode.startswith("I"):
        grey = np.asarray(image).astype(np.int64)
        if grey.min() < 0 or grey.max() > 65535:
            raise ValueError("integer pixels beyond 16 bits have no fixed range; save the image with 8 or 16 bits")
        return Image.fromarray(((grey + 128) // 257).astype(np.uint8)).convert("RGB")
    if image.has_transparency_data:
        layer = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", layer.size, "white"), layer)
    return image.convert("RGB")


def _cause(error: Exception, path: Path) -> str:
    if isinstance(error, UnidentifiedImageError):
        return "the file is empty" if path.stat().st_size == 0 else "it is no image that Pillow knows"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror[0].lower() + error.strerror[1:]
    return str(error) or type(error).__name__

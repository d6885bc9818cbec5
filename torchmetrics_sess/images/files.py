"""Image files: found in folders, paired by name, and read into the tensors that the metric takes."""

from __future__ import annotations

import csv
import os
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import numpy as np
import torch
from jaxtyping import UInt8
from PIL import Image, ImageOps, UnidentifiedImageError
from torch import Tensor

from torchmetrics_sess.images.shards import IMAGES, read_bytes, read_samples

# Pillow recognises these but cannot decode them itself, or only through another program.
_NOT_DECODED = {"BUFR", "EMF", "EPS", "GRIB", "HDF5", "MPEG", "WMF"}


@dataclass(frozen=True, slots=True)
class FilePair:
    """Two image files to compare, or one whose counterpart is missing.

    Args:
        name: what to call it in a table: the path of the original within its folder.
        origin: path of the original, empty if there is none.
        recon: path of what was made of it, empty if there is none.
        recon_folder: what ``recon`` was found in, as the user named it.
        problem: why the two cannot be compared, if that is known already.
    """

    name: str
    origin: str
    recon: str
    recon_folder: str = ""
    problem: str | None = None


def pair_files(origin: Path, recons: Sequence[Path]) -> list[FilePair]:
    """Pair an image file with others, or the images of a folder with those of others.

    In folders, which are searched with all their subfolders, images pair up by their path relative to the folder: by
    the whole path where both folders have it, else by the path without its extension, if it is the only one.

    Args:
        origin: the original, or the folder of originals.
        recons: what was made of them, once or several times.

    Returns:
        Every original with its counterpart in every one of ``recons``, sorted by name, so that those of one original
        lie side by side; then whatever in ``recons`` has no original, and the subfolders of either side that could not
        be searched. Where the counterpart is missing, ``problem`` says so.

    Raises:
        ValueError: if a path does not exist or is named twice, one is a file and another a folder, a folder holds no
            image, or none of its images has a counterpart.
    """
    for path in (origin, *recons):
        if not path.exists():
            raise ValueError(f"{path} does not exist")
        if path.is_dir() != origin.is_dir():
            folder, file = (origin, path) if origin.is_dir() else (path, origin)
            raise ValueError(f"{folder} is a folder, but {file} is a file; compare folders with folders, or two files")
    if len(set(recons)) < len(recons):
        raise ValueError("the same folder or file is named twice among those to compare with the original")
    if not origin.is_dir():
        return [FilePair(origin.name, str(origin), str(recon), str(recon)) for recon in recons]
    origins, origins_skipped = _find_some(origin)
    partners = [_partners(origin, origins, recon) for recon in recons]
    pairs = [
        _pair(origin, name, recon, found) for name in origins for recon, found in zip(recons, partners, strict=True)
    ]
    for recon, found in zip(recons, partners, strict=True):
        pairs += [FilePair(name, str(origin / name), "", str(recon), why) for name, why in origins_skipped.items()]
        pairs += [FilePair(name, "", str(recon / name), str(recon), why) for name, why in found.alone.items()]
    return pairs


def read_pairs(path: Path) -> list[FilePair]:
    """Read a list of pairs of image files: a CSV file with the columns ``origin`` and ``recon``.

    Further columns are optional: ``name``, by default the path of the original, and ``recon_folder``, which groups the
    pairs, by default the path of the list. Paths are relative to the folder of the list.

    Raises:
        ValueError: if the file cannot be read or has no such columns, a path is empty, or there is no pair.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            rows = csv.DictReader(file)
            missing = [column for column in ("origin", "recon") if column not in (rows.fieldnames or ())]
            if missing:
                raise ValueError(
                    f"{path} has no column {missing[0]!r}; a list of pairs begins with a line origin,recon"
                )
            pairs = [_listed_pair(path, row, rows.line_num) for row in rows]
    except OSError as error:
        raise ValueError(f"{path} cannot be read: {_cause(error, path)}") from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise ValueError(f"{path} is no CSV file in UTF-8: {error}") from error
    if not pairs:
        raise ValueError(f"{path} lists no pair")
    return pairs


def read_shards(shards: Sequence[Path], name: str) -> list[FilePair]:
    """Read which pairs of images are in shards: tar files as WebDataset has them, or tables.

    - In a tar file, a sample has the fields ``origin`` and ``recon``: the members ``17.origin.png`` and
      ``17.recon.jpg`` are the pair ``17``.
    - In a Parquet or an Arrow file, a pair is a row with the columns ``origin`` and ``recon``: images of a Hugging Face
      data set, bytes of image files, or paths. ``name`` or ``__key__``, and ``recon_folder``, are optional as in
      ``read_pairs``.

    Args:
        shards: the files, in the order in which the pairs are to be.
        name: what to call all of them together, where the pairs are in no group.

    Returns:
        The pairs, in their order; where an image is missing or a shard is broken, ``problem`` says so.

    Raises:
        ValueError: if there is no pair.
        ModuleNotFoundError: if a shard is a table and pyarrow is not installed.
    """
    pairs = [pair for shard in shards for pair in _shard_pairs(shard, name)]
    if all(pair.problem for pair in pairs):
        example = "a sample is, for example, 17.origin.png and 17.recon.jpg"
        raise ValueError(next((pair.problem for pair in pairs if pair.problem), f"{name} holds no pair: {example}"))
    return pairs


def find_images(folder: Path, on_skip: Callable[[str, str], None] | None = None) -> list[str]:
    """Find the files in ``folder`` and its subfolders whose extension is that of an image.

    Hidden files and folders are passed over; links are followed, unless they lead to a folder that they lie in.

    Args:
        folder: where to look.
        on_skip: is called for every subfolder that is not searched, with its path relative to ``folder`` and the reason
            in one sentence.

    Returns:
        Their paths relative to ``folder``, sorted: text, because millions of path objects fill a machine.
    """
    Image.init()
    extensions = {
        extension
        for extension, kind in Image.registered_extensions().items()
        if kind in Image.OPEN and kind not in _NOT_DECODED
    }
    return sorted(name for name in _files(folder, on_skip) if f".{name.rpartition('.')[2].lower()}" in extensions)


def read_image(path: str | Path) -> UInt8[Tensor, "3 h w"]:
    """Read an image file of any format that Pillow decodes, as 8-bit RGB.

    - The orientation that EXIF states is applied; colour profiles are ignored.
    - Transparent pixels are laid on white.
    - 16-bit greyscale is rounded to 8 bits; Pillow itself cuts 16-bit colour to 8 bits.
    - CMYK and the other colour models are converted by Pillow's formulas.
    - Of an animation or a file with several pages, the first is read.
    - A path may lead into a shard: see ``read_shards``.

    Raises:
        ValueError: if the file is missing, empty, truncated, no image, larger than Pillow takes for safe, or of pixels
            that have no fixed range (floating point, or integers beyond 16 bits). The message names file and cause.
    """
    path = Path(path)
    try:
        content = read_bytes(path)
        with Image.open(path if content is None else BytesIO(content)) as image:
            return image_tensor(_as_rgb(ImageOps.exif_transpose(image)))
    # Decoders meet bytes that nobody vetted, and fail with whatever their parsing stumbles over.
    except Exception as error:
        raise ValueError(f"{path} cannot be read: {_cause(error, path)}") from error


def image_tensor(image: Image.Image) -> UInt8[Tensor, "3 h w"]:
    """Return an RGB image as a tensor."""
    return torch.from_numpy(np.array(image)).permute(2, 0, 1).contiguous()


def _files(folder: Path, on_skip: Callable[[str, str], None] | None) -> Iterator[str]:
    def skip(path: str, reason: str) -> None:
        if on_skip is not None:
            on_skip(os.path.relpath(path, folder), f"{path} {reason}")

    def unreadable(error: OSError) -> None:
        skip(error.filename, f"cannot be searched: {_cause(error, folder)}")

    # The folders that every folder lies in, by where they really are: a link to one of them would lead round for ever.
    above: dict[Path, frozenset[str]] = {}
    for parent, subfolders, files in os.walk(folder, onerror=unreadable, followlinks=True):
        here, real = Path(parent), os.path.realpath(parent)
        ancestors = above.get(here.parent, frozenset())
        if real in ancestors:
            skip(parent, f"is not searched: it is a link to {real}, which it lies in")
            subfolders.clear()
            continue
        above[here] = ancestors | {real}
        subfolders[:] = sorted(name for name in subfolders if not name.startswith("."))
        inside = here.relative_to(folder)
        yield from (str(inside / name) for name in files if not name.startswith("."))


@dataclass(frozen=True, slots=True)
class _Partners:
    """The counterpart of originals by name, why others have none, and what is left over on the other side, and why.

    What is left over includes subfolders that could not be searched.
    """

    by_name: dict[str, str]
    missing: dict[str, str]
    alone: dict[str, str]


def _partners(origin: Path, origins: Sequence[str], recon: Path) -> _Partners:
    recon_names, skipped = _find_some(recon)
    recons = set(recon_names)
    partners = {name: name for name in origins if name in recons}
    origins_left = _by_stem(name for name in origins if name not in partners)
    recons_left = _by_stem(recons.difference(partners))
    missing: dict[str, str] = {}
    alone: dict[str, str] = {}
    for stem in origins_left.keys() | recons_left.keys():
        names, candidates = origins_left[stem], recons_left[stem]
        if len(names) == len(candidates) == 1:
            partners[names[0]] = candidates[0]
            continue
        ambiguous = f"no single partner: several images are called {stem}" if names and candidates else None
        missing |= dict.fromkeys(names, ambiguous or f"no partner in {recon}")
        alone |= dict.fromkeys(candidates, ambiguous or f"no partner in {origin}")
    if not partners:
        raise ValueError(f"no image in {origin} has a partner of the same name in {recon}")
    return _Partners(partners, missing, dict(sorted(alone.items())) | skipped)


def _pair(origin: Path, name: str, recon: Path, found: _Partners) -> FilePair:
    partner = found.by_name.get(name)
    if partner is None:
        return FilePair(name, str(origin / name), "", str(recon), found.missing[name])
    return FilePair(name, str(origin / name), str(recon / partner), str(recon))


def _listed_pair(path: Path, row: dict[str, str | None], line: int) -> FilePair:
    origin, recon = row["origin"], row["recon"]
    if not origin or not recon:
        raise ValueError(f"{path}, line {line}: `origin` and `recon` must be paths, got {origin!r} and {recon!r}")
    folder = path.parent
    return FilePair(
        row.get("name") or origin, str(folder / origin), str(folder / recon), row.get("recon_folder") or str(path)
    )


def _shard_pairs(shard: Path, group: str) -> Iterator[FilePair]:
    try:
        for sample in read_samples(shard):
            origin, recon = (sample.images.get(image, "") for image in IMAGES)
            problem = None if origin and recon else f"no partner in {shard}"
            yield FilePair(sample.name, origin, recon, sample.group or group, problem)
    except ValueError as error:
        yield FilePair(shard.name, str(shard), "", group, str(error))


def _find_some(folder: Path) -> tuple[list[str], dict[str, str]]:
    """Return the images of a folder, at least one, and why subfolders were skipped."""
    skipped: dict[str, str] = {}
    found = find_images(folder, skipped.__setitem__)
    if not found:
        reasons = "".join(f"; {reason}" for reason in skipped.values())
        raise ValueError(f"{folder} holds no image that can be read{reasons}")
    return found, skipped


def _by_stem(names: Iterable[str]) -> defaultdict[str, list[str]]:
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
        empty = path.is_file() and path.stat().st_size == 0
        return "the file is empty" if empty else "it is no image that Pillow knows"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror[0].lower() + error.strerror[1:]
    return str(error) or type(error).__name__

"""Where the points of a curve come from: images that are encoded when they are asked for, or folders."""

from __future__ import annotations

import csv
import json
import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from functools import cache, lru_cache
from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from PIL import Image
from torch import Tensor

from torchmetrics_sess.atomic import replacing
from torchmetrics_sess.curves.codecs import Codec
from torchmetrics_sess.curves.curve import AXES
from torchmetrics_sess.images import FilePair, find_images, pair_files, read_image

# A file of one of these formats is small because it lost something; any other is what a decoder wrote.
_LOSSY = {".jpg", ".jpeg", ".webp", ".avif", ".jp2", ".j2k", ".jpx", ".jxl", ".heic", ".heif"}
_NUMBER = re.compile(r"(?<![0-9.])[-+]?[0-9]+(?:\.[0-9]+)?")
_RECIPE = ".codec.json"


class Encoded:
    """Reconstructions ``CODEC/QUALITY/IMAGE`` in a folder, each made when it is first read.

    Args:
        folder: where they go; what is there already is not made again.
        origin: the folder of the originals.
        codecs: what makes them.

    Raises:
        ValueError: if ``origin`` holds no image, or ``folder`` has files of a codec of the same name, but another.
    """

    def __init__(self, folder: Path, origin: Path, codecs: Sequence[Codec]) -> None:
        self._folder = folder
        self._codecs = codecs
        names = find_images(origin)
        if not names:
            raise ValueError(f"{origin} holds no image that can be read")
        stems = [name.rpartition(".")[0] for name in names]
        self._jobs: dict[str, tuple[Codec, str, str]] = {}
        self.pairs: list[FilePair] = []
        for name, stem in zip(names, stems, strict=True):
            # Two originals that differ in their extension alone keep it.
            kept = stem if stems.count(stem) == 1 else name
            for codec in codecs:
                for quality in codec.qualities:
                    point = folder / codec.name / quality
                    path = point / f"{kept}{codec.extension}"
                    self._jobs[str(path)] = codec, quality, str(origin / name)
                    self.pairs.append(FilePair(name, str(origin / name), str(path), str(point)))
        for codec in codecs:
            self._check_recipe(codec)

    def prepare(self) -> None:
        """Create the folders.

        Raises:
            OSError: if that cannot be.
        """
        for codec in self._codecs:
            recipe = self._folder / codec.name / _RECIPE
            recipe.parent.mkdir(parents=True, exist_ok=True)
            with replacing(recipe) as part:
                part.write_text(json.dumps({"recipe": codec.recipe}) + "\n", encoding="utf-8")
        for folder in {Path(path).parent for path in self._jobs}:
            folder.mkdir(parents=True, exist_ok=True)

    def read(self, path: str) -> UInt8[Tensor, "3 h w"]:
        """Read an image, after making it if it is one of these and not there yet.

        Raises:
            ValueError: if it cannot be made or read; the message says why.
        """
        job = self._jobs.get(path)
        if job is None:
            return read_image(path)
        codec, quality, origin = job
        if not Path(path).exists():
            # An image that is being saved keeps the options of that in itself: no two threads may share one.
            codec.encode(Image.fromarray(_pixels(origin)), quality, Path(path))
        return read_image(path)

    def bitstream(self, path: str) -> Path | None:
        """Return the bitstream of the image at ``path``, if it is one of these."""
        job = self._jobs.get(path)
        return job[0].bitstream(Path(path)) if job else None

    def _check_recipe(self, codec: Codec) -> None:
        path = self._folder / codec.name / _RECIPE
        if not path.exists():
            return
        try:
            found = json.loads(path.read_text(encoding="utf-8"))["recipe"]
        except (OSError, ValueError, KeyError, TypeError):
            found = None
        if found != codec.recipe:
            raise ValueError(
                f"{path.parent} holds what another version or command of {codec.name} made; delete that folder, or "
                "give the codec another name"
            )


# The points of an original come one after the other.
@lru_cache(maxsize=8)
def _pixels(path: str) -> UInt8[np.ndarray, "h w 3"]:
    return read_image(path).permute(1, 2, 0).contiguous().numpy()


def pair_points(origin: Path, folders: Sequence[Path]) -> list[FilePair]:
    """Pair originals with what is there of them in folders ``CODEC/POINT/IMAGE``.

    Args:
        origin: the folder of the originals.
        folders: of codecs.

    Returns:
        As ``torchmetrics_sess.images.pair_files``, without the bitstreams that lie beside images.

    Raises:
        ValueError: if a folder has another structure, or nothing in it has an original.
    """
    points = [point for folder in folders for point in _points(folder)]
    pairs = pair_files(origin, points)
    stems = {(pair.recon_folder, _stem(pair.recon)) for pair in pairs if pair.origin and pair.recon}
    beside = {
        id(pair) for pair in pairs if not pair.origin and pair.recon and (pair.recon_folder, _stem(pair.recon)) in stems
    }
    return [pair for pair in pairs if id(pair) not in beside]


def merge_pairs(sources: Iterable[Sequence[FilePair]]) -> list[FilePair]:
    """Return the pairs of several sources, those of one original side by side.

    Raises:
        ValueError: if two sources have codecs of one name.
    """
    owners: dict[str, str] = {}
    by_origin: dict[str, list[FilePair]] = defaultdict(list)
    alone: list[FilePair] = []
    for pairs in sources:
        for pair in pairs:
            parent = Path(pair.recon_folder).parent
            if owners.setdefault(parent.name, str(parent)) != str(parent):
                raise ValueError(f"two codecs are called {parent.name}: {owners[parent.name]} and {parent}")
            (by_origin[pair.origin] if pair.origin else alone).append(pair)
    return [pair for pairs in by_origin.values() for pair in pairs] + alone


class Rates:
    """Where the images of points lie on an axis: by the size of their bitstreams, by a table, or by a name.

    Args:
        axis: one of ``AXES``.
        table: by codec, point and image; an image of no name stands for all.
        encoded: whose bitstreams are known.

    Raises:
        ValueError: if the axis is unknown.
    """

    def __init__(
        self, axis: str, table: Mapping[tuple[str, str, str], float] | None = None, encoded: Encoded | None = None
    ) -> None:
        if axis not in AXES:
            raise ValueError(f"--axis takes {', '.join(AXES)}, got {axis!r}")
        self.axis = axis
        self._table = table
        self._encoded = encoded

    def check(self, pairs: Iterable[FilePair]) -> None:
        """Check what is known of points before any work is done.

        Raises:
            ValueError: if a point is in no table, its name says nothing, or none of its images has a bitstream.
        """
        pairs_of: dict[str, list[FilePair]] = {}
        for pair in pairs:
            pairs_of.setdefault(pair.recon_folder, []).append(pair)
        for folder in pairs_of:
            codec, point = Path(folder).parent.name, Path(folder).name
            if self._table is not None:
                if not any(key[:2] == (codec, point) for key in self._table) and not self._is_encoded(folder):
                    raise ValueError(f"--rates has no line for {codec} {point}")
            elif self.axis != "bpp":
                self._named(codec, point)
            elif not self._is_encoded(folder):
                _check_bitstreams(pairs_of[folder])

    def of(self, pair: FilePair, pixels: int) -> float:
        """Return where the reconstruction of a pair, whose original has so many pixels, lies.

        Raises:
            ValueError: if nothing says it.
        """
        codec, point = Path(pair.recon_folder).parent.name, Path(pair.recon_folder).name
        bitstream = self._encoded.bitstream(pair.recon) if self._encoded and self.axis == "bpp" else None
        if bitstream is None and self._table is not None:
            names = pair.name, pair.name.rpartition(".")[0], ""
            found = [self._table[codec, point, name] for name in names if (codec, point, name) in self._table]
            if not found:
                raise ValueError(f"--rates has no line for {codec} {point} {pair.name}")
            return found[0]
        if self.axis != "bpp":
            return self._named(codec, point)
        bitstream = bitstream or _bitstream(Path(pair.recon))
        try:
            size = bitstream.stat().st_size
        except OSError as error:
            raise ValueError(f"{bitstream} cannot be read: {(error.strerror or str(error)).lower()}") from error
        if size == 0:
            raise ValueError(f"{bitstream} is a bitstream of zero bytes")
        return 8 * size / pixels

    def _is_encoded(self, folder: str) -> bool:
        return self._encoded is not None and any(pair.recon_folder == folder for pair in self._encoded.pairs)

    def _named(self, codec: str, point: str) -> float:
        numbers = _NUMBER.findall(point)
        name = AXES[self.axis].name
        if len(numbers) != 1:
            found = "no number" if not numbers else f"the numbers {' and '.join(numbers)}"
            raise ValueError(
                f"the {name} of {codec} {point} is not known: its name holds {found}; name it by its {name}, or pass "
                f"--rates FILE with the columns codec,point,{self.axis}"
            )
        value = float(numbers[0])
        if AXES[self.axis].logarithmic and value <= 0:
            raise ValueError(f"the {name} of {codec} {point} must be positive, got {value:g}")
        return value


def read_rates(path: Path, axis: str) -> dict[tuple[str, str, str], float]:
    """Read a table of rates: a CSV file with the columns ``codec``, ``point``, the axis and, if need be, ``image``.

    Returns:
        The rates by codec, point and image; without an image, for all of that point.

    Raises:
        ValueError: if it cannot be read or lacks a column, or a rate is no positive number (of SNR: no number).
    """
    table = {}
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            rows = csv.DictReader(file)
            for column in ("codec", "point", axis):
                if column not in (rows.fieldnames or ()):
                    raise ValueError(f"{path} has no column {column!r}; it begins with a line codec,point,image,{axis}")
            for row in rows:
                where = f"{path}, line {rows.line_num}"
                try:
                    value = float(row[axis])
                except (TypeError, ValueError):
                    raise ValueError(f"{where}: `{axis}` must be a number, got {row[axis]!r}") from None
                if not abs(value) < float("inf") or (AXES[axis].logarithmic and value <= 0):
                    kind = "a positive number" if AXES[axis].logarithmic else "a finite number"
                    raise ValueError(f"{where}: `{axis}` must be {kind}, got {row[axis]!r}")
                key = row["codec"], row["point"], row.get("image") or ""
                if key in table:
                    raise ValueError(f"{where}: there are two rates for {' '.join(key).strip()}")
                table[key] = value
    except OSError as error:
        raise ValueError(f"{path} cannot be read: {(error.strerror or str(error)).lower()}") from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise ValueError(f"{path} is no CSV file in UTF-8: {error}") from error
    if not table:
        raise ValueError(f"{path} holds no rate")
    return table


def _points(folder: Path) -> list[Path]:
    if not folder.is_dir():
        raise ValueError(f"{folder} does not exist" if not folder.exists() else f"{folder} is a file, not a folder")
    layout = f"{folder} must hold folders CODEC/POINT/IMAGE"
    codecs = _subfolders(folder)
    if not codecs:
        raise ValueError(f"{layout}; it has no subfolder")
    points = []
    for codec in codecs:
        found = _subfolders(codec)
        if not found:
            raise ValueError(f"{layout}; {codec} has no subfolder: which point are its images of?")
        points += found
    return points


def _subfolders(folder: Path) -> list[Path]:
    found = [path for path in folder.iterdir() if path.is_dir() and not path.name.startswith(".")]
    # By their numbers where there are any, so that 5 comes before 10.
    return sorted(found, key=lambda path: ([float(number) for number in _NUMBER.findall(path.name)], path.name))


def _check_bitstreams(pairs: Iterable[FilePair]) -> None:
    """Refuse what lacks a bitstream for every image; a few that do are told of later, each by its name."""
    problem: ValueError | None = None
    for pair in pairs:
        if not pair.origin or not pair.recon:
            continue
        try:
            _bitstream(Path(pair.recon))
        except ValueError as error:
            problem = problem or error
        else:
            return
    if problem is not None:
        raise problem


def _bitstream(recon: Path) -> Path:
    """Return the bitstream of a reconstruction: the file of the same name beside it, or itself."""
    beside = [
        path for path in _siblings(recon.parent)[recon.stem] + _siblings(recon.parent)[recon.name] if path != recon
    ]
    if len(beside) > 1:
        raise ValueError(f"which is the bitstream of {recon}: {' or '.join(path.name for path in beside)}?")
    if beside:
        return beside[0]
    if recon.suffix.lower() in _LOSSY:
        return recon
    raise ValueError(
        f"the rate of {recon} is not known: there is no compressed file of the same name beside it; pass --rates FILE "
        "with the columns codec,point,image,bpp"
    )


@cache
def _siblings(folder: Path) -> defaultdict[str, list[Path]]:
    found: defaultdict[str, list[Path]] = defaultdict(list)
    for path in sorted(folder.iterdir()):
        if path.is_file() and not path.name.startswith("."):
            found[path.stem].append(path)
    return found


def _stem(path: str) -> str:
    return path.rpartition(".")[0]

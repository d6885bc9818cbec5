"""Collect freely licensed photographs, and cut-out photographs of objects, out of Debian packages.

python -m training.collect FOLDER    needs apt-get, dpkg-deb and Pillow; downloads about 270 MB

FOLDER/photographs/*.jpg   natural photographs
FOLDER/cutouts/*.png       single objects with an alpha channel: pasted anywhere, their masks are known exactly
FOLDER/sources.csv         file, package, version, path in it, licence as the package states it

``training/sources.csv`` names what of it the adapters of ``lite`` were trained on: all whose licence is stated.
"""

from __future__ import annotations

import csv
import fnmatch
import io
import re
import struct
import subprocess
import sys
import tempfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import numpy as np
from PIL import Image, UnidentifiedImageError

PACKAGES = ("gcompris-qt-data", "tuxpaint-stamps-default", "mate-backgrounds", "lomiri-wallpapers-16.04")
CUTOUTS_ONLY = "tuxpaint"
NOT_PHOTOGRAPHS = re.compile(
    r"/(lang|HTML|icons|chronos|gravity|paintings|louis-braille|babyshapes|clickgame|mosaic|alphabets|numbers|symbols|seasonal|"
    r"cartoon|houses|roadsigns|clothes|faces|abstract|desktop|memory-sound)/"
)
UNSTATED = "see package"


def resources(data: bytes) -> Iterator[tuple[str, bytes]]:
    """Yield the path and the bytes of each file in a Qt resource archive."""
    magic, version, tree, content, names = struct.unpack(">4s4I", data[:20])
    if magic != b"qres":
        return
    size = 14 if version < 2 else 22

    def walk(node: int, path: str) -> Iterator[tuple[str, bytes]]:
        at = tree + node * size
        name_offset, flags = struct.unpack(">IH", data[at : at + 6])
        if node:
            at_name = names + name_offset
            (length,) = struct.unpack(">H", data[at_name : at_name + 2])
            path += "/" + data[at_name + 6 : at_name + 6 + 2 * length].decode("utf-16-be")
        if flags & 2:
            count, first = struct.unpack(">II", data[at + 6 : at + 14])
            for child in range(first, first + count):
                yield from walk(child, path)
        else:
            start = content + struct.unpack(">I", data[at + 10 : at + 14])[0]
            (length,) = struct.unpack(">I", data[start : start + 4])
            blob = data[start + 4 : start + 4 + length]
            yield path, zlib.decompress(blob[4:]) if flags & 1 else blob

    yield from walk(0, "")


def licences(text: str) -> list[tuple[str, str]]:
    r"""Return pattern and licence of each paragraph of a copyright file, in order: the last match counts.

    Examples:
        >>> licences("Files: a/*\nLicense: CC0-1.0\n\nFiles: a/b.png\n c.png\nLicense: GPL-2\n")
        [('a/*', 'CC0-1.0'), ('a/b.png', 'GPL-2'), ('c.png', 'GPL-2')]
    """
    pairs = []
    for paragraph in re.split(r"\n\s*\n", text):
        files = re.search(r"^Files:((?:.*\n?)(?:^[ \t].*\n?)*)", paragraph, re.MULTILINE)
        licence = re.search(r"^License:[ \t]*(.*)", paragraph, re.MULTILINE)
        if files and licence:
            pairs += [(pattern, licence[1].strip()) for pattern in files[1].split()]
    return pairs


def covers(pattern: str, path: str) -> bool:
    """Tell whether a pattern of a copyright file, which counts from the root of the source, is of a file.

    Their last parts are compared, without suffixes, as pictures were converted since their licences were noted.

    Examples:
        >>> covers("activities/details/a.jpg", "details/gcompris/activities/details/a.webp")
        True
        >>> covers("activities/details/a.jpg", "details/gcompris/activities/details/b.webp")
        False
    """
    if pattern == "*":
        return True
    pattern, path = (re.sub(r"\.(jpe?g|png|webp)$", "", each) for each in (pattern, path))
    depth = min(pattern.count("/") + 1, path.count("/") + 1, 3)
    last_pattern, last_path = ("/".join(each.split("/")[-depth:]) for each in (pattern, path))
    return fnmatch.fnmatch(last_path, last_pattern)


def kind_of(image: Image.Image) -> Literal["photographs", "cutouts"] | None:
    """Tell photographs and cut-out objects from drawings, by their many colours and their transparent border."""
    if min(image.size) >= 100 and (image.mode in ("RGBA", "LA") or "transparency" in image.info):
        pixels = np.asarray(image.convert("RGBA").resize((64, 64))).reshape(-1, 4)
        inside = pixels[pixels[:, 3] > 250, :3]
        if 400 < len(inside) < 3900 and len(np.unique(inside, axis=0)) > 0.75 * len(inside):
            return "cutouts"
    colours = image.convert("RGB").resize((64, 64)).getcolors(4096) or ()
    return "photographs" if min(image.size) >= 160 and len(colours) > 900 else None


def fetch(package: str, folder: Path) -> tuple[str, list[tuple[str, bytes]], list[tuple[str, str]]]:
    """Download a package; return its version, its images by path, and its licences."""
    options = ["-qq", "-o", "APT::Sandbox::User=root", "download", package]
    subprocess.run(["apt-get", *options], cwd=folder, check=True)
    archive = next(folder.glob(f"{package}_*.deb"))
    root = folder / package
    subprocess.run(["dpkg-deb", "-x", str(archive), str(root)], check=True)
    statement = next(root.rglob("usr/share/doc/*/copyright"), None)
    images: list[tuple[str, bytes]] = []
    for path in sorted(root.rglob("*")):
        if path.suffix == ".rcc":
            images += [(f"{path.stem}{inner}", blob) for inner, blob in resources(path.read_bytes())]
        elif path.is_file() and path.suffix.lower() in (".jpg", ".jpeg", ".png", ".webp"):
            images.append((str(path.relative_to(root)), path.read_bytes()))
    version = archive.name.split("_")[1].replace("%3a", ":")
    return version, images, licences(statement.read_text(errors="replace")) if statement else []


def keep(image: Image.Image, kind: str, path: Path) -> None:
    """Write an image, shrunk."""
    if kind == "cutouts":
        image = image.convert("RGBA")
        image.thumbnail((640, 640))
        image.save(path.with_suffix(".png"))
    else:
        image = image.convert("RGB")
        image.thumbnail((1024, 1024), Image.Resampling.LANCZOS)
        image.save(path.with_suffix(".jpg"), quality=95, subsampling=0)


def main(folder: Path) -> None:
    """Collect all packages into ``folder``."""
    for kind in ("photographs", "cutouts"):
        (folder / kind).mkdir(parents=True, exist_ok=True)
    rows: list[tuple[str, str, str, str, str]] = []
    with tempfile.TemporaryDirectory() as temporary:
        for package in PACKAGES:
            version, images, stated = fetch(package, Path(temporary))
            for inner, blob in images:
                if NOT_PHOTOGRAPHS.search("/" + inner):
                    continue
                try:
                    image = Image.open(io.BytesIO(blob))
                    image.load()
                except (UnidentifiedImageError, OSError, SyntaxError):
                    continue
                found = kind_of(image)
                if found is None or (found == "photographs" and package.startswith(CUTOUTS_ONLY)):
                    continue
                tail = "/".join(inner.split("/")[-4:])
                licence = next((each for pattern, each in reversed(stated) if covers(pattern, tail)), UNSTATED)
                name = f"{found}/{len(rows):04d}"
                keep(image, found, folder / name)
                rows.append((name, package, version, inner, licence))
    with (folder / "sources.csv").open("w", newline="") as file:
        csv.writer(file).writerows([("file", "package", "version", "path", "licence"), *rows])
    for kind in ("photographs", "cutouts"):
        print(kind, sum(row[0].startswith(kind) for row in rows))


if __name__ == "__main__":
    main(Path(sys.argv[1]))

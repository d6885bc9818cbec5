"""Scenes to learn from: crops of photographs, some with cut-out objects pasted in, some with something taken out."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

# Sides of the scenes in pixels: from thumbnails to photographs of a data set.
SMALLEST, LARGEST = 224, 512


@dataclass(frozen=True)
class Sources:
    """Where photographs and cut-out objects lie.

    Args:
        photographs: paths.
        cutouts: paths of images with an alpha channel.
        codecs: folder that `learned_codecs.py` fills.
    """

    photographs: tuple[Path, ...]
    cutouts: tuple[Path, ...]
    codecs: Path

    @classmethod
    def of(cls, folder: Path, listed: Path | None = None) -> Sources:
        """Find what ``collect.py`` left in a folder, as far as a list in the form of ``sources.csv`` names it.

        Raises:
            ValueError: if there is nothing.
        """
        known = None if listed is None else {row["file"] for row in csv.DictReader(listed.read_text().splitlines())}

        def find(kind: str, suffix: str) -> tuple[Path, ...]:
            paths = sorted((folder / kind).glob(f"*{suffix}"))
            return tuple(path for path in paths if known is None or f"{kind}/{path.stem}" in known)

        found = cls(find("photographs", ".jpg"), find("cutouts", ".png"), folder / "codecs")
        if not found.photographs or not found.cutouts:
            raise ValueError(f"`folder` must hold photographs/ and cutouts/ as `collect.py` leaves them, got {folder}")
        return found


def make_scene(sources: Sources, seed: Sequence[int]) -> Image.Image:
    """Make one scene; the same seed gives the same scene.

    Two of five hold one or two pasted objects. One of six has a smooth or grey patch in which nothing is left to see:
    what has been taken out must not be imagined.
    """
    random = np.random.default_rng(seed)
    scene = _crop(_open(sources.photographs[random.integers(len(sources.photographs))]), random)
    if random.random() < 0.4:
        for _ in range(int(random.integers(1, 3))):
            _paste(scene, _open(sources.cutouts[random.integers(len(sources.cutouts))]), random)
    if random.random() < 0.16:
        scene = _take_out(scene, random)
    return scene


@lru_cache(maxsize=600)
def _open(path: Path) -> Image.Image:
    with Image.open(path) as image:
        return image.convert("RGBA" if path.suffix == ".png" else "RGB")


def _crop(photograph: Image.Image, random: np.random.Generator) -> Image.Image:
    width, height = photograph.size
    # Most photographs are scored whole.
    share = 1.0 if random.random() < 0.4 else np.sqrt(random.uniform(0.2, 1))
    w, h = share * width, share * height
    left, top = random.uniform(0, width - w), random.uniform(0, height - h)
    scale = np.exp(random.uniform(np.log(SMALLEST), np.log(LARGEST))) / min(w, h)
    size = (max(16, min(1024, round(w * scale))), max(16, min(1024, round(h * scale))))
    crop = photograph.resize(size, Image.Resampling.LANCZOS, box=(left, top, left + w, top + h))
    return crop.transpose(Image.Transpose.FLIP_LEFT_RIGHT) if random.random() < 0.5 else crop


def _paste(scene: Image.Image, cutout: Image.Image, random: np.random.Generator) -> None:
    scale = random.uniform(0.2, 0.6) * min(scene.size) / max(cutout.size)
    size = (max(2, round(cutout.width * scale)), max(2, round(cutout.height * scale)))
    thing = cutout.resize(size, Image.Resampling.LANCZOS)
    if random.random() < 0.5:
        thing = thing.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    at = (int(random.integers(scene.width - thing.width + 1)), int(random.integers(scene.height - thing.height + 1)))
    scene.paste(thing, at, thing)


def _take_out(scene: Image.Image, random: np.random.Generator) -> Image.Image:
    stencil = Image.new("L", scene.size)
    half = [random.uniform(0.1, 0.3) * side for side in scene.size]
    middle = [random.uniform(0.2, 0.8) * side for side in scene.size]
    box = (middle[0] - half[0], middle[1] - half[1], middle[0] + half[0], middle[1] + half[1])
    draw = ImageDraw.Draw(stencil)
    (draw.ellipse if random.random() < 0.6 else draw.rectangle)(box, fill=255)
    if random.random() < 0.5:
        filled = Image.new("RGB", scene.size, (int(random.integers(256)),) * 3)
    else:
        filled = scene.filter(ImageFilter.GaussianBlur(max(half)))
        stencil = stencil.filter(ImageFilter.GaussianBlur(3))
    return Image.composite(filled, scene, stencil)

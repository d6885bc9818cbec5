"""What the demo does to photographs: some changes spare the meaning, others do not."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageEnhance

from torchmetrics_sess.photographs import NAMES, open_photograph

Region: TypeAlias = NDArray[np.bool_]

# Left, top, right and bottom of what a viewer would call the subject.
_SUBJECT = {
    "astronaut": (20, 10, 280, 383),
    "cat": (40, 5, 330, 250),
    "coffee": (45, 5, 310, 250),
    "rocket": (155, 65, 240, 240),
}


def compress(image: Image.Image, quality: int) -> Image.Image:
    """Return ``image`` as it comes back from a JPEG file."""
    with io.BytesIO() as file:
        image.save(file, format="JPEG", quality=quality)
        with Image.open(file) as compressed:
            return compressed.convert("RGB")


def brighten(image: Image.Image, factor: float) -> Image.Image:
    """Multiply all values."""
    return ImageEnhance.Brightness(image).enhance(factor)


def erase(image: Image.Image, region: Region) -> Image.Image:
    """Take away what lies in a region, ``[height, width]``: fill it smoothly with the colours around it."""
    filled = _fill(np.asarray(image, dtype=np.float64), region)
    return Image.fromarray(filled.round().clip(0, 255).astype(np.uint8))


def distortions() -> dict[str, Callable[[str], Image.Image]]:
    """Return what to do to a photograph, given by name: by what it is called in a table."""
    following = dict(zip(NAMES, NAMES[1:] + NAMES[:1], strict=True))
    qualities = {
        f"JPEG {quality}": lambda name, quality=quality: compress(open_photograph(name), quality)
        for quality in (90, 50, 20, 10, 5)
    }
    return {
        "untouched": open_photograph,
        "darker": lambda name: brighten(open_photograph(name), 0.6),
        **qualities,
        "subject erased": _without_subject,
        "another photograph": lambda name: open_photograph(following[name]),
    }


def _without_subject(name: str) -> Image.Image:
    image = open_photograph(name)
    left, top, right, bottom = _SUBJECT[name]
    region = np.zeros((image.height, image.width), dtype=bool)
    region[top:bottom, left:right] = True
    return erase(image, region)


def _fill(pixels: NDArray[np.float64], hole: Region) -> NDArray[np.float64]:
    """Fill a hole by pull and push: with averages of what is known, at the finest scale that knows anything."""
    height, width = hole.shape
    if not hole.any() or min(height, width) < 2:
        return pixels
    known = (~hole)[..., None].astype(float)
    even = ((0, height % 2), (0, width % 2), (0, 0))
    total = _sum_quads(np.pad(pixels * known, even, mode="edge"))
    weight = _sum_quads(np.pad(known, even, mode="edge"))
    coarse = _fill(total / np.maximum(weight, 1), weight[..., 0] == 0)
    bands = [Image.fromarray(band.astype(np.float32)) for band in np.moveaxis(coarse, -1, 0)]
    smooth = np.stack([np.asarray(band.resize((width, height), Image.Resampling.BILINEAR)) for band in bands], -1)
    return np.where(hole[..., None], smooth, pixels)


def _sum_quads(pixels: NDArray[np.float64]) -> NDArray[np.float64]:
    height, width, bands = pixels.shape
    total: NDArray[np.float64] = pixels.reshape(height // 2, 2, width // 2, 2, bands).sum((1, 3))
    return total

"""Changes to photographs, from those that keep all meaning to those that take an object away."""

from __future__ import annotations

import io
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from photographs import Box
from PIL import Image, ImageEnhance, ImageFilter, ImageOps

Pixels: TypeAlias = NDArray[np.float64]


def encode(image: Image.Image, codec: str = "JPEG", **options: Any) -> tuple[Image.Image, float]:
    """Return an image as a codec gives it back, and the bits per pixel that it took."""
    file = io.BytesIO()
    image.save(file, codec, **options)
    bits = 8 * len(file.getvalue()) / (image.width * image.height)
    return Image.open(file).convert("RGB"), bits


def jpeg(image: Image.Image, quality: int) -> Image.Image:
    """Return an image after JPEG compression."""
    return encode(image, quality=quality)[0]


def shift(image: Image.Image, share: float = 0.05) -> Image.Image:
    """Move an image to the right by a share of its width; the uncovered edge is mirrored."""
    pixels = np.asarray(image)
    distance = round(image.width * share)
    return Image.fromarray(np.pad(pixels, ((0, 0), (distance, 0), (0, 0)), mode="reflect")[:, : image.width])


def brightness(image: Image.Image, factor: float) -> Image.Image:
    """Multiply all values."""
    return ImageEnhance.Brightness(image).enhance(factor)


def add_noise(image: Image.Image, deviation: float, seed: int = 0) -> Image.Image:
    """Add Gaussian noise of a standard deviation in units of 1/255."""
    noise = np.random.default_rng(seed).normal(0, deviation, (image.height, image.width, 3))
    return _image(np.asarray(image) + noise)


def blur(image: Image.Image, radius: float) -> Image.Image:
    """Blur with a Gaussian."""
    return image.filter(ImageFilter.GaussianBlur(radius))


def mirror(image: Image.Image) -> Image.Image:
    """Flip left and right."""
    return ImageOps.mirror(image)


def erase(image: Image.Image, box: Box) -> Image.Image:
    """Take an object away: its region is filled smoothly from what surrounds it."""
    return _image(_fill(np.asarray(image, dtype=float), _region(image, box)))


def swap(image: Image.Image, box: Box, other: Image.Image, other_box: Box) -> Image.Image:
    """Put the object of another photograph in place of an object."""
    return _paste(erase(image, box), box, _cut(other, other_box))


def _fill(pixels: Pixels, hole: NDArray[np.bool_]) -> Pixels:
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


def _sum_quads(pixels: Pixels) -> Pixels:
    height, width, bands = pixels.shape
    total: Pixels = pixels.reshape(height // 2, 2, width // 2, 2, bands).sum((1, 3))
    return total


def _region(image: Image.Image, box: Box, scale: float = 1.0) -> NDArray[np.bool_]:
    row = (np.arange(image.height)[:, None] / image.height - box.row) / (box.half_height * scale)
    column = (np.arange(image.width)[None] / image.width - box.column) / (box.half_width * scale)
    region: NDArray[np.bool_] = row**4 + column**4 <= 1
    return region


def _bounds(image: Image.Image, box: Box) -> tuple[int, int, int, int]:
    left, right = (round((box.column + side * box.half_width) * image.width) for side in (-1, 1))
    top, bottom = (round((box.row + side * box.half_height) * image.height) for side in (-1, 1))
    return max(0, left), max(0, top), min(image.width, right), min(image.height, bottom)


def _cut(image: Image.Image, box: Box) -> Image.Image:
    return image.crop(_bounds(image, box))


def _paste(image: Image.Image, box: Box, thing: Image.Image) -> Image.Image:
    left, top, right, bottom = _bounds(image, box)
    over = image.copy()
    over.paste(thing.resize((right - left, bottom - top), Image.Resampling.BICUBIC), (left, top))
    # A feathered edge, so that the seam is not what is noticed.
    stencil = Image.fromarray(_region(image, box, 0.97)).convert("L").filter(ImageFilter.GaussianBlur(3))
    return Image.composite(over, image, stencil)


def _image(pixels: NDArray[Any]) -> Image.Image:
    return Image.fromarray(pixels.round().clip(0, 255).astype(np.uint8))

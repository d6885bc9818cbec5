"""Changes to photographs: those that keep all meaning, those that take an object away, those that rearrange.

All of them keep the size of the image, and none draws a random number but from its ``seed``.
"""

from __future__ import annotations

import io
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageEnhance, ImageFilter, ImageOps

from benchmarks.shared.photographs import Box
from torchmetrics_sess.cli import distortions

MEAN_GREY = 127.5


def encode(image: Image.Image, codec: str, **options: Any) -> tuple[Image.Image, float]:
    """Return an image as a codec gives it back, and the bits per pixel that it took."""
    with io.BytesIO() as file:
        image.save(file, codec, **options)
        bits = 8 * len(file.getvalue()) / (image.width * image.height)
        with Image.open(file) as decoded:
            return decoded.convert("RGB"), bits


def shift(image: Image.Image, share: float = 0.05) -> Image.Image:
    """Move an image to the right by a share of its width; the uncovered edge is mirrored."""
    pixels = np.asarray(image)
    distance = round(image.width * share)
    return Image.fromarray(np.pad(pixels, ((0, 0), (distance, 0), (0, 0)), mode="reflect")[:, : image.width])


def mirror(image: Image.Image) -> Image.Image:
    """Flip left and right."""
    return ImageOps.mirror(image)


def rotate(image: Image.Image, degrees: float) -> Image.Image:
    """Turn an image counter-clockwise; the uncovered corners are black."""
    return image.rotate(degrees, Image.Resampling.BICUBIC)


def crop(image: Image.Image, share: float) -> Image.Image:
    """Cut off a share of the width and of the height, half on either side, and enlarge what is left."""
    across, down = image.width * share / 2, image.height * share / 2
    kept = (across, down, image.width - across, image.height - down)
    return image.resize(image.size, Image.Resampling.BICUBIC, box=kept)


def contrast(image: Image.Image, factor: float) -> Image.Image:
    """Multiply the distance of all values from their mean."""
    return ImageEnhance.Contrast(image).enhance(factor)


def turn_hue(image: Image.Image, degrees: float) -> Image.Image:
    """Turn the hue of all colours."""
    hue, saturation, value = image.convert("HSV").split()
    turned = hue.point(lambda level: round(level + 256 * degrees / 360) % 256)
    return Image.merge("HSV", (turned, saturation, value)).convert("RGB")


def grey(image: Image.Image) -> Image.Image:
    """Take the colours out."""
    return image.convert("L").convert("RGB")


def quantise(image: Image.Image, colours: int) -> Image.Image:
    """Leave so many different colours, without dithering."""
    return image.quantize(colours, dither=Image.Dither.NONE).convert("RGB")


def blur(image: Image.Image, radius: float) -> Image.Image:
    """Blur with a Gaussian."""
    return image.filter(ImageFilter.GaussianBlur(radius))


def add_noise(image: Image.Image, deviation: float, seed: int = 0) -> Image.Image:
    """Add Gaussian noise of a standard deviation in units of 1/255."""
    noise = np.random.default_rng(seed).normal(0, deviation, (image.height, image.width, 3))
    return _image(np.asarray(image) + noise)


def diffuse(image: Image.Image, kept: float, seed: int = 0) -> Image.Image:
    """Blend towards noise as diffusion models do, of pixels in [-1, 1]: sqrt(kept) x + sqrt(1 - kept) n."""
    noise = np.random.default_rng(seed).normal(0, 1, (image.height, image.width, 3))
    pixels = np.asarray(image) / MEAN_GREY - 1
    return _image(((kept**0.5 * pixels + (1 - kept) ** 0.5 * noise) + 1) * MEAN_GREY)


def blend(image: Image.Image, other: Image.Image, share: float) -> Image.Image:
    """Mix with a share of another image."""
    return Image.blend(image, other.resize(image.size, Image.Resampling.BICUBIC), share)


def cut_out(image: Image.Image, box: Box) -> Image.Image:
    """Paint over an object with grey."""
    grey_image = Image.new("RGB", image.size, (127, 127, 127))
    return Image.composite(grey_image, image, Image.fromarray(box_region(image, box)))


def erase(image: Image.Image, box: Box) -> Image.Image:
    """Take an object away: its region is filled smoothly from what surrounds it."""
    return distortions.erase(image, box_region(image, box))


def swap(image: Image.Image, box: Box, other: Image.Image, other_box: Box) -> Image.Image:
    """Put the object of another photograph in place of an object."""
    return _paste(erase(image, box), box, _cut(other, other_box))


def exchange(image: Image.Image, box: Box, other_box: Box) -> Image.Image:
    """Let two objects of a photograph change places, each taking the size of the other."""
    cleared = erase(erase(image, box), other_box)
    return _paste(_paste(cleared, box, _cut(image, other_box)), other_box, _cut(image, box))


def exchange_halves(image: Image.Image, axis: Literal["left and right", "top and bottom"]) -> Image.Image:
    """Let the two halves of an image change places; a middle row or column stays."""
    pixels = np.asarray(image).copy()
    turned = pixels.swapaxes(0, 1) if axis == "left and right" else pixels
    half = len(turned) // 2
    turned[:half], turned[-half:] = turned[-half:].copy(), turned[:half].copy()
    return Image.fromarray(pixels)


def exchange_quadrants(image: Image.Image) -> Image.Image:
    """Let the quadrants of an image change places across its middle."""
    return exchange_halves(exchange_halves(image, "left and right"), "top and bottom")


def box_region(image: Image.Image, box: Box, scale: float = 1.0) -> NDArray[np.bool_]:
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
    stencil = Image.fromarray(box_region(image, box, 0.97)).convert("L").filter(ImageFilter.GaussianBlur(3))
    return Image.composite(over, image, stencil)


def _image(pixels: NDArray[Any]) -> Image.Image:
    return Image.fromarray(pixels.round().clip(0, 255).astype(np.uint8))

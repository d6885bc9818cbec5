"""Distortions at the limit of codecs and channels, which people still see through, and what takes an object away."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from benchmarks.trust.edits import MEAN_GREY, add_noise, blur, encode
from torchmetrics_sess.cli import distortions
from torchmetrics_sess.cli.distortions import compress

# Blur and coarse noise are stated for photographs of this longer side.
SIDE = 480


class DrawnScene(NamedTuple):
    """A photograph and its main object as somebody drew it.

    Args:
        image: the photograph, RGB.
        object: where the object is, ``[height, width]``.
    """

    image: Image.Image
    object: NDArray[np.bool_]


def load_drawn(folder: Path) -> dict[str, DrawnScene]:
    """Return all ``NAME.jpg`` of a folder that have a ``NAME.object.png`` beside them, 255 where the object is."""
    scenes = {}
    for path in sorted(folder.glob("*.jpg")):
        drawn = path.with_suffix(".object.png")
        if drawn.exists():
            mask = np.asarray(Image.open(drawn).convert("L")) > 127
            scenes[path.stem] = DrawnScene(Image.open(path).convert("RGB"), mask)
    return scenes


def hard_distortions() -> Mapping[str, Callable[[Image.Image, int], Image.Image]]:
    """Return functions of a photograph and a seed, by what they are called in a table."""
    return {
        "JPEG 10": lambda image, seed: compress(image, 10),
        "JPEG 5": lambda image, seed: compress(image, 5),
        "WebP 1": lambda image, seed: encode(image, "webp", quality=1)[0],
        "AVIF 10": lambda image, seed: encode(image, "avif", quality=10, speed=8)[0],
        "JPEG 2000, 1:200": lambda image, seed: jpeg2000(image, 200),
        "blur 4": lambda image, seed: blur(image, 4 * max(image.size) / SIDE),
        "4x down, up": lambda image, seed: down_up(image, 4),
        "8x down, up": lambda image, seed: down_up(image, 8),
        "noise 50": lambda image, seed: add_noise(image, 50, seed),
        "coloured noise 50": lambda image, seed: coloured_noise(image, 50, seed),
        "packets lost 15 %": lambda image, seed: lose_packets(image, 0.15, seed),
    }


def jpeg2000(image: Image.Image, ratio: int) -> Image.Image:
    """Compress to JPEG 2000 by a ratio."""
    return encode(image, "jpeg2000", quality_mode="rates", quality_layers=[ratio], irreversible=True)[0]


def down_up(image: Image.Image, factor: int) -> Image.Image:
    """Shrink by a factor, and enlarge again."""
    small = image.resize([max(1, side // factor) for side in image.size], Image.Resampling.BICUBIC)
    return small.resize(image.size, Image.Resampling.BICUBIC)


def coloured_noise(image: Image.Image, deviation: float, seed: int = 0) -> Image.Image:
    """Add noise whose amplitude falls with frequency (1/f), of a standard deviation in units of 1/255."""
    height, width = image.height, image.width
    frequency = np.hypot(np.fft.fftfreq(height)[:, None], np.fft.fftfreq(width)[None])
    spectrum = np.fft.fft2(np.random.default_rng(seed).normal(size=(3, height, width)))
    shaped = np.fft.ifft2(spectrum / np.maximum(frequency, 4 / max(height, width))).real
    noise = deviation * shaped / shaped.std((1, 2), keepdims=True)
    return _image(np.asarray(image) + noise.transpose(1, 2, 0))


def lose_packets(image: Image.Image, share: float, seed: int = 0, block: int = 16, blocks: int = 5) -> Image.Image:
    """Lose packets of a few blocks in a row, and conceal each block with the one above it that arrived."""
    pixels = np.array(image)
    rows, columns = -(-image.height // block), -(-image.width // block)
    packets = -(-rows * columns // blocks)
    lost = np.repeat(np.random.default_rng(seed).random(packets) < share, blocks)[: rows * columns].reshape(rows, -1)
    for row, column in np.argwhere(lost):
        top, left = row * block, column * block
        here = pixels[top : top + block, left : left + block]
        if row:
            here[:] = pixels[top - block : top, left : left + block][: len(here)]
        else:
            here[:] = round(MEAN_GREY)
    return Image.fromarray(pixels)


def erase(scene: DrawnScene) -> Image.Image:
    """Take the object away: its place is filled smoothly from what surrounds it."""
    return distortions.erase(scene.image, _grown(scene.object, 5))


def cut_out(scene: DrawnScene) -> Image.Image:
    """Paint over the object with grey."""
    pixels = np.array(scene.image)
    pixels[scene.object] = round(MEAN_GREY)
    return Image.fromarray(pixels)


def swap(scene: DrawnScene, donor: DrawnScene) -> Image.Image:
    """Put the object of another photograph in place of the object, as large as it fits."""
    left, top, right, bottom = _bounds(scene.object)
    box = _bounds(donor.object)
    scale = min((right - left) / (box[2] - box[0]), (bottom - top) / (box[3] - box[1]))
    size = (max(1, round((box[2] - box[0]) * scale)), max(1, round((box[3] - box[1]) * scale)))
    thing = donor.image.crop(box).resize(size, Image.Resampling.BICUBIC)
    stencil = Image.fromarray(donor.object).crop(box).convert("L").resize(size, Image.Resampling.BILINEAR)
    swapped = erase(scene)
    swapped.paste(thing, ((left + right - size[0]) // 2, (top + bottom - size[1]) // 2), stencil)
    return swapped


def move(scene: DrawnScene, share: float = 0.35) -> Image.Image:
    """Move the object sideways by a share of the width, to the side that has more room."""
    left, _, right, _ = _bounds(scene.object)
    distance = round(share * scene.image.width) * (1 if left + right < scene.image.width else -1)
    stencil = Image.fromarray(scene.object).convert("L")
    moved = erase(scene)
    moved.paste(scene.image, (distance, 0), stencil)
    return moved


def _grown(mask: NDArray[np.bool_], pixels: int) -> NDArray[np.bool_]:
    grown = Image.fromarray(mask).convert("L").filter(ImageFilter.MaxFilter(2 * pixels + 1))
    return np.asarray(grown) > 0


def _bounds(mask: NDArray[np.bool_]) -> tuple[int, int, int, int]:
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    return int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1


def _image(pixels: NDArray[np.float64]) -> Image.Image:
    return Image.fromarray(pixels.round().clip(0, 255).astype(np.uint8))

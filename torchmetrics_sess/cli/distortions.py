"""What the demo does to photographs: some changes spare the meaning, others do not."""

from __future__ import annotations

import io
from collections.abc import Callable

import numpy as np
from PIL import Image, ImageEnhance, ImageFilter

from torchmetrics_sess.photographs import NAMES, open_photograph

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


def darken(image: Image.Image) -> Image.Image:
    """Return ``image`` at 60 % of its brightness."""
    return ImageEnhance.Brightness(image).enhance(0.6)


def erase(image: Image.Image, box: tuple[int, int, int, int]) -> Image.Image:
    """Return ``image`` with ``box`` filled by a blur of its four borders, each the stronger the nearer."""
    left, top, right, bottom = box
    pixels = np.asarray(image, dtype=np.float64)
    x, y = np.arange(right - left)[None, :, None], np.arange(bottom - top)[:, None, None]
    fill = np.zeros((bottom - top, right - left, 3))
    total = np.zeros_like(fill)
    for border, distance in (
        (pixels[top:bottom, left - 1][:, None], x + 1),
        (pixels[top:bottom, right][:, None], right - left - x),
        (pixels[top - 1, left:right][None], y + 1),
        (pixels[bottom, left:right][None], bottom - top - y),
    ):
        fill += border / distance
        total += 1 / distance
    patch = Image.fromarray((fill / total).round().astype(np.uint8)).filter(ImageFilter.GaussianBlur(8))
    erased = image.copy()
    erased.paste(patch, (left, top))
    return erased


def distortions() -> dict[str, Callable[[str], Image.Image]]:
    """Return what to do to a photograph, given by name: by what it is called in a table."""
    following = dict(zip(NAMES, NAMES[1:] + NAMES[:1], strict=True))
    qualities = {
        f"JPEG {quality}": lambda name, quality=quality: compress(open_photograph(name), quality)
        for quality in (90, 50, 20, 10, 5)
    }
    return {
        "untouched": open_photograph,
        "darker": lambda name: darken(open_photograph(name)),
        **qualities,
        "subject erased": lambda name: erase(open_photograph(name), _SUBJECT[name]),
        "another photograph": lambda name: open_photograph(following[name]),
    }

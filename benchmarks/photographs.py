"""The photographs that ship with scikit-image and scikit-learn, and where the main object of each one lies."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from PIL import Image

SIDE = 512


class Box(NamedTuple):
    """An upright ellipse-like region: centre and half sizes, as shares of the image's height and width."""

    row: float
    column: float
    half_height: float
    half_width: float


OBJECTS: dict[str, Box | None] = {
    "astronaut": Box(0.22, 0.44, 0.22, 0.17),
    "camera": Box(0.42, 0.42, 0.34, 0.30),
    "chelsea": Box(0.52, 0.47, 0.42, 0.34),
    "coffee": Box(0.40, 0.43, 0.36, 0.24),
    "motorcycle_left": Box(0.55, 0.50, 0.36, 0.38),
    "rocket": Box(0.55, 0.53, 0.30, 0.06),
    "china": Box(0.48, 0.30, 0.40, 0.24),
    "flower": Box(0.47, 0.50, 0.36, 0.23),
    # Many small things, or one that fills the picture: no main object to take out.
    "coins": None,
    "hubble_deep_field": None,
    "retina": None,
}
"""The main object of every photograph, if it has one, by the file's name."""


def load_photographs() -> dict[str, Image.Image]:
    """Return the photographs by name, RGB, their longer side at most 512 pixels."""
    import skimage.data
    import sklearn.datasets

    folders = [Path(skimage.data.__file__).parent, Path(sklearn.datasets.__file__).parent / "images"]
    photographs = {}
    for name in OBJECTS:
        path = next(path for folder in folders for path in folder.glob(f"{name}.*") if path.suffix in (".png", ".jpg"))
        photographs[name] = shrink(Image.open(path).convert("RGB"))
    return photographs


def shrink(image: Image.Image, side: int = SIDE) -> Image.Image:
    """Shrink an image whose longer side exceeds ``side``."""
    scale = side / max(image.size)
    if scale >= 1:
        return image
    return image.resize((round(image.width * scale), round(image.height * scale)), Image.Resampling.LANCZOS)

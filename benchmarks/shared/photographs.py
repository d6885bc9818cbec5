"""The photographs that ship with scikit-image and scikit-learn, those of any folder, and where their objects lie."""

from __future__ import annotations

import json
from pathlib import Path
from typing import NamedTuple

from PIL import Image

SIDE = 512
BOXES = "objects.json"


class Box(NamedTuple):
    """An upright ellipse-like region: centre and half sizes, as shares of the image's height and width."""

    row: float
    column: float
    half_height: float
    half_width: float


class Scene(NamedTuple):
    """A photograph and its objects, the main one first."""

    image: Image.Image
    objects: tuple[Box, ...]


CENTRE = Box(0.5, 0.5, 0.25, 0.25)
"""What counts as the main object of a photograph of which nothing is known."""

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

PAIRS: dict[str, tuple[Box, Box]] = {
    # The head and the shuttle, the cup and the spoon, the rocket and a mast, the pavilion and a tree.
    "astronaut": (Box(0.20, 0.44, 0.18, 0.16), Box(0.28, 0.79, 0.26, 0.12)),
    "coffee": (Box(0.28, 0.48, 0.24, 0.21), Box(0.70, 0.55, 0.14, 0.15)),
    "rocket": (Box(0.62, 0.51, 0.34, 0.06), Box(0.48, 0.08, 0.47, 0.07)),
    "china": (Box(0.48, 0.30, 0.40, 0.24), Box(0.55, 0.91, 0.23, 0.08)),
}
"""Two objects that could change places, by the file's name."""


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


def load_scenes(folder: Path | None = None) -> dict[str, Scene]:
    """Return photographs with their objects, by name.

    Args:
        folder: where to look for images, subfolders included; by default, those of :func:`load_photographs`. A file
            ``objects.json`` in it may say where their objects lie, by path without extension, as the fields of
            :class:`Box`: ``{"cat": [[0.5, 0.4, 0.4, 0.3], ...]}``. The first is the main one, and the first two change
            places. Without that file, what lies in the middle of an image counts as its main object.
    """
    if folder is None:
        return {name: Scene(image, _objects(name)) for name, image in load_photographs().items()}
    from torchmetrics_sess.images import find_images, read_image

    known = json.loads((folder / BOXES).read_text()) if (folder / BOXES).exists() else None
    scenes = {}
    for path in find_images(folder):
        name = Path(path).with_suffix("").as_posix()
        boxes = (CENTRE,) if known is None else tuple(Box(*box) for box in known.get(name, ()))
        scenes[name] = Scene(shrink(Image.fromarray(read_image(folder / path).permute(1, 2, 0).numpy())), boxes)
    return scenes


def _objects(name: str) -> tuple[Box, ...]:
    main = OBJECTS[name]
    return PAIRS.get(name, () if main is None else (main,))


def shrink(image: Image.Image, side: int = SIDE) -> Image.Image:
    """Shrink an image whose longer side exceeds ``side``."""
    scale = side / max(image.size)
    if scale >= 1:
        return image
    return image.resize((round(image.width * scale), round(image.height * scale)), Image.Resampling.LANCZOS)

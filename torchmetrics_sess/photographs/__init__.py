"""Four photographs in the public domain, to try things on; ``README.md`` beside this file says whose they are."""

from __future__ import annotations

from importlib import resources

from PIL import Image

NAMES = ("astronaut", "cat", "coffee", "rocket")


def open_photograph(name: str) -> Image.Image:
    """Read one of ``NAMES``, as RGB of 384 pixels on its longer side.

    Examples:
        >>> open_photograph("cat").size
        (384, 255)
    """
    with resources.files(__name__).joinpath(f"{name}.jpg").open("rb") as file, Image.open(file) as image:
        return image.convert("RGB")

"""Scenes of two objects pasted into a photograph, and the same scenes with one thing changed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from PIL import Image

SIDE = 384
# Of an object, as a share of the height of the scene.
HEIGHT = 1 / 3
KEPT, LOST = "moved together", ("exchanged", "stacked", "one replaced", "one removed", "both removed")


class Place(NamedTuple):
    """Where the middle of an object lies, as shares of the height and width."""

    row: float
    column: float


def paste(background: Image.Image, things: Sequence[tuple[Image.Image, Place]]) -> Image.Image:
    """Paste cut-out objects into a square scene."""
    scene = background.resize((SIDE, SIDE), Image.Resampling.LANCZOS)
    for thing, place in things:
        scale = HEIGHT * SIDE / max(thing.size)
        size = (max(1, round(thing.width * scale)), max(1, round(thing.height * scale)))
        small = thing.resize(size, Image.Resampling.LANCZOS)
        scene.paste(small, (round(place.column * SIDE - size[0] / 2), round(place.row * SIDE - size[1] / 2)), small)
    return scene


def pasted_scene(background: Image.Image, cutouts: Sequence[Image.Image], seed: int) -> dict[str, Image.Image]:
    """Return a scene of two objects side by side, under ``"scene"``, and its changes by name.

    Args:
        background: a photograph.
        cutouts: three objects with an alpha channel; the third replaces the first.
        seed: of where the objects stand.
    """
    a, b, c = cutouts
    random = np.random.default_rng(seed)
    row = random.uniform(0.4, 0.6)
    left, right = Place(row, 0.28), Place(row + random.uniform(-0.05, 0.05), 0.72)
    shift = 0.075 * random.choice([-1, 1], 2)

    def moved(place: Place) -> Place:
        return Place(place.row + shift[0], place.column + shift[1])

    arrangements = {
        "scene": [(a, left), (b, right)],
        KEPT: [(a, moved(left)), (b, moved(right))],
        "exchanged": [(a, right), (b, left)],
        "stacked": [(a, Place(0.28, 0.5)), (b, Place(0.72, 0.5))],
        "one replaced": [(c, left), (b, right)],
        "one removed": [(b, right)],
        "both removed": [],
    }
    return {name: paste(background, things) for name, things in arrangements.items()}

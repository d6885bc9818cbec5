"""Scenes of two pasted objects in which only their relation changes, beside changes that keep it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from PIL import Image, ImageOps

from benchmarks.trust.pasted_scenes import SIDE

# Moved and scaled as far as objects of these sizes can be within the picture.
_MOVE, _SCALE = 0.07, 0.8


@dataclass(frozen=True)
class Thing:
    """A cut-out object: where its middle is and how large it is, as shares of the side of the scene."""

    image: Image.Image
    row: float
    column: float
    size: float

    def flipped(self) -> Thing:
        """Face the other way."""
        return replace(self, image=ImageOps.mirror(self.image))


Pair = tuple[Thing, Thing]


@dataclass(frozen=True)
class Relation:
    """How two objects are arranged, and what happens to the arrangement in ways that change the relation.

    Args:
        arranged: row, column and size of the subject, then of the object; the later one is pasted over the earlier.
        lost: changes of the relation, by name.
    """

    arranged: tuple[tuple[float, float, float], tuple[float, float, float]]
    lost: dict[str, Callable[[Thing, Thing], Pair]]


def _both(change: Callable[[Thing], Thing], a: Thing, b: Thing) -> Pair:
    """Change both alike."""
    return change(a), change(b)


def _exchanged(a: Thing, b: Thing) -> Pair:
    """Let the objects change places, each of its own size."""
    return replace(a, row=b.row, column=b.column), replace(b, row=a.row, column=a.column)


def _side_by_side(a: Thing, b: Thing) -> Pair:
    return replace(a, row=0.5, column=0.28), replace(b, row=0.5, column=0.72)


def _stacked(a: Thing, b: Thing) -> Pair:
    return replace(a, row=0.28, column=0.5), replace(b, row=0.72, column=0.5)


RELATIONS = {
    "beside": Relation(
        ((0.5, 0.28, 0.33), (0.5, 0.72, 0.33)),
        {"stacked": _stacked, "one turned around": lambda a, b: (a.flipped(), b)},
    ),
    "over": Relation(((0.28, 0.5, 0.33), (0.72, 0.5, 0.33)), {"exchanged": _exchanged, "side by side": _side_by_side}),
    "in front of": Relation(
        # The subject covers about a quarter of the object behind it.
        ((0.55, 0.58, 0.4), (0.45, 0.42, 0.4)),
        {"behind": lambda a, b: (b, a), "side by side": _side_by_side},
    ),
    "nearer than": Relation(
        ((0.5, 0.3, 0.42), (0.5, 0.74, 0.21)),
        {
            "farther": lambda a, b: (replace(a, size=b.size), replace(b, size=a.size)),
            "equally near": lambda a, b: (replace(a, size=0.33), replace(b, size=0.33)),
        },
    ),
}
KEPT = ("moved together", "scaled together", "mirrored")


def relation_scene(
    relation: str, background: Image.Image, first: Image.Image, second: Image.Image, seed: int
) -> dict[str, Image.Image]:
    """Return the scene under ``"scene"``, its changes that keep the relation, then those that do not, by name.

    Args:
        relation: one of ``RELATIONS``.
        background: a photograph, which stays as it is.
        first: the subject, with an alpha channel.
        second: the object of the relation.
        seed: of where exactly the two are.
    """
    random = np.random.default_rng(seed)
    arranged = RELATIONS[relation].arranged
    off, way = random.uniform(-0.03, 0.03, 2), _MOVE * random.choice([-1, 1], 2)
    # The object behind first.
    b, a = (
        Thing(image, row + off[0], column + off[1], size)
        for image, (row, column, size) in zip((second, first), reversed(arranged), strict=True)
    )
    changed: dict[str, Pair] = {
        "scene": (a, b),
        "moved together": _both(lambda t: replace(t, row=t.row + way[0], column=t.column + way[1]), a, b),
        "scaled together": _both(
            lambda t: Thing(t.image, 0.5 + _SCALE * (t.row - 0.5), 0.5 + _SCALE * (t.column - 0.5), _SCALE * t.size),
            a,
            b,
        ),
        "mirrored": _both(lambda t: replace(t.flipped(), column=1 - t.column), a, b),
    }
    changed |= {name: change(a, b) for name, change in RELATIONS[relation].lost.items()}
    return {name: _paste(background, pair) for name, pair in changed.items()}


def _paste(background: Image.Image, pair: Pair) -> Image.Image:
    """Paste the second of two objects, then the first, into a square scene."""
    scene = background.convert("RGB").resize((SIDE, SIDE), Image.Resampling.LANCZOS)
    for thing in reversed(pair):
        scale = thing.size * SIDE / max(thing.image.size)
        size = (max(1, round(thing.image.width * scale)), max(1, round(thing.image.height * scale)))
        small = thing.image.resize(size, Image.Resampling.LANCZOS)
        scene.paste(small, (round(thing.column * SIDE - size[0] / 2), round(thing.row * SIDE - size[1] / 2)), small)
    return scene

"""A made-up data set in the format of PSG: coloured shapes, with relations that follow from where they are.

    python -m benchmarks.shared.made_up_psg FOLDER [--images 600] [--seed 0] [--layout free|cells]

Every image has three or four shapes on a plain ground, which is an object too but takes no part. A shape may lie *in*
another one, and is then cut out of it. Of two shapes apart, one is *over* the other if it is higher and their extents
overlap sideways, and they are *beside* each other, both ways, if their extents overlap in height. Half of the images
are the test split. Classes say what shape an object has; relations do not depend on them.

In the layout ``free``, only where shapes are tells how they relate: places, sizes and colours are those of chance. In
``cells``, shapes stand in six cells, whose colours they have, and one in another is paler: there colours tell relations
too, to networks whose tokens know of nothing else. The rules of relations are the same.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any, Literal, NamedTuple, TypeAlias, get_args

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from torchmetrics_sess.relations.vocabulary import OBJECT_CLASSES, PREDICATES

SIDE = 208
CLASSES = {"circle": "sports ball", "square": "book", "triangle": "kite"}
GROUND = "wall-other-merged"
OVER, BESIDE, IN = (PREDICATES.index(name) for name in ("over", "beside", "in"))
_COLOURS = ((214, 39, 40), (44, 120, 180), (40, 160, 60), (240, 200, 60), (150, 90, 190), (240, 140, 40))

Layout: TypeAlias = Literal["free", "cells"]


class Shape(NamedTuple):
    """A shape, its centre, half its size, its colour, and the shape that it lies in, if any."""

    kind: str
    x: float
    y: float
    half: float
    colour: tuple[int, int, int]
    holder: int | None

    def overlaps(self, other: Shape, axis: int) -> bool:
        """Tell whether the extents overlap sideways (axis 0) or in height (axis 1)."""
        distance = (abs(self.x - other.x), abs(self.y - other.y))[axis]
        return distance < 0.8 * (self.half + other.half)

    def apart(self, other: Shape) -> bool:
        """Tell whether the boxes have some ground between them."""
        return max(abs(self.x - other.x), abs(self.y - other.y)) > self.half + other.half + 4


def draw_shapes(random: np.random.Generator) -> list[Shape]:
    """Draw three or four shapes, of which one may lie in another."""
    shapes: list[Shape] = []
    colours = random.permutation(len(_COLOURS))
    wanted = int(random.integers(3, 5))
    while len(shapes) < wanted:
        kind = str(random.choice(list(CLASSES)))
        colour = _COLOURS[colours[len(shapes)]]
        holders = [i for i, shape in enumerate(shapes) if shape.holder is None and shape.half > 32]
        taken = {shape.holder for shape in shapes}
        if holders and holders[0] not in taken and random.random() < 0.6:
            holder = shapes[holders[0]]
            # In the middle, a bit lower in a triangle, which is wider there.
            lower = 0.25 * holder.half if holder.kind == "triangle" else 0.0
            shapes.append(Shape(kind, holder.x, holder.y + lower, 0.4 * holder.half, colour, holders[0]))
            continue
        half = float(random.uniform(15, 44))
        x, y = random.uniform(half + 2, SIDE - half - 2, 2)
        shape = Shape(kind, float(x), float(y), half, colour, None)
        if all(shape.apart(other) for other in shapes):
            shapes.append(shape)
        elif random.random() < 0.02:
            # There may be no room left.
            shapes.clear()
    return shapes


def draw_shapes_in_cells(random: np.random.Generator) -> list[Shape]:
    """Draw three or four shapes in two columns and three rows, of which one may lie in another."""
    shapes: list[Shape] = []
    inner = random.random() < 0.5
    for cell in random.permutation(6)[: random.integers(2, 4) if inner else random.integers(3, 5)]:
        row, column = divmod(int(cell), 2)
        x = (column + 0.5) * SIDE / 2 + random.uniform(-8, 8)
        y = (row + 0.5) * SIDE / 3 + random.uniform(-5, 5)
        half = random.uniform(22 if inner and not shapes else 16, 27)
        shapes.append(Shape(str(random.choice(list(CLASSES))), x, y, half, _COLOURS[cell], None))
    if inner:
        x, y, half, (red, green, blue) = shapes[0][1:5]
        pale = ((red + 255) // 2, (green + 255) // 2, (blue + 255) // 2)
        lower = 0.25 * half if shapes[0].kind == "triangle" else 0.0
        shapes.append(Shape(str(random.choice(list(CLASSES))), x, y + lower, 0.4 * half, pale, 0))
    return shapes


def relations_of(shapes: list[Shape]) -> list[tuple[int, int, int]]:
    """Return (subject, object, predicate); the ground is object 0, so that shapes count from 1."""
    relations = []
    for i, a in enumerate(shapes):
        for j, b in enumerate(shapes):
            if i == j:
                continue
            if a.holder == j:
                relations.append((i + 1, j + 1, IN))
            elif b.holder != i and a.apart(b):
                if a.overlaps(b, 0) and a.y < b.y:
                    relations.append((i + 1, j + 1, OVER))
                if a.overlaps(b, 1):
                    relations.append((i + 1, j + 1, BESIDE))
    return relations


def paint(shapes: list[Shape], random: np.random.Generator) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Return the image, and for every pixel the number of its object."""
    owners = Image.new("L", (SIDE, SIDE), 0)
    draw = ImageDraw.Draw(owners)
    for number, shape in enumerate(shapes, start=1):
        left, top, right, bottom = (
            shape.x - shape.half,
            shape.y - shape.half,
            shape.x + shape.half,
            shape.y + shape.half,
        )
        if shape.kind == "circle":
            draw.ellipse((left, top, right, bottom), fill=number)
        elif shape.kind == "square":
            draw.rectangle((left, top, right, bottom), fill=number)
        else:
            draw.polygon(((shape.x, top), (right, bottom), (left, bottom)), fill=number)
    owner = np.array(owners)
    ground = random.integers(90, 200, 3)
    palette = np.array([ground, *(shape.colour for shape in shapes)], dtype=np.float64)
    pixels = palette[owner] + random.normal(0, 6, (SIDE, SIDE, 1))
    return pixels.clip(0, 255).astype(np.uint8), owner


def write_data_set(folder: Path, images: int = 600, seed: int = 0, layout: Layout = "free") -> Path:
    """Write the data set into ``folder``, and return the path of its ``psg.json``."""
    for name in ("train2017", "panoptic_train2017"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    records: list[dict[str, Any]] = []
    for index in range(images):
        # Each image from a seed of its own: those of a small data set are the first of a large one.
        random = np.random.default_rng((seed, index))
        draw = {"free": draw_shapes, "cells": draw_shapes_in_cells}[layout]
        shapes = draw(random)
        while not relations_of(shapes):
            shapes = draw(random)
        pixels, owner = paint(shapes, random)
        file_name, masks_name = f"train2017/{index:012}.png", f"panoptic_train2017/{index:012}.png"
        Image.fromarray(pixels).save(folder / file_name)
        # Numbers as large as COCO's, so that all three bytes are in use.
        numbers = np.array([70001 + 257 * number for number in range(len(shapes) + 1)])
        coloured = numbers[owner]
        encoded = np.stack([coloured % 256, coloured // 256 % 256, coloured // 256**2], -1).astype(np.uint8)
        Image.fromarray(encoded).save(folder / masks_name)
        names = [GROUND, *(CLASSES[shape.kind] for shape in shapes)]
        segments, boxes = [], []
        for number, name in enumerate(names):
            rows, columns = np.nonzero(owner == number)
            category = OBJECT_CLASSES.index(name)
            segments.append(
                {
                    "id": int(numbers[number]),
                    "category_id": category,
                    "iscrowd": 0,
                    "isthing": int(category < 80),
                    "area": len(rows),
                }
            )
            edges = (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1)
            boxes.append({"bbox": [int(edge) for edge in edges], "category_id": category})
        records.append(
            {
                "file_name": file_name,
                "height": SIDE,
                "width": SIDE,
                "image_id": str(index),
                "pan_seg_file_name": masks_name,
                "segments_info": segments,
                "annotations": boxes,
                "relations": relations_of(shapes),
            }
        )
    content = {
        "thing_classes": OBJECT_CLASSES[:80],
        "stuff_classes": OBJECT_CLASSES[80:],
        "predicate_classes": PREDICATES,
        "test_image_ids": [str(index) for index in range(1, images, 2)],
        "data": records,
    }
    (folder / "psg.json").write_text(json.dumps(content))
    return folder / "psg.json"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--images", type=int, default=600)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--layout", choices=get_args(Layout), default="free")
    arguments = parser.parse_args()
    print(write_data_set(arguments.folder, arguments.images, arguments.seed, arguments.layout))


if __name__ == "__main__":
    main()

"""What the score does not see, and what it sees wrongly: pairs that a person would judge otherwise, with pictures.

    python -m benchmarks.trust.limits [--preset lite] [--quick]

Every pair was made to fail: this is no sample of anything. Its photographs are those of the package and of
scikit-image in the public domain, its text is drawn. Beside the score stand the score on the scale on which unrelated
photographs are 0, and the cosine of the whole-image embeddings of the same network. `docs/limits.md` shows it.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont, ImageOps
from rich.console import Console
from rich.table import Table

from benchmarks.shared.photographs import OBJECTS, Box, load_photographs
from benchmarks.shared.reporting import FIGURES, write_results
from benchmarks.trust.edits import blur, contrast, erase, grey, mirror, rotate, turn_hue
from benchmarks.trust.measures import EMBEDDING, SESS, Measures
from torchmetrics_sess.photographs import open_photograph
from torchmetrics_sess.presets import load_preset

HIGH, LOW = "scores high", "scores low"
SIDE = 256


class Pair(NamedTuple):
    """Two images, and what a person would say of them."""

    group: str
    name: str
    person: str
    original: Image.Image
    changed: Image.Image


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--preset", default="lite")
    parser.add_argument("--quick", action="store_true", help="four pairs; nothing is written")
    arguments = parser.parse_args()
    preset = load_preset(arguments.preset)
    if preset.baseline is None:
        parser.error("the preset has no baseline to rescale by")
    measures = Measures(preset, torch.device("cpu"), {})
    pairs = all_pairs()[:: 5 if arguments.quick else 1]
    rows = [row(pair, measures, preset.baseline) for pair in pairs]
    table = Table(*rows[0])
    for each in rows:
        table.add_row(*(f"{value:.3f}" if isinstance(value, float) else value for value in each.values()))
    Console(width=150).print(table)
    if not arguments.quick:
        command = ["python", "-m", "benchmarks.trust.limits", *sys.argv[1:]]
        print(write_results("limits", [*rows, {"signature": preset.signature()}], command))
        for group, file in ((HIGH, "limits-high"), (LOW, "limits-low")):
            print(draw([(p, r) for p, r in zip(pairs, rows, strict=True) if p.group == group], file))


def row(pair: Pair, measures: Measures, baseline: float) -> dict[str, Any]:
    (found,) = measures.against(pair.original, [pair.changed])
    rescaled = min(max((found[SESS] - baseline) / (1 - baseline), 0.0), 1.0)
    return {
        "group": pair.group,
        "pair": pair.name,
        "person": pair.person,
        "SeSS": found[SESS],
        "SeSS, rescaled": rescaled,
        "embedding": found[EMBEDDING],
    }


def all_pairs() -> list[Pair]:
    """Return all pairs, those that score too high first."""
    own = load_photographs()
    astronaut, cat, coffee, rocket = (open_photograph(name) for name in ("astronaut", "cat", "coffee", "rocket"))
    coins, camera = own["coins"], own["camera"]
    width, height = coins.size
    main = {name: box for name, box in OBJECTS.items() if box is not None}
    high = [
        ("noise, other noise", "nothing in common", noise(0), noise(1)),
        ("black, white", "nothing in common", plain(0), plain(255)),
        ("stripes, dots", "another texture", stripes(), dots()),
        ("one digit of a text", "another amount", text("Pay 100 EUR"), text("Pay 900 EUR")),
        ("one word of a text", "the opposite", text("DO NOT\nSTOP"), text("DO\nSTOP")),
        ("a face made unknowable", "who is it?", astronaut, pixelate(astronaut, Box(0.20, 0.44, 0.13, 0.09), 5)),
        ("one coin of 24 gone", "one fewer", coins, erase(coins, Box(0.17, 0.855, 0.12, 0.10))),
        ("a small thing gone", "no camera", camera, erase(camera, Box(0.30, 0.56, 0.09, 0.08))),
        ("the main thing gone", "no rocket", rocket, erase(rocket, main["rocket"])),
        ("another colour", "another cup", coffee, turn_hue(coffee, 150)),
        ("no colour", "black and white", cat, grey(cat)),
        ("left and right", "mirrored", astronaut, mirror(astronaut)),
        (
            "two pictures of a kind of thing",
            "other coins",
            coins.crop((0, 0, width, height // 2)),
            coins.crop((0, height // 2, width, height)),
        ),
        ("contrast of 12 %", "hard to see", coffee, contrast(grey(coffee), 0.12)),
    ]
    low = [
        ("blurred", "still a cat", cat, blur(cat, 10 * min(cat.size) / 224)),
        ("on its side", "still a rocket", rocket, rocket.rotate(90, expand=True)),
        ("upside down", "still an astronaut", astronaut, astronaut.rotate(180)),
        ("negative", "still a cup", coffee, ImageOps.invert(coffee)),
        ("tilted", "still a rocket", rocket, rotate(rocket, 45)),
        ("a line drawing", "still a cat", cat, drawing(cat)),
    ]
    return [Pair(HIGH, *each) for each in high] + [Pair(LOW, *each) for each in low]


def noise(seed: int) -> Image.Image:
    return _image(np.random.default_rng(seed).integers(0, 256, (SIDE, SIDE, 3)))


def plain(level: int) -> Image.Image:
    return Image.new("RGB", (SIDE, SIDE), (level,) * 3)


def stripes() -> Image.Image:
    wave = 128 + 100 * np.sin(2 * np.pi * np.arange(SIDE) / 16)
    return _image(np.broadcast_to(wave[:, None, None], (SIDE, SIDE, 3)))


def dots() -> Image.Image:
    wave = np.sin(2 * np.pi * np.arange(SIDE) / 32)
    return _image(np.repeat((128 + 100 * wave[:, None, None] * wave[None, :, None]), 3, axis=2))


def text(words: str) -> Image.Image:
    image = Image.new("RGB", (SIDE, SIDE), "white")
    ImageDraw.Draw(image).multiline_text(
        (SIDE / 2, SIDE / 2), words, "black", ImageFont.load_default(42), anchor="mm", align="center"
    )
    return image


def pixelate(image: Image.Image, box: Box, across: int) -> Image.Image:
    """Show what lies in a box as a few squares."""
    left, right = (round(image.width * (box.column + sign * box.half_width)) for sign in (-1, 1))
    top, bottom = (round(image.height * (box.row + sign * box.half_height)) for sign in (-1, 1))
    part = image.crop((left, top, right, bottom))
    squares = part.resize((across, round(across * part.height / part.width)), Image.Resampling.BOX)
    changed = image.copy()
    changed.paste(squares.resize(part.size, Image.Resampling.NEAREST), (left, top))
    return changed


def drawing(image: Image.Image) -> Image.Image:
    """Keep the edges only, as dark lines on white."""
    from skimage.color import rgb2gray
    from skimage.feature import canny

    edges: NDArray[np.bool_] = canny(rgb2gray(np.asarray(image)), sigma=2)  # type: ignore[no-untyped-call]
    return _image(np.repeat(np.where(edges, 0, 255)[:, :, None], 3, axis=2))


def draw(shown: Sequence[tuple[Pair, dict[str, Any]]], name: str) -> Path:
    """Draw both images of every pair, with what is said of them below; two pairs a line."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    lines = -(-len(shown) // 2)
    figure = plt.figure(figsize=(9.6, 2.75 * lines), layout="constrained")
    parts = figure.subfigures(lines, 2, squeeze=False, wspace=0.04)
    for place, (part, (pair, found)) in enumerate(zip(parts.flat, shown, strict=False), 1):
        part.suptitle(f"{place}. {pair.name}", fontsize=11, fontweight="bold")
        axes = part.subplots(1, 2)
        for axis, image in zip(axes, (pair.original, pair.changed), strict=True):
            axis.imshow(ImageOps.contain(image, (SIDE, SIDE)))
            axis.set(xticks=[], yticks=[])
            axis.spines[:].set_color("0.7")
        part.supxlabel(
            f"SeSS {found['SeSS']:.3f}, rescaled {found['SeSS, rescaled']:.3f}; embedding {found['embedding']:.3f}\n"
            f"a person: {pair.person}",
            fontsize=10,
        )
    FIGURES.mkdir(parents=True, exist_ok=True)
    path = FIGURES / f"{name}.webp"
    figure.savefig(path, dpi=100, pil_kwargs={"quality": 75})
    plt.close(figure)
    return path


def _image(values: NDArray[Any]) -> Image.Image:
    return Image.fromarray(np.asarray(values).clip(0, 255).astype(np.uint8))


if __name__ == "__main__":
    main()

"""Pictures of the lowest and the highest scores, as text that a page can hold."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import torch
from PIL import Image

from torchmetrics_sess.results import Row
from torchmetrics_sess.scoring import Scorer

# Pixels on the longer side of an image that is shown beside its partner.
_SHOWN = 560


@dataclass(frozen=True)
class Picture:
    """An image of the page: its content as a data URI, its size in pixels, and what it shows in words."""

    source: str
    width: int
    height: int
    alt: str


def can_explain() -> bool:
    """Say whether matplotlib is installed, which draws explanations."""
    return find_spec("matplotlib") is not None


def choose_extremes(rows: Sequence[Row], count: int) -> tuple[list[Row], list[Row]]:
    """Choose up to ``count`` lowest and highest scores, each original once on either side and no pair on both.

    Examples:
        >>> from torchmetrics_sess.images import FilePair
        >>> rows = [Row(FilePair(name, "", ""), score) for name, score in (("a", 0.2), ("b", 0.9), ("c", 0.5))]
        >>> [[row.pair.name for row in side] for side in choose_extremes(rows, 2)]
        [['a', 'c'], ['b']]
    """
    ascending = sorted((row for row in rows if row.score is not None), key=lambda row: row.score or 0.0)
    lowest = _first_of_each_name(ascending, count)
    taken = {id(row) for row in lowest}
    return lowest, _first_of_each_name([row for row in reversed(ascending) if id(row) not in taken], count)


def picture_explanation(row: Row, scorer: Scorer, device: torch.device) -> list[Picture]:
    """Return one picture of why the pair has its score.

    Raises:
        ValueError: if an image cannot be read.
    """
    from torchmetrics_sess.explanation import explain_pair
    from torchmetrics_sess.images import read_image

    images = read_image(row.pair.recon), read_image(row.pair.origin)
    explanation = explain_pair(scorer, *images, device)
    alt = (
        f"Why {row.pair.name} scores {explanation.score:.3f}: both images with their objects. {explanation.in_words()}"
    )
    with io.BytesIO() as file:
        explanation.plot()[0].savefig(file, format="png", dpi=200)
        with Image.open(file) as image:
            return [as_picture(image.convert("RGB"), alt)]


def picture_pair(row: Row) -> list[Picture]:
    """Return the original and the reconstruction, to be shown side by side.

    Raises:
        ValueError: if an image cannot be read.
    """
    pictures = []
    for what, path in (("The original", row.pair.origin), ("The reconstruction", row.pair.recon)):
        image = _read(path)
        image.thumbnail((_SHOWN, _SHOWN))
        pictures.append(as_picture(image, f"{what}, {Path(path).name}"))
    return pictures


def _first_of_each_name(rows: Sequence[Row], count: int) -> list[Row]:
    first: dict[str, Row] = {}
    for row in rows:
        if len(first) == count:
            break
        first.setdefault(row.pair.name, row)
    return list(first.values())


def _read(path: str) -> Image.Image:
    from torchmetrics_sess.images import read_image

    return Image.fromarray(read_image(path).permute(1, 2, 0).numpy())


def as_picture(image: Image.Image, alt: str) -> Picture:
    """Return an image as a page holds it."""
    with io.BytesIO() as file:
        image.save(file, format="WEBP", quality=88)
        content = base64.b64encode(file.getvalue()).decode()
    return Picture(f"data:image/webp;base64,{content}", image.width, image.height, alt)

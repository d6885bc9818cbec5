"""Annotated images to tokens: the one place where a segmenter sees what somebody has drawn."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool2d, interpolate

from torchmetrics_sess.extractor import limit_width
from torchmetrics_sess.relations.psg import AnnotatedImage, PsgDataset
from torchmetrics_sess.relations.shards import TokenRecord
from torchmetrics_sess.relations.tokens import ObjectTokens, read_tokens

# That of the geometric predicates, which are computed from nothing else.
_GRID = 24


def extract_tokens(
    dataset: PsgDataset,
    indices: Iterable[int],
    segmenter: Any,
    *,
    device: torch.device | str = "cpu",
    max_width: int | None = None,
    keep_found: bool = False,
) -> tuple[list[TokenRecord], list[str]]:
    """Return the tokens of some images of a data set.

    Args:
        dataset: the annotated images.
        indices: which of them.
        segmenter: whose tokens, see ``read_tokens``.
        device: what it works on.
        max_width: wider images are shrunk to this first, as the preset does.
        keep_found: whether to keep the objects that the segmenter found by itself, which only evaluation needs.

    Returns:
        One record per image, and a sentence about each image that could not be read.
    """
    records, failures = [], []
    for index in indices:
        try:
            annotated = dataset[index]
            image = limit_width(annotated.image.to(device) / 255, max_width)
            masks = _resize(annotated.masks.to(device), image.shape[1:])
            [tokens] = read_tokens(segmenter, [image], [masks])
        except ValueError as error:
            failures.append(f"{dataset.names()[index]}: {error}")
            continue
        records.append(_record(annotated, masks, tokens, keep_found))
    return records, failures


def _resize(masks: Tensor, size: torch.Size) -> Tensor:
    if masks.shape[1:] == size:
        return masks
    return interpolate(masks[None].float(), tuple(size), mode="nearest-exact")[0] > 0


def _record(annotated: AnnotatedImage, masks: Tensor, tokens: ObjectTokens, keep_found: bool) -> TokenRecord:
    shapes = (255 * adaptive_avg_pool2d(masks.float(), (_GRID, _GRID))).round()
    return TokenRecord(
        name=annotated.name,
        tokens=tokens.tokens.cpu(),
        origins=tokens.origins.to(torch.uint8).cpu(),
        classes=annotated.classes,
        shapes=shapes.to(torch.uint8).cpu(),
        relations=annotated.relations,
        found=tokens.found.cpu() if keep_found else None,
        iou=tokens.iou.cpu() if keep_found else None,
    )

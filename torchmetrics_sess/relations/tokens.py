"""One token for every object whose mask is given: what a relation head is trained on, and later reads.

Tokens come from segmenters, for the masks that these find; here they are had for masks that somebody has drawn.
"""

from __future__ import annotations

import enum
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool2d

from torchmetrics_sess.encoders.crops import bounding_boxes
from torchmetrics_sess.geometry import crisp_masks
from torchmetrics_sess.precision import full_precision
from torchmetrics_sess.segmenters import DinoSegmenter, SamSegmenter
from torchmetrics_sess.segmenters.dino import squash
from torchmetrics_sess.stages import Image, Segmentation

_MATCHING_IOU = 0.5


class Origin(enum.IntEnum):
    """Where the token of a drawn mask comes from."""

    MATCHED = 0
    """The found mask of highest IoU with it, which is at least .5; of several equal ones, the largest."""
    PROMPTED = 1
    """No found mask is that good: the segmenter was prompted with the box around the drawn mask."""
    POOLED = 2
    """The mean of what the network sees under the drawn mask."""


@dataclass(frozen=True, eq=False)
class ObjectTokens:
    """Tokens of the drawn objects of one image, and of those that the segmenter finds by itself.

    Args:
        tokens: of the drawn masks, ``[n, d]``.
        origins: where each comes from, see ``Origin``, ``[n]``.
        found: of the masks that the segmenter finds, ``[f, d]``.
        iou: of every found mask with every drawn one, ``[f, n]``.
    """

    tokens: Float[Tensor, "n d"]
    origins: Int64[Tensor, " n"]
    found: Float[Tensor, "f d"]
    iou: Float[Tensor, "f n"]


def read_tokens(segmenter: Any, images: list[Image], masks: list[Bool[Tensor, "_ _ _"]]) -> list[ObjectTokens]:
    """Return the tokens of drawn objects, as ``segmenter`` has them.

    With Segment Anything, every drawn mask gets the token of the found mask of highest IoU, if that is at least .5, and
    else that of the best mask that its box prompts. With the segmenter of ``lite``, which describes a region by the
    mean embedding under it, every drawn mask gets just that.

    Args:
        segmenter: a ``SamSegmenter`` or a ``DinoSegmenter``.
        images: float32 in [0, 1], on the device of the segmenter.
        masks: of the objects of every image, ``[n, h, w]``, at its size.

    Raises:
        TypeError: for any other segmenter.
        ValueError: if a mask is empty, or there are not as many stacks of masks as images.
    """
    if len(images) != len(masks):
        raise ValueError(f"`masks` must hold one stack for each of the {len(images)} images, got {len(masks)}")
    for image, drawn in zip(images, masks, strict=True):
        if drawn.shape[1:] != image.shape[1:]:
            raise ValueError(
                f"`masks` must be of the size of their image, {list(image.shape[1:])}, got {list(drawn.shape)}"
            )
        if not bool(drawn.flatten(1).any(1).all()):
            raise ValueError("`masks` must not be empty: an object without a pixel has no token")
    if not images:
        return []
    with full_precision(images[0].device):
        for kind, read in _READERS.items():
            if isinstance(segmenter, kind):
                return read(segmenter, images, masks)
    accepted = " or ".join(kind.__name__ for kind in _READERS)
    raise TypeError(f"`segmenter` must be a {accepted}, got {type(segmenter).__name__}")


def mask_iou(a: Bool[Tensor, "n h w"], b: Bool[Tensor, "m h w"]) -> Float[Tensor, "n m"]:
    """Return the IoU of every mask of ``a`` with every mask of ``b``; 0 where both are empty.

    Examples:
        >>> import torch
        >>> masks = torch.tensor([[[True, True, False]], [[False, True, False]]])
        >>> mask_iou(masks, masks)
        tensor([[1.0000, 0.5000],
                [0.5000, 1.0000]])
    """
    # Sums of up to 2**24 ones are exact in float32.
    first, second = a.flatten(1).float(), b.flatten(1).float()
    shared = first @ second.T
    union = first.sum(1)[:, None] + second.sum(1) - shared
    return shared / union.clamp(min=1)


def _read_sam(segmenter: SamSegmenter, images: list[Image], masks: list[Tensor]) -> list[ObjectTokens]:
    read = []
    for image, drawn in zip(images, masks, strict=True):
        height, width = image.shape[1:]
        [embedding] = segmenter.encode([image])
        found = segmenter.find(embedding, height, width)
        tokens = _tokens_of(found)
        iou = mask_iou(found.masks[0], drawn)
        best, which = iou.max(0)
        poor = best < _MATCHING_IOU
        chosen = tokens[which]
        if bool(poor.any()):
            top, left, bottom, right = bounding_boxes(drawn[poor][None])[0].unbind(1)
            prompted = segmenter.prompt(embedding, height, width, torch.stack([left, top, right, bottom], 1).float())
            chosen[poor] = _tokens_of(prompted)
        origins = torch.where(poor, int(Origin.PROMPTED), int(Origin.MATCHED))
        read.append(ObjectTokens(chosen, origins, tokens, iou))
    return read


def _read_dino(segmenter: DinoSegmenter, images: list[Image], masks: list[Tensor]) -> list[ObjectTokens]:
    read = []
    seen = segmenter.network(squash(images, segmenter.config.image_size))
    found = segmenter.regions(seen)
    for index, (image, drawn) in enumerate(zip(images, masks, strict=True)):
        patches = seen.patches[index]
        cover = adaptive_avg_pool2d(drawn.float(), patches.shape[:2]).flatten(1)
        # However small an object, some patch sees a part of it.
        tokens = cover / cover.sum(1, keepdim=True) @ patches.flatten(0, 1)
        origins = torch.full((len(drawn),), int(Origin.POOLED), device=drawn.device)
        crisp = crisp_masks(found.masks[index].float(), *image.shape[1:])
        read.append(ObjectTokens(tokens, origins, _tokens_of(found, index), mask_iou(crisp, drawn)))
    return read


def _tokens_of(segmentation: Segmentation, index: int = 0) -> Float[Tensor, "k d"]:
    if segmentation.tokens is None:
        raise ValueError("`segmenter` must give tokens, which this one does not")
    return segmentation.tokens[index]


_READERS: dict[type[Any], Callable[[Any, list[Image], list[Tensor]], list[ObjectTokens]]] = {
    SamSegmenter: _read_sam,
    DinoSegmenter: _read_dino,
}

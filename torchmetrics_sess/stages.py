"""What the stages of extraction hand to each other, and the one method that each kind of stage has.

Data flows one way: images → masks → relations → embeddings → scene graphs. Every batch type here holds images that
share one working size, with objects padded to a common number; a stage receives and returns a list of such batches, so
that it may work on all images of an update at once. Images between stages are float32 RGB in [0, 1] on the device.

A segmenter or encoder through which gradients flow, from what it returns to the pixels that it was given, says so by an
attribute ``differentiable`` that is true; ``torchmetrics_sess.SemanticSimilarityLoss`` asks for it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, TypeAlias, runtime_checkable

from jaxtyping import Bool, Float, Int
from torch import Tensor

# The axes have no names, so that the images of a list may differ in size.
Image: TypeAlias = Float[Tensor, "3 _ _"]


@dataclass(frozen=True, eq=False)
class Segmentation:
    """Masks of ``b`` images that share one working size.

    Args:
        masks: pixels of every object, ``[b, k, h, w]``; either bool, or how far every pixel belongs to the object, in
            [0, 1]. Padded slots are empty.
        valid: which slots hold an object, ``[b, k]``.
        tokens: one descriptor per mask, if the segmenter has one, ``[b, k, d]``.
        image_tokens: one descriptor per image, if the segmenter has one, ``[b, d]``.
        saliency: where a viewer looks, in [0, 1], if the segmenter's network tells, ``[b, h, w]``.
    """

    masks: Bool[Tensor, "b k h w"] | Float[Tensor, "b k h w"]
    valid: Bool[Tensor, "b k"]
    tokens: Float[Tensor, "b k d"] | None = None
    image_tokens: Float[Tensor, "b d"] | None = None
    saliency: Float[Tensor, "b h w"] | None = None


@dataclass(frozen=True, eq=False)
class Relations:
    """Predicates between the objects of ``b`` images.

    Args:
        relation: predicate of every ordered pair (subject, object), -1 where there is none, ``[b, k, k]``.
        confidence: its probability, -1 where there is none, ``[b, k, k]``.
        valid: the objects that stay in the graph, ``[b, k]``: at least one per image.
    """

    relation: Int[Tensor, "b k k"]
    confidence: Float[Tensor, "b k k"]
    valid: Bool[Tensor, "b k"]


@dataclass(frozen=True, eq=False)
class Embeddings:
    """Unit-norm embeddings of the objects and of the whole image, for ``b`` images.

    Args:
        features: ``[b, k, d]``; rows of slots that hold no object are arbitrary but finite.
        image_features: ``[b, e]``.
    """

    features: Float[Tensor, "b k d"]
    image_features: Float[Tensor, "b e"]


@runtime_checkable
class Segmenter(Protocol):
    """Finds the objects of images."""

    def __call__(self, images: list[Image]) -> list[Segmentation]:
        """Segment images of any sizes; the segmentations, concatenated, hold the images in the order given."""
        ...


@runtime_checkable
class RelationModel(Protocol):
    """Says how the objects of an image relate."""

    def __call__(self, segmentations: list[Segmentation]) -> list[Relations]:
        """Relate the objects of every segmentation."""
        ...


@runtime_checkable
class Encoder(Protocol):
    """Embeds objects and whole images."""

    def __call__(self, images: list[Image], segmentations: list[Segmentation]) -> list[Embeddings]:
        """Embed the valid objects of every segmentation, and the images themselves."""
        ...

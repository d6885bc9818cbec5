"""Images to scene graphs: the one place where the stages of extraction meet."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import torch
from jaxtyping import Shaped
from torch import Tensor, nn

from torchmetrics_sess.geometry import crisp_masks, mask_centers
from torchmetrics_sess.graph import SceneGraph
from torchmetrics_sess.images import prepare_images
from torchmetrics_sess.importance import ImportanceConfig, object_importance, spectral_residual
from torchmetrics_sess.precision import full_precision
from torchmetrics_sess.stages import Embeddings, Encoder, Image, RelationModel, Relations, Segmentation, Segmenter


class SceneGraphExtractor:
    """Turns batches of images into scene graphs.

    Networks among the stages are frozen and put in evaluation mode; they run in full float32 precision whatever the
    caller's autocast or TensorFloat-32 settings, unless a stage was made for a lower one.

    Args:
        segmenter: finds the objects.
        relation_model: relates them.
        encoder: embeds them and the whole image.
        importance: how much each object matters.
        max_width: wider images are shrunk to this width first, aspect kept; ``None`` leaves them. The published numbers
            use 800.
        device: where images are moved to; by default, they stay where they are.

    Raises:
        ValueError: for a ``max_width`` below 1.

    Examples:
        >>> import torch
        >>> from torchmetrics_sess.presets import load_preset
        >>> extractor = load_preset("lite").build(torch.device("cpu"))
        >>> [graph] = extractor(torch.rand(1, 3, 64, 96))
        >>> len(graph), graph.masks.shape, bool(graph.importance.sum().isclose(torch.tensor(1.0)))
        (64, torch.Size([64, 64, 96]), True)
    """

    def __init__(
        self,
        segmenter: Segmenter,
        relation_model: RelationModel,
        encoder: Encoder,
        *,
        importance: ImportanceConfig | None = None,
        max_width: int | None = 800,
        device: torch.device | str | None = None,
    ) -> None:
        if max_width is not None and max_width < 1:
            raise ValueError(f"`max_width` must be at least 1 or None, got {max_width}")
        self.segmenter = segmenter
        self.relation_model = relation_model
        self.encoder = encoder
        self.importance = importance or ImportanceConfig()
        self.max_width = max_width
        self.device = None if device is None else torch.device(device)
        for stage in (segmenter, relation_model, encoder):
            if isinstance(stage, nn.Module):
                stage.eval().requires_grad_(False)

    def __call__(self, images: Tensor | Sequence[Tensor], *, masks: bool = True) -> list[SceneGraph]:
        """Extract the scene graph of every image.

        Args:
            images: ``[B, 3, H, W]``, or a list of ``[3, H, W]`` of any sizes; uint8, or floating point in [0, 1].
            masks: whether the graphs carry the masks of their objects, at the size of the image (after ``max_width``).

        Returns:
            One graph per image, in the order given, all tensors on the CPU.

        Raises:
            ValueError: for images of a wrong shape or range, see ``torchmetrics_sess.images.prepare_images``.
            TypeError: for images of a wrong dtype.
        """
        return self.extract(prepare_images(images, "images"), masks=masks)

    def extract(self, images: list[Image], *, masks: bool = False, gradient: bool = False) -> list[SceneGraph]:
        """Do what a call does, for images that ``torchmetrics_sess.images.prepare_images`` has already checked.

        Args:
            images: as they are checked.
            masks: as for a call.
            gradient: whether features, centers and importance of the graphs can be differentiated by the images, which
                takes stages that can: see ``torchmetrics_sess.stages``. Relations are discrete, and their confidence is
                held fixed.
        """
        if self.device is not None:
            images = to_device(images, self.device)
        with full_precision(images[0].device, gradient=gradient):
            images = [limit_width(image, self.max_width) for image in images]
            segmentations = self.segmenter(images)
            with torch.no_grad():
                relations = self.relation_model(segmentations)
            return self.describe(images, segmentations, relations, masks=masks, gradient=gradient)

    def describe(
        self,
        images: list[Image],
        segmentations: list[Segmentation],
        relations: list[Relations],
        *,
        masks: bool = False,
        gradient: bool = False,
    ) -> list[SceneGraph]:
        """Embed and weigh objects whose masks and relations are there already.

        Args:
            images: at the size that was segmented, on the device of the networks.
            segmentations: of these images, as a segmenter gives them.
            relations: of these segmentations; objects that these leave out are left out.
            masks: as for a call.
            gradient: as for ``extract``.
        """
        with full_precision(images[0].device, gradient=gradient):
            segmentations = [
                dataclasses.replace(segmentation, valid=relation.valid)
                for segmentation, relation in zip(segmentations, relations, strict=True)
            ]
            embeddings = self.encoder(images, segmentations)
            return self._assemble(images, segmentations, relations, embeddings, masks)

    def _assemble(
        self,
        images: list[Image],
        segmentations: list[Segmentation],
        relations: list[Relations],
        embeddings: list[Embeddings],
        with_masks: bool,
    ) -> list[SceneGraph]:
        arrays: list[Tensor] = []
        start = 0
        for segmentation, relation, embedding in zip(segmentations, relations, embeddings, strict=True):
            stop = start + len(segmentation.valid)
            saliency = self._saliency(images[start:stop], segmentation)
            start = stop
            importance = object_importance(
                saliency, segmentation.masks, relation.confidence, self.importance, segmentation.valid
            )
            arrays += [
                embedding.features,
                mask_centers(segmentation.masks),
                importance,
                relation.relation,
                relation.confidence,
                embedding.image_features,
                segmentation.valid,
            ]
        on_cpu = to_cpu(arrays)
        graphs: list[SceneGraph] = []
        for group, segmentation in enumerate(segmentations):
            features, centers, importance, relation_ids, confidence, image_features, valid = on_cpu[7 * group :][:7]
            for index, keep in enumerate(valid):
                graphs.append(
                    SceneGraph(
                        features=features[index][keep],
                        centers=centers[index][keep],
                        importance=importance[index][keep],
                        relation=relation_ids[index][keep][:, keep],
                        confidence=confidence[index][keep][:, keep],
                        image_feature=image_features[index],
                        masks=_masks_of(segmentation, index, images[len(graphs)])[keep] if with_masks else None,
                    )
                )
        return graphs

    def _saliency(self, images: list[Image], segmentation: Segmentation) -> Tensor:
        if self.importance.saliency == "segmenter":
            if segmentation.saliency is None:
                raise ValueError(
                    "`importance.saliency` is 'segmenter', but this segmenter gives no saliency map: "
                    "use 'spectral_residual'"
                )
            return segmentation.saliency
        # Images of one segmentation may differ in size from each other and from its masks.
        height, width = segmentation.masks.shape[-2:]
        maps = [spectral_residual(image[None]) for image in images]
        return torch.cat([nn.functional.adaptive_avg_pool2d(saliency, (height, width)) for saliency in maps])


def limit_width(image: Image, max_width: int | None) -> Image:
    """Shrink an image wider than ``max_width`` to that width, aspect kept, as Pillow's bicubic filter shrinks 8 bits.

    Pillow filters rows, then columns, and rounds to 8 bits after each of the two passes.
    """
    _, height, width = image.shape
    if max_width is None or width <= max_width:
        return image
    pixels = (image * 255).round()[None]
    for size in ((height, max_width), (max(1, round(height * max_width / width)), max_width)):
        pixels = nn.functional.interpolate(pixels, size, mode="bicubic", antialias=True, align_corners=False)
        pixels = pixels.round().clamp(0, 255)
    return pixels[0] / 255


def to_device(images: Sequence[Shaped[Tensor, "_ _ _"]], device: torch.device) -> list[Tensor]:
    """Bring images to a device, as it gets to them; to the host, by the time that this returns."""
    # A copy to the host that does not block may be read before it has arrived; towards a device, order is kept.
    return [image.to(device, non_blocking=device.type != "cpu") for image in images]


def to_cpu(tensors: Sequence[Tensor]) -> list[Tensor]:
    """Bring tensors to the CPU in one transfer per dtype, however many they are."""
    if all(tensor.device.type == "cpu" for tensor in tensors):
        return list(tensors)
    arrived: dict[int, Tensor] = {}
    for dtype in {tensor.dtype for tensor in tensors}:
        chosen = [index for index, tensor in enumerate(tensors) if tensor.dtype == dtype]
        flat = torch.cat([tensors[index].flatten() for index in chosen]).cpu()
        parts = flat.split([tensors[index].numel() for index in chosen])
        arrived.update((index, part.view(tensors[index].shape)) for index, part in zip(chosen, parts, strict=True))
    return [arrived[index] for index in range(len(tensors))]


def _masks_of(segmentation: Segmentation, index: int, image: Image) -> Tensor:
    masks = segmentation.masks[index]
    if masks.dtype != torch.bool:
        masks = crisp_masks(masks, image.shape[-2], image.shape[-1])
    return masks.cpu()

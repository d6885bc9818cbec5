"""OpenCLIP: embeddings of bounding-box crops, of whole images, and of text."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import accumulate
from typing import Any

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn
from torch.nn.functional import normalize, pad

from torchmetrics_sess.encoders.crops import CropTransform, bounding_boxes
from torchmetrics_sess.stages import Embeddings, Image, Segmentation


class OpenClipEncoder(nn.Module):
    """Embeds the bounding-box crop of every mask, and the whole image, with an OpenCLIP model.

    An encoder in the sense of :class:`torchmetrics_sess.stages.Encoder`. The crops of all images of a call form one
    stream, cut into batches of a fixed number. Preprocessing is that of ``preprocess`` done on the device: features
    equal those of the PIL transform to 1e-3. Features are float32 and unit-norm, and zero in slots without an object.

    Args:
        model: an open_clip model. It is frozen, and stays in evaluation mode.
        preprocess: the transform that open_clip makes for it, from which sizes, interpolation, mean and standard
            deviation are read.
        tokenizer: the tokenizer that open_clip makes for it; only text needs it.
        crops_per_batch: how many crops go through the network at once. Changes memory and speed only.
        dtype: ``torch.bfloat16`` runs the image tower in that precision.

    Raises:
        ValueError: if ``preprocess`` has a step that is not supported, or ``crops_per_batch`` is not positive; on a
            call, if the segmentations are not those of the images.

    Example:
        >>> import open_clip, torch
        >>> from torchmetrics_sess.stages import Segmentation
        >>> vision = {"image_size": 32, "layers": 1, "width": 16, "patch_size": 16, "head_width": 8}
        >>> text = {"context_length": 8, "vocab_size": 16, "width": 8, "heads": 1, "layers": 1}
        >>> model = open_clip.CLIP(embed_dim=12, vision_cfg=vision, text_cfg=text)
        >>> encoder = OpenClipEncoder(model, open_clip.image_transform(32, is_train=False))
        >>> masks = torch.ones(1, 2, 20, 30, dtype=torch.bool)
        >>> (embeddings,) = encoder([torch.rand(3, 20, 30)], [Segmentation(masks, masks.any(-1).any(-1))])
        >>> embeddings.features.shape, embeddings.image_features.shape
        (torch.Size([1, 2, 12]), torch.Size([1, 12]))
    """

    def __init__(
        self,
        model: nn.Module,
        preprocess: Callable[[Any], Any],
        *,
        tokenizer: Callable[[list[str]], Tensor] | None = None,
        crops_per_batch: int = 64,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        super().__init__()
        if crops_per_batch < 1:
            raise ValueError(f"`crops_per_batch` must be at least 1, got {crops_per_batch}")
        self.model: Any = model.requires_grad_(False)
        self.transform = CropTransform.from_torchvision(preprocess)
        self.tokenizer = tokenizer
        self.crops_per_batch = crops_per_batch
        self.dtype = dtype
        self.eval()

    @classmethod
    def from_pretrained(
        cls,
        model_name: str = "ViT-H-14",
        pretrained: str = "laion2b_s32b_b79k",
        *,
        device: torch.device | str = "cpu",
        cache_dir: str | None = None,
        crops_per_batch: int = 64,
        dtype: torch.dtype = torch.float32,
    ) -> OpenClipEncoder:
        """Load a model with its preprocessing and tokenizer, as open_clip finds them.

        Args:
            model_name: the architecture, by open_clip's name.
            pretrained: its weights, by open_clip's name, or a local file.
            device: where to run.
            cache_dir: where open_clip keeps what it downloads; its own default otherwise.
            crops_per_batch: as for the class.
            dtype: as for the class.

        Raises:
            ValueError: if ``pretrained`` is empty, because random weights make no score.
            RuntimeError: if open_clip knows no such model or weights.
        """
        import open_clip

        if not pretrained:
            raise ValueError("`pretrained` must name weights or a local file, got nothing")
        model, _, preprocess = open_clip.create_model_and_transforms(
            model_name, pretrained=pretrained, device=device, cache_dir=cache_dir
        )
        return cls(
            model,
            preprocess,
            tokenizer=open_clip.get_tokenizer(model_name),
            crops_per_batch=crops_per_batch,
            dtype=dtype,
        )

    def train(self, mode: bool = True) -> OpenClipEncoder:
        """Stay in evaluation mode: features do not depend on what the surrounding module is doing."""
        return super().train(False)

    @torch.no_grad()
    def forward(self, images: list[Image], segmentations: list[Segmentation]) -> list[Embeddings]:
        """Embed the valid objects of every segmentation, and the images themselves."""
        sizes = [segmentation.masks.shape[2:] for segmentation in segmentations for _ in segmentation.masks]
        if [image.shape[1:] for image in images] != sizes:
            raise ValueError(
                f"`segmentations` must be of the images given, of sizes {[list(image.shape[1:]) for image in images]}, "
                f"got sizes {[list(size) for size in sizes]}"
            )
        if not images:
            return []

        # Slot 0 of every image is the whole of it.
        valid = [pad(segmentation.valid, (1, 0), value=True) for segmentation in segmentations]
        slots = [kept.nonzero(as_tuple=True) for kept in valid]
        boxes = [_boxes(segmentation)[slot] for segmentation, slot in zip(segmentations, slots, strict=True)]
        crops_per_image = torch.cat([kept.sum(1) for kept in valid]).tolist()
        stream = self._batches(images, torch.cat(boxes), crops_per_image)
        features = torch.cat([self._embed(crops) for crops in stream])

        embeddings = []
        for kept, slot, rows in zip(valid, slots, torch.split(features, [len(box) for box in boxes]), strict=True):
            padded = rows.new_zeros(*kept.shape, rows.shape[1])
            padded[slot] = rows
            embeddings.append(Embeddings(features=padded[:, 1:], image_features=padded[:, 0]))
        return embeddings

    @torch.no_grad()
    def encode_text(self, prompts: Sequence[str]) -> Float[Tensor, "m d"]:
        """Return the unit-norm embedding of every prompt, as float32.

        Raises:
            ValueError: if the encoder was built without ``tokenizer``.
        """
        if self.tokenizer is None:
            raise ValueError("`tokenizer` is needed to embed text; pass `open_clip.get_tokenizer(model_name)`")
        device = next(self.model.parameters()).device
        with torch.autocast(device.type, enabled=False):
            return normalize(self.model.encode_text(self.tokenizer(list(prompts)).to(device)).float(), dim=-1)

    def _batches(
        self, images: list[Image], boxes: Int64[Tensor, "n 4"], crops_per_image: list[int]
    ) -> Iterator[Float[Tensor, "m 3 height width"]]:
        """Cut the crops of all images, in order, into batches of ``crops_per_batch``."""
        ends = list(accumulate(crops_per_image))
        for start in range(0, len(boxes), self.crops_per_batch):
            stop = start + self.crops_per_batch
            yield torch.cat(
                [
                    self.transform(image, boxes[max(start, end - count) : min(stop, end)])
                    for image, count, end in zip(images, crops_per_image, ends, strict=True)
                    if start < end and end - count < stop
                ]
            )

    def _embed(self, crops: Float[Tensor, "m 3 height width"]) -> Float[Tensor, "m d"]:
        with torch.autocast(crops.device.type, dtype=torch.bfloat16, enabled=self.dtype == torch.bfloat16):
            features: Tensor = self.model.encode_image(crops)
        return normalize(features.float(), dim=-1)


def _boxes(segmentation: Segmentation) -> Int64[Tensor, "b slots 4"]:
    """Return the box of the whole image, then those of the masks."""
    boxes = bounding_boxes(segmentation.masks)
    whole = boxes.new_tensor([0, 0, *segmentation.masks.shape[2:]]).expand(len(boxes), 1, 4)
    return torch.cat([whole, boxes], 1)

"""OpenCLIP: embeddings of bounding-box crops, of whole images, and of text."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import accumulate
from pathlib import Path
from typing import Any, ClassVar

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn
from torch.nn.functional import normalize, pad

from torchmetrics_sess.config import setting
from torchmetrics_sess.encoders.crops import CropTransform, bounding_boxes
from torchmetrics_sess.geometry import crisp_masks
from torchmetrics_sess.precision import Precision
from torchmetrics_sess.stages import Embeddings, Image, Segmentation
from torchmetrics_sess.weights import (
    WEIGHTS,
    CorruptWeightError,
    MissingWeightError,
    fetch,
    is_offline,
    sha256_of,
)

# What the presets use is known file by file; all else open_clip finds, and vouches for, on its own.
_KNOWN = {
    ("ViT-H-14", "laion2b_s32b_b79k"): "open_clip_vit_h_14",
    ("ViT-B-32", "laion2b_s34b_b79k"): "open_clip_vit_b_32",
}


@dataclass(frozen=True)
class OpenClipEncoderConfig:
    """Which OpenCLIP model to use.

    Args:
        model: the architecture, by open_clip's name.
        pretrained: its weights, by open_clip's name, or a local file.
        dtype: what the image tower computes in; the text tower stays in float32.
        crops_per_batch: crops that go through the network at once; changes memory, not scores.

    Attributes:
        sha256: of the local file, as it was when these settings were made; empty without one. They stand for this
            content alone.

    Raises:
        ValueError: if ``pretrained`` is empty, because random weights make no score, or a file that cannot be read, or
            ``crops_per_batch`` is not positive.
    """

    kind: ClassVar[str] = "open_clip"

    model: str = setting("ViT-H-14", short="")
    pretrained: str = setting("laion2b_s32b_b79k", short="")
    dtype: Precision = setting("float32", short="")
    crops_per_batch: int = 64
    sha256: str = field(init=False, default="", repr=False)

    def __post_init__(self) -> None:
        if not self.pretrained:
            raise ValueError("`pretrained` must name weights, got nothing")
        if not self.weights() and Path(self.pretrained).is_file():
            try:
                object.__setattr__(self, "sha256", sha256_of(self.pretrained))
            except OSError as error:
                raise ValueError(f"`pretrained` must be a file that can be read: {error}") from error
        if self.crops_per_batch < 1:
            raise ValueError(f"`crops_per_batch` must be at least 1, got {self.crops_per_batch}")

    def weights(self) -> list[str]:
        """Return the name of the checkpoint, if it is one that the presets use."""
        known = _KNOWN.get((self.model, self.pretrained))
        return [] if known is None else [known]

    def digests(self) -> list[str]:
        """Return the digest of the checkpoint, if it is one that the presets use or a local file."""
        digests = [WEIGHTS[name].sha256 for name in self.weights()] or [self.sha256]
        return [digest[:8] for digest in digests if digest]

    def build(self, device: torch.device) -> OpenClipEncoder:
        """Load the model with its text tower, frozen, on ``device``, fetching it if it is not on this machine.

        Raises:
            MissingWeightError: if the weights are not here and cannot be had.
            CorruptWeightError: if a local file is another one by now.
        """
        if self.sha256:
            if not Path(self.pretrained).is_file():
                raise MissingWeightError(f"the weights {self.pretrained} are not there any more")
            if sha256_of(self.pretrained) != self.sha256:
                raise CorruptWeightError(
                    f"{self.pretrained} has changed since this preset was loaded, and its signature would be wrong; "
                    "load the preset again"
                )
        return OpenClipEncoder.from_pretrained(
            self.model,
            self.pretrained,
            device=device,
            crops_per_batch=self.crops_per_batch,
            dtype=getattr(torch, self.dtype),
        )

    def text_tower(self) -> str:
        """Name the model and the weights that ``OpenClipEncoder.encode_text`` depends on."""
        return "-".join([self.model, self.pretrained, *self.digests()])


class OpenClipEncoder(nn.Module):
    """Embeds the bounding-box crop of every mask, and the whole image, with an OpenCLIP model.

    An encoder in the sense of ``torchmetrics_sess.stages.Encoder``. The crops of all images of a call form one
    stream, cut into batches of a fixed number. Preprocessing is that of ``preprocess`` done on the device: features
    equal those of the PIL transform to 1e-3. Features are float32 and unit-norm, and zero in slots without an object.
    Where masks are soft, a pixel counts to the object that it most belongs to.

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

    Examples:
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
            cache_dir: where open_clip keeps what it downloads. By default the checkpoints of the presets are those that
                ``torchmetrics_sess.weights`` knows and checks, and open_clip has its own place for all others.
            crops_per_batch: as for the class.
            dtype: as for the class.

        Raises:
            ValueError: if ``pretrained`` is empty, because random weights make no score.
            RuntimeError: if open_clip knows no such model or weights.
            MissingWeightError: if the weights are not here and cannot be had.
            CorruptWeightError: if a checkpoint of the presets is not what it should be.
        """
        import open_clip

        if not pretrained:
            raise ValueError("`pretrained` must name weights or a local file, got nothing")
        known = None if cache_dir else _KNOWN.get((model_name, pretrained))
        if known is None and not Path(pretrained).is_file() and is_offline():
            raise MissingWeightError(
                f"SESS_OFFLINE=1 forbids open_clip to look for the weights {pretrained!r} of {model_name}; pass the "
                f"path of a local file in place of their name"
            )
        # How images are prepared goes with the name of the weights, not with their file.
        preparation = open_clip.get_pretrained_cfg(model_name, pretrained)
        model, _, preprocess = open_clip.create_model_and_transforms(
            model_name,
            pretrained=pretrained if known is None else str(fetch(known)),
            device=device,
            cache_dir=cache_dir,
            **{f"image_{name}": preparation.get(name) for name in ("mean", "std", "interpolation", "resize_mode")},
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
        groups = _group(images, segmentations)
        if not images:
            return []

        # Slot 0 of every image is the whole of it.
        valid = [pad(segmentation.valid, (1, 0), value=True) for segmentation in segmentations]
        slots = [kept.nonzero(as_tuple=True) for kept in valid]
        boxes = [_boxes(*each)[slot] for each, slot in zip(zip(groups, segmentations, strict=True), slots, strict=True)]
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


def _group(images: list[Image], segmentations: list[Segmentation]) -> list[list[Image]]:
    """Return the images of every segmentation, after checking that they are its images."""
    sizes = [list(image.shape[1:]) for image in images]
    got = [list(segmentation.masks.shape[2:]) for segmentation in segmentations for _ in segmentation.valid]
    # Memberships come at any resolution, masks at that of the image.
    soft = [segmentation.masks.dtype != torch.bool for segmentation in segmentations for _ in segmentation.valid]
    if len(sizes) != len(got) or any(a != b and not c for a, b, c in zip(sizes, got, soft, strict=True)):
        raise ValueError(f"`segmentations` must be of the images given, of sizes {sizes}, got sizes {got}")
    ends = list(accumulate(len(segmentation.valid) for segmentation in segmentations))
    return [images[start:end] for start, end in zip([0, *ends], ends, strict=False)]


def _boxes(images: list[Image], segmentation: Segmentation) -> Int64[Tensor, "b slots 4"]:
    """Return the box of each whole image, then those of its masks."""
    if segmentation.masks.dtype == torch.bool:
        boxes = bounding_boxes(segmentation.masks)
    else:
        crisp = [crisp_masks(masks, *image.shape[1:]) for image, masks in zip(images, segmentation.masks, strict=True)]
        boxes = torch.stack([bounding_boxes(masks) for masks in crisp])
    whole = boxes.new_tensor([[0, 0, *image.shape[1:]] for image in images])
    return torch.cat([whole[:, None], boxes], 1)

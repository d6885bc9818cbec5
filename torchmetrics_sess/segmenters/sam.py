"""Segment Anything (SAM, 2023): every mask that a grid of point prompts finds, with its mask token."""

from __future__ import annotations

import dataclasses
import pickle
import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal

import numpy as np
import torch
from jaxtyping import Bool, Float, Int, Int64, UInt8
from segment_anything import sam_model_registry
from segment_anything.modeling import Sam
from segment_anything.utils.amg import build_point_grid
from segment_anything.utils.transforms import ResizeLongestSide
from torch import Tensor, nn
from torch.nn.functional import interpolate, pad
from torchvision.ops import nms

from torchmetrics_sess.config import setting
from torchmetrics_sess.geometry import mask_boxes
from torchmetrics_sess.precision import Precision
from torchmetrics_sess.segmenters._pillow import resize_bilinear
from torchmetrics_sess.segmenters._sam_networks import PromptDecoder, encode_images
from torchmetrics_sess.stages import Image, Segmentation
from torchmetrics_sess.weights import WEIGHTS, fetch

# Overlaps are counted in float32, which is exact below 2**24, on this many numbers at a time.
_COUNTED_AT_ONCE = 2**24


@dataclass(frozen=True)
class SamSegmenterConfig:
    """Which SAM to use and which of its masks to keep; what the settings mean is said at ``SamSegmenter``.

    Args:
        checkpoint: the released checkpoint, which also names the architecture.
        points_per_side: see ``SamSegmenter``, as for all that follow.
        pred_iou_thresh: lowest predicted IoU.
        stability_score_thresh: lowest stability score.
        stability_score_offset: how far the stability score moves the threshold of the logits.
        box_nms_thresh: IoU of boxes above which the worse mask goes.
        duplicate_iou_thresh: IoU of masks above which the smaller one goes.
        max_masks: how many masks stay.
        dtype: what the networks compute in.
        points_per_batch: prompts decoded at once.
        images_per_batch: images encoded at once.

    Raises:
        ValueError: if a count is not positive.
    """

    kind: ClassVar[str] = "sam"

    checkpoint: Literal["sam_vit_h", "sam_vit_l", "sam_vit_b"] = setting("sam_vit_h", short="")
    points_per_side: int = setting(32, short="grid")
    pred_iou_thresh: float = setting(0.88, short="iou")
    stability_score_thresh: float = setting(0.95, short="stable")
    stability_score_offset: float = setting(1.0, short="offset")
    box_nms_thresh: float = setting(0.7, short="nms")
    duplicate_iou_thresh: float = setting(0.8, short="dup")
    max_masks: int = setting(512, short="max")
    dtype: Precision = setting("float32", short="")
    points_per_batch: int = 64
    images_per_batch: int = 4

    def __post_init__(self) -> None:
        for name in ("points_per_side", "max_masks", "points_per_batch", "images_per_batch"):
            if getattr(self, name) < 1:
                raise ValueError(f"`{name}` must be at least 1, got {getattr(self, name)}")

    def weights(self) -> list[str]:
        """Return the name of the checkpoint."""
        return [self.checkpoint]

    def digests(self) -> list[str]:
        """Return the digest of the checkpoint."""
        return [WEIGHTS[self.checkpoint].sha256[:8]]

    def build(self, device: torch.device) -> SamSegmenter:
        """Load the checkpoint, frozen, on ``device``, fetching it if it is not on this machine."""
        return SamSegmenter.from_checkpoint(fetch(self.checkpoint), self, device=device)


class SamSegmenter(nn.Module):
    """Finds the objects of images with Segment Anything's automatic mask generation.

    A segmenter in the sense of ``torchmetrics_sess.stages.Segmenter``. Masks and their order are those of
    ``segment_anything.SamAutomaticMaskGenerator`` with the same settings, after its result is sorted by area (largest
    first; equal areas keep its order) and cleared of near duplicates: going down the list, a mask goes if its IoU with
    one that stays exceeds ``duplicate_iou_thresh``. Every mask carries its token, the mask decoder's output for it,
    which relation models read. An image in which nothing is found gets one mask that covers it, its token zeros.

    Images are encoded together, prompts decoded in large batches. Masks that the predicted IoU rules out are never
    drawn, and those that wait for the end take one bit per pixel, so that memory grows with the batch sizes, not with
    the number of candidates. Batch sizes change results by rounding only; training mode and autocast do not.

    Args:
        sam: a model of ``segment_anything``. It is frozen, and stays in evaluation mode.
        points_per_side: prompts per image side; an image gets the square of it, evenly spaced.
        pred_iou_thresh: masks stay whose quality, as the network itself estimates it, exceeds this; all of them, if it
            is not positive.
        stability_score_thresh: masks stay whose stability score reaches this; all of them, if it is not positive. The
            score is the IoU of the mask at a raised and at a lowered threshold.
        stability_score_offset: how far the stability score raises and lowers the threshold of the logits.
        box_nms_thresh: of two masks whose bounding boxes have a larger IoU, the one of higher predicted IoU stays.
        duplicate_iou_thresh: of two masks with a larger IoU, the larger one stays.
        max_masks: how many masks stay at most, largest first.
        points_per_batch: prompts decoded at once, and masks drawn at once. Changes memory and speed only.
        images_per_batch: images encoded at once. Changes memory and speed only.
        dtype: ``torch.bfloat16`` runs the networks in that precision. Masks then differ.

    Raises:
        ValueError: if a count is not positive, or ``dtype`` is another one; on a call, if an image is not float32
            ``[3, h, w]``.

    Examples:
        >>> import torch
        >>> from segment_anything.modeling import ImageEncoderViT, MaskDecoder, PromptEncoder, Sam, TwoWayTransformer
        >>> sam = Sam(
        ...     ImageEncoderViT(img_size=64, embed_dim=16, depth=1, num_heads=1, out_chans=16),
        ...     PromptEncoder(embed_dim=16, image_embedding_size=(4, 4), input_image_size=(64, 64), mask_in_chans=4),
        ...     MaskDecoder(transformer_dim=16, transformer=TwoWayTransformer(1, 16, num_heads=2, mlp_dim=16)),
        ... )
        >>> segmenter = SamSegmenter(sam, points_per_side=2, pred_iou_thresh=1e9)  # so that no mask is good enough
        >>> (segmentation,) = segmenter([torch.rand(3, 20, 30)])
        >>> segmentation.masks.shape, segmentation.masks.all().item(), segmentation.tokens.shape
        (torch.Size([1, 1, 20, 30]), True, torch.Size([1, 1, 16]))
    """

    def __init__(
        self,
        sam: Sam,
        *,
        points_per_side: int = 32,
        pred_iou_thresh: float = 0.88,
        stability_score_thresh: float = 0.95,
        stability_score_offset: float = 1.0,
        box_nms_thresh: float = 0.7,
        duplicate_iou_thresh: float = 0.8,
        max_masks: int = 512,
        points_per_batch: int = 64,
        images_per_batch: int = 4,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        super().__init__()
        if dtype not in (torch.float32, torch.bfloat16):
            raise ValueError(f"`dtype` must be torch.float32 or torch.bfloat16, got {dtype}")
        self.sam = sam.requires_grad_(False)
        # Where a model that is handed in comes from is not known: `checkpoint` keeps its default and is not looked at.
        self.config = SamSegmenterConfig(
            points_per_side=points_per_side,
            pred_iou_thresh=pred_iou_thresh,
            stability_score_thresh=stability_score_thresh,
            stability_score_offset=stability_score_offset,
            box_nms_thresh=box_nms_thresh,
            duplicate_iou_thresh=duplicate_iou_thresh,
            max_masks=max_masks,
            dtype="bfloat16" if dtype == torch.bfloat16 else "float32",
            points_per_batch=points_per_batch,
            images_per_batch=images_per_batch,
        )
        self.dtype = dtype
        self.eval()

    @classmethod
    def from_checkpoint(
        cls,
        path: str | Path,
        config: SamSegmenterConfig | None = None,
        *,
        device: torch.device | str = "cpu",
    ) -> SamSegmenter:
        """Build the model that ``config`` names and load its weights, without running any code the file may hold.

        Args:
            path: a released checkpoint, such as ``sam_vit_h_4b8939.pth``.
            config: the settings; by default those of the class with ViT-H.
            device: where to run.

        Raises:
            FileNotFoundError: if there is no such file.
            ValueError: if the file holds anything but tensors, or not those of ``config.checkpoint``.
        """
        config = config or SamSegmenterConfig()
        try:
            # A mapped file is read as it is used, but PyTorch maps only the format that it writes since 1.6.
            tensors = torch.load(path, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(path))
        except (pickle.UnpicklingError, RuntimeError, EOFError) as error:
            raise ValueError(f"{path} is not a file of plain tensors, and is not loaded: {error}") from error
        # Weights are taken from the file as they are, so that random ones need not be drawn first.
        with torch.device("meta"):
            sam = sam_model_registry[config.checkpoint.removeprefix("sam_")]()
        try:
            sam.load_state_dict(tensors, assign=True)
        except (RuntimeError, TypeError) as error:
            raise ValueError(f"{path} is not a checkpoint of {config.checkpoint}: {error}") from error
        settings = dataclasses.asdict(config) | {"dtype": getattr(torch, config.dtype)}
        del settings["checkpoint"]
        segmenter = cls(sam.to(device), **settings)
        segmenter.config = config
        return segmenter

    def train(self, mode: bool = True) -> SamSegmenter:
        """Stay in evaluation mode: masks do not depend on what the surrounding module is doing."""
        return super().train(False)

    @torch.no_grad()
    def forward(self, images: list[Image]) -> list[Segmentation]:
        """Segment images of any sizes, one segmentation per image, largest mask first."""
        segmentations = []
        for start in range(0, len(images), self.config.images_per_batch):
            batch = images[start : start + self.config.images_per_batch]
            for image, embedding in zip(batch, self.encode(batch), strict=True):
                segmentations.append(self.find(embedding, image.shape[1], image.shape[2]))
        return segmentations

    @torch.no_grad()
    def encode(self, images: list[Image]) -> Float[Tensor, "b d fh fw"]:
        """Embed images of any sizes, all at once, for ``find`` and ``prompt``."""
        _check_images(images)
        # Whoever handed the model in may have set it to training since.
        self.sam.eval()
        with torch.autocast(images[0].device.type, enabled=False):
            pixels = torch.stack([self._preprocess(image) for image in images])
            return encode_images(self.sam.image_encoder, pixels, self.dtype)

    @torch.no_grad()
    def find(self, embedding: Float[Tensor, "d fh fw"], height: int, width: int) -> Segmentation:
        """Segment one image, of ``height`` by ``width`` pixels, from its embedding."""
        with torch.autocast(embedding.device.type, enabled=False):
            return self._segment(embedding, height, width)

    @torch.no_grad()
    def prompt(
        self,
        embedding: Float[Tensor, "d fh fw"],
        height: int,
        width: int,
        places: Float[Tensor, "p 2"] | Float[Tensor, "p 4"],
    ) -> Segmentation:
        """Return the mask that the network takes for the best of the three it has for a point or a box.

        Args:
            embedding: of one image, see ``encode``.
            height: of the image, in pixels.
            width: of the image, in pixels.
            places: (x, y) of points, or (left, top, right, bottom) of boxes, in pixels of the image.

        Returns:
            One mask with its token per place, in the order given, ``[1, p, height, width]``.
        """
        new_height, new_width = self._input_size(height, width)
        factors = torch.tensor([new_width / width, new_height / height], dtype=torch.float64, device=embedding.device)
        places = places.to(embedding.device).double() * factors.repeat(places.shape[1] // 2)
        masks, tokens = [], []
        with torch.autocast(embedding.device.type, enabled=False):
            decoder = PromptDecoder(self.sam, embedding, self.dtype)
            for some in places.float().split(self.config.points_per_batch):
                answers = decoder.answer(some)
                prompt, slot = torch.arange(len(some), device=some.device), answers.predicted_iou.argmax(1)
                logits = self._enlarge(decoder.draw(answers, prompt, slot), height, width)
                masks.append(logits > self.sam.mask_threshold)
                tokens.append(answers.tokens[prompt, slot])
        found = torch.cat(masks)[None]
        return Segmentation(found, torch.ones_like(found[:, :, 0, 0]), torch.cat(tokens)[None])

    def _input_size(self, height: int, width: int) -> tuple[int, int]:
        """Return the size at which the network sees an image; at least one pixel, however thin the image is."""
        longest = self.sam.image_encoder.img_size
        new_height, new_width = ResizeLongestSide.get_preprocess_shape(height, width, longest)
        return max(1, new_height), max(1, new_width)

    def _preprocess(self, image: Image) -> Float[Tensor, "3 side side"]:
        """Return the network's input, which is made from 8-bit pixels."""
        pixels = (image * 255).round().clamp(0, 255).to(torch.uint8)
        resized = resize_bilinear(pixels, self._input_size(*pixels.shape[1:]))
        preprocessed: Tensor = self.sam.preprocess(resized)
        return preprocessed

    def _points(self, height: int, width: int) -> Float[Tensor, "p 2"]:
        """Return the prompts as (x, y) in pixels of the network's input; in double precision, as the original does."""
        new_height, new_width = self._input_size(height, width)
        points = build_point_grid(self.config.points_per_side) * np.array([width, height])
        points = points * np.array([new_width / width, new_height / height])
        return torch.from_numpy(points).to(self.sam.device)

    def _segment(self, embedding: Float[Tensor, "d fh fw"], height: int, width: int) -> Segmentation:
        decoder = PromptDecoder(self.sam, embedding, self.dtype)
        parts = [
            candidates
            for points in self._points(height, width).split(self.config.points_per_batch)
            for candidates in self._candidates(decoder, points, height, width)
        ]
        if not parts:
            return _whole_image(height, width, embedding)
        packed, boxes, scores, tokens = (torch.cat(part) for part in zip(*parts, strict=True))
        kept = nms(boxes.float(), scores, self.config.box_nms_thresh)
        packed, tokens = packed[kept], tokens[kept]
        overlaps = _count_overlaps(packed).cpu().numpy()
        distinct = _largest_distinct(overlaps, self.config.duplicate_iou_thresh)[: self.config.max_masks]
        order = torch.as_tensor(distinct, device=embedding.device)
        masks = _unpack(packed[order])[:, : height * width].reshape(-1, height, width)
        valid = torch.ones(1, len(masks), dtype=torch.bool, device=masks.device)
        return Segmentation(masks=masks[None], valid=valid, tokens=tokens[None, order])

    def _candidates(
        self, decoder: PromptDecoder, points: Float[Tensor, "p 2"], height: int, width: int
    ) -> Iterator[tuple[UInt8[Tensor, "k bytes"], Int64[Tensor, "k 4"], Float[Tensor, " k"], Float[Tensor, "k d"]]]:
        """Yield the packed masks, boxes, predicted IoU and tokens of the good masks that some points give."""
        config, threshold = self.config, self.sam.mask_threshold
        answers = decoder.answer(points)
        lowest = config.pred_iou_thresh if config.pred_iou_thresh > 0 else -torch.inf
        prompt, slot = (answers.predicted_iou > lowest).nonzero(as_tuple=True)
        if len(prompt) == 0:
            return
        scores, tokens = answers.predicted_iou[prompt, slot], answers.tokens[prompt, slot]
        parts = (part.split(config.points_per_batch) for part in (decoder.draw(answers, prompt, slot), scores, tokens))
        for drawn, score, token in zip(*parts, strict=True):
            logits = self._enlarge(drawn, height, width)
            masks = logits > threshold
            if config.stability_score_thresh > 0:
                inner = _areas(logits > threshold + config.stability_score_offset)
                outer = _areas(logits > threshold - config.stability_score_offset)
                stable = (inner / outer >= config.stability_score_thresh).nonzero().squeeze(1)
                masks, score, token = masks[stable], score[stable], token[stable]
            if len(masks) > 0:
                yield _pack(masks), _boxes(masks), score, token

    def _enlarge(self, logits: Float[Tensor, "k rows columns"], height: int, width: int) -> Float[Tensor, "k h w"]:
        """Bring logits to the size of the image, through the size of the network's input as the original does."""
        new_height, new_width = self._input_size(height, width)
        factor = self.sam.image_encoder.img_size // logits.shape[1]
        # The input's padding is cut off; two pixels of it are all that interpolation can reach.
        seen = logits[None, :, : new_height // factor + 2, : new_width // factor + 2]
        seen = interpolate(seen, scale_factor=factor, mode="bilinear")[..., :new_height, :new_width]
        enlarged: Tensor = interpolate(seen, (height, width), mode="bilinear")[0]
        return enlarged


def _check_images(images: Sequence[Tensor]) -> None:
    for i, image in enumerate(images):
        if image.ndim != 3 or image.shape[0] != 3 or image.numel() == 0 or image.dtype != torch.float32:
            raise ValueError(f"`images[{i}]` must be float32 [3, h, w], got {image.dtype} {list(image.shape)}")


def _whole_image(height: int, width: int, embedding: Float[Tensor, "d fh fw"]) -> Segmentation:
    return Segmentation(
        masks=torch.ones(1, 1, height, width, dtype=torch.bool, device=embedding.device),
        valid=torch.ones(1, 1, dtype=torch.bool, device=embedding.device),
        tokens=torch.zeros(1, 1, len(embedding), device=embedding.device),
    )


def _areas(masks: Bool[Tensor, "k h w"]) -> Int[Tensor, " k"]:
    return masks.sum(dim=2, dtype=torch.int32).sum(dim=1, dtype=torch.int32)


def _boxes(masks: Bool[Tensor, "k h w"]) -> Int64[Tensor, "k 4"]:
    """Return (left, top, right, bottom) of every mask, the last pixel included; zeros for an empty mask."""
    top, left, bottom, right = mask_boxes(masks).unbind(1)
    return torch.stack([left, top, right - 1, bottom - 1], dim=1).clamp(min=0)


def _pack(masks: Bool[Tensor, "k h w"]) -> UInt8[Tensor, "k bytes"]:
    """Store one pixel per bit; the pixels of a byte are far apart in the mask, which is quicker than neighbours."""
    pixels = masks.flatten(1).view(torch.uint8)
    bits = pad(pixels, (0, -pixels.shape[1] % 8)).view(len(masks), 8, -1)
    return (bits << _shifts(masks.device)).sum(dim=1, dtype=torch.uint8)


def _unpack(packed: UInt8[Tensor, "k bytes"]) -> Bool[Tensor, "k bits"]:
    """Undo ``_pack``, up to at most seven empty pixels at the end."""
    return (packed[:, None] >> _shifts(packed.device) & 1).flatten(1).bool()


def _shifts(device: torch.device) -> UInt8[Tensor, "8 1"]:
    return torch.arange(8, dtype=torch.uint8, device=device)[:, None]


def _count_overlaps(packed: UInt8[Tensor, "n bytes"]) -> Int64[Tensor, "n n"]:
    """Return how many pixels every two masks share; the diagonal holds the areas."""
    n = len(packed)
    overlaps = torch.zeros(n, n, dtype=torch.int64, device=packed.device)
    for chunk in packed.split(max(1, _COUNTED_AT_ONCE // (8 * n)), dim=1):
        pixels = _unpack(chunk).float()
        overlaps += (pixels @ pixels.T).long()
    return overlaps


def _largest_distinct(overlaps: np.ndarray, threshold: float) -> np.ndarray:
    """Return the indices of the masks that stay, largest first: those too similar to a larger one that stays go."""
    areas = overlaps.diagonal()
    order = np.argsort(-areas, kind="stable")
    overlaps, areas = overlaps[np.ix_(order, order)], areas[order]
    unions = areas[:, None] + areas - overlaps
    duplicate = overlaps / np.maximum(unions, 1) > threshold
    stays = np.zeros(len(order), dtype=bool)
    for i in range(len(order)):
        stays[i] = not (duplicate[i] & stays).any()
    return order[stays]

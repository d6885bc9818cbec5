"""CompressAI's smallest codec as a LightningModule, with SeSS in its validation."""

from __future__ import annotations

import math
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from compressai.models import FactorizedPrior
from jaxtyping import Float
from lightning.pytorch import LightningModule
from torch import Tensor
from torch.nn import functional
from torchmetrics.image import PeakSignalNoiseRatio

from torchmetrics_sess import SemanticSimilarityScore

# The sides that the codec takes are multiples of it.
BLOCK = 16
_HEADER = struct.Struct(">HHHH")


class LearnedCodec(LightningModule):
    """The factorised-prior model of Ballé et al. (2018), trained for rate and mean squared error.

    Args:
        weight: of the error, on the scale of CompressAI: 255² times the mean squared error.
        width: number of features.
        latents: number of channels that are coded.
        learning_rate: of the codec at the beginning, from where it falls to 0 along a cosine; that of the entropy
            model's quantiles is ten times as high, and stays.
        preset: of the semantic similarity score.
    """

    def __init__(
        self,
        weight: float = 0.01,
        width: int = 48,
        latents: int = 64,
        learning_rate: float = 1e-3,
        preset: str = "lite",
    ) -> None:
        super().__init__()
        self.save_hyperparameters()
        # The quantiles of the entropy model have a loss and an optimiser of their own.
        self.automatic_optimization = False
        self.codec = FactorizedPrior(width, latents)
        self.weight = weight
        self.learning_rate = learning_rate
        self.val_psnr = PeakSignalNoiseRatio(data_range=1.0, dim=(1, 2, 3))
        self.val_sess = SemanticSimilarityScore(preset, cache_targets=True)

    def training_step(self, batch: Float[Tensor, "n 3 h w"], batch_index: int) -> None:
        """Take a step on a batch of crops."""
        optimizers = self.optimizers()
        if not isinstance(optimizers, list):
            raise TypeError(f"a codec has two optimisers, got {type(optimizers).__name__}")
        output = self.codec(batch)
        rate = _rate(output, batch)
        loss = rate + self.weight * 255**2 * functional.mse_loss(output["x_hat"], batch)
        for optimizer, each in zip(optimizers, (loss, self.codec.aux_loss()), strict=True):
            optimizer.zero_grad()
            self.manual_backward(each)
            self.clip_gradients(optimizer.optimizer, 1.0, "norm")
            optimizer.step()
        scheduler = self.lr_schedulers()
        if not isinstance(scheduler, torch.optim.lr_scheduler.CosineAnnealingLR):
            raise TypeError(f"a codec has one schedule, got {type(scheduler).__name__}")
        scheduler.step()
        self.log_dict({"train/loss": loss, "train/bpp": rate}, prog_bar=True)

    def validation_step(self, batch: tuple[Tensor, Tensor], batch_index: int) -> None:
        """Measure a photograph."""
        images = batch[0]
        output = self.codec(_padded(images))
        decoded = output["x_hat"][..., : images.shape[2], : images.shape[3]].clamp(0, 1)
        self.val_psnr.update(decoded, images)
        self.val_sess.update(decoded, images)
        self.log("val_bpp", _rate(output, images), batch_size=1)
        self.log_dict({"val_psnr": self.val_psnr, "val_sess": self.val_sess}, prog_bar=True)

    def configure_optimizers(
        self,
    ) -> tuple[list[torch.optim.Optimizer], list[torch.optim.lr_scheduler.LRScheduler]]:
        """Return one optimiser for the codec, whose rate falls, and one for the quantiles."""
        named = dict(self.codec.named_parameters())
        quantiles = [value for name, value in named.items() if name.endswith(".quantiles")]
        others = [value for name, value in named.items() if not name.endswith(".quantiles")]
        codec = torch.optim.Adam(others, self.learning_rate)
        steps = int(self.trainer.estimated_stepping_batches)
        return (
            [codec, torch.optim.Adam(quantiles, 10 * self.learning_rate)],
            [torch.optim.lr_scheduler.CosineAnnealingLR(codec, steps)],
        )

    @torch.no_grad()
    def write(self, image: Float[Tensor, "3 h w"], path: Path) -> Float[Tensor, "3 h w"]:
        """Write the bitstream of an image, and return what it decodes to: from the file alone."""
        found = self.codec.compress(_padded(image[None]))
        height, width = image.shape[1:]
        path.write_bytes(_HEADER.pack(height, width, *found["shape"]) + found["strings"][0][0])
        return self.read(path)

    @torch.no_grad()
    def read(self, path: Path) -> Float[Tensor, "3 h w"]:
        """Decode a bitstream."""
        content = path.read_bytes()
        height, width, *shape = _HEADER.unpack_from(content)
        decoded: Tensor = self.codec.decompress([[content[_HEADER.size :]]], shape)["x_hat"]
        return decoded[0, :, :height, :width].clamp(0, 1)


def _rate(output: Mapping[str, Any], images: Float[Tensor, "n 3 h w"]) -> Float[Tensor, ""]:
    """Return the bits per pixel that an ideal entropy coder would need."""
    bits: Tensor = sum(-likelihoods.log2().sum() for likelihoods in output["likelihoods"].values())
    return bits / (images.numel() / 3)


def _padded(images: Float[Tensor, "n 3 h w"]) -> Float[Tensor, "n 3 H W"]:
    height, width = (BLOCK * math.ceil(side / BLOCK) - side for side in images.shape[2:])
    return functional.pad(images, (0, width, 0, height), mode="replicate")

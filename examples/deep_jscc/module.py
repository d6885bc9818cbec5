"""Deep JSCC as a LightningModule: what it learns from, and what it is validated by."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple, TypeAlias, cast

import torch
from jaxtyping import Float
from lightning.pytorch import LightningModule
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch import Generator, Tensor, nn
from torchmetrics import MetricCollection

from examples.deep_jscc.channel import ChannelName, draw_gains, equalize, normalize_power, received_snr, transmit
from examples.deep_jscc.network import BLOCK, Decoder, Encoder
from examples.quality import quality_metrics
from torchmetrics_sess import SemanticSimilarityLoss

LossName: TypeAlias = Literal["mse", "mse+sess"]


class Condition(NamedTuple):
    """A channel and an SNR in dB."""

    channel: ChannelName
    snr: float

    def __str__(self) -> str:
        """Return the name that results are logged under."""
        return f"{self.channel}/{self.snr:g}dB"


class DeepJSCC(LightningModule):
    """Deep joint source-channel coding of images.

    One network maps pixels straight to channel symbols and another one maps what arrives of them back to pixels
    (Bourtsoulatze, Kurka & Gündüz, *Deep Joint Source-Channel Coding for Wireless Image Transmission*, IEEE TCCN 2019).
    Here both are trained on all SNRs at once; the receiver knows gain and SNR, the sender knows neither.

    Args:
        symbols: complex channel symbols for each block of 4 x 4 pixels, or 48 values, so 8 make a bandwidth ratio of
            1/6.
        width: number of features.
        depth: number of residual layers in the encoder, and in the decoder.
        learning_rate: the highest, of one cycle.
        training_snr: lowest and highest SNR in dB to train on.
        snr: SNRs in dB to validate and test at.
        draws: gains that each photograph meets in the test of a fading channel.
        preset: of the semantic similarity score.
        loss: what to learn from: ``"mse"``, or ``"mse+sess"`` for the same and ``1 - SeSS``. The latter needs crops
            that show something, see ``examples/deep_jscc/losses.py``.
        sess_weight: of ``1 - SeSS`` beside the logarithm of the squared error, of which 0.23 is 1 dB of PSNR.
        sess_image_size: what the network of the loss sees, in pixels a side: less than that of the metric takes less
            time.
    """

    def __init__(
        self,
        symbols: int = 8,
        width: int = 48,
        depth: int = 2,
        learning_rate: float = 2e-3,
        training_snr: tuple[float, float] = (-5.0, 20.0),
        snr: Sequence[float] = (-5.0, 0.0, 5.0, 10.0, 15.0),
        draws: int = 4,
        preset: str = "lite",
        loss: LossName = "mse",
        sess_weight: float = 4.0,
        sess_image_size: int = 168,
    ) -> None:
        super().__init__()
        self.save_hyperparameters()
        self.encoder = Encoder(symbols, width, depth)
        self.decoder = Decoder(symbols, width, depth)
        self.learning_rate = learning_rate
        self.training_snr = training_snr
        self.draws = draws
        self.preset = preset
        self.sess_weight = sess_weight
        self.sess_loss: SemanticSimilarityLoss | None = None
        if loss == "mse+sess":
            # What is received may leave [0, 1].
            overrides = {"segmenter.image_size": sess_image_size}
            self.sess_loss = SemanticSimilarityLoss(preset, overrides=overrides, out_of_range="clamp")
        self.bandwidth_ratio = symbols / (3 * BLOCK**2)
        self.val_conditions = [Condition("awgn", value) for value in snr]
        self.test_conditions = self.val_conditions + [Condition("rayleigh", value) for value in snr]
        metrics = quality_metrics(preset)
        self.val_metrics = nn.ModuleList(metrics.clone(prefix=f"val/{name}/") for name in self.val_conditions)
        self.test_metrics = nn.ModuleList(metrics.clone(prefix=f"test/{name}/") for name in self.test_conditions)

    def forward(
        self,
        images: Float[Tensor, "n 3 h w"],
        snr: Float[Tensor, " n"],
        channel: ChannelName = "awgn",
        generator: Generator | None = None,
    ) -> Float[Tensor, "n 3 h w"]:
        """Send images over a channel.

        Args:
            images: in [0, 1], height and width multiples of 4.
            snr: of each image, in dB.
            channel: ``"awgn"`` or ``"rayleigh"``.
            generator: of the gains and the noise.

        Returns:
            The images as they are received, whose values may leave [0, 1].
        """
        symbols = normalize_power(self.encoder(images))
        gains = draw_gains(channel, len(images), images.device, generator)
        received = transmit(symbols, gains, snr, generator)
        decoded: Tensor = self.decoder(equalize(received, gains, snr), received_snr(gains, snr))
        return decoded

    def on_train_start(self) -> None:
        """Let every process of a distributed run meet other noise."""
        torch.manual_seed(torch.initial_seed() + self.global_rank)

    def training_step(self, batch: Float[Tensor, "n 3 h w"], batch_index: int) -> Float[Tensor, ""]:
        """Return the loss of a batch of crops, on both channels in turn."""
        low, high = self.training_snr
        snr = low + (high - low) * torch.rand(len(batch), device=batch.device)
        received = self(batch, snr, "rayleigh" if batch_index % 2 else "awgn")
        # The logarithm, as in PSNR: otherwise crops with much detail or noise would be all that is learnt from.
        loss: Tensor = (received - batch).square().mean((1, 2, 3)).add(1e-5).log().mean()
        if self.sess_loss is not None:
            sess = self.sess_loss(received, batch)
            self.log("train/sess_loss", sess)
            loss = loss + self.sess_weight * sess
        self.log("train/loss", loss, prog_bar=True)
        return loss

    def validation_step(self, batch: tuple[Tensor, Tensor], batch_index: int) -> None:
        """Measure a photograph at every SNR."""
        self._measure(batch, self.val_conditions, self.val_metrics)

    def test_step(self, batch: tuple[Tensor, Tensor], batch_index: int) -> None:
        """Measure a photograph on every channel at every SNR."""
        self._measure(batch, self.test_conditions, self.test_metrics)

    def _measure(
        self, batch: tuple[Tensor, Tensor], conditions: Sequence[Condition], collections: nn.ModuleList
    ) -> None:
        images, index = batch
        for condition, metrics in zip(conditions, collections, strict=True):
            metrics = cast(MetricCollection, metrics)
            # The same noise and gains at every SNR and in every epoch, and whichever process a photograph comes to.
            generator = torch.Generator(self.device).manual_seed(int(index[0]))
            sent = images.repeat(1 if condition.channel == "awgn" else self.draws, 1, 1, 1)
            snr = torch.full((len(sent),), condition.snr, device=self.device)
            metrics.update(self(sent, snr, condition.channel, generator).clamp(0, 1), sent)
            self.log_dict(metrics, batch_size=len(sent))

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """Return Adam with a learning rate that rises, then falls to nothing."""
        optimizer = torch.optim.Adam(self.parameters(), self.learning_rate)
        steps = int(self.trainer.estimated_stepping_batches)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, self.learning_rate, steps, pct_start=0.1)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

"""What a test leaves behind: a table, the curves, and pictures to look at."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Float
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor
from torchmetrics.functional.image import peak_signal_noise_ratio

from examples.deep_jscc.module import DeepJSCC
from examples.quality import Quality, as_curves, save_curves, write_table
from torchmetrics_sess import semantic_similarity_score

if TYPE_CHECKING:
    from matplotlib.figure import Figure

CURVES = {"awgn": "AWGN", "rayleigh": "slow Rayleigh fading"}


class WriteResults(Callback):
    """Writes ``results.csv``, ``curves.png`` and ``pictures.png`` into the folder of the run, once a test is over."""

    def __init__(self) -> None:
        self.photograph: Tensor | None = None

    def on_test_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        """Keep the first photograph."""
        if batch_idx == 0:
            self.photograph = batch[0]

    def on_test_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write the files."""
        # All processes are asked, as they agree on it.
        folder = trainer.log_dir
        if not trainer.is_global_zero or folder is None or self.photograph is None:
            return
        if not isinstance(pl_module, DeepJSCC):
            raise TypeError(f"these are results of a DeepJSCC, got a {type(pl_module).__name__}")
        values = trainer.callback_metrics
        qualities = [
            Quality(
                CURVES[condition.channel],
                condition.snr,
                *(values[f"test/{condition}/{name}"].item() for name in ("psnr", "ms_ssim", "sess")),
            )
            for condition in pl_module.test_conditions
        ]
        Path(folder).mkdir(parents=True, exist_ok=True)
        write_table(qualities, Path(folder) / "results.csv", "channel", "snr_db")
        save_curves(as_curves(qualities, "snr"), Path(folder) / "curves.png")
        pictures = draw_pictures(pl_module, self.photograph)
        pictures.savefig(Path(folder) / "pictures.png", dpi=140, pil_kwargs={"optimize": True})
        print(f"written to {folder}")


def draw_pictures(model: DeepJSCC, photograph: Float[Tensor, "1 3 h w"], size: int = 112) -> Figure:
    """Draw a part of a photograph, as it is sent and as it is received through noise; the scores are of all of it."""
    from matplotlib.figure import Figure

    pictures = {"sent\n": photograph}
    for condition in model.val_conditions[::2]:
        generator = torch.Generator(model.device).manual_seed(0)
        snr = torch.tensor([condition.snr], device=model.device)
        received = model(photograph, snr, condition.channel, generator).clamp(0, 1)
        psnr = peak_signal_noise_ratio(received, photograph, data_range=1.0).item()
        sess = semantic_similarity_score(received, photograph, model.preset).item()
        pictures[f"received at {condition.snr:g} dB\nPSNR {psnr:.1f} dB, SeSS {sess:.3f}"] = received

    figure = Figure(figsize=(1.69 * len(pictures), 2.1), layout="constrained")
    for panel, (title, picture) in zip(figure.subplots(1, len(pictures)), pictures.items(), strict=True):
        height, width = picture.shape[-2:]
        # Where faces tend to be.
        top, left = (height - size) // 6, (width - size) * 2 // 5
        part = picture[0, :, top : top + size, left : left + size]
        panel.imshow(part.permute(1, 2, 0).cpu().numpy(), interpolation="nearest")
        panel.set_title(title, fontsize=8)
        panel.set_axis_off()
    return figure

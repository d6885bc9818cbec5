"""What is gained, and what is lost, by learning from SeSS beside the squared error.

    python -m examples.deep_jscc.losses [--start CHECKPOINT] [--steps 80] [--photographs FOLDER]

One and the same Deep JSCC, trained with MSE, is trained further in two ways: with MSE, and with MSE + SeSS, on the same
large crops and the same noise. Both are measured over white noise, by what they were trained with and by what they were
not: MS-SSIM, and the preset ``lite-0.1``, which has other descriptors of regions and none of the adapters.
"""

from __future__ import annotations

import argparse
import csv
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

import torch
from jaxtyping import Float
from lightning.pytorch import Trainer, seed_everything
from PIL import Image
from torch import Tensor
from torchmetrics import MetricCollection

from examples.deep_jscc.data import VALIDATION, PhotographData
from examples.deep_jscc.module import DeepJSCC, LossName
from examples.deep_jscc.network import BLOCK
from examples.photographs import load_photographs, pixels
from examples.quality import quality_metrics
from torchmetrics_sess import SemanticSimilarityScore

if TYPE_CHECKING:
    from matplotlib.figure import Figure

RUNS = Path("runs/deep_jscc_losses")
BEFORE = "before"
NAMES = {BEFORE: "before", "mse": "further with MSE", "mse+sess": "further with MSE + SeSS"}
STYLES = ("o:C7", "s--C0", "^-C1")
MEASURES = {"psnr": "PSNR (dB)", "ms_ssim": "MS-SSIM", "sess": "SeSS", "sess_0_1": "lite-0.1, not trained on"}
QUIET: dict[str, Any] = {
    "accelerator": "auto",
    "devices": 1,
    "gradient_clip_val": 1.0,
    "limit_val_batches": 0,
    "enable_progress_bar": False,
    "enable_model_summary": False,
    "enable_checkpointing": False,
    "logger": False,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--start", type=Path, help="checkpoint to go on from; by default, one is trained first")
    parser.add_argument("--steps", type=int, default=80, help="of either way of going on")
    parser.add_argument("--crops", type=int, default=2, help="in a batch")
    parser.add_argument("--crop-size", type=int, default=224)
    parser.add_argument("--sess-weight", type=float, default=4.0)
    parser.add_argument(
        "--photographs", type=Path, help="folder to measure on; by default, four that are not trained on"
    )
    parser.add_argument(
        "--count", type=int, default=8, help="how many of the folder: of every other one, evenly spread"
    )
    arguments = parser.parse_args()
    warnings.filterwarnings("ignore", ".*does not have many workers.*")

    RUNS.mkdir(parents=True, exist_ok=True)
    start = arguments.start or train_start()
    photographs = load(arguments.photographs, arguments.count)
    metrics = quality_metrics()
    metrics.add_metrics({"sess_0_1": SemanticSimilarityScore("lite-0.1", cache_targets=True)})
    rows = measure(DeepJSCC.load_from_checkpoint(start), BEFORE, photographs, metrics)
    for loss in get_args(LossName):
        model = DeepJSCC.load_from_checkpoint(start, loss=loss, sess_weight=arguments.sess_weight, learning_rate=5e-4)
        go_on(model, RUNS / f"{loss}-{arguments.steps}.ckpt", arguments)
        rows += measure(model, loss, photographs, metrics)
    write(rows)


def train_start() -> Path:
    """Train with MSE, as ``configs/examples/deep_jscc.yaml`` does, unless that has been done."""
    path = RUNS / "start.ckpt"
    if not path.exists():
        seed_everything(0)
        trainer = Trainer(max_epochs=4, **QUIET)
        trainer.fit(DeepJSCC(), PhotographData())
        trainer.save_checkpoint(path)
    return path


def go_on(model: DeepJSCC, path: Path, arguments: argparse.Namespace) -> None:
    """Train further on large crops, or read what an earlier run has saved."""
    if path.exists():
        model.load_state_dict(torch.load(path, weights_only=True)["state_dict"])
        return
    seed_everything(1)
    data = PhotographData(arguments.crop_size, arguments.steps * arguments.crops, arguments.crops)
    trainer = Trainer(max_steps=arguments.steps, **QUIET)
    trainer.fit(model, data)
    trainer.save_checkpoint(path)


def load(folder: Path | None, count: int) -> dict[str, Float[Tensor, "3 _ _"]]:
    """Return photographs of whole blocks, by name."""
    if folder is None:
        images = load_photographs(VALIDATION, 512)
    else:
        # The half that no setting of SeSS was chosen on.
        paths = sorted(path for path in folder.iterdir() if path.suffix in (".jpg", ".jpeg"))[1::2]
        images = {path.stem: Image.open(path).convert("RGB") for path in paths[:: max(1, len(paths) // count)][:count]}
    cut = {}
    for name, image in images.items():
        image.thumbnail((512, 512), Image.Resampling.LANCZOS)
        height, width = (side // BLOCK * BLOCK for side in (image.height, image.width))
        cut[name] = pixels(image)[:, :height, :width]
    return cut


@torch.no_grad()
def measure(
    model: DeepJSCC, name: str, photographs: Mapping[str, Tensor], metrics: MetricCollection
) -> list[dict[str, Any]]:
    """Return the quality of photographs received over white noise, one line per SNR."""
    model.eval()
    rows = []
    for condition in model.val_conditions:
        metrics.reset()
        for index, photograph in enumerate(photographs.values()):
            generator = torch.Generator(model.device).manual_seed(index)
            sent = photograph[None].to(model.device)
            snr = torch.tensor([condition.snr], device=model.device)
            metrics.update(model(sent, snr, condition.channel, generator).clamp(0, 1), sent)
        values = {measure: round(float(value), 4) for measure, value in metrics.compute().items()}
        rows.append({"trained": NAMES[name], "snr_db": condition.snr, **values})
        print(*rows[-1].values(), flush=True)
    return rows


def write(rows: list[dict[str, Any]]) -> None:
    """Write table and figure."""
    with (RUNS / "losses.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    draw(rows).savefig(RUNS / "losses.png", dpi=200)
    print(f"written to {RUNS}")


def draw(rows: list[dict[str, Any]]) -> Figure:
    """Draw every measure over the SNR."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8.6, 2.8), layout="constrained")
    for panel, (measure, title) in zip(figure.subplots(1, len(MEASURES)), MEASURES.items(), strict=True):
        for name, style in zip(NAMES.values(), STYLES, strict=True):
            chosen = [row for row in rows if row["trained"] == name]
            x, y = ([row[key] for row in chosen] for key in ("snr_db", measure))
            panel.plot(x, y, style, markersize=4, linewidth=1.4, label=name)
        panel.set_title(title, fontsize=9)
        panel.set(xlabel="SNR (dB)", xticks=x)
        panel.grid(alpha=0.3)
    figure.legend(*figure.axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=len(NAMES))
    return figure


if __name__ == "__main__":
    main()

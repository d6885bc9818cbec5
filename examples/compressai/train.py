"""Train a codec of CompressAI at several rates, compress with it, and draw it beside JPEG and WebP.

python -m examples.compressai.train
"""

from __future__ import annotations

import argparse
import csv
import subprocess
import sys
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from lightning.pytorch import Callback, LightningModule, Trainer, seed_everything
from PIL import Image
from safetensors.torch import load_file, save_file
from torchvision.transforms.functional import to_pil_image

from examples.compressai.module import LearnedCodec
from examples.deep_jscc.data import VALIDATION, PhotographData
from examples.photographs import load_photographs, pixels

# From few bits to many; each begins where the one before ended.
WEIGHTS = (0.001, 0.004, 0.016, 0.064)
CROPS = 4
CODECS = ("jpeg:5,10,20,40,75", "webp:1,4,13,47")


class ValidationTable(Callback):
    """Adds a line to a table whenever the photographs have been validated, and prints it.

    Args:
        path: of the table, a CSV file.
        weight: of the error.
    """

    def __init__(self, path: Path, weight: float) -> None:
        self.path = path
        self.weight = weight

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write the line."""
        found = {name: trainer.callback_metrics[name].item() for name in ("val_bpp", "val_psnr", "val_sess")}
        # Lightning counts the steps of both optimisers.
        line = {"weight": self.weight, "step": trainer.global_step // 2}
        line |= {name: round(value, 4) for name, value in found.items()}
        is_new = not self.path.exists()
        with self.path.open("a", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, line)
            if is_new:
                writer.writeheader()
            writer.writerow(line)
        print(*(f"{name} {value:g}" for name, value in line.items()), sep="  ", flush=True)


def main(arguments: Sequence[str] | None = None) -> None:
    """Train, compress, and draw."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--first-steps", type=int, default=3000, help="at the first rate, which starts from nothing")
    parser.add_argument("--steps", type=int, default=1000, help="at every other rate")
    parser.add_argument("--weights", type=float, nargs="+", default=WEIGHTS, help="of the error, one for each rate")
    parser.add_argument("--longer-side", type=int, default=384, help="what photographs are shrunk to, in pixels")
    parser.add_argument("--preset", default="lite", help="of the semantic similarity score")
    parser.add_argument(
        "--out",
        type=Path,
        default=Path("runs/compressai"),
        help="folder to write to; rates that were trained there are not trained again",
    )
    options = parser.parse_args(arguments)

    warnings.filterwarnings("ignore", ".*does not have many workers.*")
    photographs = load_photographs(VALIDATION, options.longer_side)
    originals = options.out / "originals"
    originals.mkdir(parents=True, exist_ok=True)
    for name, photograph in photographs.items():
        photograph.save(originals / f"{name}.png")

    state = None
    for weight in options.weights:
        path = options.out / "weights" / f"{weight:g}.safetensors"
        model = LearnedCodec(weight, preset=options.preset)
        if path.exists():
            model.codec.load_state_dict(load_file(path))
        else:
            if state is not None:
                model.codec.load_state_dict(state)
            train(model, options.first_steps if state is None else options.steps, options.longer_side, options.out)
            path.parent.mkdir(exist_ok=True)
            save_file(model.codec.state_dict(), path)
        state = {name: value.clone() for name, value in model.codec.state_dict().items()}
        compress(model, photographs, options.out / "learned" / "factorized" / f"{weight:g}")

    command = ["curve", originals, options.out / "learned", *(each for codec in CODECS for each in ("--codec", codec))]
    command += ["--anchor", "jpeg", "--preset", options.preset, "--out", options.out / "curve"]
    subprocess.run([sys.executable, "-m", "torchmetrics_sess.cli", *map(str, command)], check=True)  # noqa: S603


def train(model: LearnedCodec, steps: int, longer_side: int, folder: Path) -> None:
    """Take so many steps, and validate four times in between."""
    seed_everything(0)
    data = PhotographData(crop_size=128, crops=CROPS * steps, batch_size=CROPS, longer_side=longer_side)
    trainer = Trainer(
        max_epochs=1,
        val_check_interval=max(1, steps // 4),
        callbacks=[ValidationTable(folder / "validation.csv", model.weight)],
        default_root_dir=folder,
        enable_checkpointing=False,
        enable_progress_bar=sys.stderr.isatty(),
        num_sanity_val_steps=0,
    )
    trainer.fit(model, data)


def compress(model: LearnedCodec, photographs: Mapping[str, Image.Image], folder: Path) -> None:
    """Write the bitstream of every photograph, and what it decodes to."""
    model.cpu().eval()
    # Makes the tables of the entropy coder.
    model.codec.update(force=True)
    folder.mkdir(parents=True, exist_ok=True)
    for name, photograph in photographs.items():
        decoded = model.write(pixels(photograph), folder / f"{name}.bin")
        to_pil_image(torch.round(255 * decoded).byte()).save(folder / f"{name}.png")


if __name__ == "__main__":
    main()

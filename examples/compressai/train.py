"""Train a codec of CompressAI at several rates, compress with it, and draw it beside JPEG and WebP.

python -m examples.compressai.train
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import warnings
from collections.abc import Sequence
from pathlib import Path

import torch
from lightning.pytorch import Trainer, seed_everything
from torchvision.transforms.functional import to_pil_image

from examples.compressai.module import LearnedCodec
from examples.deep_jscc.data import VALIDATION, PhotographData
from examples.photographs import load_photographs, pixels

# From few bits to many; each begins where the one before ended.
WEIGHTS = (0.002, 0.008, 0.032)


def main(arguments: Sequence[str] | None = None) -> None:
    """Train, compress, and draw."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument(
        "--steps",
        type=int,
        default=1000,
        help="at each rate; three times as many at the first, which starts from nothing",
    )
    parser.add_argument("--weights", type=float, nargs="+", default=WEIGHTS, help="of the error, one for each rate")
    parser.add_argument("--longer-side", type=int, default=384, help="what photographs are shrunk to, in pixels")
    parser.add_argument("--preset", default="lite", help="of the semantic similarity score")
    parser.add_argument("--out", type=Path, default=Path("runs/compressai"), help="folder to write to")
    options = parser.parse_args(arguments)

    warnings.filterwarnings("ignore", ".*does not have many workers.*")
    seed_everything(0)
    photographs = load_photographs(VALIDATION, options.longer_side)
    originals = options.out / "originals"
    originals.mkdir(parents=True, exist_ok=True)
    for name, photograph in photographs.items():
        photograph.save(originals / f"{name}.png")

    state = None
    for weight in options.weights:
        model = LearnedCodec(weight, preset=options.preset)
        steps = 3 * options.steps if state is None else options.steps
        if state is not None:
            model.codec.load_state_dict(state)
        data = PhotographData(crops=8 * steps, longer_side=options.longer_side)
        trainer = Trainer(
            max_epochs=1,
            val_check_interval=max(1, steps // 2),
            default_root_dir=options.out,
            enable_checkpointing=False,
            num_sanity_val_steps=0,
        )
        trainer.fit(model, data)
        state = model.codec.state_dict()
        model.cpu().eval()
        # Makes the tables of the entropy coder.
        model.codec.update(force=True)
        folder = options.out / "learned" / "factorized" / f"{weight:g}"
        folder.mkdir(parents=True, exist_ok=True)
        for name, photograph in photographs.items():
            decoded = model.write(pixels(photograph), folder / f"{name}.bin")
            to_pil_image(torch.round(255 * decoded).byte()).save(folder / f"{name}.png")

    command = [
        "curve",
        originals,
        options.out / "learned",
        "--codec",
        "jpeg:5,10,20,40,75",
        "--codec",
        "webp:1,4,13,47",
    ]
    command += ["--anchor", "jpeg", "--preset", options.preset, "--out", options.out / "curve"]
    subprocess.run([sys.executable, "-m", "torchmetrics_sess.cli", *map(str, command)], check=True)  # noqa: S603


if __name__ == "__main__":
    main()

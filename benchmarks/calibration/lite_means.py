"""Re-estimates the constants of the ``lite`` preset: the mean descriptors of regions and of whole images.

    python -m benchmarks.calibration.lite_means FOLDER

``FOLDER`` holds photographs of all kinds of things; the more and the more varied, the better. The constants that ship
with the package were estimated on 244 photographs, none of them among those that results are reported on.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from safetensors.torch import save_file

import torchmetrics_sess.encoders
from torchmetrics_sess.presets import load_preset


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    default = Path(torchmetrics_sess.encoders.__file__).with_name("lite_means.safetensors")
    parser.add_argument("--out", type=Path, default=default)
    arguments = parser.parse_args()

    segmenter = load_preset("lite").segmenter.build(torch.device("cpu"))
    tokens, image_tokens = [], []
    for path in sorted(arguments.folder.rglob("*")):
        if path.suffix.lower() not in {".jpg", ".jpeg", ".png", ".webp"}:
            continue
        image = torch.from_numpy(np.array(Image.open(path).convert("RGB"))).permute(2, 0, 1).float() / 255
        with torch.no_grad():
            [segmentation] = segmenter([image])
        tokens.append(segmentation.tokens[0].mean(0))
        image_tokens.append(segmentation.image_tokens[0])
    if not tokens:
        parser.error(f"no photographs in {arguments.folder}")
    means = {"token": torch.stack(tokens).mean(0), "image": torch.stack(image_tokens).mean(0)}
    save_file(means, arguments.out)
    print(f"{len(tokens)} photographs -> {arguments.out}")


if __name__ == "__main__":
    main()

"""Runs ``sess`` with the small Segment Anything of the tests where the preset ``reference`` would have ViT-H.

    python -m benchmarks.shared.tiny_sam_command relations extract psg.json -o tokens/ --preset reference

Nothing else of the command is changed. The small network sees shapes on a plain ground, and little else.
"""

from __future__ import annotations

import dataclasses
import hashlib
import os
import shutil
import tempfile
from pathlib import Path

from segment_anything import sam_model_registry

from benchmarks.shared.segmentation_oracle import TINY_WEIGHTS, tiny_architecture
from torchmetrics_sess.cli import main
from torchmetrics_sess.weights import WEIGHTS

# What it finds objects with: a grid as fine as the smallest shapes of the made-up data sets. Boxes are no substitute,
# as the small network was never trained to be prompted by one.
SETTINGS = {
    "segmenter.points_per_side": 12,
    "segmenter.pred_iou_thresh": 0.2,
    "segmenter.stability_score_thresh": 0.5,
}


def install(home: Path) -> None:
    """Put the small checkpoint where the released one would be, in a folder of weights of its own."""
    released = WEIGHTS["sam_vit_h"]
    digest = hashlib.sha256(TINY_WEIGHTS.read_bytes()).hexdigest()
    WEIGHTS["sam_vit_h"] = dataclasses.replace(released, sha256=digest)
    shutil.copy(TINY_WEIGHTS, home / released.filename)
    sam_model_registry["vit_h"] = tiny_architecture
    os.environ["SESS_HOME"] = str(home)


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        install(Path(folder))
        main()

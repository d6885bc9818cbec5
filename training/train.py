"""Train the adapters of ``lite``.

python -m training.train fit --config configs/training/lite.yaml [--ckpt_path CHECKPOINT]
"""

from __future__ import annotations

from lightning.pytorch.cli import LightningCLI

from training.data import DamagedScenes
from training.module import SeeThroughDamage


def main() -> None:
    """Run the command line."""
    LightningCLI(SeeThroughDamage, DamagedScenes, seed_everything_default=0)


if __name__ == "__main__":
    main()

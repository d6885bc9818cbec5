"""Train Deep JSCC, then test it on both channels at all SNRs.

python -m examples.deep_jscc.train fit --config configs/examples/deep_jscc.yaml
python -m examples.deep_jscc.train fit --config configs/examples/deep_jscc_ddp.yaml
"""

from __future__ import annotations

import warnings

from lightning.pytorch.cli import LightningCLI

from examples.deep_jscc.data import PhotographData
from examples.deep_jscc.module import DeepJSCC


class DeepJSCCCLI(LightningCLI):
    """Tests what it has trained."""

    def after_fit(self) -> None:
        """Test with the last weights."""
        self.trainer.test(self.model, datamodule=self.datamodule, verbose=False)


def main() -> None:
    """Run the command line of Lightning."""
    # All photographs are in memory, which no worker could be faster than.
    warnings.filterwarnings("ignore", ".*does not have many workers.*")
    DeepJSCCCLI(DeepJSCC, PhotographData, auto_configure_optimizers=False)


if __name__ == "__main__":
    main()

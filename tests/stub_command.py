"""``sess`` with the networks of the stub, to be run as a program of its own, and killed there."""

from __future__ import annotations

import itertools
import os
import signal
import sys
import time
from typing import Any

from stub_extractor import stub_preset

import torchmetrics_sess.cli.run
import torchmetrics_sess.scoring
from torchmetrics_sess import SceneGraphExtractor
from torchmetrics_sess.cli import main
from torchmetrics_sess.presets import Preset


def run(*arguments: str) -> None:
    """Run a command; it takes ``STUB_SECONDS`` for every batch, so that there is time to kill it.

    The process of rank ``STUB_VICTIM`` is killed at its fourth batch. With ``STUB_NO_FIGURES``, no figure becomes
    a file, which is what takes long.
    """
    extract = SceneGraphExtractor.extract
    batches = itertools.count()

    def load(name: str, overrides: object) -> Preset:
        return stub_preset()

    def slowly(self: SceneGraphExtractor, images: Any, *, masks: bool = False) -> Any:
        time.sleep(float(os.environ.get("STUB_SECONDS", "0")))
        if os.environ.get("STUB_VICTIM") == os.environ.get("LOCAL_RANK", "0") and next(batches) == 3:
            os.kill(os.getpid(), signal.SIGKILL)
        return extract(self, images, masks=masks)

    vars(torchmetrics_sess.scoring)["load_preset"] = load
    type.__setattr__(SceneGraphExtractor, "extract", slowly)
    if "STUB_NO_FIGURES" in os.environ:
        from torchmetrics_sess.drawing import figures

        vars(figures)["save_figure"] = lambda figure, path: path.touch()
    sys.argv[1:] = arguments
    main()


if __name__ == "__main__":
    run(*sys.argv[1:])

"""``sess`` with the networks of the stub, to be run as a program of its own, and killed there."""

from __future__ import annotations

import atexit
import itertools
import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

from stub_extractor import stub_preset

import torchmetrics_sess.cli.run
import torchmetrics_sess.scoring.scorer
from torchmetrics_sess import SceneGraphExtractor
from torchmetrics_sess.cli import main
from torchmetrics_sess.cli.output import refuse
from torchmetrics_sess.presets import Preset


def run(*arguments: str) -> None:
    """Run a command; it takes ``STUB_SECONDS`` for every batch, so that there is time to kill it.

    The process of rank ``STUB_VICTIM`` is killed at its fourth batch; that of rank
    ``STUB_REFUSES`` refuses to do its first. With ``STUB_NO_FIGURES``, no figure
    becomes a file, which is what takes long. The names of the threads that are left when
    Python ends go into the file ``STUB_THREADS``. If only some ranks are to ``STUB_BEGINS``, the others end at once.
    """
    extract = SceneGraphExtractor.extract
    batches = itertools.count()

    def load(name: str, overrides: object) -> Preset:
        return stub_preset()

    def slowly(self: SceneGraphExtractor, images: Any, *, masks: bool = False) -> Any:
        time.sleep(float(os.environ.get("STUB_SECONDS", "0")))
        rank = os.environ.get("SLURM_PROCID") or os.environ.get("LOCAL_RANK", "0")
        if os.environ.get("STUB_VICTIM") == rank and next(batches) == 3:
            os.kill(os.getpid(), signal.SIGKILL)
        if os.environ.get("STUB_REFUSES") == rank:
            refuse("not here")
        return extract(self, images, masks=masks)

    vars(torchmetrics_sess.scoring.scorer)["load_preset"] = load
    type.__setattr__(SceneGraphExtractor, "extract", slowly)
    if "STUB_NO_FIGURES" in os.environ:
        from torchmetrics_sess.drawing import figures

        vars(figures)["save_figure"] = lambda figure, path: path.touch()
    if os.environ.get("LOCAL_RANK", "0") not in os.environ.get("STUB_BEGINS", "0 1 2").split():
        sys.exit(3)
    if "STUB_THREADS" in os.environ:
        atexit.register(_write_threads, Path(os.environ["STUB_THREADS"]))
    sys.argv[1:] = arguments
    main()


def _write_threads(path: Path) -> None:
    with path.open("a") as file:
        file.writelines((thread / "comm").read_text() for thread in Path("/proc/self/task").iterdir())


def run_task(output: str, *arguments: str) -> None:
    """Run a command; what it says goes into the files ``output``.out and .err."""
    with open(f"{output}.out", "w") as sys.stdout, open(f"{output}.err", "w") as sys.stderr:  # noqa: PTH123
        run(*arguments)


if __name__ == "__main__":
    run(*sys.argv[1:])

"""Turns on run-time checking of tensor shapes, keeps every test off the network, and shares what is slow to make."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from jaxtyping import UInt8, install_import_hook
from torch import Tensor

if TYPE_CHECKING:
    from torchmetrics_sess.extractor import SceneGraphExtractor

hook = install_import_hook("torchmetrics_sess", "beartype.beartype")

# A weight that is not in the cache is an error that says how to get it: no test downloads, and none is skipped.
os.environ["SESS_OFFLINE"] = "1"

# Lightning asks jsonargparse for what newer versions of it call by another name.
os.environ["JSONARGPARSE_DEPRECATION_WARNINGS"] = "off"

collect_ignore = [] if torch.cuda.is_available() else ["test_cuda.py"]


def pytest_configure(config: pytest.Config) -> None:
    """Let the processes of pytest-xdist share the processors, and take files as they come."""
    processes = getattr(config.option, "numprocesses", None)
    if processes:
        # By default each has as many threads as there are processors. They wait for each other without letting go of
        # these, which takes more of them than the computing does.
        os.environ.setdefault("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // processes)))
        # It would begin with the files of most tests, and end with the slowest.
        config.option.loadscopereorder = False


@pytest.fixture(scope="session")
def lite() -> SceneGraphExtractor:
    """Return the extractor of the ``lite`` preset, its weights read from the cache."""
    from torchmetrics_sess.presets import load_preset

    return load_preset("lite").build("cpu")


@pytest.fixture(scope="session")
def photographs() -> dict[str, UInt8[Tensor, "3 h w"]]:
    """Return four photographs of 208 pixels, by name."""
    cases = np.load(Path(__file__).parent / "data" / "pipeline_dev.npz")
    names = ("astronaut", "coffee", "rocket", "cat")
    return {name: torch.from_numpy(cases[f"{4 + i}/a/image"]).permute(2, 0, 1) for i, name in enumerate(names)}

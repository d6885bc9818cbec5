"""Processes that begin where the libraries are imported already: one server imports them, each process is its fork.

Started from nothing, a process takes some six seconds of a processor for its imports alone.
"""

from __future__ import annotations

import multiprocessing
import os
import runpy
import sys
from collections.abc import Callable
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from typing import Final

ROOT = Path(__file__).parents[1]
START_METHOD: Final = "forkserver"
SERVER = multiprocessing.get_context(START_METHOD)
# The server of a test run knows the list that is there when the first process starts, so that it is one for all tests.
# What is under test is imported by every process itself.
SERVER.set_forkserver_preload(
    [
        "lightning.pytorch.cli",
        "numba",
        "torch.distributed.fsdp",
        "torch.distributed.tensor",
        "torchmetrics.image",
        "torchvision.transforms.v2",
    ]
)


def start(target: Callable[..., object], *arguments: object, **environment: str) -> ForkServerProcess:
    """Start a function, with more environment variables: the server knows those alone that were there before it."""
    process = SERVER.Process(target=_run, args=(environment, target, *arguments))
    process.start()
    return process


def start_module(log: Path, module: str, *arguments: str, **environment: str) -> ForkServerProcess:
    """Start ``python -m module`` from the folder of the repository, in one thread; what it says goes into a file."""
    return start(_run_module, log, module, *arguments, **environment)


def run_module(log: Path, module: str, *arguments: str) -> str:
    """Do so, wait for it to end well, and return what it said."""
    process = start_module(log, module, *arguments)
    process.join()
    said = log.read_text()
    assert process.exitcode == 0, said
    return said


def _run(environment: dict[str, str], target: Callable[..., object], *arguments: object) -> None:
    os.environ.update(environment)
    target(*arguments)


def _run_module(log: Path, module: str, *arguments: str) -> None:
    import torch

    os.chdir(ROOT)
    os.environ["OMP_NUM_THREADS"] = "1"
    torch.set_num_threads(1)
    with log.open("w") as sys.stdout:
        sys.stderr = sys.stdout
        sys.argv = [module, *arguments]
        runpy.run_module(module, run_name="__main__", alter_sys=True)

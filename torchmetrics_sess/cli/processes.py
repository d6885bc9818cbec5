"""Work shared among processes, one per device, on one machine or several."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeVar

import torch
import typer
from torch import distributed

from torchmetrics_sess.cli.output import mute, refuse, refusing

T = TypeVar("T")

# The first exchange has to wait for whoever loads networks, or even downloads them.
_PATIENCE = timedelta(days=1)


@dataclass(frozen=True)
class Processes:
    """The processes of a run, of which this is one; the first one reads, writes and talks for all.

    Args:
        rank: which one this is, from 0.
        count: how many they are.
        device: what this one works on.
    """

    rank: int
    count: int
    device: torch.device

    def agree(self, value: T) -> T:
        """Return the ``value`` of the first process to all."""
        if self.count == 1:
            return value
        box = [value]
        with self._together():
            distributed.broadcast_object_list(box)
        return box[0]

    def share(self, batches: Sequence[T]) -> Sequence[T]:
        """Return those of ``batches`` that this process is to work on: every ``count``-th."""
        return batches[self.rank :: self.count]

    def gather(self, results: Iterator[T], total: int) -> Iterator[T]:
        """Pass on the results of all processes, in the order of the batches; only the first process gets any.

        Args:
            results: one for each batch of this process, see ``share``.
            total: how many batches all processes have.
        """
        if self.count == 1:
            yield from results
            return
        for first in range(0, total, self.count):
            mine = next(results, None)
            everyone: list[Any] | None = [None] * self.count if self.rank == 0 else None
            with self._together():
                distributed.gather_object(mine, everyone)
            yield from (everyone or [])[: total - first]

    @contextmanager
    def _together(self) -> Iterator[None]:
        try:
            yield
        except RuntimeError as error:
            if self.rank > 0:
                raise typer.Exit(2) from error
            refuse("another process of this run has ended before its time; the same command goes on from here")


def launch(device: torch.device, devices: int, num_nodes: int) -> Processes:
    """Start the processes of a run, or join those that an environment such as torchrun or Slurm has started.

    All but the first one are muted.
    """
    if devices * num_nodes == 1:
        return Processes(0, 1, device)
    if device != torch.device(device.type):
        refuse(f"--devices and --num-nodes choose devices by themselves; pass --device {device.type}, got {device}")
    import logging

    from lightning.fabric import Fabric
    from lightning.fabric.strategies.ddp import DDPStrategy
    from lightning.fabric.utilities.exceptions import MisconfigurationException

    for name in ("lightning.fabric", "lightning.pytorch"):
        logging.getLogger(name).setLevel(logging.WARNING)
    # What is exchanged are a few lines of text, which need not pass through the devices.
    strategy = DDPStrategy(process_group_backend="gloo", timeout=_PATIENCE)
    with refusing(MisconfigurationException, ValueError):
        fabric = Fabric(accelerator=device.type, devices=devices, num_nodes=num_nodes, strategy=strategy)
    fabric.launch()
    if fabric.global_rank > 0:
        mute()
    return Processes(fabric.global_rank, fabric.world_size, fabric.device)

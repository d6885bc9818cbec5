"""Work shared among processes, one per device, on one machine or several."""

from __future__ import annotations

import os
import platform
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeVar, cast

import torch
import typer
from torch import distributed

from torchmetrics_sess.cli.output import Refusal, mute, refuse, refusing

T = TypeVar("T")

# The first exchange has to wait for whoever loads networks, or even downloads them.
_PATIENCE = timedelta(days=1)
# A launcher starts all at about the same time, and whoever it has not started will never come.
_MEETING = timedelta(minutes=10)


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

    def first(self, make: Callable[[], T]) -> T:
        """Let the first process alone make something, and hand it to all."""
        return self.agree(cast(T, make() if self.rank == 0 else None))

    def each(self, make: Callable[[], T]) -> T:
        """Let every process make something for itself; if one refuses to, all end with its reason."""
        if self.count == 1:
            return make()
        made = self._attempt(make)
        self._collect(made if isinstance(made, _Reason) else None)
        # Where there was a reason, there is no coming back.
        return cast(T, made)

    def share(self, batches: Sequence[T]) -> Sequence[T]:
        """Return those of ``batches`` that this process is to work on: every ``count``-th."""
        return batches[self.rank :: self.count]

    def gather(self, results: Iterator[T], total: int) -> Iterator[T]:
        """Pass on the results of all processes, in the order of the batches; only the first process gets any.

        If a process refuses to go on, all end with its reason.

        Args:
            results: one for each batch of this process, see ``share``.
            total: how many batches all processes have.
        """
        if self.count == 1:
            yield from results
            return
        for start in range(0, total, self.count):
            yield from self._collect(self._attempt(lambda: next(results, None)))[: total - start]

    def _attempt(self, make: Callable[[], T]) -> T | _Reason:
        if self.rank == 0:
            return make()
        try:
            return make()
        except Refusal as refusal:
            return _Reason(f"process {self.rank}, on {platform.node()}: {refusal.message}")

    def _collect(self, mine: object) -> list[Any]:
        """Return what all processes have, to the first one; it says so if that is a reason to end."""
        everyone: list[Any] = [None] * self.count if self.rank == 0 else []
        with self._together():
            distributed.gather_object(mine, everyone or None)
            if isinstance(mine, _Reason):
                # A launcher ends the others as soon as one has ended, and the first is still to speak: it ends this.
                distributed.barrier()
        for made in everyone:
            if isinstance(made, _Reason):
                refuse(made.text)
        return everyone

    @contextmanager
    def _together(self) -> Iterator[None]:
        try:
            yield
        except RuntimeError as error:
            if self.rank > 0:
                raise typer.Exit(2) from error
            refuse("another process of this run has ended before its time; the same command goes on from here")


@dataclass(frozen=True, slots=True)
class _Reason:
    """Why a process cannot go on."""

    text: str


def let_first_speak() -> None:
    """Mute this process if a launcher has started it beside others, and it is not the first of them."""
    started = _started()
    if started is not None and started.rank > 0:
        mute()


def launch(device: torch.device, devices: int) -> Processes:
    """Join the processes that torchrun, Slurm or the like have started, or else start as many as there are ``devices``.

    All but the first one are muted.
    """
    started = _started()
    count = devices if started is None else started.count
    if count == 1:
        return Processes(0, 1, device)
    if device != torch.device(device.type):
        refuse(f"several processes choose their devices by themselves; pass --device {device.type}, got {device}")
    return _start(device, devices) if started is None else _join(started, device, devices)


@dataclass(frozen=True)
class _Started:
    """What a launcher says about a process that it has started.

    Args:
        launcher: its name.
        rank: which one of all this is.
        count: how many there are, on all machines.
        local_rank: which one of those on this machine this is.
        address: the machine of the first one.
        port: where that one can be met.
    """

    launcher: str
    rank: int
    count: int
    local_rank: int
    address: str
    port: int


def _started() -> _Started | None:
    """Return what a launcher says, if there is one that has started several processes."""
    with refusing(ValueError):
        # torchrun may have been started by Slurm, once on every machine.
        started = _started_by_torchrun() or _started_by_slurm()
    return started if started is not None and started.count > 1 else None


def _started_by_torchrun() -> _Started | None:
    if not {"RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT"} <= os.environ.keys():
        return None
    return _Started(
        "torchrun",
        rank=_number("RANK"),
        count=_number("WORLD_SIZE"),
        local_rank=_number("LOCAL_RANK", 0),
        address=os.environ["MASTER_ADDR"],
        port=_number("MASTER_PORT"),
    )


def _started_by_slurm() -> _Started | None:
    if not {"SLURM_PROCID", "SLURM_NTASKS"} <= os.environ.keys():
        return None
    # The tasks of a job are not those of a shell within it, which is a step of one task.
    count = _number("SLURM_STEP_NUM_TASKS", _number("SLURM_NTASKS"))
    if count == 1:
        return None
    from lightning.fabric.plugins.environments.slurm import SLURMEnvironment

    nodes = os.environ.get("SLURM_STEP_NODELIST") or os.environ.get("SLURM_NODELIST") or "127.0.0.1"
    # Any port will do that all tasks of a step, and those of no other, think of.
    port = 16384 + (16 * _number("SLURM_JOB_ID", 0) + _number("SLURM_STEP_ID", 0)) % 16384
    return _Started(
        "Slurm",
        rank=_number("SLURM_PROCID"),
        count=count,
        local_rank=_number("SLURM_LOCALID", 0),
        address=os.environ.get("MASTER_ADDR") or SLURMEnvironment.resolve_root_node_address(nodes),
        port=_number("MASTER_PORT", port),
    )


def _number(variable: str, default: int | None = None) -> int:
    text = os.environ.get(variable)
    if text is None and default is not None:
        return default
    if text is None or not text.isdecimal():
        raise ValueError(f"the environment variable {variable} must be a number, got {text!r}")
    return int(text)


def _join(started: _Started, device: torch.device, devices: int) -> Processes:
    """Meet the other processes that a launcher has started."""
    from torch.distributed.rendezvous import rendezvous

    if devices not in (1, started.count):
        refuse(f"{started.launcher} has started {started.count} processes; leave --devices {devices} out")
    address = f"[{started.address}]" if ":" in started.address else started.address
    place = f"tcp://{address}:{started.port}"
    try:
        store, rank, count = next(rendezvous(place, started.rank, started.count, timeout=_MEETING))
        # What is exchanged are a few lines of text, which need not pass through the devices.
        distributed.init_process_group("gloo", store=store, rank=rank, world_size=count, timeout=_PATIENCE)
    except (RuntimeError, ValueError) as error:
        reason = str(error).partition("\n")[0].rstrip(".")
        hint = "; in a script for sbatch, start the command with srun" if started.launcher == "Slurm" else ""
        refuse(f"not all {started.count} processes of {started.launcher} have met at {place}: {reason}{hint}")
    if started.rank > 0:
        mute()
    if device.type != "cpu":
        # A launcher may show each process one device of its own.
        device = torch.device(device.type, started.local_rank % max(1, torch.accelerator.device_count()))
    return Processes(started.rank, started.count, device)


def _start(device: torch.device, devices: int) -> Processes:
    """Start this program again, as many times as there are other devices."""
    import logging

    from lightning.fabric import Fabric
    from lightning.fabric.plugins.environments.lightning import LightningEnvironment
    from lightning.fabric.strategies.ddp import DDPStrategy
    from lightning.fabric.utilities.exceptions import MisconfigurationException

    for name in ("lightning.fabric", "lightning.pytorch"):
        logging.getLogger(name).setLevel(logging.WARNING)
    strategy = DDPStrategy(process_group_backend="gloo", timeout=_PATIENCE, cluster_environment=LightningEnvironment())
    with refusing(MisconfigurationException, ValueError):
        fabric = Fabric(accelerator=device.type, devices=devices, strategy=strategy)
    fabric.launch()
    if fabric.global_rank > 0:
        mute()
    return Processes(fabric.global_rank, fabric.world_size, fabric.device)

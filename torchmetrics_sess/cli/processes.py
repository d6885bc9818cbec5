"""Work shared among processes, one per device, on one machine or several."""

from __future__ import annotations

import atexit
import os
import platform
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any, TypeVar, cast

import torch
import typer
from torch import distributed
from torch.distributed import Store, TCPStore  # type: ignore[attr-defined]

from torchmetrics_sess.cli.output import Refusal, mute, refuse, refusing

T = TypeVar("T")

_DIED = "another process of this run has ended before its time; the same command goes on from here"

# The first process of ``sess --devices`` tells those that it starts what torchrun would, and this beside it.
_OURS = "_TORCHMETRICS_SESS_STARTED"
_OURSELVES = "sess"

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
            # What its frames hold would outlive the group.
            traceback.clear_frames(error.__traceback__)
            if self.rank > 0:
                raise typer.Exit(2) from error
            refuse(_DIED)


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
        _OURSELVES if _OURS in os.environ else "torchrun",
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
    """Meet the other processes that have been started."""
    from torch.distributed.rendezvous import rendezvous

    if devices not in (1, started.count):
        refuse(f"{started.launcher} has started {started.count} processes; leave --devices {devices} out")
    address = f"[{started.address}]" if ":" in started.address else started.address
    place = f"tcp://{address}:{started.port}"
    try:
        if started.launcher == _OURSELVES:
            store: Store = TCPStore(started.address, started.port, wait_for_workers=False)
            store.set(str(started.rank), "here")
        else:
            store, _, _ = next(rendezvous(place, started.rank, started.count, timeout=_MEETING))
        return _connect(store, started, device)
    except (RuntimeError, ValueError) as error:
        reason = str(error).partition("\n")[0].rstrip(".")
        hint = "; in a script for sbatch, start the command with srun" if started.launcher == "Slurm" else ""
        refuse(f"not all {started.count} processes of {started.launcher} have met at {place}: {reason}{hint}")


def _start(device: torch.device, devices: int) -> Processes:
    """Start this program again, as many times as there are other devices, and wait until all have come."""
    if device.type != "cpu" and devices > (present := torch.accelerator.device_count()):
        refuse(f"--devices {devices} is more than there are: {present} of kind {device.type}")
    store = TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
    first = _Started(_OURSELVES, rank=0, count=devices, local_rank=0, address=store.host, port=store.port)
    if "OMP_NUM_THREADS" not in os.environ:
        # Threads that wait for each other keep the processor from those that work.
        torch.set_num_threads(max(1, torch.get_num_threads() // devices))
    told = {
        "MASTER_ADDR": store.host,
        "MASTER_PORT": str(store.port),
        "WORLD_SIZE": str(devices),
        "OMP_NUM_THREADS": str(torch.get_num_threads()),
        _OURS: "1",
    }
    others = {
        str(rank): subprocess.Popen(  # noqa: S603
            _this_program(), env={**os.environ, **told, "RANK": str(rank), "LOCAL_RANK": str(rank)}
        )
        for rank in range(1, devices)
    }
    atexit.register(_end, others.values())
    while not store.check(list(others)):
        if any(process.poll() is not None for process in others.values()):
            refuse(_DIED)
        time.sleep(0.02)
    with refusing(RuntimeError):
        return _connect(store, first, device)


def _end(others: Iterable[subprocess.Popen[bytes]]) -> None:
    """End what this process has started: when it ends itself, the others are ready, or nobody waits for them."""
    for process in others:
        process.terminate()
    for process in others:
        process.wait()


def _this_program() -> list[str]:
    """Return the command that has started this process."""
    module = sys.modules["__main__"].__spec__
    program = [str(Path(sys.argv[0]).absolute())] if module is None else ["-m", module.name]
    return [sys.executable, *program, *sys.argv[1:]]


def _connect(store: Store, started: _Started, device: torch.device) -> Processes:
    """Connect this process to all others that know of ``store``."""
    # What is exchanged are a few lines of text, which need not pass through the devices.
    distributed.init_process_group("gloo", store=store, rank=started.rank, world_size=started.count, timeout=_PATIENCE)
    # Its threads let go of tensors when they are ready; one that does so while Python ends would abort the program.
    atexit.register(distributed.destroy_process_group)
    if started.rank > 0:
        mute()
    if device.type != "cpu":
        # A launcher may show each process one device of its own.
        device = torch.device(device.type, started.local_rank % max(1, torch.accelerator.device_count()))
    return Processes(started.rank, started.count, device)

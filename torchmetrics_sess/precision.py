"""Keeps extraction free of whatever numerical mode the surrounding training runs in."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any, Literal, TypeAlias

import torch

Precision: TypeAlias = Literal["float32", "bfloat16"]
"""What a network of a preset may compute in."""


@contextmanager
def full_precision(device: torch.device, *, gradient: bool = False) -> Iterator[None]:
    """Run a block in float32 without gradients, autocast or TensorFloat-32, and restore the caller's choices.

    Training code often turns on ``autocast``, ``torch.set_float32_matmul_precision("high")`` or, as Lightning does for
    ``precision="bf16-true"``, another default dtype; a score must not depend on any of them.

    What belongs to the whole process is chosen by the first of blocks that overlap, in whatever threads, and restored
    by the last.

    Args:
        device: where the block computes.
        gradient: whether to record gradients after all.
    """
    library = "cuda" if device.type == "cuda" else "cpu"
    with ExitStack() as stack:
        stack.enter_context(torch.set_grad_enabled(gradient))
        if torch.amp.is_autocast_available(device.type):
            stack.enter_context(torch.autocast(device.type, enabled=False))
        stack.enter_context(_while_any_runs("dtype", _choose_float32))
        stack.enter_context(_while_any_runs(library, lambda chosen: _turn_off_fast_modes(chosen, library)))
        yield


@contextmanager
def _while_any_runs(kind: str, choose: Callable[[ExitStack], None]) -> Iterator[None]:
    """Let ``choose`` hold as long as any block of this kind runs, in any thread."""
    with _lock:
        if kind not in _running:
            with ExitStack() as chosen:
                choose(chosen)
                _running[kind] = (0, chosen.pop_all())
        blocks, stack = _running[kind]
        _running[kind] = (blocks + 1, stack)
    try:
        yield
    finally:
        with _lock:
            blocks, stack = _running.pop(kind)
            if blocks > 1:
                _running[kind] = (blocks - 1, stack)
            else:
                stack.close()


_lock = threading.Lock()
_running: dict[str, tuple[int, ExitStack]] = {}


def _choose_float32(stack: ExitStack) -> None:
    stack.callback(torch.set_default_dtype, torch.get_default_dtype())
    torch.set_default_dtype(torch.float32)


def _turn_off_fast_modes(stack: ExitStack, kind: str) -> None:
    backends: Any = torch.backends
    if kind == "cuda":
        library, operators = backends.cudnn, (backends.cuda.matmul, backends.cudnn.conv)
    else:
        library, operators = backends.mkldnn, (backends.mkldnn.matmul, backends.mkldnn.conv)
    for operator in operators:
        precision = operator.fp32_precision
        if precision in ("ieee", "none"):
            continue
        # What an operator takes over from its library must follow the library again afterwards.
        inherited = precision == library.fp32_precision
        stack.callback(setattr, operator, "fp32_precision", "none" if inherited else precision)
        operator.fp32_precision = "ieee"

"""Keeps extraction free of whatever numerical mode the surrounding training runs in."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any, Literal, TypeAlias

import torch

Precision: TypeAlias = Literal["float32", "bfloat16"]
"""What a network of a preset may compute in."""


@contextmanager
def full_precision(device: torch.device) -> Iterator[None]:
    """Run a block in float32 without gradients, autocast or TensorFloat-32, and restore the caller's choices.

    Training code often turns on ``autocast``, ``torch.set_float32_matmul_precision("high")`` or, as Lightning does for
    ``precision="bf16-true"``, another default dtype; a score must not depend on any of them.
    """
    with ExitStack() as stack:
        stack.enter_context(torch.no_grad())
        if torch.amp.is_autocast_available(device.type):
            stack.enter_context(torch.autocast(device.type, enabled=False))
        stack.callback(torch.set_default_dtype, torch.get_default_dtype())
        torch.set_default_dtype(torch.float32)
        _turn_off_fast_modes(stack, device)
        yield


def _turn_off_fast_modes(stack: ExitStack, device: torch.device) -> None:
    backends: Any = torch.backends
    if device.type == "cuda":
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

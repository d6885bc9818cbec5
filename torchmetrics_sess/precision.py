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
        for owner, name, value in _exact_flags():
            stack.callback(setattr, owner, name, getattr(owner, name))
            setattr(owner, name, value)
        yield


def _exact_flags() -> list[tuple[Any, str, Any]]:
    backends: Any = torch.backends
    if hasattr(backends.cuda.matmul, "fp32_precision"):
        owners = (backends.cuda.matmul, backends.cudnn.conv, backends.mkldnn.matmul, backends.mkldnn.conv)
        return [(owner, "fp32_precision", "ieee") for owner in owners]
    # Releases before 2.9 have one switch per library; using both kinds in one program is an error there.
    return [(backends.cuda.matmul, "allow_tf32", False), (backends.cudnn, "allow_tf32", False)]

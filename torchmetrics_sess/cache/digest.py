"""What tensors hold, in a few characters."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

import torch
from torch import Tensor


def digest_of(name: str, tensors: Mapping[str, Tensor]) -> str:
    """Return the SHA-256 of a name and of tensors by theirs, as hex digits."""
    digest = hashlib.sha256(name.encode())
    for label, tensor in sorted(tensors.items()):
        digest.update(f"|{label} {tensor.dtype} {list(tensor.shape)}|".encode())
        # Seen as bytes, because numpy does not know every dtype.
        digest.update(tensor.contiguous().view(torch.uint8).numpy().data)
    return digest.hexdigest()

"""What an object of any class computes with, in a few characters: for parts that no preset describes."""

from __future__ import annotations

import hashlib
import types
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn

# What every module has, and no result in evaluation mode depends on.
_BOOKKEEPING = set(vars(nn.Module())) - {"_parameters", "_buffers", "_modules"}
_PLAIN = (type(None), bool, int, float, complex, str, bytes, torch.dtype)


def fingerprint(part: object) -> str:
    """Return a digest of the class, the settings and the weights of an object, and of all that it holds.

    The device takes no part. What pickle leaves out of an object takes none either: an object that keeps what it has
    computed leaves that out in ``__getstate__``, and keeps its fingerprint.

    Examples:
        >>> import torch
        >>> same, too = (torch.nn.Dropout(p) for p in (0.5, 0.5))
        >>> fingerprint(same) == fingerprint(too) != fingerprint(torch.nn.Dropout(0.25))
        True
    """
    return _digest(part, frozenset()).hex()


def computing_dtypes(part: object) -> list[str]:
    """Name the dtypes that an object computes in: what it says itself as ``dtype``, or else those of its weights.

    Examples:
        >>> import torch
        >>> computing_dtypes(torch.nn.Linear(2, 2, dtype=torch.bfloat16))
        ['bfloat16']
        >>> computing_dtypes(object())
        ['float32']
    """
    own = getattr(part, "dtype", None)
    found = [own] if isinstance(own, torch.dtype) else [tensor.dtype for tensor in _tensors(part, frozenset())]
    names = [str(dtype).removeprefix("torch.") for dtype in found if dtype.is_floating_point]
    # Images are float32.
    return list(dict.fromkeys(names)) or ["float32"]


def _digest(value: object, above: frozenset[int]) -> bytes:
    digest = hashlib.sha256(_name(type(value)).encode())
    if isinstance(value, _PLAIN):
        digest.update(repr(value).encode("utf-8", "surrogatepass"))
    elif isinstance(value, Tensor):
        content = value.detach().cpu().contiguous()
        digest.update(f"{content.dtype} {list(content.shape)}".encode())
        digest.update(content.flatten().view(torch.uint8).numpy().data)
    # What contains itself has been named further up.
    elif id(value) not in above:
        parts = [_digest(part, above | {id(value)}) for part in _parts(value)]
        digest.update(b"".join(sorted(parts) if isinstance(value, set | frozenset) else parts))
    return digest.digest()


def _tensors(value: object, above: frozenset[int]) -> Iterator[Tensor]:
    if isinstance(value, Tensor):
        yield value
    elif not isinstance(value, _PLAIN) and id(value) not in above:
        for part in _parts(value):
            yield from _tensors(part, above | {id(value)})


def _parts(value: object) -> Iterable[object]:
    """Return what tells an object from others of its class."""
    if isinstance(value, torch.device):
        return []
    if isinstance(value, nn.Module):
        return [(name, part) for name, part in sorted(vars(value).items()) if name not in _BOOKKEEPING]
    if isinstance(value, Mapping):
        return value.items()
    if isinstance(value, list | tuple | set | frozenset):
        return value
    if isinstance(value, types.MethodType):
        return value.__func__, value.__self__
    if isinstance(value, types.FunctionType):
        enclosed = [cell.cell_contents for cell in value.__closure__ or ()]
        return _name(value), value.__code__, value.__defaults__, value.__kwdefaults__, enclosed
    if isinstance(value, types.CodeType):
        return value.co_code, value.co_consts, value.co_names
    if isinstance(value, type | types.BuiltinFunctionType | types.ModuleType):
        return [_name(value)]
    try:
        state: Any = value.__reduce_ex__(4)
    except Exception:
        # Locks, files and the like hold nothing to compute with.
        return []
    return [state] if isinstance(state, str) else [list(part) if isinstance(part, Iterator) else part for part in state]


def _name(value: Any) -> str:
    return f"{getattr(value, '__module__', '')}.{getattr(value, '__qualname__', value.__class__.__qualname__)}"

"""Typed settings: frozen dataclasses that can be read from YAML, overridden by name, and written into a signature."""

from __future__ import annotations

import dataclasses
import difflib
import types
import typing
from collections.abc import Iterable, Mapping
from typing import Any, TypeVar

T = TypeVar("T")


def setting(default: Any, *, short: str) -> Any:
    """Declare a dataclass field that can change a score, with the name it carries in a short signature.

    Fields declared without this (chunk sizes, say) change cost only and never appear in a signature.
    """
    return dataclasses.field(default=default, metadata={"short": short})


def from_mapping(cls: type[T], values: Mapping[str, Any], *, where: str) -> T:
    """Build the dataclass ``cls`` from plain values, checking every name and type.

    Args:
        cls: a dataclass whose fields are scalars, or optional scalars.
        values: field values by name.
        where: what to call this mapping in an error, such as ``matching``.

    Raises:
        ValueError: for an unknown name (the nearest valid one is named) or a value that the class refuses.
        TypeError: for a value of another type.
    """
    hints = typing.get_type_hints(cls)
    names = [field.name for field in dataclasses.fields(cls) if field.init]  # type: ignore[arg-type]
    for name in values:
        if name not in names:
            raise ValueError(f"unknown setting `{where}.{name}`{nearest(name, names, prefix=where + '.')}")
    return cls(**{name: coerce(value, hints[name], f"{where}.{name}") for name, value in values.items()})


def nearest(name: str, candidates: Iterable[str], *, prefix: str = "") -> str:
    """Return a hint for an error about an unknown name: the closest valid one, or all of them."""
    candidates = sorted(candidates)
    close = difflib.get_close_matches(name, candidates, n=1, cutoff=0.5)
    if close:
        return f"; did you mean `{prefix}{close[0]}`?"
    return f"; valid: {', '.join(candidates)}"


def describe(config: Any, *, long: bool = False) -> str:
    """Return the settings of ``config`` that can change a score, for the signature.

    Examples:
        >>> from torchmetrics_sess.matching import MatchingConfig
        >>> describe(MatchingConfig(iterations=3))
        'sequential,it3,a0.25,b0.05,t0.2,img0.05,one_to_one,slack0,mean,floor-1,sameNone,width0.1,e1'
    """
    parts = []
    for field in dataclasses.fields(config):
        short = field.metadata.get("short")
        if short is None:
            continue
        value = getattr(config, field.name)
        text = str(value)
        if isinstance(value, float) and float(f"{value:g}") == value:
            text = f"{value:g}"
        parts.append(f"{field.name}={text}" if long else f"{short}{text}")
    return ",".join(parts)


def coerce(value: Any, hint: Any, where: str) -> Any:
    """Return ``value`` if the type ``hint`` accepts it, an integer as a float where a float is asked for.

    Raises:
        ValueError: if ``hint`` is a choice and ``value`` is none of it.
        TypeError: if ``value`` is of another type.
    """
    options = typing.get_args(hint) if typing.get_origin(hint) in (typing.Union, types.UnionType) else (hint,)
    if value is None and type(None) in options:
        return None
    for option in options:
        if typing.get_origin(option) is typing.Literal:
            if value in typing.get_args(option):
                return value
            allowed = ", ".join(repr(choice) for choice in typing.get_args(option))
            raise ValueError(f"`{where}` must be one of {allowed}, got {value!r}")
        if option is float and isinstance(value, int) and not isinstance(value, bool):
            return float(value)
        if isinstance(option, type) and isinstance(value, option) and (option is bool or not isinstance(value, bool)):
            return value
    accepted = " or ".join(getattr(option, "__name__", str(option)) for option in options)
    raise TypeError(f"`{where}` must be {accepted}, got {value!r} ({type(value).__name__})")

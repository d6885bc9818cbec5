"""Loops that are compiled: for work of many small steps, each too small for numpy."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar

import numba

P = ParamSpec("P")
R = TypeVar("R")


def compiled(function: Callable[P, R]) -> Callable[P, R]:
    """Compile ``function``, keeping the result on disk wherever there is a place that can be written."""
    # A run-time type checker may have wrapped it, and numba cannot see through that.
    function = inspect.unwrap(function)
    # Some versions of numba are typed, and keep from the checker that a compiled function is called like its source.
    njit: Any = functools.partial(numba.njit, nogil=True, error_model="numpy")
    compiled_function: Callable[P, R]
    try:
        compiled_function = njit(cache=True)(function)
    except RuntimeError:  # numba's answer when it finds no folder for its cache
        compiled_function = njit()(function)
    return compiled_function

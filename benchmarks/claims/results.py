"""What benchmarks have left behind, value by value. What is not there is ``None``: not measured yet."""

from __future__ import annotations

import csv
import functools
import json
from pathlib import Path
from typing import Any

import numpy as np
import yaml

ROOT = Path(__file__).parents[2]
RESULTS = ROOT / "benchmarks" / "results"

Value = float | None


def rows(name: str, **where: Any) -> list[dict[str, Any]]:
    """Return the rows of a results file that have these values, all of them without any."""
    return [row for row in _file(name).get("rows", []) if all(row.get(key) == value for key, value in where.items())]


def value(name: str, column: str, **where: Any) -> Value:
    """Return one number: that of the first row which has these values and this column."""
    found = [row[column] for row in rows(name, **where) if column in row]
    return float(found[0]) if found else None


def column(name: str, title: str, **where: Any) -> list[float]:
    """Return all numbers of a column; what is no number is passed over."""
    return [float(row[title]) for row in rows(name, **where) if isinstance(row.get(title), int | float)]


def mean(name: str, title: str, **where: Any) -> Value:
    """Return the mean of a column."""
    found = column(name, title, **where)
    return float(np.mean(found)) if found else None


def times(factor: float, number: Value) -> Value:
    """Return a multiple, such as per cent of a share."""
    return None if number is None else factor * number


def ratio(first: Value, second: Value) -> Value:
    """Return a quotient."""
    return None if first is None or second is None else first / second


def lead(name: str, number: str, over: str) -> list[Value]:
    """Return by how much the score is above another measure, and the ends of the 95 % interval."""
    return [value(name, part, lead=number, over=over) for part in ("mean", "low", "high")]


def origin(name: str) -> str:
    """Say where a number comes from, and how to measure it anew."""
    if name.endswith(".yaml"):
        return name
    if name.endswith(".csv"):
        return f"results/{name}"
    command = _file(name).get("command")
    return f"results/{name}.json" + (f" (`{' '.join(command)}`)" if command else ", which is not there")


def setting(preset: str, path: str) -> float:
    """Return a setting of a preset by its path, such as ``matching.theta``."""
    found: Any = yaml.safe_load((ROOT / "configs" / "presets" / f"{preset}.yaml").read_text())
    for part in path.split("."):
        found = found[part]
    return float(found)


@functools.cache
def _file(name: str) -> dict[str, Any]:
    if name.endswith(".csv"):
        return {"rows": _table(RESULTS / name)}
    path = RESULTS / f"{name}.json"
    found: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {}
    return found


def _table(path: Path) -> list[dict[str, Any]]:
    return list(csv.DictReader(path.read_text(encoding="utf-8").splitlines())) if path.exists() else []

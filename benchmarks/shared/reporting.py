"""What every benchmark leaves behind: its figures, and the machine, versions, date and command they came from."""

from __future__ import annotations

import csv
import datetime
import importlib.metadata
import json
import os
import platform
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

RESULTS = Path(os.environ.get("BENCHMARK_RESULTS", Path(__file__).parents[1] / "results"))
FIGURES = RESULTS / "figures"


def machine() -> dict[str, Any]:
    """Describe where and when a figure was measured."""
    return {
        "date": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        "platform": platform.platform(),
        "processor": _processor(),
        "cores": os.cpu_count(),
        "torch_threads": torch.get_num_threads(),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "python": platform.python_version(),
        "versions": {name: importlib.metadata.version(name) for name in ("torch", "numba", "numpy", "scipy")},
    }


def write_results(name: str, rows: Sequence[Mapping[str, Any]], command: Sequence[str]) -> Path:
    """Write ``rows`` with their circumstances to ``results/<name>.json`` and return its path.

    Args:
        name: of the benchmark.
        rows: the figures, one mapping per line of the table.
        command: what was run, such as ``["python", "-m", "benchmarks.cost.matching"]``.
    """
    RESULTS.mkdir(parents=True, exist_ok=True)
    path = RESULTS / f"{name}.json"
    # Where folders lie is nobody's business.
    shown = [Path(part).name if Path(part).is_absolute() else part for part in command]
    path.write_text(json.dumps({"command": shown, "machine": machine(), "rows": list(rows)}, indent=2) + "\n")
    return path


def write_scores(name: str, rows: Sequence[Mapping[str, Any]]) -> Path:
    """Write what lies beneath the means, a row per photograph, to ``results/<name>_scores.csv``; return its path."""
    RESULTS.mkdir(parents=True, exist_ok=True)
    path = RESULTS / f"{name}_scores.csv"
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        for row in rows:
            writer.writerow({key: f"{value:.6g}" if isinstance(value, float) else value for key, value in row.items()})
    return path


def _processor() -> str:
    information = Path("/proc/cpuinfo")
    if information.exists():
        for line in information.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor()

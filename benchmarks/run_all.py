"""Runs all benchmarks, one after the other, and says at the end which of them failed.

    python -m benchmarks.run_all [--quick] [--only trust.semantics cost.matching] [--out FOLDER]

``--quick`` takes under ten minutes on two cores: it shows every table, of fewer repetitions and sizes, and leaves
``results`` alone. For figures to quote, run it without, on a machine that does nothing else. Some scripts are left to
you: ``trust.kodak``, ``trust.objects``, ``trust.planted``, ``trust.recognition``, ``trust.pasted``,
``trust.relation_changes``, ``trust.small_objects`` and those of ``calibration`` need folders of photographs.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from benchmarks.shared.reporting import RESULTS

ROOT = Path(__file__).parents[1]

QUICK: dict[str, Sequence[str]] = {
    "trust.lite_sanity": [],
    "trust.semantics": ["--quick"],
    "trust.limits": ["--quick"],
    "trust.robustness": ["--quick"],
    "cost.matching": ["--quick"],
    "cost.lite": ["--quick"],
    "cost.loss": ["--quick"],
    "cost.profile_lite": ["--quick"],
    "cost.target_cache": ["--quick"],
    "cost.curve": ["--quick"],
    "cost.import_time": ["--quick"],
    "cost.memory": ["--quick"],
    "cost.ddp_scaling": ["--pairs", "8"],
    "cost.processes": ["--pairs", "40"],
    "trust.fidelity": ["--quick"],
    "trust.power": ["--quick"],
    "cost.tuning": ["--quick"],
    "cost.relation_recall": ["--images", "50"],
    "trust.relations": ["--images", "24"],
    "cost.segmentation": ["--model", "tiny", "--points-per-side", "8"],
    "cost.reference_pipeline": ["--tiny", "--images", "2", "--points-per-side", "8", "--repeats", "1"],
}
"""The options of every script with ``--quick``."""

ON_FOLDERS = {
    "trust.kodak",
    "trust.objects",
    "trust.pasted",
    "trust.planted",
    "trust.recognition",
    "trust.relation_changes",
    "trust.small_objects",
}
"""Scripts that report, but only on data that is not here."""

FULL: dict[str, Sequence[str]] = {name: [] for name in QUICK} | {
    # True sizes take a graphics card: on a processor, one image is slow enough.
    "cost.reference_pipeline": ["--random-weights", "--stock", "--images", "1", "--repeats", "1"],
}
"""The options of every script without."""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="few repetitions and sizes; `results` is left alone")
    parser.add_argument("--only", nargs="+", choices=QUICK, default=list(QUICK), metavar="SCRIPT")
    parser.add_argument("--out", type=Path, help="folder for what is written; with --quick, a new one by default")
    arguments = parser.parse_args()
    options = QUICK if arguments.quick else FULL
    commands = {name: [sys.executable, "-m", f"benchmarks.{name}", *options[name]] for name in arguments.only}
    out = arguments.out or (Path(tempfile.mkdtemp(prefix="benchmarks-")) if arguments.quick else RESULTS)
    outcomes = run(commands, {**os.environ, "BENCHMARK_RESULTS": str(out.absolute())})
    print(f"\n{summary(outcomes)}\nresults are in {out}")
    return int(any(code for code, _ in outcomes.values()))


def run(commands: Mapping[str, Sequence[str]], environment: Mapping[str, str]) -> dict[str, tuple[int, float]]:
    """Run commands in order, whether or not those before them failed.

    Returns:
        the exit code of each, and how many seconds it took.
    """
    outcomes = {}
    for name, command in commands.items():
        print(f"\n=== {name}: {' '.join(command[1:])}", flush=True)
        start = time.perf_counter()
        code = subprocess.run(command, env=environment, cwd=ROOT, check=False).returncode
        outcomes[name] = code, time.perf_counter() - start
    return outcomes


def summary(outcomes: Mapping[str, tuple[int, float]]) -> str:
    """Return a line per script, and how many failed."""
    lines = [
        f"{name:<26}{seconds:8.1f} s{'' if code == 0 else f'  failed with exit code {code}'}"
        for name, (code, seconds) in outcomes.items()
    ]
    failed = sum(code != 0 for code, _ in outcomes.values())
    total = sum(seconds for _, seconds in outcomes.values())
    return "\n".join([*lines, f"{len(outcomes)} scripts, {failed} failed, {total:.0f} s in all"])


if __name__ == "__main__":
    sys.exit(main())

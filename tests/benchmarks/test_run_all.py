"""One benchmark that fails stops none of the others, and is not passed over in silence."""

from __future__ import annotations

import sys
from pathlib import Path

from benchmarks import run_all


def test_all_are_run_and_failures_are_named() -> None:
    codes = {"first": 0, "second": 3, "third": 0}
    commands = {name: [sys.executable, "-S", "-c", f"raise SystemExit({code})"] for name, code in codes.items()}
    outcomes = run_all.run(commands, {})
    assert {name: code for name, (code, _) in outcomes.items()} == codes
    lines = run_all.summary(outcomes).splitlines()
    assert [line.split()[0] for line in lines] == [*codes, "3"]
    assert ["failed with exit code 3" in line for line in lines] == [False, True, False, False]
    assert lines[-1].startswith("3 scripts, 1 failed, ")


def test_every_script_that_reports_is_run() -> None:
    folder = Path(run_all.__file__).parent
    scripts = [path for part in ("cost", "trust") for path in (folder / part).glob("*.py")]
    reporting = {f"{path.parent.name}.{path.stem}" for path in scripts if "write_results(" in path.read_text()}
    assert reporting - run_all.ON_FOLDERS == set(run_all.QUICK)
    assert reporting >= run_all.ON_FOLDERS
    assert run_all.FULL.keys() == run_all.QUICK.keys()

"""What it costs to import the package, against importing torchmetrics alone.

    python -m benchmarks.cost.import_time [--quick]

Fresh interpreters import one and the other in turn, and the ratio is taken pair by pair.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import time
from typing import Any

from benchmarks.shared.reporting import write_results

BASELINE = "import torchmetrics"
STATEMENTS = {
    "the package": "import torchmetrics_sess",
    "the metric": "from torchmetrics_sess import SemanticSimilarityScore",
    "the command line": "import torchmetrics_sess.cli",
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="few repetitions; nothing is written")
    quick = parser.parse_args().quick
    rows = [measure(name, statement, 3 if quick else 7) for name, statement in STATEMENTS.items()]
    print(f"{'imported':>17} {'seconds':>8} {'against torchmetrics':>21}")
    for row in rows:
        print(f"{row['imported']:>17} {row['seconds']:8.2f} {row['ratio']:21.3f}")
    if not quick:
        command = ["python", "-m", "benchmarks.cost.import_time", *sys.argv[1:]]
        print(f"written to {write_results('import_time', rows, command)}")


def measure(name: str, statement: str, repetitions: int) -> dict[str, Any]:
    """Return one line of the table."""
    run(BASELINE), run(statement)
    times = [(run(BASELINE), run(statement)) for _ in range(repetitions)]
    return {
        "imported": name,
        "statement": statement,
        "seconds": statistics.median(ours for _, ours in times),
        "torchmetrics_seconds": statistics.median(theirs for theirs, _ in times),
        "ratio": statistics.median(ours / theirs for theirs, ours in times),
    }


def run(statement: str) -> float:
    start = time.perf_counter()
    subprocess.run([sys.executable, "-c", statement], check=True)
    return time.perf_counter() - start


if __name__ == "__main__":
    main()

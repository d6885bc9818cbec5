"""The command; see the package."""

from __future__ import annotations

import argparse
import sys

import benchmarks.claims
from benchmarks.claims.checking import check_all, not_measured, write
from benchmarks.claims.pages import PAGES, statements
from benchmarks.claims.results import ROOT


def main() -> int:
    parser = argparse.ArgumentParser(
        description=benchmarks.claims.__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--write", action="store_true", help="write the numbers of the results into the pages")
    arguments = parser.parse_args()
    stated = statements()
    if arguments.write:
        for name in PAGES:
            path = ROOT / name
            before = path.read_text()
            after = write(before, stated.get(name, ()))
            if after != before:
                path.write_text(after)
                print(f"{name}: written")
    problems = check_all(ROOT, stated, PAGES)
    print(*problems, sep="\n", end="\n" if problems else "")
    if not problems:
        for name in PAGES:
            for line in not_measured((ROOT / name).read_text(), stated.get(name, ())):
                print(f"not measured yet: {name}:{line}")
        print(f"{len(PAGES)} pages say what the results say")
    return int(bool(problems))


if __name__ == "__main__":
    sys.exit(main())

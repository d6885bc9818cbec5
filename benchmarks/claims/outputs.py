"""What the commands of the README print, recorded for its blocks of expected output.

    python -m benchmarks.claims.outputs

They run in an empty folder, with copies of photographs of the package: `photo.png` is the cat, `kodak/` all four, and
`decoded/`, `jpeg/` and `photo.jpg` are JPEGs of quality 10 of them.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

from benchmarks.shared.reporting import write_results
from torchmetrics_sess.photographs import NAMES, open_photograph

COMMANDS = ("demo --report report/", "score photo.png photo.jpg", "score kodak/ decoded/")
QUALITY = 10


def main() -> None:
    rows = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for part in ("kodak", "decoded"):
            (folder / part).mkdir()
        for photograph in NAMES:
            image = open_photograph(photograph)
            image.save(folder / "kodak" / f"{photograph}.png")
            image.save(folder / "decoded" / f"{photograph}.jpg", quality=QUALITY)
        open_photograph("cat").save(folder / "photo.png")
        open_photograph("cat").save(folder / "photo.jpg", quality=QUALITY)
        for command in COMMANDS:
            start = os.times().children_user
            done = subprocess.run(
                [sys.executable, "-m", "torchmetrics_sess.cli", *command.split()],
                cwd=folder,
                env={**os.environ, "COLUMNS": "120", "NO_COLOR": "1"},
                capture_output=True,
                text=True,
                check=True,
            )
            output = re.sub(r"[ \t]+$", "", done.stdout, flags=re.MULTILINE).strip("\n")
            rows.append(
                {"shown": f"sess {command}", "processor seconds": os.times().children_user - start, "output": output}
            )
            print(f"$ sess {command}\n{output}\n")
    print(write_results("outputs", rows, ["python", "-m", "benchmarks.claims.outputs"]))


if __name__ == "__main__":
    main()

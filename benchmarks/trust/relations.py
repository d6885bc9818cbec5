"""Can a relation head learn relations that follow from the picture? Through the commands, on made-up images.

    python -m benchmarks.trust.relations [--images 1000] [--layouts free cells] [--folder FOLDER]

The data sets of ``benchmarks.shared.made_up_psg``, tokens of ``lite`` and of the small Segment Anything of the tests,
and a small head from random weights (``configs/relations/small.yaml``), evaluated on the other half of the images. Of
the layout ``free``, only the places of objects tell their relations, and of ``cells`` their colours do too: tokens of
the small network know colours, but no places. It says that the machinery works from end to end, and nothing about PSG,
whose images and weights are not needed here.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, get_args

from benchmarks.shared.made_up_psg import Layout, write_data_set
from benchmarks.shared.reporting import write_results
from benchmarks.shared.tiny_sam_command import SETTINGS

CONFIG = Path(__file__).parents[2] / "configs" / "relations" / "small.yaml"
COMMANDS = {"lite": "torchmetrics_sess.cli", "tiny SAM": "benchmarks.shared.tiny_sam_command"}


def run(segmenter: str, *arguments: object) -> float:
    """Run ``sess relations``, and return the seconds that it took."""
    start = time.perf_counter()
    command = [sys.executable, "-m", COMMANDS[segmenter], "relations", *map(str, arguments)]
    subprocess.run(command, check=True)
    return time.perf_counter() - start


def measure(segmenter: str, annotations: Path, folder: Path, images: int) -> dict[str, Any]:
    """Extract, train and evaluate with the tokens of one segmenter."""
    folder.mkdir(parents=True, exist_ok=True)
    options: list[object] = []
    if segmenter != "lite":
        options = ["--preset", "reference", *(f"--set={name}={value}" for name, value in SETTINGS.items())]
    extraction = run(segmenter, "extract", annotations, "-o", folder / "tokens", "--device", "cpu", *options)
    settings = ["--config", CONFIG, "--trainer.accelerator", "cpu", "--trainer.enable_progress_bar", "false"]
    training = run(segmenter, "train", "--data", folder / "tokens", "-o", folder / "run", *settings)
    head, results = folder / "run" / "head.safetensors", folder / "results.json"
    evaluation = run(segmenter, "evaluate", head, "--data", folder / "tokens", "--device", "cpu", "--json", results)
    measured = json.loads(results.read_text())["results"]
    return {
        "segmenter": segmenter,
        "images": images,
        "extraction_seconds": round(extraction, 1),
        "training_seconds": round(training, 1),
        "evaluation_seconds": round(evaluation, 1),
        "recall": {name: result["recall"] for name, result in measured.items()},
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=1000)
    parser.add_argument("--layouts", nargs="+", choices=get_args(Layout), default=list(get_args(Layout)))
    parser.add_argument(
        "--folder", type=Path, help="where everything goes, and what is there already is not done again"
    )
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = arguments.folder or Path(temporary)
        for layout in arguments.layouts:
            annotations = write_data_set(folder / layout / "images", arguments.images, layout=layout)
            rows = [
                measure(name, annotations, folder / layout / name.replace(" ", "-"), arguments.images)
                for name in COMMANDS
            ]
            for row in rows:
                head, *baselines = row["recall"].items()
                print(f"{layout}, {row['segmenter']}: trained in {row['training_seconds']:.0f} s")
                for name, recall in (head, *baselines):
                    shown = (f"{key} {value:.3f}" for key, value in recall.items() if key.endswith("@20"))
                    print(f"  {name:20}", "  ".join(shown))
            command = ["python", "-m", "benchmarks.trust.relations", *sys.argv[1:]]
            print(write_results(f"relations-made_up-{layout}", rows, command))


if __name__ == "__main__":
    main()

"""Does the default preset behave? One table over the photographs of scikit-image and scikit-learn.

    python -m benchmarks.trust.lite_sanity

Prints, for every photograph, the score against itself, along a JPEG ladder, after changes that keep its meaning and
after changes that take it away, and against other photographs; then whether each expectation holds. The exit code is 1
if one does not.
"""

from __future__ import annotations

import sys

import numpy as np
import torch
from PIL import Image
from rich.console import Console
from rich.table import Table
from scipy.stats import spearmanr

from benchmarks.shared.photographs import OBJECTS, load_photographs
from benchmarks.shared.reporting import write_results
from benchmarks.trust.edits import erase, shift, swap
from torchmetrics_sess import SemanticSimilarityScore
from torchmetrics_sess.cli.distortions import brighten, compress
from torchmetrics_sess.comparison import ImageMetric, image_metrics

QUALITIES = (95, 90, 80, 70, 60, 50, 40, 30, 20, 15, 10, 5)


def main() -> int:
    photographs = load_photographs()
    sess = image_metrics(["sess"])["sess"]
    rows = [measure(name, photographs, sess) for name in photographs]
    console = Console(width=180)
    table = Table("photograph", *(column for column in rows[0] if column != "photograph"))
    for row in rows:
        table.add_row(*(value if isinstance(value, str) else f"{value:.3f}" for value in row.values()))
    console.print(table)

    failed = False
    for expectation, holds, got in judge(rows):
        failed |= not holds
        console.print(f"{'ok  ' if holds else 'FAIL'} {expectation}: {got}")
    console.print(SemanticSimilarityScore().signature)
    print(write_results("lite_sanity", rows, ["python", "-m", "benchmarks.trust.lite_sanity"]))
    return int(failed)


def measure(name: str, photographs: dict[str, Image.Image], sess: ImageMetric) -> dict[str, str | float]:
    photograph, box = photographs[name], OBJECTS[name]
    with_object = [other for other, its_box in OBJECTS.items() if its_box is not None and other != name]
    changed = {"itself": photograph}
    changed |= {f"jpeg {quality}": compress(photograph, quality) for quality in QUALITIES}
    changed |= {
        "shift 5 %": shift(photograph),
        "brighter": brighten(photograph, 1.3),
        "darker": brighten(photograph, 0.7),
    }
    if box is not None:
        changed["erased"] = erase(photograph, box)
        for k in (1, 2):
            donor = with_object[(len(name) + k) % len(with_object)]
            donor_box = OBJECTS[donor]
            if donor_box is not None:
                changed[f"swapped {k}"] = swap(photograph, box, photographs[donor], donor_box)
    others = [other for other in photographs if other != name]
    changed |= {f"unrelated {k}": photographs[others[(len(name) + 3 * k) % len(others)]] for k in (1, 2, 3)}

    scores = sess([tensor(image) for image in changed.values()], [tensor(photograph)] * len(changed))
    by_name = dict(zip(changed, scores, strict=True))
    row: dict[str, str | float] = {"photograph": name}
    row["itself"] = by_name["itself"]
    row |= {f"jpeg {quality}": by_name[f"jpeg {quality}"] for quality in (95, 50, 20, 10, 5)}
    ladder = [by_name[f"jpeg {quality}"] for quality in QUALITIES[1:]]
    row["Spearman"] = float(spearmanr(QUALITIES[1:], ladder)[0])
    row |= {column: by_name[column] for column in ("shift 5 %", "brighter", "darker")}
    for column in ("erased", "swapped 1", "swapped 2"):
        row[column] = by_name.get(column, "-")
    row["unrelated, highest"] = max(by_name[f"unrelated {k}"] for k in (1, 2, 3))
    return row


def judge(rows: list[dict[str, str | float]]) -> list[tuple[str, bool, str]]:
    def column(name: str) -> np.ndarray:
        return np.array([np.nan if isinstance(row[name], str) else row[name] for row in rows], dtype=float)

    kept = np.minimum(np.minimum(column("shift 5 %"), column("brighter")), column("darker"))
    lost = np.maximum(np.maximum(column("erased"), column("swapped 1")), column("swapped 2"))
    margin = np.nanmin(kept - lost)
    apart = column("jpeg 10").min() - column("unrelated, highest").max()
    return [
        ("identical images score at least 0.9999", column("itself").min() >= 0.9999, f"{column('itself').min():.6f}"),
        ("JPEG 95 scores at least 0.97", column("jpeg 95").min() >= 0.97, f"lowest {column('jpeg 95').min():.4f}"),
        ("unrelated pairs score clearly below JPEG 10", apart > 0.1, f"smallest gap {apart:.3f}"),
        (
            "Spearman of score and JPEG quality, 90 to 5, is at least 0.9 for every photograph",
            column("Spearman").min() >= 0.9,
            f"lowest {column('Spearman').min():.3f}, mean {column('Spearman').mean():.3f}",
        ),
        ("a shift or brightness change scores above an erased or swapped object", margin > 0, f"margin {margin:.3f}"),
    ]


def tensor(image: Image.Image) -> torch.Tensor:
    return torch.from_numpy(np.array(image)).permute(2, 0, 1)


if __name__ == "__main__":
    sys.exit(main())

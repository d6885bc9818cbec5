"""What does evaluation cost beside the network? 1000 made-up images of 30 objects, 640 by 480 pixels, on one thread.

Times are those of the processor, which other programs on the machine do not lengthen as much as those of the clock.

    python -m benchmarks.cost.relation_recall [--images 1000]
"""

from __future__ import annotations

import argparse
import time
from typing import Any

import torch
from torch import Tensor

from benchmarks.shared.reporting import write_results
from torchmetrics_sess.relations import RelationHead, RelationRecall
from torchmetrics_sess.relations.tokens import mask_iou

OBJECTS, HEIGHT, WIDTH = 30, 480, 640
CLASSES, RELATIONS, DIFFERENT = 133, 10, 20


def make_up(seed: int) -> dict[str, Tensor]:
    """Return what ``RelationRecall`` takes of an image: masks are the cells of random points, found ones a bit off."""
    generator = torch.Generator().manual_seed(seed)
    points = torch.rand(OBJECTS, 2, generator=generator)
    rows, columns = torch.arange(HEIGHT) / HEIGHT, torch.arange(WIDTH) / WIDTH
    distance = (points[:, 0, None, None] - rows[:, None]) ** 2 + (points[:, 1, None, None] - columns) ** 2
    masks = distance.argmin(0) == torch.arange(OBJECTS)[:, None, None]
    classes = torch.randint(CLASSES, (OBJECTS,), generator=generator)
    pairs = torch.randint(OBJECTS, (RELATIONS, 2), generator=generator)
    predicates = torch.randint(56, (RELATIONS, 1), generator=generator)
    return {
        "scores": torch.rand(56, OBJECTS, OBJECTS, generator=generator),
        "relations": torch.cat([pairs, predicates], 1),
        "masks": masks,
        "classes": classes,
        "pred_masks": masks.roll((4, 6), (1, 2)),
        "pred_classes": classes,
        "pred_scores": torch.rand(OBJECTS, generator=generator),
    }


def milliseconds(metric: RelationRecall, images: int, inputs: list[dict[str, Tensor]], leave_out: set[str]) -> float:
    """Return what an update takes, on average."""
    kept = [{name: value for name, value in image.items() if name not in leave_out} for image in inputs]
    metric.update(**kept[0])
    start = time.process_time()
    for index in range(images):
        metric.update(**kept[index % len(kept)])
    return 1e3 * (time.process_time() - start) / images


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=1000)
    images = parser.parse_args().images
    torch.set_num_threads(1)
    inputs = [make_up(seed) for seed in range(DIFFERENT)]
    with_iou = [{**image, "iou": mask_iou(image["pred_masks"], image["masks"])} for image in inputs]
    classes, masks = {"classes", "pred_classes"}, {"masks", "pred_masks"}
    rows: list[dict[str, Any]] = [
        {"what": "ram", "ms": milliseconds(RelationRecall("ram"), images, inputs, set())},
        {"what": "predcls", "ms": milliseconds(RelationRecall("predcls"), images, inputs, set())},
        {"what": "sgdet", "ms": milliseconds(RelationRecall("sgdet"), images, inputs, set())},
        {"what": "sgdet, class-agnostic", "ms": milliseconds(RelationRecall("sgdet"), images, inputs, classes)},
        {
            "what": "sgdet, class-agnostic, from IoU",
            "ms": milliseconds(RelationRecall("sgdet"), images, with_iou, classes | masks),
        },
    ]
    head = RelationHead(vocab_size=1)
    tokens, valid = torch.randn(1, OBJECTS, 256), torch.ones(1, OBJECTS, dtype=torch.bool)
    head(tokens, valid)
    start = time.process_time()
    for _ in range(5):
        head(tokens, valid)
    rows.append({"what": "the network, at its published size", "ms": 1e3 * (time.process_time() - start) / 5})
    for row in rows:
        print(f"{row['what']:36} {row['ms']:8.2f} ms")
    command = ["python", "-m", "benchmarks.cost.relation_recall"]
    print(
        write_results("relation_recall-cpu", [{"images": images, "objects": OBJECTS, **row} for row in rows], command)
    )


if __name__ == "__main__":
    main()

"""What each setting that exists only to match the released code does to the scores of its recorded run.

    python -m benchmarks.trust.fidelity [--quick]

Every row changes one thing, extracts and matches the eight pairs of the recording again, and gives how far each score
moves. ``--quick`` leaves out the rows on enlarged images.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

import numpy as np
import open_clip
import PIL
import torch
from numpy.typing import NDArray
from PIL import Image as PillowImage
from torch import Tensor, nn
from torch.nn.functional import interpolate, normalize

from benchmarks.shared import golden_pipeline, matching_oracle
from benchmarks.shared.golden_pipeline import CASES, SIDES, image, recorded, relation_similarity
from benchmarks.shared.reporting import write_results
from torchmetrics_sess import SceneGraph, SceneGraphExtractor, importance
from torchmetrics_sess.encoders.crops import bounding_boxes
from torchmetrics_sess.extractor import limit_width
from torchmetrics_sess.matching import MatchingConfig, match_graphs
from torchmetrics_sess.relations import RamRelationModel
from torchmetrics_sess.stages import Embeddings, Image, Segmentation

DROPOUT = 0.1
DROPOUT_RUNS = 10
ENLARGED_WIDTH = 1040
# Masks of large images take their time: a quarter of the prompts will do.
FEWER_PROMPTS = {"points_per_side": 8}


class Segmented:
    """Gives back what was segmented before: only what comes after differs between rows."""

    def __init__(self, images: list[Image], **settings: Any) -> None:
        self.images = images
        self.segmentations: list[Segmentation] = golden_pipeline.tiny_segmenter(**settings)(images)

    def __call__(self, images: list[Image]) -> list[Segmentation]:
        """Return the segmentations of the images it was made with."""
        return self.segmentations


class PillowEncoder:
    """Embeds crops that the installed Pillow resizes, one by one, with open_clip's own transform."""

    def __init__(self) -> None:
        self.model = golden_pipeline.tiny_clip()
        self.transform = open_clip.image_transform(golden_pipeline.VISION["image_size"], is_train=False)

    def __call__(self, images: list[Image], segmentations: list[Segmentation]) -> list[Embeddings]:
        """Embed the objects of every segmentation, one image each."""
        return [self._embed(*each) for each in zip(images, segmentations, strict=True)]

    def _embed(self, pixels: Image, segmentation: Segmentation) -> Embeddings:
        array = (pixels * 255).round().byte().permute(1, 2, 0).numpy()
        boxes = bounding_boxes(segmentation.masks[0]).tolist()
        crops = [array, *(array[top:bottom, left:right] for top, left, bottom, right in boxes)]
        batch = torch.stack([self.transform(PillowImage.fromarray(crop)) for crop in crops])
        features = normalize(self.model.encode_image(batch).float(), dim=-1)
        return Embeddings(features=features[None, 1:], image_features=features[:1])


def scores(graphs: list[SceneGraph], config: MatchingConfig | None = None) -> NDArray[np.float64]:
    """Return the score of every pair."""
    pairs = zip(graphs[::2], graphs[1::2], strict=True)
    return np.array([match_graphs(a, b, relation_similarity(), config or MatchingConfig()).score for a, b in pairs])


def scores_in_place_from_the_start(graphs: list[SceneGraph]) -> NDArray[np.float64]:
    """Return the scores if the first iteration, too, saw its own updates."""
    config, values = MatchingConfig(), []
    for a, b in zip(graphs[::2], graphs[1::2], strict=True):
        a, b = a.to(torch.float64), b.to(torch.float64)
        graph_score, _ = matching_oracle.match(a, b, relation_similarity().numpy(), config, first_in_place=True)
        image_score = float(a.image_feature @ b.image_feature)
        values.append((1 - config.image_weight) * graph_score + config.image_weight * image_score)
    return np.array(values)


@contextmanager
def training(model: nn.Module) -> Iterator[None]:
    """Put a network into the training mode that the released demo leaves it in."""
    layers = [module for module in model.modules() if isinstance(module, nn.Dropout)]
    for layer in layers:
        layer.p = DROPOUT
    model.train()
    yield
    model.eval()


def rows_of_the_recording() -> dict[str, NDArray[np.float64]]:
    """Return how far the scores of the recording move, ``[cases]`` or ``[runs, cases]``, by what is changed."""
    images = [image(side) / 255 for side in SIDES]
    segmented, encoder = Segmented(images), golden_pipeline.tiny_encoder()

    def extract(**changed: Any) -> list[SceneGraph]:
        stages = {"relation_model": RamRelationModel(golden_pipeline.tiny_relation_head()), "encoder": encoder}
        return SceneGraphExtractor(segmented, **(stages | changed))(images)

    graphs = extract()
    base = scores(graphs)
    swapped = [graph for pair in zip(graphs[1::2], graphs[::2], strict=True) for graph in pair]
    dropped = RamRelationModel(golden_pipeline.tiny_relation_head(), drop_last=False)
    with patch.object(importance, "_FLOOR", 0.0):
        without_floor = scores(extract())

    noisy = RamRelationModel(golden_pipeline.tiny_relation_head())
    extractor_in_training = SceneGraphExtractor(segmented, noisy, encoder)
    runs = []
    with training(noisy):
        for seed in range(DROPOUT_RUNS):
            torch.manual_seed(seed)
            runs.append(scores(extractor_in_training(images)))

    released = np.array([recorded()[f"{case}/score"].item() for case in CASES])
    return {
        "the released code itself": released - base,
        "synchronous updates": scores(graphs, MatchingConfig(update_order="synchronous")) - base,
        "in place from the first iteration": scores_in_place_from_the_start(graphs) - base,
        "the two images swapped": scores(swapped) - base,
        "the last triplet kept": scores(extract(relation_model=dropped)) - base,
        "no floor under importance": without_floor - base,
        f"dropout on ({DROPOUT_RUNS} runs)": np.array(runs) - base,
        f"crops by Pillow {PIL.__version__}": scores(extract(encoder=PillowEncoder())) - base,
    }


def rows_of_enlarged_images() -> dict[str, NDArray[np.float64]]:
    """Return the same for the images of the recording enlarged beyond the width that is shrunk."""
    images = [enlarge(image(side)) / 255 for side in SIDES]
    encoder = golden_pipeline.tiny_encoder()

    def extract(segmented: Segmented, **changed: Any) -> list[SceneGraph]:
        stages = {"relation_model": RamRelationModel(golden_pipeline.tiny_relation_head()), "encoder": encoder}
        return SceneGraphExtractor(segmented, **(stages | changed), max_width=None)(segmented.images, masks=False)

    shrunk = Segmented([limit_width(each, 800) for each in images], **FEWER_PROMPTS)
    base = scores(extract(shrunk))
    bilinear = Segmented([shrink_bilinear(each, 800) for each in images], **FEWER_PROMPTS)
    name = f"{ENLARGED_WIDTH} pixels wide"
    return {
        f"{name}, crops by Pillow {PIL.__version__}": scores(extract(shrunk, encoder=PillowEncoder())) - base,
        f"{name}, a bilinear filter": scores(extract(bilinear)) - base,
        f"{name}, not shrunk": scores(extract(Segmented(images, **FEWER_PROMPTS))) - base,
    }


def enlarge(pixels: Tensor) -> Tensor:
    """Return an image at ``ENLARGED_WIDTH``."""
    photograph = PillowImage.fromarray(pixels.permute(1, 2, 0).numpy())
    height = round(photograph.height * ENLARGED_WIDTH / photograph.width)
    return torch.from_numpy(np.array(photograph.resize((ENLARGED_WIDTH, height)))).permute(2, 0, 1)


def shrink_bilinear(pixels: Image, max_width: int) -> Image:
    """Shrink as :func:`torchmetrics_sess.extractor.limit_width` does, by another filter."""
    size = round(pixels.shape[1] * max_width / pixels.shape[2]), max_width
    return (interpolate(255 * pixels[None], size, mode="bilinear", antialias=True)[0]).round().clamp(0, 255) / 255


def main() -> None:
    """Print the table and write it to ``results/fidelity.json``."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--quick", action="store_true", help="without the rows on enlarged images")
    quick = parser.parse_args().quick

    differences = rows_of_the_recording() | ({} if quick else rows_of_enlarged_images())
    print(
        f"{'|difference of the score|':<42}" + "".join(f"{f'case {case}':>9}" for case in CASES) + "     mean      max"
    )
    rows = []
    for name, difference in differences.items():
        by_case = np.abs(difference).reshape(-1, len(CASES)).mean(axis=0)
        mean, largest = float(np.abs(difference).mean()), float(np.abs(difference).max())
        print(f"{name:<42}" + "".join(f"{value:9.1e}" for value in (*by_case, mean, largest)))
        rows.append({"changed": name, "cases": by_case.tolist(), "mean": mean, "max": largest})
    if not quick:
        print(f"written to {write_results('fidelity', rows, ['python', '-m', 'benchmarks.trust.fidelity'])}")


if __name__ == "__main__":
    main()

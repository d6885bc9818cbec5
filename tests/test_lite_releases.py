"""What ``lite`` scores: its first release as it was, and the present one as it is meant to be."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

from torchmetrics_sess import SemanticSimilarityScore, semantic_similarity_score
from torchmetrics_sess.cli.distortions import distortions
from torchmetrics_sess.photographs import NAMES, open_photograph

# Recorded with version 0.1.0, in the order of `distortions`.
VERSION_0_1_0 = {
    "rocket": [1.000000, 0.961488, 0.990899, 0.971045, 0.921115, 0.696523, 0.550433, 0.864435, 0.313728],
    "cat": [1.000000, 0.978718, 0.997171, 0.986252, 0.959345, 0.859776, 0.494760, 0.620151, 0.468579],
}


def tensor(image: Image.Image) -> torch.Tensor:
    return torch.from_numpy(np.array(image)).permute(2, 0, 1)


@pytest.mark.parametrize("name", VERSION_0_1_0)
def test_the_first_release_can_be_computed_again(name: str) -> None:
    changed = [tensor(distort(name)) for distort in distortions().values()]
    targets = [tensor(open_photograph(name))] * len(changed)
    scores = semantic_similarity_score(changed, targets, preset="lite-0.1", reduction="none")
    torch.testing.assert_close(scores, torch.tensor(VERSION_0_1_0[name]), rtol=0, atol=2e-5)


@pytest.mark.parametrize("name", NAMES)
def test_every_jpeg_is_above_the_photograph_without_its_subject(name: str) -> None:
    titles = [title for title in distortions() if title.startswith("JPEG")] + ["subject erased", "another photograph"]
    sess = SemanticSimilarityScore(reduction="none")
    sess.update([tensor(distortions()[t](name)) for t in titles], [tensor(open_photograph(name))] * len(titles))
    scores = dict(zip(titles, sess.compute().tolist(), strict=True))
    erased, other = scores.pop("subject erased"), scores.pop("another photograph")
    assert min(scores.values()) > max(erased, other)

"""Names for objects: which one, how sure, and what they leave alone."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from stub_extractor import ColourEncoder, stub_extractor, stub_images
from torch import Tensor
from torch.nn.functional import normalize

from benchmarks.shared import golden_pipeline
from torchmetrics_sess.extractor import SceneGraphExtractor
from torchmetrics_sess.naming import ObjectNamer, namer_of, read_vocabulary, readable_classes
from torchmetrics_sess.relations.vocabulary import OBJECT_CLASSES


class Words(ColourEncoder):
    """Embeds the n-th text that it meets into the n-th direction."""

    def __init__(self) -> None:
        super().__init__()
        self.texts: list[str] = []

    def encode_text(self, prompts: Sequence[str]) -> Tensor:
        self.texts += prompts
        return torch.eye(64)[: len(prompts)]


def test_the_best_name_and_its_probability() -> None:
    encoder = Words()
    namer = ObjectNamer(encoder, ["cup", "person", "dog"])
    assert encoder.texts == ["a photo of a cup", "a photo of a person", "a photo of a dog"]
    features = normalize(torch.tensor([[0.0, 1.0, 0.0], [0.5, 0.5, 0.505]]))
    features = torch.cat([features, torch.zeros(2, 61)], 1)
    sure, unsure = namer.name(features)
    assert (str(sure), sure.sure) == ("person", True)
    assert (str(unsure), unsure.sure) == ("dog?", False)
    weights = [math.exp(100 * value) for value in features[1, :3].tolist()]
    assert unsure.probability == pytest.approx(weights[2] / sum(weights), rel=1e-4)
    namer.name(features)
    assert len(encoder.texts) == 3


def test_names_change_no_graph() -> None:
    parts = stub_extractor()
    extractor = SceneGraphExtractor(parts.segmenter, parts.relation_model, Words(), max_width=None)
    namer = namer_of(extractor)
    assert namer is not None
    [graph] = extractor(stub_images(1))
    before = {name: value.clone() for name, value in vars(graph).items()}
    assert len(namer(graph)) == len(graph)
    assert all(torch.equal(value, before[name]) for name, value in vars(graph).items())


def test_the_small_clip_names_objects() -> None:
    extractor = SceneGraphExtractor(
        golden_pipeline.tiny_segmenter(points_per_side=4),
        stub_extractor().relation_model,
        golden_pipeline.tiny_encoder(),
    )
    namer = namer_of(extractor, ["first", "second"])
    assert namer is not None
    features = normalize(torch.randn(5, golden_pipeline.EMBEDDING, generator=torch.Generator().manual_seed(0)))
    assert {name.name for name in namer.name(features)} <= {"first", "second"}


def test_no_text_tower_no_names(lite: SceneGraphExtractor) -> None:
    assert namer_of(lite) is None
    encoder = golden_pipeline.tiny_encoder()
    encoder.tokenizer = None
    assert namer_of(SceneGraphExtractor(lite.segmenter, lite.relation_model, encoder)) is None


def test_classes_read_as_people_would_say_them() -> None:
    names = readable_classes()
    assert len(set(names)) == len(OBJECT_CLASSES)
    assert not any("-" in name for name in names)
    chosen = ("floor-wood", "wall-other-merged", "water-other", "window-blind", "sky-other-merged", "playingfield")
    read = [names[OBJECT_CLASSES.index(name)] for name in chosen]
    assert read == ["wood floor", "other wall", "water", "window blind", "sky", "playingfield"]


def test_a_vocabulary_of_ones_own(tmp_path: Path) -> None:
    (tmp_path / "names.txt").write_text("cat\n\n  dog \ncat\n")
    assert read_vocabulary(tmp_path / "names.txt") == ["cat", "dog"]
    (tmp_path / "names.txt").write_text("\n")
    with pytest.raises(ValueError, match=r"names.txt holds no name"):
        read_vocabulary(tmp_path / "names.txt")
    with pytest.raises(ValueError, match=r"missing.txt cannot be read"):
        read_vocabulary(tmp_path / "missing.txt")
    with pytest.raises(ValueError, match="`vocabulary` must hold at least one name"):
        ObjectNamer(Words(), [])

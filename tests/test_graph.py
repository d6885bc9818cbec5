from __future__ import annotations

import dataclasses
import json
import pickle
import struct
from pathlib import Path
from typing import Any

import jaxtyping
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file
from torch import Tensor

from torchmetrics_sess import SceneGraph
from torchmetrics_sess.graph import FORMAT

FIELDS = [field.name for field in dataclasses.fields(SceneGraph)]


def fields(n: int = 3, d: int = 4, masks: bool = True, seed: int = 0) -> dict[str, Any]:
    generator = torch.Generator().manual_seed(seed)
    relation = torch.randint(-1, 56, (n, n), generator=generator).fill_diagonal_(-1)
    return {
        "features": torch.randn(n, d, generator=generator),
        "centers": torch.rand(n, 2, generator=generator),
        "importance": torch.rand(n, generator=generator),
        "relation": relation,
        "confidence": torch.where(relation >= 0, torch.rand(n, n, generator=generator), -1),
        "image_feature": torch.randn(d, generator=generator),
        "masks": torch.rand(n, 5, 6, generator=generator) > 0.5 if masks else None,
    }


def assert_equal(graph: SceneGraph, other: SceneGraph) -> None:
    for name in FIELDS:
        a, b = getattr(graph, name), getattr(other, name)
        assert (a is None and b is None) or (a.dtype == b.dtype and torch.equal(a, b)), name


@given(n=st.integers(1, 6), d=st.integers(1, 5), masks=st.booleans(), seed=st.integers(0, 99))
@settings(derandomize=True, max_examples=25, deadline=None)
def test_a_saved_graph_comes_back(
    tmp_path_factory: pytest.TempPathFactory, n: int, d: int, masks: bool, seed: int
) -> None:
    graph = SceneGraph(**fields(n, d, masks, seed))
    path = tmp_path_factory.mktemp("graphs") / "graph.safetensors"
    graph.save(path)
    assert_equal(SceneGraph.load(path), graph)
    assert_equal(SceneGraph.load(str(path)), graph)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16])
def test_dtypes_survive_a_file(dtype: torch.dtype, tmp_path: Path) -> None:
    graph = SceneGraph(**fields()).to(dtype)
    graph.save(tmp_path / "graph.safetensors")
    assert_equal(SceneGraph.load(tmp_path / "graph.safetensors"), graph)


def test_who_may_read_other_files_may_read_a_saved_graph(tmp_path: Path) -> None:
    (tmp_path / "other").touch()
    SceneGraph(**fields()).save(tmp_path / "graph.safetensors")
    assert (tmp_path / "graph.safetensors").stat().st_mode == (tmp_path / "other").stat().st_mode


def test_arrays_that_share_memory_or_carry_gradients_are_saved_too(tmp_path: Path) -> None:
    everything = torch.rand(4, 4, requires_grad=True)
    parts = {"features": everything[:3], "image_feature": everything[0], "centers": everything[1:, :2]}
    graph = SceneGraph(**fields() | parts)
    graph.save(tmp_path / "graph.safetensors")
    assert_equal(SceneGraph.load(tmp_path / "graph.safetensors"), graph)


def test_a_file_says_what_it_is_without_this_package(tmp_path: Path) -> None:
    path = tmp_path / "graph.safetensors"
    SceneGraph(**fields()).save(path)
    content = path.read_bytes()
    [length] = struct.unpack("<Q", content[:8])
    header = json.loads(content[8 : 8 + length])
    assert header.pop("__metadata__") == {"format": "torchmetrics-sess/scene-graph/1", "objects": "3"}
    assert header.keys() == set(FIELDS)
    assert header["features"]["shape"] == [3, 4]
    # Nothing of it is left to chance.
    for _ in range(5):
        SceneGraph(**fields()).save(path)
        assert path.read_bytes() == content


@pytest.mark.parametrize("unchecked", [True, False])
def test_foreign_files_are_refused(unchecked: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", unchecked)
    arrays = {name: value for name, value in fields().items() if value is not None}
    contents: dict[str, Any] = {
        "empty": b"",
        "text": b"a scene graph",
        "pickle": pickle.dumps(arrays),
        "unnamed": (arrays, None),
        "named otherwise": (arrays, "pt"),
        "of another layout": (arrays, FORMAT.replace("1", "2")),
        "incomplete": ({name: value for name, value in arrays.items() if name != "relation"}, FORMAT),
        "overfull": (arrays | {"text": torch.ones(1)}, FORMAT),
        "inconsistent": (arrays | {"importance": torch.ones(7)}, FORMAT),
    }
    for name, content in contents.items():
        path = tmp_path / f"{name}.safetensors"
        if isinstance(content, bytes):
            path.write_bytes(content)
        else:
            tensors, layout = content
            save_file(tensors, path, metadata=layout and {"format": layout})
        with pytest.raises(ValueError, match=f"{name}.safetensors is not a scene graph: "):
            SceneGraph.load(path)


def test_a_truncated_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "graph.safetensors"
    SceneGraph(**fields()).save(path)
    path.write_bytes(path.read_bytes()[:-10])
    with pytest.raises(ValueError, match=r"graph\.safetensors is not a scene graph: "):
        SceneGraph.load(path)


def test_loading_never_unpickles(tmp_path: Path) -> None:
    class Trap:
        def __reduce__(self) -> tuple[Any, ...]:
            return Path.touch, (tmp_path / "sprung",)

    path = tmp_path / "graph.safetensors"
    torch.save({"features": Trap()}, path)
    with pytest.raises(ValueError, match="is not a scene graph"):
        SceneGraph.load(path)
    assert not (tmp_path / "sprung").exists()


def test_what_is_saved_is_what_was_given(tmp_path: Path) -> None:
    arrays = fields(masks=False)
    SceneGraph(**arrays).save(tmp_path / "graph.safetensors")
    loaded = load_file(tmp_path / "graph.safetensors")
    assert loaded.keys() == set(FIELDS) - {"masks"}
    assert all(torch.equal(loaded[name], arrays[name]) for name in loaded)


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("features", torch.ones(0, 4), r"`features` must be \[n, d\] with n >= 1, got shape \[0, 4\]"),
        ("features", torch.ones(3), r"`features` must be \[n, d\] with n >= 1, got shape \[3\]"),
        ("centers", torch.ones(3, 3), r"`centers` must be \[3, 2\] for 3 objects of 4 features, got \[3, 3\]"),
        ("importance", torch.ones(2), r"`importance` must be \[3\] .* got \[2\]"),
        ("relation", torch.ones(3, 2, dtype=torch.int64), r"`relation` must be \[3, 3\] .* got \[3, 2\]"),
        ("confidence", torch.ones(3), r"`confidence` must be \[3, 3\] .* got \[3\]"),
        ("image_feature", torch.ones(5, 1), r"`image_feature` must be \[e\], got shape \[5, 1\]"),
        ("masks", torch.ones(2, 5, 6, dtype=torch.bool), r"`masks` must be \[3, H, W\], got \[2, 5, 6\]"),
        ("masks", torch.ones(3, 30, dtype=torch.bool), r"`masks` must be \[3, H, W\], got \[3, 30\]"),
    ],
)
def test_shapes_must_agree(name: str, value: Tensor, message: str, monkeypatch: pytest.MonkeyPatch) -> None:
    # The tests' own type checker would get there first.
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
    with pytest.raises(ValueError, match=message):
        SceneGraph(**fields() | {name: value})


def test_triplets_come_by_confidence_and_ties_by_place() -> None:
    relation = torch.tensor([[-1, 5, 0], [7, -1, -1], [-1, 2, -1]])
    confidence = torch.tensor([[-1, 0.5, 0.9], [0.5, -1, -1], [-1, 0.7, -1]])
    graph = SceneGraph(**fields() | {"relation": relation, "confidence": confidence})
    assert graph.triplets() == [(0, 0, 2), (2, 2, 1), (0, 5, 1), (1, 7, 0)]
    assert len(graph) == 3


def test_a_graph_without_relations_has_no_triplets() -> None:
    nothing = torch.full((3, 3), -1)
    assert SceneGraph(**fields() | {"relation": nothing, "confidence": nothing.float()}).triplets() == []


@pytest.mark.parametrize("masks", [True, False])
def test_a_cast_leaves_predicates_and_masks_as_they_are(masks: bool) -> None:
    graph = SceneGraph(**fields(masks=masks))
    cast = graph.to(torch.float16)
    assert cast.features.dtype == cast.confidence.dtype == torch.float16
    assert torch.equal(cast.relation, graph.relation)
    assert cast.relation.dtype == torch.int64
    if graph.masks is not None and cast.masks is not None:
        assert torch.equal(cast.masks, graph.masks)
    else:
        assert cast.masks is graph.masks is None
    moved = graph.to("meta")
    assert {getattr(moved, name).device.type for name in FIELDS if getattr(moved, name) is not None} == {"meta"}
    assert_equal(graph.to("cpu"), graph)

import os
import stat
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from torchmetrics_sess.matching.relation_similarity import (
    cached_relation_similarity,
    minilm_relation_similarity,
    predicate_similarity_from_text,
)
from torchmetrics_sess.relations.vocabulary import PREDICATES


class RandomText:
    """Embeds every distinct prompt as a random unit vector."""

    def encode_text(self, prompts: Sequence[str]) -> Tensor:
        assert tuple(prompts) == PREDICATES
        features = torch.randn(len(prompts), 5, generator=torch.Generator().manual_seed(0))
        return torch.nn.functional.normalize(features, dim=-1)


class Counted:
    """Computes a table, and counts how often."""

    calls = 0

    def __call__(self) -> Tensor:
        self.calls += 1
        return torch.eye(56, dtype=torch.float64) * 0.5 + 0.5


@pytest.mark.parametrize("table", [minilm_relation_similarity(), predicate_similarity_from_text(RandomText())])
def test_tables_are_cosines(table: Tensor) -> None:
    assert (table.shape, table.dtype) == ((56, 56), torch.float64)
    assert torch.equal(table, table.T)
    assert torch.equal(table.diagonal(), torch.ones(56, dtype=torch.float64))
    assert table.abs().max() <= 1
    assert table.std() > 0.05


def test_cosines_are_those_of_the_predicates() -> None:
    features = RandomText().encode_text(PREDICATES).double()
    expected = torch.nn.functional.cosine_similarity(features[3], features[7], dim=0)
    assert predicate_similarity_from_text(RandomText())[3, 7].item() == pytest.approx(expected.item(), abs=1e-6)


def test_alike_predicates_are_closer_in_the_packaged_table() -> None:
    table = minilm_relation_similarity()
    near = table[PREDICATES.index("eating"), PREDICATES.index("drinking")]
    far = table[PREDICATES.index("eating"), PREDICATES.index("parked on")]
    assert near > far + 0.2


def test_the_packaged_table_cannot_be_changed_for_others() -> None:
    minilm_relation_similarity().zero_()
    assert minilm_relation_similarity()[0, 0] == 1


def test_a_table_is_computed_once(tmp_path: Path) -> None:
    compute = Counted()
    folder = tmp_path / "new" / "folder"
    first = cached_relation_similarity("ViT-B-32.openai_x", compute, folder)
    second = cached_relation_similarity("ViT-B-32.openai_x", compute, folder)
    assert compute.calls == 1
    assert torch.equal(first, second)
    assert second.dtype == torch.float64
    assert [path.name for path in folder.iterdir()] == ["relation_similarity-ViT-B-32.openai_x.safetensors"]


def test_whoever_may_read_new_files_may_read_a_table(tmp_path: Path) -> None:
    before = os.umask(0o022)
    try:
        cached_relation_similarity("key", Counted(), tmp_path)
    finally:
        os.umask(before)
    [path] = tmp_path.iterdir()
    assert stat.S_IMODE(path.stat().st_mode) == 0o644


def test_keys_do_not_share_a_table(tmp_path: Path) -> None:
    compute = Counted()
    cached_relation_similarity("a", compute, tmp_path)
    cached_relation_similarity("b", compute, tmp_path)
    assert compute.calls == 2


@pytest.mark.parametrize("content", ["garbage", "cut", "other", "small"])
def test_a_broken_file_is_replaced_with_a_warning(tmp_path: Path, content: str) -> None:
    compute = Counted()
    expected = cached_relation_similarity("key", compute, tmp_path)
    (path,) = tmp_path.iterdir()
    if content == "garbage":
        path.write_bytes(b"no tensors here")
    elif content == "cut":
        path.write_bytes(path.read_bytes()[:-100])
    elif content == "other":
        save_file({"weight": torch.zeros(56, 56)}, path)
    else:
        save_file({"relation_similarity": torch.zeros(3, 3)}, path)
    with pytest.warns(UserWarning, match="is not a table of predicate similarities and is replaced"):
        assert torch.equal(cached_relation_similarity("key", compute, tmp_path), expected)
    assert torch.equal(cached_relation_similarity("key", compute, tmp_path), expected)
    assert compute.calls == 2


def test_a_failing_computation_leaves_nothing_behind(tmp_path: Path) -> None:
    def fail() -> Tensor:
        raise RuntimeError("out of memory")

    with pytest.raises(RuntimeError, match="out of memory"):
        cached_relation_similarity("key", fail, tmp_path)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("key", ["", "../up", "a/b"])
def test_keys_that_are_no_file_names_are_refused(tmp_path: Path, key: str) -> None:
    with pytest.raises(ValueError, match="`key` must consist of"):
        cached_relation_similarity(key, Counted(), tmp_path)

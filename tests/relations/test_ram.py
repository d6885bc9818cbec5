import inspect
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from torchmetrics_sess.config import describe
from torchmetrics_sess.relations.ram import RamRelationConfig, RamRelationModel, RelationHead
from torchmetrics_sess.stages import Relations, Segmentation

DATA = Path(__file__).parents[1] / "data"
CASES = range(9)

Golden: TypeAlias = dict[str, np.ndarray]


@pytest.fixture(scope="module")
def golden() -> Golden:
    with np.load(DATA / "relations_dev.npz") as arrays:
        return dict(arrays)


@pytest.fixture(scope="module")
def head() -> RelationHead:
    return RelationHead.from_checkpoint(DATA / "tiny_ram.pth", num_attention_heads=4)


@pytest.fixture
def tensors() -> dict[str, Tensor]:
    loaded: dict[str, Tensor] = torch.load(DATA / "tiny_ram.pth", weights_only=True)
    return loaded


def segment(*tokens: np.ndarray | Tensor, slots: int | None = None) -> Segmentation:
    """Pad the tokens of several images to one segmentation, with noise in the empty slots."""
    slots = slots or max(len(rows) for rows in tokens)
    padded = torch.randn(len(tokens), slots, tokens[0].shape[1], generator=torch.Generator().manual_seed(0))
    valid = torch.zeros(len(tokens), slots, dtype=torch.bool)
    for image, rows in enumerate(tokens):
        padded[image, : len(rows)] = torch.as_tensor(rows)
        valid[image, : len(rows)] = True
    return Segmentation(valid[..., None, None].expand(-1, -1, 2, 2), valid, padded)


def check_against_golden(relations: Relations, image: int, golden: Golden, case: int) -> None:
    nodes = torch.from_numpy(golden[f"{case}/nodes"])
    assert torch.equal(relations.valid[image].nonzero()[:, 0], nodes)
    np.testing.assert_array_equal(relations.relation[image][nodes][:, nodes], golden[f"{case}/relation"])
    np.testing.assert_allclose(
        relations.confidence[image][nodes][:, nodes], golden[f"{case}/confidence"], rtol=0, atol=1e-5
    )
    unnamed = ~relations.valid[image]
    for table in (relations.relation[image], relations.confidence[image]):
        assert (table[unnamed] == -1).all()
        assert (table[:, unnamed] == -1).all()


@pytest.mark.parametrize("case", CASES)
def test_golden_logits_and_triplets_one_image_at_a_time(head: RelationHead, golden: Golden, case: int) -> None:
    tokens = torch.from_numpy(golden[f"{case}/tokens"])[None]
    expected = golden[f"{case}/logits"]
    shown = expected.shape[1]
    logits = head(tokens, torch.ones(tokens.shape[:2], dtype=torch.bool))
    np.testing.assert_allclose(logits[0, :, :shown, :shown], expected, rtol=0, atol=1e-4)
    (relations,) = RamRelationModel(head)([segment(tokens[0])])
    check_against_golden(relations, 0, golden, case)


@pytest.mark.parametrize("scores_per_chunk", [1, 300_000, 2**24])
@pytest.mark.parametrize("seed", [0, 1])
def test_golden_triplets_batched_in_any_order(
    head: RelationHead, golden: Golden, scores_per_chunk: int, seed: int
) -> None:
    order = np.random.default_rng(seed).permutation(CASES).reshape(3, 3)
    segmentations = [segment(*(golden[f"{case}/tokens"] for case in cases), slots=62) for cases in order]
    segmentations[1] = segment(*(golden[f"{case}/tokens"] for case in order[1]))
    batches = RamRelationModel(head, scores_per_chunk=scores_per_chunk)(segmentations)
    for cases, relations, segmentation in zip(order, batches, segmentations, strict=True):
        assert relations.valid.shape == segmentation.valid.shape
        for image, case in enumerate(cases):
            check_against_golden(relations, image, golden, case)


def test_padding_changes_no_logit(head: RelationHead, golden: Golden) -> None:
    tokens = torch.from_numpy(golden["3/tokens"])
    alone = head(tokens[None], torch.ones(1, 9, dtype=torch.bool))
    padded = segment(tokens, golden["5/tokens"])
    together = head(padded.tokens, padded.valid)
    torch.testing.assert_close(together[:1, :, :9, :9], alone, rtol=0, atol=2e-5)


def test_the_order_of_objects_is_no_cue(head: RelationHead, golden: Golden) -> None:
    tokens = torch.from_numpy(golden["4/tokens"])[None]
    valid = torch.ones(1, 17, dtype=torch.bool)
    order = torch.randperm(17, generator=torch.Generator().manual_seed(0))
    expected = head(tokens, valid)[:, :, order][:, :, :, order]
    torch.testing.assert_close(head(tokens[:, order], valid), expected, rtol=0, atol=2e-5)


def test_more_objects_than_the_checkpoint_has_positions(head: RelationHead) -> None:
    tokens = torch.randn(1, 70, 64, generator=torch.Generator().manual_seed(0))
    assert head.model.embeddings.position_embeddings.num_embeddings == 64
    (relations,) = RamRelationModel(head)([segment(tokens[0])])
    assert relations.valid.sum() >= 2


def test_training_mode_autocast_and_gradients_change_nothing(head: RelationHead, golden: Golden) -> None:
    tokens = torch.from_numpy(golden["3/tokens"])[None].requires_grad_()
    valid = torch.ones(1, 9, dtype=torch.bool)
    expected = head(tokens, valid)
    assert not expected.requires_grad
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(head(tokens, valid), expected)
    head.train()
    assert torch.equal(head(tokens, valid), expected)
    head.eval()


def test_bfloat16_is_a_choice(head: RelationHead, golden: Golden) -> None:
    tokens = torch.from_numpy(golden["4/tokens"])[None]
    valid = torch.ones(1, 17, dtype=torch.bool)
    exact, coarse = head(tokens, valid), head(tokens, valid, dtype=torch.bfloat16)
    assert coarse.dtype == torch.float32
    assert not torch.equal(exact, coarse)
    assert (exact - coarse).abs().max() < 0.05 * exact.abs().max()


def test_one_mask_is_one_node_without_relation(head: RelationHead, golden: Golden) -> None:
    one = golden["0/tokens"][:1]
    for segmentation in (segment(one), segment(one, golden["4/tokens"])):
        (relations,) = RamRelationModel(head)([segmentation])
        assert relations.valid[0].nonzero().tolist() == [[0]]
        assert (relations.relation[0] == -1).all()
        assert (relations.confidence[0] == -1).all()


def test_no_images(head: RelationHead) -> None:
    assert RamRelationModel(head)([]) == []


def test_tokens_are_needed(head: RelationHead) -> None:
    masks = torch.ones(1, 2, 3, 3, dtype=torch.bool)
    with pytest.raises(ValueError, match="`segmentations` must carry mask tokens"):
        RamRelationModel(head)([Segmentation(masks, masks.any(-1).any(-1))])


class SpelledOut(RelationHead):
    """A head whose tokens are its logits: the row of a subject holds those of (predicate, object)."""

    def __init__(self) -> None:
        nn.Module.__init__(self)

    def forward(self, tokens: Tensor, valid: Tensor, dtype: torch.dtype = torch.float32) -> Tensor:
        return tokens.view(*valid.shape, 56, -1).transpose(1, 2)


def model_settings(config: RamRelationConfig) -> dict[str, Any]:
    """What a config says about the selection, as the model takes it."""
    return {name: value for name, value in vars(config).items() if name != "checkpoint"} | {"dtype": torch.float32}


def select_by_hand(scores: np.ndarray, config: RamRelationConfig) -> dict[tuple[int, int], tuple[int, float]]:
    """Apply the rule of selection one triplet after the other."""
    ranked = sorted(
        ((r, s, o) for r, s, o in np.ndindex(scores.shape) if s != o), key=lambda triplet: -scores[triplet]
    )[: config.candidates]
    kept = ranked[: config.keep_always]
    passing = [triplet for triplet in ranked[config.keep_always :] if scores[triplet] >= config.min_score]
    kept += passing[:-1] if config.drop_last else passing
    named: dict[tuple[int, int], tuple[int, float]] = {}
    for r, s, o in kept:
        named.setdefault((s, o), (r, float(scores[r, s, o])))
    return named


@settings(derandomize=True, max_examples=60, deadline=None)
@given(
    n=st.integers(1, 7),
    empty=st.integers(0, 2),
    seed=st.integers(0, 2**16),
    levels=st.sampled_from([0, 3, 40]),
    shift=st.sampled_from([-9.0, -4.0, 0.0, 30.0]),
    candidates=st.sampled_from([1, 30, 100, 5000]),
    keep_always=st.sampled_from([0, 1, 20]),
    min_score=st.sampled_from([0.0, 0.05, 0.5, 1.0]),
    drop_last=st.booleans(),
)
def test_selection_is_the_rule_spelled_out(
    n: int,
    empty: int,
    seed: int,
    levels: int,
    shift: float,
    candidates: int,
    keep_always: int,
    min_score: float,
    drop_last: bool,
) -> None:
    config = RamRelationConfig(candidates, min(keep_always, candidates), min_score, drop_last)
    logits = 3 * torch.randn(1, n + empty, 56, n + empty, generator=torch.Generator().manual_seed(seed))
    logits = (logits * levels).round() / levels + shift if levels else logits + shift
    valid = torch.arange(n + empty)[None] < n
    segmentation = Segmentation(valid[..., None, None], valid, logits.flatten(2))
    head = SpelledOut()
    (relations,) = RamRelationModel(head, **model_settings(config))([segmentation])

    named = select_by_hand(head(segmentation.tokens, valid).sigmoid()[0, :, :n, :n].numpy(), config)
    relation, confidence = torch.full((2, n + empty, n + empty), -1.0)
    for pair, (predicate, score) in named.items():
        relation[pair], confidence[pair] = predicate, score
    nodes = sorted({node for pair in named for node in pair}) or list(range(n))
    assert torch.equal(relations.relation[0], relation.long())
    assert torch.equal(relations.confidence[0], confidence)
    assert relations.valid[0].nonzero()[:, 0].tolist() == nodes


def test_the_defaults_are_those_of_the_released_code() -> None:
    assert describe(RamRelationConfig()) == "top100,keep20,min0.05,dropTrue,float32"
    parameters = inspect.signature(RamRelationModel.__init__).parameters
    defaults = model_settings(RamRelationConfig())
    assert defaults == {name: parameters[name].default for name in defaults}


@pytest.mark.parametrize(
    ("setting", "value"), [("candidates", 0), ("keep_always", -1), ("keep_always", 101), ("min_score", 1.5)]
)
def test_settings_out_of_range_are_refused(setting: str, value: Any) -> None:
    with pytest.raises(ValueError, match=f"`{setting}`.*got {value}"):
        RamRelationConfig(**{setting: value})


def test_tokens_of_another_segmenter_are_refused(head: RelationHead) -> None:
    with pytest.raises(ValueError, match=r"`tokens` must hold 64 numbers per object.*got 384"):
        head(torch.zeros(1, 3, 384), torch.ones(1, 3, dtype=torch.bool))


def test_chunks_must_hold_something(head: RelationHead) -> None:
    with pytest.raises(ValueError, match="`scores_per_chunk` must be at least 1, got 0"):
        RamRelationModel(head, scores_per_chunk=0)


def test_a_checkpoint_with_buffers_and_without_pooler_loads(
    tmp_path: Path, head: RelationHead, tensors: dict[str, Tensor]
) -> None:
    tensors = {name: tensor for name, tensor in tensors.items() if "pooler" not in name}
    tensors["model.embeddings.position_ids"] = torch.arange(64)[None]
    torch.save(tensors, tmp_path / "ram.pth")
    loaded = RelationHead.from_checkpoint(tmp_path / "ram.pth", num_attention_heads=4).state_dict()
    assert loaded.keys() == head.state_dict().keys()
    assert all(torch.equal(tensor, head.state_dict()[name]) for name, tensor in loaded.items())


@pytest.mark.parametrize(
    ("name", "replacement", "message"),
    [
        ("fc_input.0.weight", None, "'fc_input.0.weight' is missing"),
        ("fc_output.1.bias", None, "`fc_output.1.bias` is missing"),
        ("model.encoder.layer.2.output.dense.bias", torch.zeros(48), "layer.2.output.dense.bias` is unknown"),
        ("cls_obj.bias", torch.zeros(895), r"`cls_obj.bias` is \[895\], not \[896\]"),
        ("cls_sub.weight", torch.zeros(900, 48), r"`cls_sub.weight` is \[900, 48\], not \[896, 48\]"),
    ],
)
def test_another_checkpoint_is_refused_by_name(
    tmp_path: Path, tensors: dict[str, Tensor], name: str, replacement: Tensor | None, message: str
) -> None:
    tensors.pop(name, None)
    if replacement is not None:
        tensors[name] = replacement
    torch.save(tensors, tmp_path / "ram.pth")
    with pytest.raises(ValueError, match=message):
        RelationHead.from_checkpoint(tmp_path / "ram.pth", num_attention_heads=4)


class Anything:
    """Stands for code in a checkpoint."""


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (Anything(), "not a file of plain tensors"),
        ([torch.zeros(3)], "not a state dictionary"),
        ({"epoch": 12}, "not a state dictionary"),
    ],
)
def test_files_that_hold_no_state_dictionary_are_refused(tmp_path: Path, content: object, message: str) -> None:
    torch.save(content, tmp_path / "ram.pth")
    with pytest.raises(ValueError, match=message):
        RelationHead.from_checkpoint(tmp_path / "ram.pth")


@pytest.mark.parametrize("size", [0, 100, 2000])
def test_a_file_that_was_cut_off_is_refused(tmp_path: Path, size: int) -> None:
    path = tmp_path / "ram.pth"
    path.write_bytes((DATA / "tiny_ram.pth").read_bytes()[:size])
    with pytest.raises(ValueError, match=r"ram\.pth is not a file of plain tensors, and is not loaded"):
        RelationHead.from_checkpoint(path)


def test_a_missing_checkpoint_is_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        RelationHead.from_checkpoint(tmp_path / "ram.pth")

"""A cache saves time and changes nothing else: no score, no checkpoint, no run that would end well without it."""

from __future__ import annotations

import copy
import functools
import json
import os
import pickle
import shutil
import struct
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any, Literal, cast

import jaxtyping
import pytest
import torch
import torch.distributed
from fork_server import SERVER
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load, save_file
from stub_extractor import stub_extractor, stub_images, stub_preset
from torch import Tensor, nn
from torchmetrics import MetricCollection

from torchmetrics_sess.cache import CacheInfo, GraphCache
from torchmetrics_sess.extractor import SceneGraphExtractor
from torchmetrics_sess.graph import FORMAT, SceneGraph
from torchmetrics_sess.matching import MatchingConfig
from torchmetrics_sess.metric import SemanticSimilarityScore

PREDS, TARGET = stub_images(8, seed=1), stub_images(8, seed=2)


def metric(place: bool | Path = True, **arguments: Any) -> SemanticSimilarityScore:
    return SemanticSimilarityScore(stub_preset(), cache_targets=place, **{"reduction": "none", **arguments})


@pytest.fixture(params=["memory", "folder"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> bool | Path:
    return request.param == "memory" or tmp_path / "graphs"


@pytest.fixture(scope="module")
def scores() -> Tensor:
    value: Tensor = metric(False)(PREDS, TARGET)
    return value


@pytest.fixture
def passes(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Numbers of images in every pass through the networks."""
    counts: list[int] = []
    extract = SceneGraphExtractor.extract

    def counted(self: SceneGraphExtractor, images: list[Tensor], **arguments: Any) -> list[SceneGraph]:
        counts.append(len(images))
        return extract(self, images, **arguments)

    monkeypatch.setattr(SceneGraphExtractor, "extract", counted)
    return counts


def update(of: SemanticSimilarityScore, *batches: slice) -> None:
    for batch in batches:
        of.update(PREDS[batch], TARGET[batch])


def counts(of: SemanticSimilarityScore) -> tuple[int, int, int]:
    """Hits, misses and size."""
    return of.cache_info()[:3]


class TestScores:
    @pytest.mark.parametrize("batch_size", [None, 1, 3])
    def test_every_epoch_is_that_without_a_cache(
        self, place: bool | Path, batch_size: int | None, scores: Tensor
    ) -> None:
        cached = metric(place, batch_size=batch_size)
        for batch in ([0, 1, 2, 3, 4, 5, 6, 7], [7, 2, 0], [1], [5, 5, 6, 5], [4, 3, 2, 1, 0, 7, 6, 5]):
            assert torch.equal(cached(PREDS[batch], TARGET[batch]), scores[batch].squeeze())
        assert counts(cached) == (16, 8, 8)

    @settings(derandomize=True, deadline=None, max_examples=10)
    @given(
        batches=st.lists(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), min_size=1, max_size=4), max_size=4),
        batch_size=st.none() | st.integers(1, 4),
    )
    def test_no_order_of_batches_changes_a_bit(
        self, batches: list[list[tuple[int, int]]], batch_size: int | None
    ) -> None:
        plain = metric(False)
        seen: set[int] = set()
        cached = metric(batch_size=batch_size)
        for batch in batches:
            preds, target = (list(side) for side in zip(*batch, strict=True))
            images = TARGET[target]
            assert torch.equal(cached(PREDS[preds], images), plain(PREDS[preds], images))
            seen.update(target)
        pairs = sum(len(batch) for batch in batches)
        assert counts(cached) == (pairs - len(seen), len(seen), len(seen))

    @pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
    def test_reset_and_forward_leave_the_cache_alone(
        self, reduction: Literal["mean", "sum", "none"], place: bool | Path, passes: list[int]
    ) -> None:
        cached, plain = metric(place, reduction=reduction), metric(False, reduction=reduction)
        for method in ("update", "forward"):
            for of in (cached, plain):
                of.reset()
                getattr(of, method)(PREDS, TARGET)
            assert torch.equal(cached.compute(), plain.compute())
        assert counts(cached) == (8, 8, 8)
        assert passes == [16, 16, 8, 16]

    def test_lite_to_the_last_bit(self, photographs: dict[str, Tensor], tmp_path: Path) -> None:
        images = list(photographs.values())
        # A quarter of the cost of the usual size.
        lite: dict[str, Any] = {"overrides": {"segmenter.image_size": 168}, "reduction": "none"}
        pairs = [([images[i - 1]], [images[i]]) for i in range(4)]
        plain = SemanticSimilarityScore(**lite)
        alone = torch.stack([plain(*pair) for pair in pairs])
        cached = [SemanticSimilarityScore(**lite, cache_targets=place) for place in (True, tmp_path)]
        for order in ([0, 1, 2], [3, 2]):
            batch = [images[i - 1] for i in order], [images[i] for i in order]
            for one in (plain, *cached):
                assert torch.equal(one(*batch), alone[order])
        assert [counts(one) for one in cached] == [(1, 4, 4)] * 2
        assert cached[0].cache_info().bytes == 4 * 84224

    def test_any_input_that_goes_without_one(self, place: bool | Path) -> None:
        mixed = [
            (255 * TARGET[0]).byte(),
            TARGET[1, :1],
            TARGET[2, 0],
            TARGET[3].half(),
            TARGET[4].bfloat16(),
            TARGET[5].double().requires_grad_(),
            TARGET[6].transpose(1, 2),
            nn.functional.interpolate(TARGET[7:], (20, 14))[0],
        ]
        cached = metric(place)
        for _ in range(2):
            assert torch.equal(cached(PREDS, mixed), metric(False)(PREDS, mixed))
        assert counts(cached) == (8, 8, 8)

    @pytest.mark.parametrize("mode", [torch.inference_mode, torch.no_grad, torch.enable_grad])
    def test_graphs_outlive_the_mode_they_were_made_in(self, mode: Any, place: bool | Path, scores: Tensor) -> None:
        cached = metric(place)
        with mode():
            cached.update(PREDS, TARGET)
        assert torch.equal(cached(PREDS, TARGET), scores)


class TestPasses:
    def test_predictions_and_new_targets_go_together(self, passes: list[int], place: bool | Path) -> None:
        cached = metric(place)
        cached.update(PREDS[:4], TARGET[:4])
        cached.update(PREDS[:4], TARGET[2:6])
        cached.update(PREDS[:4], TARGET[:4])
        assert passes == [8, 6, 4]

    def test_one_target_of_many_predictions_is_extracted_once(self, passes: list[int], place: bool | Path) -> None:
        cached = metric(place)
        cached.update(PREDS[:5], [TARGET[0]] * 5)
        assert passes == [6]
        assert counts(cached) == (4, 1, 1)

    def test_nothing_is_kept_of_a_batch_that_fails(self, place: bool | Path) -> None:
        cached = metric(place)
        with pytest.raises(ValueError, match="`preds` must lie in"):
            cached.update(3 * PREDS, TARGET)
        assert counts(cached) == (0, 0, 0)

    def test_without_a_cache_there_is_nothing_to_tell(self) -> None:
        plain = metric(False)
        plain.update(PREDS, TARGET)
        assert plain.cache_info() == CacheInfo(hits=0, misses=0, size=0, bytes=0)


class TestKeys:
    """Two images have one key only if they have one graph."""

    def test_content_shape_and_dtype_tell_images_apart(self) -> None:
        image = TARGET[0]
        changed = image.clone()
        changed[2, 7, 11] = torch.nextafter(changed[2, 7, 11], torch.tensor(2.0))
        zeros = torch.zeros(3, 8, 12)
        images = [image, changed, image.half(), image.mT, zeros, zeros.mT, zeros.byte(), zeros[:1], zeros[0]]
        keys = GraphCache().keys(images, "recipe")
        assert len(set(keys)) == len(keys)

    def test_layout_in_memory_does_not(self) -> None:
        image = TARGET[:1]
        same = [
            image[0],
            image.clone()[0],
            image.contiguous(memory_format=torch.channels_last)[0],
            image[0].mT.clone().mT,
        ]
        assert len(set(GraphCache().keys(same, "recipe"))) == 1

    def test_all_that_changes_a_graph_does(self, tmp_path: Path) -> None:
        def misses(
            label: str = "first", threads: int = 1, matching: MatchingConfig | None = None, **arguments: Any
        ) -> int:
            before = torch.get_num_threads()
            torch.set_num_threads(threads)
            cached = SemanticSimilarityScore(stub_preset(label, matching), cache_targets=tmp_path, **arguments)
            cached.update(PREDS[:2], TARGET[:2])
            torch.set_num_threads(before)
            return cached.cache_info().misses

        assert misses() == 2
        assert misses() == 0
        assert misses(matching=MatchingConfig(beta=0.5)) == 0, "matching changes no graph"
        assert misses(relation_similarity=torch.eye(56)) == 0
        assert misses(label="other networks") == 0, "the stub's label is no setting that changes scores"
        assert misses(data_range=(0, 2)) == 2
        assert misses(threads=2) == 2, "which changes the order of sums"

    def test_settings_and_versions_do(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        def misses() -> int:
            cached = metric(tmp_path)
            cached.update(PREDS[:2], TARGET[:2])
            return cached.cache_info().misses

        assert [misses(), misses()] == [2, 0]
        for name, value in (
            ("torch.__version__", "1.0"),
            ("torchmetrics_sess.presets.preset.__version__", "0.0.0"),
            ("stub_extractor.NoWeights.digests", lambda self: ["01234567"]),
        ):
            with monkeypatch.context() as patched:
                patched.setattr(name, value)
                assert misses() == 2, name


class TestMemory:
    def bytes_per_graph(self) -> int:
        cached = metric()
        cached.update(PREDS[:1], TARGET[:1])
        return cached.cache_info().bytes

    def test_the_least_recently_used_make_room(self) -> None:
        each = self.bytes_per_graph()
        cached = metric(cache_size_mib=3.5 * each / 2**20)
        for i in (0, 1, 2, 0):
            cached.update(PREDS[:1], TARGET[i : i + 1])
        assert cached.cache_info() == CacheInfo(hits=1, misses=3, size=3, bytes=3 * each)
        with pytest.warns(UserWarning, match="the cache of target graphs is full .* 3 graphs.* raise `cache_size_mib`"):
            cached.update(PREDS[:1], TARGET[3:4])
        # 1 has gone, 0 has been used since; every look is a use.
        for i, hits in ((0, 2), (2, 3), (3, 4), (1, 4), (0, 4), (3, 5)):
            cached.update(PREDS[:1], TARGET[i : i + 1])
            info = cached.cache_info()
            assert (info.hits, info.size, info.bytes) == (hits, 3, 3 * each), i

    def test_a_batch_beyond_the_bound_is_scored_all_the_same(self, scores: Tensor) -> None:
        each = self.bytes_per_graph()
        cached = metric(cache_size_mib=2.5 * each / 2**20)
        with pytest.warns(UserWarning, match="the cache of target graphs is full"):
            value = cached(PREDS, TARGET)
        assert torch.equal(value, scores)
        assert torch.equal(cached(PREDS, TARGET), scores)
        assert cached.cache_info().bytes == 2 * each
        nothing_fits = metric(cache_size_mib=0.5 * each / 2**20)
        with pytest.warns(UserWarning, match="full .* 0 graphs"):
            assert torch.equal(nothing_fits(PREDS, TARGET), scores)
        assert nothing_fits.cache_info() == CacheInfo(hits=0, misses=8, size=0, bytes=0)

    def test_no_tensor_of_a_batch_stays_behind(self) -> None:
        cache = GraphCache()
        images = list(TARGET)
        keys = cache.keys(images, "")
        graphs = stub_extractor().extract(images)
        assert any(part.untyped_storage().nbytes() > part.nbytes for part in tensors(graphs[0])), "or this is blind"
        cache.keep(dict(zip(keys, graphs, strict=True)))
        kept = [part for graph in cache.find(keys).values() for part in tensors(graph)]
        assert sum(part.untyped_storage().nbytes() for part in kept) == cache.info().bytes
        assert len({part.untyped_storage().data_ptr() for part in kept}) == len(kept)

    def test_an_extractor_of_ones_own(self) -> None:
        own: dict[str, Any] = {"extractor": stub_extractor(), "relation_similarity": torch.eye(56), "reduction": "none"}
        cached = SemanticSimilarityScore(cache_targets=True, **own)
        for _ in range(2):
            assert torch.equal(cached(PREDS, TARGET), SemanticSimilarityScore(**own)(PREDS, TARGET))
        assert counts(cached) == (8, 8, 8)


def tensors(graph: SceneGraph) -> list[Tensor]:
    return [part for part in vars(graph).values() if part is not None]


class TestCopies:
    @pytest.mark.parametrize(
        "copied",
        [
            SemanticSimilarityScore.clone,
            copy.deepcopy,
            lambda of: MetricCollection({"sess": of}).clone(prefix="test/")["test/sess"],
        ],
        ids=["clone", "deepcopy", "collection"],
    )
    def test_copies_share_it(self, copied: Any, place: bool | Path, scores: Tensor) -> None:
        cached = metric(place)
        cached.update(PREDS[:4], TARGET[:4])
        other = copied(cached)
        other.reset()
        assert torch.equal(other(PREDS, TARGET), scores)
        assert other.cache_info() == cached.cache_info()
        assert counts(cached) == (4, 8, 8)

    def test_pickles_carry_settings_alone(self, place: bool | Path, scores: Tensor) -> None:
        cached = metric(place)
        empty = len(pickle.dumps(cached))
        cached.update(PREDS, TARGET)
        cached.reset()
        content = pickle.dumps(cached)
        assert len(content) - empty < 100
        other = pickle.loads(content)  # noqa: S301
        assert counts(other) == (0, 0, 0 if place is True else 8)
        for _ in range(2):
            assert torch.equal(other(PREDS, TARGET), scores)
        assert counts(other) == ((8, 8, 8) if place is True else (16, 0, 8))
        assert counts(cached) == (0, 8, 8)

    def test_a_bound_survives_pickling(self) -> None:
        small = pickle.loads(pickle.dumps(metric(cache_size_mib=0.001)))  # noqa: S301
        with pytest.warns(UserWarning, match=r"full at 0.00\d+ MiB"):
            small.update(PREDS, TARGET)
        assert small.cache_info().bytes <= 0.001 * 2**20

    def test_a_pickle_may_wake_up_where_there_is_no_such_folder(self, tmp_path: Path, scores: Tensor) -> None:
        content = pickle.dumps(metric(tmp_path / "graphs"))
        shutil.rmtree(tmp_path / "graphs")
        elsewhere = pickle.loads(content)  # noqa: S301
        with pytest.warns(UserWarning, match="scene graphs cannot be kept in"):
            assert torch.equal(elsewhere(PREDS, TARGET), scores)

    def test_nothing_of_it_in_a_checkpoint(self, place: bool | Path) -> None:
        cached = metric(place)
        cached.update(PREDS, TARGET)
        assert cached.state_dict() == {}
        cached.persistent(True)
        plain = metric(False)
        plain.persistent(True)
        assert set(cached.state_dict()) == set(plain.state_dict())
        assert list(cached.parameters()) == list(cached.buffers()) == []

    def test_no_part_of_the_signature(self, place: bool | Path) -> None:
        assert metric(place).signature == metric(False).signature
        assert metric(place).fingerprint == metric(False).fingerprint


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """The file of the first target's graph; that of the second lies beside it."""
    metric(tmp_path).update(PREDS[:1], TARGET[:1])
    [path] = tmp_path.iterdir()
    metric(tmp_path).update(PREDS[1:2], TARGET[1:2])
    return path


def the_other(file: Path) -> Path:
    [path] = [path for path in file.parent.iterdir() if path != file]
    return path


def flip(file: Path, position: int) -> None:
    content = bytearray(file.read_bytes())
    content[position] ^= 1
    file.write_bytes(content)


def foreign(file: Path) -> None:
    save_file({"weight": torch.eye(3)}, file)


def impostor(file: Path) -> None:
    """A graph with the header of this one, digest and all."""
    tensors = load(file.read_bytes())
    tensors["importance"] = tensors["importance"].flip(0)
    save_file(tensors, file, metadata(file))


def metadata(file: Path) -> dict[str, str]:
    content = file.read_bytes()
    [length] = struct.unpack("<Q", content[:8])
    found: dict[str, str] = json.loads(content[8 : 8 + length])["__metadata__"]
    return found


DAMAGES: dict[str, Callable[[Path], object]] = {
    "a bit of the data": lambda file: flip(file, -1),
    "a bit of the header's length": lambda file: flip(file, 0),
    "a bit of a name": lambda file: flip(file, file.read_bytes().index(b"importance")),
    "truncated": lambda file: file.write_bytes(file.read_bytes()[:-1]),
    "cut in the header": lambda file: file.write_bytes(file.read_bytes()[:20]),
    "empty": lambda file: file.write_bytes(b""),
    "text": lambda file: file.write_text("not a graph at all"),
    "foreign": foreign,
    "other data under the same header": impostor,
    "of another image": lambda file: shutil.copy(the_other(file), file),
    "a graph without digest": lambda file: save_file(load(file.read_bytes()), file, {"format": FORMAT}),
}


class TestFolder:
    def test_a_file_per_graph_that_others_can_read(self, file: Path, tmp_path: Path) -> None:
        assert len(list(tmp_path.iterdir())) == 2
        extractor = stub_extractor()
        extractor.importance = stub_preset().importance
        [expected] = extractor(TARGET[:1], masks=False)
        for got, wanted in zip(tensors(SceneGraph.load(file)), tensors(expected), strict=True):
            assert torch.equal(got, wanted)
        assert metric(tmp_path).cache_info() == CacheInfo(
            0, 0, 2, sum(path.stat().st_size for path in tmp_path.iterdir())
        )

    @pytest.mark.parametrize("damage", DAMAGES)
    def test_what_is_not_of_this_image_is_written_anew(self, damage: str, file: Path, scores: Tensor) -> None:
        content = file.read_bytes()
        header = metadata(file)
        DAMAGES[damage](file)
        assert file.read_bytes() != content
        cached = metric(file.parent)
        with pytest.warns(UserWarning, match=f"{file.name} is not used, but written anew") as warned:
            assert torch.equal(cached(PREDS[:2], TARGET[:2]), scores[:2])
        assert len(warned) == 1
        assert counts(cached) == (1, 1, 2)
        assert metadata(file) == header
        for name, wanted in load(content).items():
            assert torch.equal(load(file.read_bytes())[name], wanted)
        assert torch.equal(metric(file.parent)(PREDS[:2], TARGET[:2]), scores[:2])

    def test_what_cannot_be_read_nor_replaced_is_done_without(self, file: Path, scores: Tensor) -> None:
        file.unlink()
        (file / "occupied").mkdir(parents=True)
        cached = metric(file.parent)
        with pytest.warns(UserWarning, match="scene graph") as warned:
            assert torch.equal(cached(PREDS[:2], TARGET[:2]), scores[:2])
        assert [str(warning.message).partition(":")[0] for warning in warned] == [
            f"the cached scene graph {file} is not used, but written anew",
            f"scene graphs cannot be kept in {file.parent} any more",
        ]
        assert {path.name for path in file.parent.iterdir()} == {file.name, the_other(file).name}, "no half file stays"

    def test_a_disk_that_fills_up_ends_nothing(
        self, tmp_path: Path, scores: Tensor, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        cached = metric(tmp_path)
        cached.update(PREDS[:2], TARGET[:2])
        cached.reset()
        write = Path.write_bytes

        def half(self: Path, content: bytes) -> int:
            write(self, content[: len(content) // 2])
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(Path, "write_bytes", half)
        with pytest.warns(UserWarning, match="cannot be kept in .* any more: .*No space left on device") as warned:
            update(cached, slice(0, 4), slice(4, 8), slice(0, 8))
        assert len(warned) == 1
        assert torch.equal(cached.compute(), torch.cat([scores, scores]))
        assert counts(cached) == (4, 14, 2)
        assert len(list(tmp_path.iterdir())) == 2, "no half file stays"
        monkeypatch.undo()
        cached.update(PREDS[:4], TARGET[:4])
        assert counts(cached) == (6, 16, 4), "there is space again"

    @pytest.mark.parametrize("form", [str, Path])
    def test_folders_are_made(self, form: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.chdir(tmp_path)
        cached = metric(form("a/b"))
        monkeypatch.chdir("/")
        cached.update(PREDS, TARGET)
        assert len(list((tmp_path / "a" / "b").iterdir())) == 8


class TestBoundedFolder:
    def graph_bytes(self, folder: Path) -> int:
        metric(folder).update(PREDS[:1], TARGET[:1])
        [file] = folder.iterdir()
        size = file.stat().st_size
        file.unlink()
        return size

    def test_the_least_recently_used_go(self, tmp_path: Path) -> None:
        each = self.graph_bytes(tmp_path)
        cached = metric(tmp_path, cache_size_mib=3.5 * each / 2**20)
        for i in (0, 1, 2, 0):
            cached.update(PREDS[:1], TARGET[i : i + 1])
            # Faster than some file systems tell times apart.
            time.sleep(0.02)
        with pytest.warns(UserWarning, match=r"in .* is full at .* raise `cache_size_mib`"):
            cached.update(PREDS[:1], TARGET[3:4])
        assert cached.cache_info().bytes <= 3.5 * each
        fresh = metric(tmp_path, cache_size_mib=3.5 * each / 2**20)
        for i in (0, 3):
            fresh.update(PREDS[:1], TARGET[i : i + 1])
        assert counts(fresh)[:2] == (2, 0)

    def test_what_other_processes_have_written_counts(self, tmp_path: Path) -> None:
        each = self.graph_bytes(tmp_path)
        update(metric(tmp_path), slice(0, 4))
        small = metric(tmp_path, cache_size_mib=2.5 * each / 2**20)
        with pytest.warns(UserWarning, match="is full"):
            update(small, slice(4, 5))
        assert small.cache_info().size == 2

    def test_less_than_there_is_holds_at_once(self, tmp_path: Path) -> None:
        each = self.graph_bytes(tmp_path)
        update(metric(tmp_path), slice(0, 4))
        assert metric(tmp_path).cache_info().size == 4
        small = metric(tmp_path, cache_size_mib=2.5 * each / 2**20)
        assert small.cache_info().size == 2

    def test_only_stale_parts_are_swept(self, tmp_path: Path) -> None:
        stale, fresh = tmp_path / ".a.0123.part", tmp_path / ".b.4567.part"
        for part in (stale, fresh):
            part.touch()
        os.utime(stale, (0, 0))
        metric(tmp_path)
        assert not stale.exists()
        assert fresh.exists()


class TestArguments:
    def test_a_folder_that_cannot_be_one(self, tmp_path: Path) -> None:
        (tmp_path / "file").touch()
        for place in (tmp_path / "file", tmp_path / "file" / "below"):
            with pytest.raises(ValueError, match="`cache_targets` must be a folder that can be written to, got"):
                metric(place)

    def test_a_folder_that_is_write_protected(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        def refuse(self: Path, *arguments: Any) -> None:
            raise PermissionError(13, "Permission denied")

        monkeypatch.setattr(Path, "touch", refuse)
        with pytest.raises(ValueError, match=r"can be written to, got .*: Permission denied"):
            metric(tmp_path)

    @pytest.mark.parametrize("size", [0, -1, float("nan"), float("inf")])
    def test_a_size_that_is_none(self, size: float) -> None:
        with pytest.raises(ValueError, match="`cache_size_mib` must be a positive number, got"):
            metric(cache_size_mib=size)

    def test_a_folder_for_an_extractor_of_ones_own(self, tmp_path: Path) -> None:
        with pytest.raises(ValueError, match="`cache_targets` must be True or False beside `extractor`: nothing tells"):
            SemanticSimilarityScore(
                extractor=stub_extractor(), relation_similarity=torch.eye(56), cache_targets=tmp_path
            )

    def test_a_place_of_a_wrong_type(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
        with pytest.raises(TypeError, match="`cache_targets` must be True, False or a folder, got 512"):
            metric(cast(Any, 512))


def take_part(rank: int, folder: Path) -> dict[str, Any]:
    """Be one of two processes of a run of two epochs, in which they swap batches; they share a folder."""
    torch.set_num_threads(1)
    torch.distributed.init_process_group("gloo", init_method=f"file://{folder / 'rendezvous'}", rank=rank, world_size=2)
    cached = metric(folder / "graphs", reduction="mean")
    values, infos = [], []
    for epoch in range(2):
        batches = [slice(0, 3), slice(3, 5)] if rank == epoch else [slice(5, 8), slice(2, 5)]
        for batch in batches:
            cached.update(PREDS[batch], TARGET[batch])
        values.append(cached.compute())
        infos.append(cached.cache_info())
        cached.reset()
        torch.distributed.barrier()
    torch.distributed.destroy_process_group()
    return {"values": values, "infos": infos}


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, list[dict[str, Any]]]]:
    folder = tmp_path_factory.mktemp("shared")
    with ProcessPoolExecutor(2, mp_context=SERVER) as processes:
        yield folder / "graphs", list(processes.map(functools.partial(take_part, folder=folder), range(2)))


def test_processes_share_a_folder(shared: tuple[Path, list[dict[str, Any]]]) -> None:
    folder, found = shared
    plain = metric(False, reduction="mean")
    for batch in (slice(0, 8), slice(2, 5)):
        plain.update(PREDS[batch], TARGET[batch])
    for process in found:
        assert torch.equal(torch.stack(process["values"]), plain.compute().expand(2))
        first, second = process["infos"]
        assert second.misses == first.misses, "the second epoch extracts no target"
        assert second.hits - first.hits == (5 if process is found[1] else 6)
        assert second.size == 8
    assert len(list(folder.iterdir())) == 8, "and no half file stays"

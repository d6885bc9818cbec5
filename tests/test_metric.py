"""What TorchMetrics' own ``MetricTester`` checks, what it does not, and that the networks cannot be seen."""

import copy
import gc
import inspect
import io
import pickle
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import pairwise
from typing import Any

import matplotlib
import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from stub_extractor import BUILT, stub_extractor, stub_images, stub_preset
from torch import Tensor, nn
from torchmetrics import Metric, MetricCollection
from torchmetrics.image import MultiScaleStructuralSimilarityIndexMeasure, PeakSignalNoiseRatio
from torchmetrics.wrappers import BootStrapper, MetricTracker, MinMaxMetric, Running

from torchmetrics_sess.extractor import SceneGraphExtractor
from torchmetrics_sess.functional import semantic_similarity_score
from torchmetrics_sess.matching import MatchingConfig
from torchmetrics_sess.metric import SemanticSimilarityScore
from torchmetrics_sess.networks import DinoSaliencyNetwork
from torchmetrics_sess.presets import load_preset
from torchmetrics_sess.relations import GeometricRelationModel, GeometricRelationsConfig
from torchmetrics_sess.scoring import Reduction
from torchmetrics_sess.segmenters import DinoSegmenter, DinoSegmenterConfig
from torchmetrics_sess.stages import Relations, Segmentation

PREDS, TARGET = stub_images(6, seed=1), stub_images(6, seed=2)
# Uneven on purpose.
BATCHES = [slice(0, 3), slice(3, 4), slice(4, 6)]
REDUCTIONS = ["mean", "sum", "none"]


def stub_metric(label: str = "first", **arguments: Any) -> SemanticSimilarityScore:
    return SemanticSimilarityScore(stub_preset(label), **arguments)


def reduced(scores: Tensor, reduction: str) -> Tensor:
    if reduction == "none":
        return scores.squeeze()
    return scores.mean() if reduction == "mean" else scores.sum()


@pytest.fixture(scope="module")
def scores() -> Tensor:
    """The score of every pair, each scored alone."""
    pairs = zip(PREDS.split(1), TARGET.split(1), strict=True)
    return torch.stack([semantic_similarity_score(pred, target, stub_preset()) for pred, target in pairs])


def updated(metric: SemanticSimilarityScore) -> SemanticSimilarityScore:
    for batch in BATCHES:
        metric.update(PREDS[batch], TARGET[batch])
    return metric


class TestYardstick:
    @pytest.mark.parametrize("reduction", REDUCTIONS)
    def test_per_batch_and_aggregate(self, reduction: str, scores: Tensor) -> None:
        metric = stub_metric(reduction=reduction)
        for batch in BATCHES:
            value = metric(PREDS[batch], TARGET[batch])
            torch.testing.assert_close(value, reduced(scores[batch], reduction), rtol=0, atol=1e-6)
        torch.testing.assert_close(metric.compute(), reduced(scores, reduction), rtol=0, atol=1e-6)
        assert metric.update_count == len(BATCHES)
        assert torch.equal(metric.compute(), updated(stub_metric(reduction=reduction)).compute())

    def test_constants_cannot_be_set(self) -> None:
        metric = stub_metric()
        for name in ("is_differentiable", "higher_is_better", "full_state_update", "plot_lower_bound"):
            with pytest.raises(RuntimeError, match=f"Can't change const `{name}`"):
                setattr(metric, name, None)
        assert (metric.is_differentiable, metric.higher_is_better, metric.full_state_update) == (False, True, False)

    @pytest.mark.parametrize(
        "copied",
        [Metric.clone, copy.deepcopy, lambda metric: pickle.loads(pickle.dumps(metric))],  # noqa: S301
        ids=["clone", "deepcopy", "pickle"],
    )
    @pytest.mark.parametrize("reduction", REDUCTIONS)
    def test_copies(self, copied: Callable[[Metric], Metric], reduction: str) -> None:
        metric = updated(stub_metric(reduction=reduction))
        expected = metric.compute()
        other = copied(metric)
        assert type(other) is SemanticSimilarityScore
        assert other is not metric
        assert torch.equal(other.compute(), expected)
        other.update(PREDS[:2], PREDS[:2])
        assert not torch.equal(other.compute(), expected)
        metric.update(PREDS[:1], TARGET[:1])
        again = updated(stub_metric(reduction=reduction))
        again.update(PREDS[:1], TARGET[:1])
        assert torch.equal(metric.compute(), again.compute()), "what happens to a copy stays there"

    def test_hash(self) -> None:
        metric = stub_metric(reduction="none")
        before = hash(metric)
        assert before != hash(stub_metric(reduction="none"))
        assert before != hash(updated(metric))

    @pytest.mark.parametrize("reduction", REDUCTIONS)
    def test_reset(self, reduction: str) -> None:
        metric = updated(stub_metric(reduction=reduction))
        metric.reset()
        assert not metric.update_called
        metric.update(PREDS[:2], TARGET[:2])
        fresh = stub_metric(reduction=reduction)
        assert torch.equal(metric.compute(), fresh(PREDS[:2], TARGET[:2]))

    @pytest.mark.parametrize(("reduction", "value"), [("mean", 0.0), ("sum", 0.0), ("none", [])])
    def test_compute_before_update(self, reduction: str, value: object) -> None:
        metric = stub_metric(reduction=reduction)
        with pytest.warns(UserWarning, match="was called before the ``update``"):
            assert metric.compute().tolist() == value

    @pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
    def test_input_of_another_precision(self, dtype: torch.dtype) -> None:
        score = stub_metric()(PREDS.to(dtype), TARGET.to(dtype))
        assert score.dtype == torch.float32
        assert torch.equal(score, stub_metric()(PREDS.to(dtype).float(), TARGET.to(dtype).float()))

    def test_no_gradient(self) -> None:
        metric = stub_metric()
        assert not metric(PREDS.clone().requires_grad_(), TARGET).requires_grad
        assert not metric.compute().requires_grad

    @pytest.mark.parametrize("reduction", REDUCTIONS)
    def test_plot(self, reduction: str) -> None:
        matplotlib.use("agg")
        metric = updated(stub_metric(reduction=reduction))
        figure, axes = metric.plot()
        assert axes.get_figure() is figure
        assert metric.plot([torch.tensor(0.2), torch.tensor(0.4)], ax=axes)[1] is axes
        plt.close("all")

    def test_repr(self) -> None:
        assert repr(stub_metric(reduction="sum")) == "SemanticSimilarityScore(preset='stub', reduction='sum')"

    @pytest.mark.parametrize("reduction", REDUCTIONS)
    def test_merge_state(self, reduction: str, scores: Tensor) -> None:
        first, second = stub_metric(reduction=reduction), stub_metric(reduction=reduction)
        first.update(PREDS[4:], TARGET[4:])
        second.update(PREDS[:4], TARGET[:4])
        first.merge_state(second)
        torch.testing.assert_close(first.compute(), reduced(scores, reduction), rtol=0, atol=1e-6)

    def test_without_synchronisation(self, scores: Tensor) -> None:
        metric = updated(stub_metric(sync_on_compute=False))
        torch.testing.assert_close(metric.compute(), scores.mean(), rtol=0, atol=1e-6)

    def test_values_may_have_another_dtype_but_are_counted_exactly(self, scores: Tensor) -> None:
        metric = updated(stub_metric())
        exact = metric.set_dtype(torch.float64).compute()
        assert exact.dtype == torch.float64
        assert exact.item() == pytest.approx(metric.score_sum.item() / 2**36 / 6, abs=1e-15)
        assert metric.set_dtype(torch.half).compute() == exact.half()
        assert metric.set_dtype(torch.float64).compute() == exact
        assert updated(stub_metric().set_dtype("torch.HalfTensor")).compute() == exact.half()


class TestWrappers:
    def test_bootstrapper(self, scores: Tensor) -> None:
        torch.manual_seed(0)
        bootstrap = BootStrapper(stub_metric(), num_bootstraps=5, sampling_strategy="multinomial")
        bootstrap.update(PREDS, TARGET)
        value = bootstrap.compute()
        assert abs(value["mean"] - scores.mean()) < 3 * value["std"]

    def test_tracker(self, scores: Tensor) -> None:
        tracker = MetricTracker(stub_metric())
        for batch in BATCHES:
            tracker.increment()
            tracker.update(PREDS[batch], TARGET[batch])
        best: Any = tracker.best_metric(return_step=True)
        means = torch.stack([scores[batch].mean() for batch in BATCHES])
        assert best == (pytest.approx(means.max().item(), abs=1e-6), means.argmax())

    def test_min_max(self, scores: Tensor) -> None:
        wrapped = MinMaxMetric(stub_metric())
        values = [wrapped(PREDS[batch], TARGET[batch])["raw"] for batch in BATCHES]
        torch.testing.assert_close(torch.stack(values), torch.stack([scores[batch].mean() for batch in BATCHES]))
        assert set(wrapped.compute()) == {"raw", "min", "max"}

    def test_running(self, scores: Tensor) -> None:
        running = Running(stub_metric(), window=2)
        for batch in BATCHES:
            running.update(PREDS[batch], TARGET[batch])
        torch.testing.assert_close(running.compute(), scores[3:].mean(), rtol=0, atol=1e-6)

    def test_composition(self, scores: Tensor) -> None:
        doubled = 2 * stub_metric()
        doubled.update(PREDS, TARGET)
        torch.testing.assert_close(doubled.compute(), 2 * scores.mean())


class TestCollection:
    def test_beside_other_image_metrics(self, scores: Tensor) -> None:
        collection = MetricCollection(
            {
                "sess": stub_metric("collection"),
                "sess_sum": stub_metric("collection", reduction="sum"),
                "psnr": PeakSignalNoiseRatio(data_range=1.0),
                "ms_ssim": MultiScaleStructuralSimilarityIndexMeasure(
                    gaussian_kernel=False, kernel_size=3, betas=(0.5, 0.5), data_range=1.0
                ),
            }
        )
        BUILT.clear()
        for batch in BATCHES:
            collection.update(preds=PREDS[batch], target=TARGET[batch])
        values = collection.compute()
        torch.testing.assert_close(values["sess"], scores.mean(), rtol=0, atol=1e-6)
        torch.testing.assert_close(values["sess_sum"], scores.sum(), rtol=0, atol=1e-6)
        alone = PeakSignalNoiseRatio(data_range=1.0)
        torch.testing.assert_close(values["psnr"], alone(PREDS, TARGET))
        assert ["sess", "sess_sum"] in collection.compute_groups.values(), "one extraction serves both"
        assert len(BUILT) == 1
        assert set(collection.clone(prefix="val/").compute()) == {f"val/{name}" for name in values}

    @pytest.mark.parametrize("reduction", REDUCTIONS)
    def test_settings_are_not_mistaken_for_each_other(self, reduction: Any) -> None:
        synchronous = MatchingConfig(update_order="synchronous", beta=0.5)
        apart = {
            "plain": stub_metric(reduction=reduction),
            "synchronous": SemanticSimilarityScore(stub_preset(matching=synchronous), reduction=reduction),
        }
        together = MetricCollection({name: metric.clone() for name, metric in apart.items()})
        # Identical images score 1 under any settings, which is what compute groups go by.
        for preds in (TARGET, PREDS):
            together.update(preds, TARGET)
            for metric in apart.values():
                metric.update(preds, TARGET)
        values = together.compute()
        for name, metric in apart.items():
            assert torch.equal(values[name], metric.compute())


@contextmanager
def default_dtype(dtype: torch.dtype) -> Iterator[None]:
    """What Lightning does around a step for ``precision="bf16-true"``."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    yield
    torch.set_default_dtype(before)


class Trained(nn.Module):
    """A network that is trained, and owns a metric."""

    def __init__(self) -> None:
        super().__init__()
        self.network = nn.Linear(2, 2)
        self.val_sess = updated(stub_metric())


class TestInvisibleNetworks:
    def test_nothing_to_be_found(self) -> None:
        model = Trained()
        assert set(model.state_dict()) == {"network.weight", "network.bias"}
        assert len(list(model.parameters())) == 2
        assert list(model.buffers()) == []
        assert [name for name, _ in model.named_modules()] == ["", "network", "val_sess"]
        metric = model.val_sess
        assert metric.state_dict() == {}
        assert list(metric.children()) == []

    def test_pickles_are_small(self) -> None:
        assert len(pickle.dumps(updated(stub_metric()))) < 6000
        file = io.BytesIO()
        torch.save(Trained(), file)
        without = io.BytesIO()
        bare = Trained()
        del bare.val_sess
        torch.save(bare, without)
        assert len(file.getvalue()) - len(without.getvalue()) < 10000

    def test_loads_checkpoints_from_before_the_metric(self) -> None:
        before = {"network.weight": torch.ones(2, 2), "network.bias": torch.ones(2)}
        assert not any(Trained().load_state_dict(before, strict=True))

    @pytest.mark.parametrize(
        "treat",
        [
            nn.Module.train,
            nn.Module.eval,
            nn.Module.half,
            nn.Module.double,
            nn.Module.bfloat16,
            lambda model: model.to(torch.bfloat16),
            lambda model: model.to(torch.float64),
            lambda model: model.requires_grad_(True),
            lambda model: model.apply(lambda module: [p.data.zero_() for p in module.parameters()]),
        ],
    )
    @pytest.mark.parametrize("when", ["before", "after"])
    def test_no_treatment_of_the_owner_changes_a_score(self, treat: Callable[[Trained], Any], when: str) -> None:
        expected = updated(Trained().val_sess).compute()
        model = Trained()
        if when == "before":
            treat(model)
        updated(model.val_sess)
        if when == "after":
            treat(model)
        value = model.val_sess.compute()
        assert value.dtype == torch.float32
        assert torch.equal(value, expected)

    @pytest.mark.parametrize(
        "mode",
        [
            lambda: torch.autocast("cpu", dtype=torch.bfloat16),
            lambda: default_dtype(torch.bfloat16),
            lambda: default_dtype(torch.float64),
            torch.inference_mode,
            torch.no_grad,
            torch.enable_grad,
        ],
        ids=["autocast", "bfloat16", "float64", "inference", "no_grad", "enable_grad"],
    )
    def test_no_mode_of_the_caller_changes_a_score(
        self, mode: Callable[[], Any], request: pytest.FixtureRequest
    ) -> None:
        # No other test has built these networks: they come to be under that mode.
        metric = stub_metric(request.node.name)
        with mode():
            value = metric(PREDS, TARGET)
            metric.update(PREDS[:1], TARGET[:1])
        metric.update(PREDS[1:2], TARGET[1:2])
        assert torch.equal(value, stub_metric()(PREDS, TARGET))
        expected = stub_metric()
        for batch in (slice(0, 6), slice(0, 1), slice(1, 2)):
            expected.update(PREDS[batch], TARGET[batch])
        assert torch.equal(metric.compute(), expected.compute())

    def test_shared_by_all_metrics_of_a_process(self) -> None:
        BUILT.clear()
        gc.collect()
        val, test = stub_metric("one set"), stub_metric("one set", reduction="none")
        for metric in (val, test, val.clone(), copy.deepcopy(test), pickle.loads(pickle.dumps(val))):  # noqa: S301
            metric.update(PREDS[:1], TARGET[:1])
        assert len(BUILT) == 1


class TestDevices:
    def test_networks_follow_the_metric(self) -> None:
        metric = stub_metric("moving")
        metric.update(PREDS[:1], TARGET[:1])
        BUILT.clear()
        metric.to("meta")
        assert metric.score_sum.device.type == "meta"
        # Nothing can be computed on this device, but the networks are there.
        with pytest.raises(RuntimeError):
            metric.update(PREDS[:1], TARGET[:1])
        assert [device.type for device in BUILT] == ["meta"]


class TestFailures:
    @pytest.mark.parametrize("reduction", REDUCTIONS)
    @pytest.mark.parametrize("method", ["update", "forward"])
    @pytest.mark.parametrize(
        "preds",
        [
            torch.full_like(PREDS, torch.nan),
            PREDS * 3,
            PREDS[0],
            PREDS[:0],
            PREDS[:2],
            PREDS.long(),
            [],
        ],
        ids=["nan", "range", "one image", "empty", "fewer", "integers", "empty list"],
    )
    def test_bad_input_leaves_everything_as_it_was(self, reduction: str, method: str, preds: Any) -> None:
        metric = updated(stub_metric(reduction=reduction))
        before = copy.deepcopy(metric.metric_state)
        expected = metric.compute()
        with pytest.raises((ValueError, TypeError), match="`preds`"):
            getattr(metric, method)(preds, TARGET)
        assert str(metric.metric_state) == str(before)
        assert metric.update_count == len(BATCHES)
        assert torch.equal(metric.compute(), expected)
        metric.update(PREDS, TARGET)
        assert torch.equal(metric.compute(), updated_and(metric.reduction))

    @pytest.mark.parametrize("method", ["update", "forward"])
    def test_failing_networks(self, method: str, monkeypatch: pytest.MonkeyPatch) -> None:
        extractor = stub_extractor()
        metric = SemanticSimilarityScore(
            extractor=extractor, relation_similarity=torch.eye(56), reduction="none", batch_size=1
        )
        expected = updated(metric).compute()
        calls = []

        def fail_the_third_time(segmentations: list[Segmentation]) -> list[Relations]:
            calls.append(segmentations)
            if len(calls) == 3:
                raise RuntimeError("out of memory")
            return relate(segmentations)

        relate = extractor.relation_model
        monkeypatch.setattr(extractor, "relation_model", fail_the_third_time)
        with pytest.raises(RuntimeError, match="out of memory"):
            getattr(metric, method)(PREDS, TARGET)
        assert len(calls) == 3
        assert torch.equal(metric.compute(), expected)

    def test_the_first_update_failing(self) -> None:
        metric = stub_metric()
        with pytest.raises(ValueError, match="`preds`"):
            metric.update(PREDS[:0], TARGET[:0])
        assert not metric.update_called

    def test_arguments_are_checked_at_once(self) -> None:
        with pytest.raises(ValueError, match="`batch_size` must be at least 1"):
            stub_metric(batch_size=0)
        with pytest.raises(ValueError, match="Unexpected keyword arguments: `size`"):
            stub_metric(size=3)


def updated_and(reduction: Reduction) -> Tensor:
    metric = updated(stub_metric(reduction=reduction))
    metric.update(PREDS, TARGET)
    value: Tensor = metric.compute()
    return value


class TestParts:
    def test_ready_made_extractor(self) -> None:
        extractor = stub_extractor()
        metric = SemanticSimilarityScore(extractor=extractor, relation_similarity=torch.eye(56))
        assert metric(TARGET, TARGET) == 1
        assert metric.clone()(PREDS, TARGET) == metric(PREDS, TARGET)
        restored = pickle.loads(pickle.dumps(metric))  # noqa: S301
        assert restored(PREDS, TARGET) == metric(PREDS, TARGET)
        assert list(metric.parameters()) == []
        assert metric.state_dict() == {}

    def test_signature(self) -> None:
        lite = SemanticSimilarityScore()
        assert lite.signature.startswith("SeSS|preset:lite|")
        changed = [
            SemanticSimilarityScore(overrides={"matching.iterations": 5}),
            SemanticSimilarityScore(overrides={"matching.beta": 0.5}),
            SemanticSimilarityScore(relation_similarity=torch.eye(56)),
            SemanticSimilarityScore(relation_similarity=torch.ones(56, 56)),
            SemanticSimilarityScore(extractor=stub_extractor(), relation_similarity=torch.eye(56)),
            SemanticSimilarityScore(extractor=stub_extractor(), relation_similarity=torch.ones(56, 56)),
        ]
        for texts in (
            [metric.signature for metric in [lite, *changed]],
            [metric.long_signature() for metric in [lite, *changed]],
        ):
            assert len(set(texts)) == len(texts)
            assert all(text.split("|")[-1].startswith("v") for text in texts)
        assert "|preset:lite*|" in changed[1].signature
        assert re.search(
            r"\|preset:custom\|seg:QuarterSegmenter,\w{8}\|rel:AboveRelations,\w{8}\|enc:ColourEncoder,\w{8}\|",
            changed[4].signature,
        )

    def test_matching_beside_a_preset_is_deprecated(self) -> None:
        with pytest.warns(FutureWarning, match="`matching` beside a preset is deprecated"):
            same = SemanticSimilarityScore(matching=load_preset().matching)
        assert same.signature == SemanticSimilarityScore().signature
        with pytest.warns(FutureWarning, match="use `overrides`"):
            assert "|preset:lite*|" in SemanticSimilarityScore(matching=MatchingConfig()).signature

    def test_signature_of_an_extractor_of_ones_own(self) -> None:
        def of(extractor: SceneGraphExtractor) -> str:
            return SemanticSimilarityScore(extractor=extractor, relation_similarity=torch.eye(56)).signature

        plain = stub_extractor()
        assert of(plain) == of(stub_extractor()) == of(pickle.loads(pickle.dumps(plain)))  # noqa: S301
        assert plain(TARGET)
        assert of(plain) == of(stub_extractor())
        assert "|dtype:float32|" in of(plain)
        others = [stub_extractor() for _ in range(4)]
        segmenter = DinoSegmenter(DinoSaliencyNetwork(tap=1, depth=1), DinoSegmenterConfig(layer=1))
        others[0].encoder.layer.weight[0, 0] += 1  # type: ignore[attr-defined]
        others[1].encoder.dropout.p = 0.25  # type: ignore[attr-defined]
        others[2].encoder.half()  # type: ignore[attr-defined]
        others[3].relation_model = GeometricRelationModel(GeometricRelationsConfig(min_score=0.5))
        others += [copy.deepcopy(others[3]) for _ in range(2)]
        others[4].relation_model = GeometricRelationModel(GeometricRelationsConfig(min_score=0.25))
        others[5].segmenter = segmenter
        texts = [of(extractor) for extractor in [plain, *others]]
        assert len(set(texts)) == len(texts)
        assert "|dtype:float32+float16|" in texts[3]

    def test_signature_of_a_rescaled_score(self) -> None:
        plain, rescaled = SemanticSimilarityScore(), SemanticSimilarityScore(rescale="baseline")
        baseline = load_preset("lite").baseline
        *parts, version = plain.signature.split("|")
        assert rescaled.signature.split("|") == [*parts, f"rescale:baseline{baseline}", version]
        *parts, version = plain.long_signature().split("|")
        assert rescaled.long_signature().split("|") == [*parts, f"rescale:baseline={baseline}", version]
        other = SemanticSimilarityScore(rescale="baseline", overrides={"baseline": 0.25})
        assert "|preset:lite|" in other.signature
        assert "|rescale:baseline0.25|" in other.signature
        assert SemanticSimilarityScore(overrides={"baseline": 0.25}).signature == plain.signature
        assert len({int(metric.fingerprint) for metric in (plain, rescaled, other)}) == 3

    def test_same_arguments_as_the_function(self) -> None:
        of_metric = inspect.signature(SemanticSimilarityScore).parameters
        of_function = inspect.signature(semantic_similarity_score).parameters
        # There is no next epoch for a function.
        shared = set(of_metric) - {"kwargs", "cache_targets", "cache_size_mib"}
        assert shared == set(of_function) - {"preds", "target", "return_std", "device"}
        assert all(of_metric[name].default == of_function[name].default for name in shared)

    def test_one_metric_in_several_ranges(self) -> None:
        value = stub_metric(data_range=(-1, 1))(2 * PREDS - 1, 2 * TARGET - 1)
        torch.testing.assert_close(value, stub_metric()(PREDS, TARGET), rtol=0, atol=1e-5)


@settings(derandomize=True, deadline=None, max_examples=25)
@given(
    cuts=st.sets(st.integers(1, 5)),
    batch_size=st.none() | st.integers(1, 4),
    reduction=st.sampled_from(["mean", "sum"]),
    method=st.sampled_from(["update", "forward"]),
    order=st.permutations(range(6)),
)
def test_how_images_come_in_changes_no_bit(
    cuts: set[int], batch_size: int | None, reduction: str, method: str, order: list[int]
) -> None:
    metric = stub_metric(reduction=reduction, batch_size=batch_size)
    edges = [0, *sorted(cuts), 6]
    for start, stop in pairwise(edges):
        batch = order[start:stop]
        getattr(metric, method)(PREDS[batch], TARGET[batch])
    assert torch.equal(metric.compute(), updated(stub_metric(reduction=reduction)).compute())


class TestConfidenceInterval:
    def test_covers_the_mean_and_narrows(self, scores: Tensor) -> None:
        metric = updated(stub_metric(reduction="none"))
        low, high = metric.confidence_interval()
        assert scores.min() <= low < scores.mean() < high <= scores.max()
        narrow = metric.confidence_interval(level=0.5)
        assert low < narrow[0] < narrow[1] < high
        # The normal approximation, which the bootstrap approaches.
        half_width = 1.96 * np.std(scores.numpy()) / len(scores) ** 0.5
        assert (high - low) / 2 == pytest.approx(half_width, rel=0.15)

    def test_is_seeded(self) -> None:
        metric = updated(stub_metric(reduction="none"))
        state = torch.get_rng_state()
        assert metric.confidence_interval() == metric.confidence_interval(seed=0) != metric.confidence_interval(seed=1)
        assert torch.equal(torch.get_rng_state(), state)

    def test_one_image(self) -> None:
        metric = stub_metric(reduction="none")
        value = metric(PREDS[:1], TARGET[:1]).item()
        assert metric.confidence_interval() == pytest.approx((value, value))

    def test_what_it_needs(self) -> None:
        with pytest.raises(ValueError, match="make the metric with `reduction='none'`"):
            updated(stub_metric()).confidence_interval()
        metric = updated(stub_metric(reduction="none"))
        with pytest.raises(ValueError, match="`level` must be between 0 and 1, got 95"):
            metric.confidence_interval(level=95.0)
        with pytest.raises(ValueError, match="`resamples` must be at least 1, got 0"):
            metric.confidence_interval(resamples=0)
        metric.reset()
        with pytest.warns(UserWarning, match="before"), pytest.raises(ValueError, match="call `update` first"):
            metric.confidence_interval()

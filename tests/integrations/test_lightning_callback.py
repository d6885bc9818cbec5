"""The callback under the real Trainer: what it logs, what it leaves alone, and what it says when misused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jaxtyping
import pytest
import torch
import torchmetrics
from lightning.pytorch import Trainer
from lightning.pytorch.callbacks import EarlyStopping, ModelCheckpoint
from lightning.pytorch.loggers import CSVLogger, TensorBoardLogger
from matplotlib.figure import Figure
from stub_extractor import stub_images, stub_preset
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tiny_codec import TinyCodec
from torch import Tensor, nn
from torch.testing import assert_close
from torch.utils.data import DataLoader, Dataset

from torchmetrics_sess import SemanticSimilarityScore, semantic_similarity_score
from torchmetrics_sess.integrations import SeSSCallback

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*does not have many workers.*"),
    pytest.mark.filterwarnings("ignore:The number of training batches .1. is smaller than the logging interval.*"),
    pytest.mark.filterwarnings("ignore:.*`isinstance.treespec, LeafSpec.` is deprecated.*"),
]

PRESET = stub_preset("callback")


class Pictures(Dataset[dict[str, Any]]):
    """Random images, each in a dictionary."""

    def __init__(self, count: int, seed: int = 5) -> None:
        self.images = stub_images(count, seed)

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> dict[str, Any]:
        return {"image": self.images[index], "index": index}


class Codec(TinyCodec):
    """One that returns its reconstructions, and has never heard of the score."""

    def training_step(self, batch: dict[str, Tensor], index: int) -> Tensor:
        return nn.functional.mse_loss(self(batch["image"]), batch["image"])

    def validation_step(self, batch: dict[str, Tensor], index: int) -> Any:
        return {"recon": self(batch["image"]), "loss": 0.0}

    def test_step(self, batch: dict[str, Tensor], index: int) -> Any:
        return self.validation_step(batch, index)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.Adam(self.parameters(), lr=0.05)


class TwiceValidated(Codec):
    """One with several dataloaders."""

    def validation_step(self, batch: dict[str, Tensor], index: int, dataloader_idx: int = 0) -> Any:
        return {"recon": self(batch["image"])}


class Drawn:
    """Stands in for an explanation, and draws nothing."""

    def plot(self) -> tuple[Figure, None]:
        return Figure(figsize=(1, 1)), None


@pytest.fixture(autouse=True)
def explained(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Tensor, Tensor, SemanticSimilarityScore]]:
    """What was explained, and by which metric."""
    calls: list[tuple[Tensor, Tensor, SemanticSimilarityScore]] = []

    def explain(self: SemanticSimilarityScore, preds: Tensor, target: Tensor) -> Drawn:
        calls.append((preds, target, self))
        return Drawn()

    monkeypatch.setattr(SemanticSimilarityScore, "explain", explain)
    return calls


def callback(**arguments: Any) -> SeSSCallback:
    return SeSSCallback(**{"preds": "recon", "target": "image", "preset": PRESET, **arguments})


def trainer(*callbacks: Any, **arguments: Any) -> Trainer:
    quiet = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False}
    return Trainer(
        **{"accelerator": "cpu", "enable_model_summary": False, "callbacks": [*callbacks], **quiet, **arguments}
    )


def loader(count: int = 5, seed: int = 5) -> DataLoader[dict[str, Any]]:
    return DataLoader(Pictures(count, seed), batch_size=2)


def expected(images: Tensor, model: Codec | None = None) -> Tensor:
    with torch.no_grad():
        return semantic_similarity_score((model or Codec())(images), images, PRESET, reduction="none")


SCORES = expected(Pictures(5).images)


def test_validation_and_test() -> None:
    fitting = trainer(callback())
    [validated] = fitting.validate(Codec(), loader(), verbose=False)
    [tested] = fitting.test(Codec(), loader(3, seed=6), verbose=False)
    assert validated == {"val/sess": pytest.approx(SCORES.mean().item(), abs=1e-7)}
    assert tested == {"test/sess": pytest.approx(expected(Pictures(3, 6).images).mean().item(), abs=1e-7)}
    assert 0.2 < validated["val/sess"] < 0.99


def test_chosen_stages_and_name() -> None:
    fitting = trainer(callback(stages=["test"], name="quality"))
    assert fitting.validate(Codec(), loader(), verbose=False) == [{}]
    assert set(*fitting.test(Codec(), loader(), verbose=False)) == {"test/quality"}


@pytest.mark.parametrize(
    ("returned", "places"),
    [
        (lambda recon, batch: [recon, 1], {"preds": 0, "target": "image"}),
        (lambda recon, batch: (1, recon), {"preds": -1, "target": "image"}),
        (lambda recon, batch: recon, {"preds": lambda outputs, batch: outputs, "target": "image"}),
        (lambda recon, batch: {"recon": list(recon)}, {}),
        (lambda recon, batch: {"recon": recon, "image": batch["image"].clone(), "index": 1}, {}),
        (lambda recon, batch: batch.update(recon=recon), {}),
    ],
    ids=["list", "tuple", "tensor", "list of images", "all returned", "all in the batch"],
)
def test_places(returned: Any, places: dict[str, Any]) -> None:
    class Returning(Codec):
        def validation_step(self, batch: dict[str, Tensor], index: int) -> Any:
            return returned(self(batch["image"]), batch)

    [validated] = trainer(callback(**places)).validate(Returning(), loader(), verbose=False)
    assert validated["val/sess"] == pytest.approx(SCORES.mean().item(), abs=1e-7)


def test_what_is_returned_comes_before_the_batch() -> None:
    class Redefining(Codec):
        def validation_step(self, batch: dict[str, Tensor], index: int) -> Any:
            return {"recon": self(batch["image"]), "image": self(batch["image"])}

    [validated] = trainer(callback()).validate(Redefining(), loader(), verbose=False)
    assert validated["val/sess"] == pytest.approx(1, abs=1e-6)


@pytest.mark.parametrize(
    ("places", "error", "message"),
    [
        (
            {"preds": "reconstruction"},
            ValueError,
            "`preds='reconstruction'` is neither in what the step returned .*'recon', 'loss'.* nor in the batch "
            ".*'image', 'index'",
        ),
        ({"target": 1}, ValueError, "`target=1` is neither in .*'recon', 'loss'"),
        ({"preds": "loss"}, TypeError, "`preds='loss'` must lead to a tensor .*float"),
        ({"preds": "image"}, ValueError, "lead to the same images"),
    ],
)
def test_misplaced(places: dict[str, Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        trainer(callback(**places)).validate(Codec(), loader(), verbose=False)


@pytest.mark.parametrize(
    ("returned", "message"), [(None, r"returned \(nothing\)"), ((1.0, "a"), r"a tuple of 2 items: float, str")]
)
def test_misplaced_without_keys(returned: Any, message: str) -> None:
    class Returning(Codec):
        def validation_step(self, batch: dict[str, Tensor], index: int) -> Any:
            return returned

    with pytest.raises(ValueError, match=message):
        trainer(callback()).validate(Returning(), loader(), verbose=False)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"every_n_epochs": 0}, "every_n_epochs"),
        ({"max_images": 0}, "max_images"),
        ({"reduction": "sum"}, "reduction"),
        ({"preset": "unknown"}, "unknown"),
    ],
)
def test_refused_arguments(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        callback(**arguments)


@pytest.mark.parametrize("stages", [["train"], "test"])
def test_unknown_stages(stages: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
    with pytest.raises(ValueError, match="`stages` must be a sequence of 'validate' and 'test', got"):
        callback(stages=stages)


@pytest.mark.parametrize("most", [1, 2, 3, 9])
def test_the_first_images(most: int) -> None:
    [validated] = trainer(callback(max_images=most)).validate(Codec(), loader(), verbose=False)
    assert validated["val/sess"] == pytest.approx(SCORES[:most].mean().item(), abs=1e-7)


def test_several_dataloaders() -> None:
    ours = callback(max_images=3)
    results = trainer(ours).validate(TwiceValidated(), [loader(), loader(4, seed=8)], verbose=False)
    means = [SCORES[:3].mean(), expected(Pictures(4, 8).images[:3]).mean()]
    for logged in results:
        assert logged == {
            f"val/sess/dataloader_idx_{i}": pytest.approx(mean.item(), abs=1e-7) for i, mean in enumerate(means)
        }
    assert [len(metric.compute()) for metric in ours.metrics] == [3, 3]
    # Nothing is left of the second dataloader.
    assert set(*trainer(ours).validate(Codec(), loader(), verbose=False)) == {"val/sess"}


def test_targets_are_seen_once() -> None:
    ours = callback(cache_targets=True)
    for _ in range(2):
        trainer(ours).validate(TwiceValidated(), [loader(), loader(4, seed=8)], verbose=False)
    for metric in ours.metrics:
        info = metric.cache_info()
        assert (info.hits, info.misses) == (9, 9)


class Recorder(CSVLogger):
    """A logger that also keeps what it is told."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.scores: dict[int, float] = {}

    def log_metrics(self, metrics: Any, step: int | None = None) -> None:
        super().log_metrics(metrics, step)
        self.scores.update({int(metrics["epoch"]): metrics["val/sess"]} if "val/sess" in metrics else {})


@pytest.mark.parametrize(("arguments", "epochs"), [({}, [0, 1, 2, 3]), ({"every_n_epochs": 2}, [1, 3])])
def test_every_n_epochs(arguments: dict[str, Any], epochs: list[int], tmp_path: Path) -> None:
    logger, model, ours = Recorder(tmp_path), Codec(), callback(**arguments)
    trainer(ours, logger=logger, max_epochs=4, num_sanity_val_steps=2).fit(model, loader(2), loader())
    assert list(logger.scores) == epochs
    assert logger.scores[3] == pytest.approx(expected(Pictures(5).images, model).mean().item(), abs=1e-7)
    assert len(set(logger.scores.values())) == len(epochs)
    # Outside a training there are no epochs to choose from.
    assert set(*trainer(ours).validate(model, loader(), verbose=False)) == {"val/sess"}


def test_sanity_check_scores_but_logs_nothing(tmp_path: Path, explained: list[Any]) -> None:
    logger, ours = TensorBoardLogger(tmp_path), callback(every_n_epochs=2)
    fitting = trainer(ours, logger=logger, max_epochs=1, num_sanity_val_steps=2)
    fitting.fit(Codec(), loader(2), loader())
    assert "val/sess" not in fitting.callback_metrics
    assert explained == []
    with pytest.raises(ValueError, match="nor in the batch"):
        trainer(callback(preds="absent", every_n_epochs=9), max_epochs=1).fit(Codec(), loader(2), loader())


@pytest.mark.filterwarnings("ignore:Be aware that when using `ckpt_path`, callbacks.*")
def test_checkpoints_and_early_stopping(tmp_path: Path) -> None:
    keeper = ModelCheckpoint(tmp_path, monitor="val/sess", mode="max", filename="{epoch}", save_last=True)
    stopper = EarlyStopping("val/sess", mode="max", patience=1, min_delta=1.0)
    ours = callback()
    model = Codec()
    # First in the list are those that monitor: Lightning has to have the value before any of them looks.
    fitting = trainer(stopper, keeper, ours, enable_checkpointing=True, max_epochs=5)
    fitting.fit(model, loader(2), loader())
    assert fitting.current_epoch == 2
    assert stopper.stopped_epoch == 1
    assert keeper.best_model_score is not None
    best = keeper.best_model_score.item()
    content = torch.load(keeper.best_model_path, weights_only=True)
    assert content["state_dict"].keys() == Codec().state_dict().keys()
    assert [key.partition("{")[0] for key in content["callbacks"]] == ["EarlyStopping", "ModelCheckpoint"]
    restored = Codec.load_from_checkpoint(keeper.best_model_path, strict=True)
    assert best == pytest.approx(expected(Pictures(5).images, restored).mean().item(), abs=1e-7)
    # Resumes, with the callback or without.
    for callbacks in ([callback()], []):
        resumed = trainer(*callbacks, max_epochs=3)
        resumed.fit(Codec(), loader(2), loader(), ckpt_path=tmp_path / "last.ckpt", weights_only=True)
        assert resumed.current_epoch == 3


def test_the_module_stays_as_it_was() -> None:
    model, untouched = Codec(), Codec()
    trainer(callback()).validate(model, loader(), verbose=False)
    assert model.state_dict().keys() == untouched.state_dict().keys()
    assert [name for name, _ in model.named_modules()] == [name for name, _ in untouched.named_modules()]
    assert not any(isinstance(value, torchmetrics.Metric) for value in vars(model).values())


@pytest.mark.parametrize("precision", ["bf16-mixed", "bf16-true", "16-true"])
def test_precision_of_the_trainer(precision: Any, explained: list[Any], tmp_path: Path) -> None:
    class Reported(Codec):
        def validation_step(self, batch: dict[str, Tensor], index: int) -> Any:
            outputs = super().validation_step(batch, index)
            reconstructions.append(outputs["recon"])
            originals.append(batch["image"])
            return outputs

    reconstructions: list[Tensor] = []
    originals: list[Tensor] = []
    fitting = trainer(callback(), precision=precision, logger=TensorBoardLogger(tmp_path))
    [validated] = fitting.validate(Reported(), loader(), verbose=False)
    scores = semantic_similarity_score(torch.cat(reconstructions), torch.cat(originals), PRESET, reduction="none")
    assert reconstructions[0].dtype != torch.float32
    assert validated["val/sess"] == pytest.approx(scores.mean().item(), abs=1e-7)
    assert torch.equal(explained[0][0], torch.cat(reconstructions)[scores.argmin()])


@pytest.mark.parametrize("inference_mode", [True, False])
def test_the_worst_pair_is_drawn(inference_mode: bool, tmp_path: Path, explained: list[Any]) -> None:
    loggers = [CSVLogger(tmp_path), TensorBoardLogger(tmp_path, name="board")]
    model = Codec()
    fitting = trainer(callback(), logger=loggers, max_epochs=2, inference_mode=inference_mode)
    fitting.fit(model, loader(2), loader())
    [(first, original, _), (second, _, _)] = explained
    worst = expected(Pictures(5).images, model).argmin()
    assert torch.equal(original, Pictures(5).images[worst])
    # The module met it in a batch, which may round differently.
    assert_close(second, model(original[None])[0].detach())
    assert not torch.equal(first, second)
    events = EventAccumulator(loggers[1].log_dir or "").Reload()
    assert [image.step for image in events.Images("val/sess_worst")] == [1, 2]
    assert [event.step for event in events.Scalars("val/sess")] == [0, 1]


def test_what_is_drawn_outlives_the_batch(tmp_path: Path, explained: list[Any]) -> None:
    class Overwriting(Codec):
        def on_validation_batch_end(self, outputs: Any, *_: Any) -> None:
            outputs["recon"].zero_()

    trainer(callback(), logger=TensorBoardLogger(tmp_path)).validate(Overwriting(), loader(), verbose=False)
    assert explained[0][0].min() > 0


def test_the_metric_itself_explains_by_its_own_settings(tmp_path: Path, explained: list[Any]) -> None:
    ours = callback(data_range=(-1, 1), batch_size=1)
    trainer(ours, logger=TensorBoardLogger(tmp_path)).validate(Codec(), loader(), verbose=False)
    assert explained[0][2] is ours.metrics[0]
    assert ours.metrics[0]._scorer.data_range == (-1, 1)
    assert ours.metrics[0]._scorer.batch_size == 1


def test_greyscale_images_are_explained(tmp_path: Path, explained: list[Any]) -> None:
    ours = callback(preds=lambda outputs, batch: batch["image"][:, :1], target=lambda outputs, batch: outputs["recon"])
    trainer(ours, logger=TensorBoardLogger(tmp_path)).validate(Codec(), loader(), verbose=False)
    assert explained[0][0].shape == explained[0][1].shape == (3, 8, 12)


@pytest.mark.parametrize("arguments", [{"log_worst": False}, {}], ids=["not wanted", "no logger takes it"])
def test_nothing_is_drawn(arguments: dict[str, Any], tmp_path: Path, explained: list[Any]) -> None:
    logger = CSVLogger(tmp_path) if not arguments else TensorBoardLogger(tmp_path)
    trainer(callback(**arguments), logger=logger).validate(Codec(), loader(), verbose=False)
    assert explained == []


def test_without_matplotlib(
    tmp_path: Path, explained: list[Any], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    ours, logger = callback(), TensorBoardLogger(tmp_path)
    for _ in range(2):
        [validated] = trainer(ours, logger=logger).validate(Codec(), loader(), verbose=False)
    assert set(validated) == {"val/sess"}
    assert explained == []
    assert [record.message for record in caplog.records if "matplotlib" in record.message] == [
        "SeSSCallback draws no figures, as matplotlib is not installed."
    ]

"""A metric in a LightningModule, under the real Trainer: it works, and nothing about the training changes."""

from __future__ import annotations

import gc
import zipfile
from pathlib import Path
from typing import Any

import pytest
import torch
from fork_server import START_METHOD
from lightning.pytorch import Trainer
from lightning.pytorch.strategies import DDPStrategy
from lightning.pytorch.utilities.model_summary.model_summary import ModelSummary
from stub_extractor import BUILT, stub_images, stub_preset
from tiny_codec import TinyCodec
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from torchmetrics_sess.functional import semantic_similarity_score
from torchmetrics_sess.metric import SemanticSimilarityScore
from torchmetrics_sess.presets import Preset

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*does not have many workers.*"),
    pytest.mark.filterwarnings("ignore:.*`isinstance.treespec, LeafSpec.` is deprecated.*"),
]


class Autoencoder(TinyCodec):
    """The smallest one there is."""

    def training_step(self, batch: list[Tensor], index: int) -> Tensor:
        return nn.functional.mse_loss(self(batch[0]), batch[0])

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.Adam(self.parameters())


class Measured(Autoencoder):
    """The same with a score of its meaning."""

    def __init__(self, preset: Preset | None = None) -> None:
        super().__init__()
        self.val_sess = SemanticSimilarityScore(preset or stub_preset("lightning"))
        self.test_sess = SemanticSimilarityScore(preset or stub_preset("lightning"))

    def validation_step(self, batch: list[Tensor], index: int) -> None:
        self.val_sess.update(self(batch[0]), batch[0])
        self.log("val/sess", self.val_sess)

    def test_step(self, batch: list[Tensor], index: int) -> None:
        self.test_sess.update(self(batch[0]), batch[0])
        self.log("test/sess", self.test_sess)


class MeasuredByTheWay(Measured):
    """The same, with the other way to feed a metric in Lightning."""

    def validation_step(self, batch: list[Tensor], index: int) -> None:
        self.val_sess(self(batch[0]), batch[0])
        self.log("val/sess", self.val_sess, on_step=True, on_epoch=True)


def loader(images: Tensor) -> DataLoader[tuple[Tensor, ...]]:
    return DataLoader(TensorDataset(images), batch_size=2)


def trainer(**arguments: Any) -> Trainer:
    quiet = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False}
    return Trainer(**{"accelerator": "cpu", "enable_model_summary": False, **quiet, **arguments})


def expected(model: Autoencoder, images: Tensor, preset: Preset) -> float:
    with torch.no_grad():
        return semantic_similarity_score(model(images), images, preset).item()


IMAGES = stub_images(6, seed=3)


def test_two_modules_with_the_default_preset() -> None:
    images = stub_images(2, seed=4, size=(32, 48))
    model = Measured(SemanticSimilarityScore()._scorer.preset)
    [validated] = trainer().validate(model, loader(images), verbose=False)
    [tested] = trainer().test(model, loader(images), verbose=False)
    assert set(validated) == {"val/sess"}
    score = validated["val/sess"]
    assert 0.2 < score < 1
    assert tested["test/sess"] == score
    with torch.no_grad():
        assert semantic_similarity_score(model(images), images).item() == pytest.approx(score, abs=1e-5)


@pytest.mark.parametrize("model_class", [Measured, MeasuredByTheWay])
def test_every_epoch_anew(model_class: type[Measured]) -> None:
    model = model_class()
    fitting = trainer(max_epochs=2, check_val_every_n_epoch=1, num_sanity_val_steps=1)
    fitting.fit(model, loader(IMAGES), loader(IMAGES))
    name = "val/sess" if model_class is Measured else "val/sess_epoch"
    logged = fitting.callback_metrics[name].item()
    assert logged == pytest.approx(expected(model, IMAGES, stub_preset("lightning")), abs=1e-6)


# On a CPU, Lightning takes 16-mixed for bf16-mixed, and says so.
@pytest.mark.filterwarnings("ignore:.*AMP with fp16 is not supported on CPU.*")
@pytest.mark.parametrize("precision", ["16-mixed", "bf16-mixed", "16-true", "bf16-true", "64-true"])
def test_precision_of_the_trainer(precision: Any) -> None:
    class Reported(Measured):
        def validation_step(self, batch: list[Tensor], index: int) -> None:
            reconstructions.append(self(batch[0]))
            self.val_sess.update(reconstructions[-1], batch[0])
            originals.append(batch[0])
            self.log("val/sess", self.val_sess)

    reconstructions: list[Tensor] = []
    originals: list[Tensor] = []
    # No other test has built these networks: they come to be in the midst of a step.
    model = Reported(stub_preset(f"built under {precision}"))
    [validated] = trainer(precision=precision).validate(model, loader(IMAGES), verbose=False)
    assert reconstructions[0].dtype != torch.float32
    score = semantic_similarity_score(
        torch.cat(reconstructions).float(), torch.cat(originals).float(), stub_preset("lightning")
    )
    assert validated["val/sess"] == pytest.approx(score.item(), abs=1e-6)


def test_one_set_of_networks() -> None:
    gc.collect()
    BUILT.clear()
    model = Measured(stub_preset("one set for both"))
    trainer().validate(model, loader(IMAGES), verbose=False)
    trainer().test(model, loader(IMAGES), verbose=False)
    assert len(BUILT) == 1


def checkpoint(model: Autoencoder, path: Path) -> dict[str, Any]:
    fitting = trainer(max_epochs=1, limit_val_batches=0)
    fitting.fit(model, loader(IMAGES))
    if isinstance(model, Measured):
        trainer().validate(model, loader(IMAGES), verbose=False)
    fitting.save_checkpoint(path)
    content: dict[str, Any] = torch.load(path, weights_only=True)
    return content


@pytest.mark.filterwarnings("ignore:.*no `val_dataloader`.*", "ignore:.*defined a `validation_step`.*")
def test_checkpoints(tmp_path: Path) -> None:
    without = checkpoint(Autoencoder(), tmp_path / "without.ckpt")
    measured = checkpoint(Measured(), tmp_path / "measure.ckpt")
    assert measured["state_dict"].keys() == without["state_dict"].keys()
    assert measured.keys() == without.keys()
    # Tensors are aligned in a file, which hides small differences in what describes them.
    sizes = []
    for name in ("without", "measure"):
        with zipfile.ZipFile(tmp_path / f"{name}.ckpt") as archive:
            sizes.append([entry.file_size for entry in archive.infolist()])
    assert sizes[0] == sizes[1]
    for name in ("without.ckpt", "measure.ckpt"):
        restored = Measured.load_from_checkpoint(tmp_path / name, strict=True)
        assert torch.equal(restored.network.weight, without["state_dict"]["network.weight"])
        assert isinstance(Autoencoder.load_from_checkpoint(tmp_path / name, strict=True), Autoencoder)


def test_nothing_to_optimise_or_summarise() -> None:
    model = Measured()
    trainer().validate(model, loader(IMAGES), verbose=False)
    assert len(model.configure_optimizers().param_groups[0]["params"]) == 2
    summary, without = ModelSummary(model, max_depth=-1), ModelSummary(Autoencoder(), max_depth=-1)
    assert summary.total_parameters == without.total_parameters == 12
    assert dict(zip(summary.layer_names, summary.param_nums, strict=True)) == {
        "network": 12,
        "val_sess": 0,
        "test_sess": 0,
    }


def test_processes_that_get_the_module_by_pickle(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Lightning passes the module, metrics included, to the processes by pickle.
    monkeypatch.chdir(tmp_path)
    images = IMAGES[:4]
    model = Measured()
    trainer().validate(model, loader(images), verbose=False)
    fitting = trainer(strategy=DDPStrategy(start_method=START_METHOD), devices=2)
    [validated] = fitting.validate(model, loader(images), verbose=False)
    assert fitting.world_size == 2
    assert validated["val/sess"] == pytest.approx(expected(model, images, stub_preset("lightning")), abs=1e-7)
    assert list(tmp_path.iterdir()) == []

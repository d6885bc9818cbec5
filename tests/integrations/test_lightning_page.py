"""The examples of docs/lightning.md run, one after the other, as a reader would run them."""

from __future__ import annotations

import re
import warnings
from pathlib import Path
from typing import Any

import pytest
import yaml
from lightning.pytorch.cli import LightningCLI
from lightning.pytorch.demos.boring_classes import DemoModel
from stub_extractor import stub_images, stub_preset
from torch.utils.data import DataLoader

from torchmetrics_sess import presets
from torchmetrics_sess.integrations import SeSSCallback
from torchmetrics_sess.scoring import scorer

PAGE = (Path(__file__).parents[2] / "docs" / "lightning.md").read_text(encoding="utf-8")
EXAMPLES = re.findall(r"^```python\n(.*?)^```$", PAGE, flags=re.MULTILINE | re.DOTALL)


@pytest.mark.filterwarnings(
    "ignore:.*does not have many workers.*",
    "ignore:.*is smaller than the logging interval.*",
    "ignore:.*`isinstance.treespec, LeafSpec.` is deprecated.*",
)
def test_examples(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(tmp_path)
    # What is shown here is how to use the preset, not the preset.
    monkeypatch.setattr(scorer, "load_preset", lambda name, overrides: stub_preset(name))
    training: Any = stub_images(4, seed=1)
    validation: Any = stub_images(3, seed=2)
    known: dict[str, Any] = {
        "train_images": DataLoader(training, batch_size=2),
        "val_images": DataLoader(validation, batch_size=2),
    }
    for example in EXAMPLES:
        exec(example, known)  # noqa: S102

    assert len(EXAMPLES) == 8
    assert 0.2 < known["trainer"].callback_metrics["val/sess"] < 0.9
    assert Path(known["best"].best_model_path).name.startswith("epoch=")
    assert Path(known["best"].best_model_path).parent.name == "checkpoints"
    printed = capsys.readouterr().out
    for text in ("val/psnr", "SeSS|preset:stub", "val/sess_low", "hits="):
        assert text in printed


def test_configuration_file() -> None:
    [text] = re.findall(r"^```yaml\n(.*?)^```$", PAGE, flags=re.MULTILINE | re.DOTALL)
    with warnings.catch_warnings():
        # What Lightning still calls although jsonargparse has renamed it.
        warnings.simplefilter("ignore")
        options = {"accelerator": "cpu", "logger": False, "enable_checkpointing": False}
        cli = LightningCLI(DemoModel, run=False, args={"trainer": options | yaml.safe_load(text)["trainer"]})
    [callback] = [callback for callback in vars(cli.trainer)["callbacks"] if isinstance(callback, SeSSCallback)]
    assert (callback.preds, callback.target, callback.max_images) == ("recon", "image", 64)
    assert callback.metrics[0]._scorer.cache is not None


def test_quoted_messages() -> None:
    # The errors that the page explains are those that the package has.
    sources = "".join(path.read_text(encoding="utf-8") for path in Path(presets.__file__).parents[1].rglob("*.py"))
    for part in ("must lie in `data_range`", "are not on this machine", "is neither in what the step returned"):
        assert part in PAGE
        assert part in sources

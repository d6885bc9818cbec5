"""The Deep JSCC example: it sends as many symbols as it says, learns, and leaves the same results on two processes."""

from __future__ import annotations

import csv
import subprocess
import sys
from pathlib import Path
from typing import Any, get_args

import pytest
import torch
import yaml
from lightning.pytorch import Trainer
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader

from examples.deep_jscc.channel import normalize_power
from examples.deep_jscc.data import TRAINING, VALIDATION, PhotographData, RandomCrops
from examples.deep_jscc.losses import NAMES, draw
from examples.deep_jscc.module import DeepJSCC, LossName
from examples.deep_jscc.train import main

ROOT = Path(__file__).parents[2]
CONFIGS = ROOT / "configs" / "examples"

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*does not have many workers.*"),
    pytest.mark.filterwarnings("ignore:.*have no `val_dataloader`.*"),
    pytest.mark.filterwarnings("ignore:.*`isinstance.treespec, LeafSpec.` is deprecated.*"),
]


def small_model() -> DeepJSCC:
    torch.manual_seed(0)
    return DeepJSCC(symbols=4, width=8, depth=1, snr=[10.0])


def images(count: int, seed: int = 0) -> Tensor:
    coarse = torch.rand(count, 3, 4, 6, generator=torch.Generator().manual_seed(seed))
    return torch.nn.functional.interpolate(coarse, scale_factor=8, mode="bilinear")


def test_channel_input_has_unit_power_and_the_stated_bandwidth() -> None:
    model = small_model()
    sent = normalize_power(model.encoder(images(3)))
    assert sent[0].numel() == model.bandwidth_ratio * images(1).numel()
    torch.testing.assert_close(sent.abs().square().mean((1, 2, 3)), torch.ones(3))


def test_what_is_received_depends_on_nothing_but_image_snr_channel_and_generator() -> None:
    model = small_model()

    def send(snr: float, channel: str = "awgn", seed: int = 0) -> Tensor:
        received: Tensor = model(images(1), torch.tensor([snr]), channel, torch.Generator().manual_seed(seed))
        return received.detach()

    assert send(10.0).shape == images(1).shape
    assert torch.equal(send(10.0), send(10.0))
    for other in (send(0.0), send(10.0, seed=1), send(10.0, "rayleigh")):
        assert not torch.equal(send(10.0), other)


def test_it_learns_to_send_through_noise() -> None:
    torch.manual_seed(0)
    model = DeepJSCC(symbols=4, width=8, depth=1, learning_rate=1e-2, snr=[10.0])
    batch = images(8)

    @torch.no_grad()
    def error(snr: float) -> float:
        received = model(batch, torch.full((8,), snr), "awgn", torch.Generator().manual_seed(0))
        return float((received - batch).square().mean())

    before = error(10.0)
    crops: DataLoader[Tensor] = DataLoader(batch, batch_size=4)  # type: ignore[arg-type]
    quiet: dict[str, Any] = {"enable_progress_bar": False, "enable_model_summary": False, "enable_checkpointing": False}
    Trainer(accelerator="cpu", max_epochs=60, logger=False, **quiet).fit(model, crops)
    assert error(10.0) < before / 4
    assert error(20.0) < error(10.0) < error(0.0)


def test_it_learns_from_the_score_too(tmp_path: Path) -> None:
    preset = yaml.safe_load((ROOT / "configs" / "presets" / "lite.yaml").read_text())
    preset["segmenter"] |= {"seeds_per_side": 4, "image_size": 112}
    (tmp_path / "small.yaml").write_text(yaml.safe_dump(preset))
    learned = {}
    for loss in get_args(LossName):
        torch.manual_seed(0)
        model = DeepJSCC(4, 8, 1, snr=[10.0], preset=str(tmp_path / "small.yaml"), loss=loss, sess_image_size=56)
        assert not [name for name in model.state_dict() if not name.startswith(("encoder", "decoder"))]
        crops: DataLoader[Tensor] = DataLoader(images(2), batch_size=2)  # type: ignore[arg-type]
        quiet: dict[str, Any] = {"enable_progress_bar": False, "enable_model_summary": False}
        Trainer(accelerator="cpu", max_steps=1, logger=False, enable_checkpointing=False, **quiet).fit(model, crops)
        learned[loss] = torch.cat([parameter.detach().flatten() for parameter in model.parameters()])
    assert learned["mse+sess"].isfinite().all()
    assert not torch.equal(learned["mse"], learned["mse+sess"])


def test_curves_of_the_two_losses() -> None:
    rows = [
        {"trained": name, "snr_db": snr, "psnr": 20.0, "ms_ssim": 0.9, "sess": 0.8, "sess_0_1": 0.7}
        for name in NAMES.values()
        for snr in (0.0, 10.0)
    ]
    assert [len(panel.lines) for panel in draw(rows).axes] == [3] * 4


def test_no_photograph_is_trained_and_validated_on() -> None:
    assert not set(TRAINING) & set(VALIDATION)
    data = PhotographData(longer_side=264)
    for photograph, _ in data.val_dataloader():
        # As the metrics and the network need them.
        assert min(photograph.shape[-2:]) > 160
        assert not any(side % 4 for side in photograph.shape[-2:])


def test_crops_are_parts_of_the_photographs_and_always_the_same() -> None:
    photographs = [torch.arange(3 * 20 * 30).reshape(3, 20, 30) / 1800, torch.ones(3, 9, 8)]
    crops = RandomCrops(photographs, 8, 40)
    windows = torch.cat(
        [
            side.unfold(1, 8, 1).unfold(2, 8, 1).permute(1, 2, 0, 3, 4).flatten(0, 1)
            for photograph in photographs
            for side in (photograph, photograph.flip(2))
        ]
    )
    for i in range(len(crops)):
        assert (windows == crops[i]).flatten(1).all(1).any()
        assert torch.equal(crops[i], crops[i])
    assert len({crops[i].sum().item() for i in range(len(crops))}) > 10


def settings_of(path: Path) -> dict[str, dict[str, Any]]:
    loaded: dict[str, dict[str, Any]] = yaml.safe_load(path.read_text())
    return loaded


def test_both_configurations_train_the_same_model_in_the_same_steps() -> None:
    alone, together = settings_of(CONFIGS / "deep_jscc.yaml"), settings_of(CONFIGS / "deep_jscc_ddp.yaml")
    assert alone["model"] == together["model"]
    assert alone["data"].pop("batch_size") == 2 * together["data"].pop("batch_size")
    assert alone["data"] == together["data"]
    assert alone["trainer"].keys() | {"strategy"} == together["trainer"].keys()
    for name in ("max_epochs", "gradient_clip_val", "callbacks"):
        assert alone["trainer"][name] == together["trainer"][name]


@pytest.fixture
def tiny(tmp_path: Path) -> list[str]:
    """Return arguments for a run of one step that learns nothing, so that any number of processes ends up the same."""
    preset = yaml.safe_load((ROOT / "configs" / "presets" / "lite.yaml").read_text())
    preset["segmenter"]["image_size"] = 112
    (tmp_path / "small.yaml").write_text(yaml.safe_dump(preset))
    arguments = {
        "model.preset": tmp_path / "small.yaml",
        "model.learning_rate": 0,
        "model.width": 8,
        "model.draws": 2,
        "model.snr": "[0.0,20.0]",
        "data.longer_side": 264,
        "data.crops": 8,
        "trainer.logger.init_args.save_dir": tmp_path,
        "trainer.accelerator": "cpu",
        "trainer.max_epochs": 1,
        "trainer.log_every_n_steps": 1,
        "trainer.limit_val_batches": 1,
        "trainer.num_sanity_val_steps": 0,
        "trainer.enable_progress_bar": "false",
        "trainer.enable_model_summary": "false",
    }
    return [f"--{name}={value}" for name, value in arguments.items()]


def test_one_command_trains_and_leaves_the_same_results_on_one_and_on_two_processes(
    tiny: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    one_config, two_config = (f"--config={CONFIGS / name}" for name in ("deep_jscc.yaml", "deep_jscc_ddp.yaml"))
    program = [sys.executable, "-m", "examples.deep_jscc.train"]
    with subprocess.Popen(
        [*program, "fit", two_config, *tiny, "--trainer.limit_test_batches=1"],
        cwd=ROOT,
        text=True,
        stdout=subprocess.PIPE,
    ) as two:
        # It sets these for processes that it starts.
        for name in ("PL_GLOBAL_SEED", "PL_SEED_WORKERS"):
            monkeypatch.setenv(name, "0")
        monkeypatch.setattr(sys, "argv", ["train", "fit", one_config, *tiny, "--trainer.limit_test_batches=2"])
        main()
        printed = two.communicate()[0]
    assert two.returncode == 0

    one_folder, two_folder = (tmp_path / name / "version_0" for name in ("deep_jscc", "deep_jscc_ddp"))
    table = (one_folder / "results.csv").read_text()
    assert (two_folder / "results.csv").read_text() == table
    for output in (capsys.readouterr().out, printed):
        assert output.count("psnr_db") == 1

    rows = list(csv.DictReader(table.splitlines()))
    assert [(row["channel"], row["snr_db"]) for row in rows] == [
        (channel, snr) for channel in ("AWGN", "slow Rayleigh fading") for snr in ("0", "20")
    ]
    for row in rows:
        assert 5 < float(row["psnr_db"]) < 20
        assert 0 < float(row["ms_ssim"]) < 0.9
        assert 0 < float(row["sess"]) < 0.9
    for folder in (one_folder, two_folder):
        logged = (folder / "metrics.csv").read_text().splitlines()[0]
        assert all(f"val/awgn/{snr}dB/{name}" in logged for snr in (0, 20) for name in ("psnr", "ms_ssim", "sess"))
        for picture in ("curves.png", "pictures.png"):
            with Image.open(folder / picture) as image:
                assert image.width > image.height > 100

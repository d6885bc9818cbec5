"""The recipe, end to end on a tiny network, through its real command."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from fork_server import run_module
from PIL import Image, ImageDraw
from safetensors.torch import load_file

from torchmetrics_sess.networks.adapters import merge_adapters
from torchmetrics_sess.photographs import NAMES, open_photograph
from training.data import Scenes, Visits
from training.module import load_network
from training.scenes import Sources, make_scene


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sources")
    for kind in ("photographs", "cutouts"):
        (folder / kind).mkdir()
    for index, name in enumerate(NAMES):
        open_photograph(name).resize((120, 90)).save(folder / "photographs" / f"{index:04d}.jpg")
    cutout = Image.new("RGBA", (40, 40))
    ImageDraw.Draw(cutout).ellipse((2, 2, 38, 38), fill=(200, 30, 30, 255))
    cutout.save(folder / "cutouts" / "0004.png")
    return folder


def fit(folder: Path, run: Path, steps: int, *more: str) -> dict[str, torch.Tensor]:
    output = run / "adapters.safetensors"
    options = {
        "--trainer.accelerator": "cpu",
        "--trainer.precision": "32-true",
        "--trainer.enable_progress_bar": "false",
        "--trainer.max_steps": str(steps),
        "--trainer.log_every_n_steps": "1",
        "--trainer.logger.init_args.save_dir": str(run),
        "--trainer.callbacks.init_args.dirpath": str(run),
        "--trainer.callbacks.init_args.every_n_train_steps": "1",
        "--model.network": "tiny",
        "--model.rank": "2",
        "--model.grid": "4",
        "--model.warmup": "1",
        "--model.output": str(output),
        "--data.network": "tiny",
        "--data.folder": str(folder),
        "--data.listed": "null",
        "--data.count": "8",
        "--data.steps": "6",
        "--data.batch_size": "4",
        "--data.grid": "4",
        "--data.window": "3",
    }
    given = [part for option in options.items() for part in option]
    run.mkdir(exist_ok=True)
    run_module(run / "log.txt", "training.train", "fit", "--config", "configs/training/lite.yaml", *given, *more)
    return load_file(output)


def test_a_run_that_was_cut_ends_like_one_that_was_not(folder: Path, tmp_path: Path) -> None:
    whole = fit(folder, tmp_path / "whole", 6)
    cut = tmp_path / "cut"
    fit(folder, cut, 3)
    resumed = fit(folder, cut, 6, "--ckpt_path", str(cut / "last.ckpt"))
    assert whole.keys() == resumed.keys()
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)
    assert any(value.abs().max() > 0 for name, value in whole.items() if name.endswith(".up"))

    network, _, _ = load_network("tiny")
    before = network.get_parameter("blocks.0.mlp.0.weight").clone()
    merge_adapters(network, whole)
    assert not torch.equal(network.get_parameter("blocks.0.mlp.0.weight"), before)
    curves = next((tmp_path / "whole").rglob("metrics.csv")).read_text().splitlines()
    assert "train/loss" in curves[0]
    assert len(curves) == 7


def test_scenes_are_made_by_their_number_alone(folder: Path) -> None:
    sources = Sources.of(folder)
    first, again, other = (make_scene(sources, (0, index)) for index in (3, 3, 4))
    assert first.tobytes() == again.tobytes()
    assert first.tobytes() != other.tobytes()
    assert min(first.size) >= 200


def test_a_list_says_what_may_be_used(folder: Path, tmp_path: Path) -> None:
    listed = tmp_path / "sources.csv"
    listed.write_text("file,licence\nphotographs/0001,CC0-1.0\ncutouts/0004,GPL-2\n")
    assert [path.stem for path in Sources.of(folder, listed).photographs] == ["0001"]
    with pytest.raises(ValueError, match=r"`folder` must hold photographs/ and cutouts/"):
        Sources.of(tmp_path)


def test_what_is_clean_is_asked_for_once_and_damage_every_time(folder: Path) -> None:
    scenes = Scenes(Sources.of(folder), count=4, grid=4, window=3, seed=0, network="tiny")
    first, again = scenes[1, 0], scenes[1, 1]
    assert torch.equal(first.clean, again.clean)
    assert first.images.shape == (3, 42, 42)
    assert first.clean.shape == first.last.shape == (10, 24)
    assert scenes[0, 0].images.shape == (3, 56, 56)
    assert any(not torch.equal(scenes[1, 0].images, scenes[1, step].images) for step in range(1, 4))


def test_batches_hold_one_size_and_go_on_where_they_stopped(folder: Path) -> None:
    scenes = Scenes(Sources.of(folder), count=16, grid=4, window=2, seed=0, network="tiny")
    whole = list(Visits(scenes, 20, 4, seed=0))
    assert list(Visits(scenes, 20, 4, seed=0, start=7)) == whole[7:]
    assert {len(batch) for batch in whole} == {1, 4}
    for batch in whole:
        assert len({scenes.whole(index) for index, _ in batch}) == 1


def test_random_numbers_of_numpy_are_left_alone(folder: Path) -> None:
    np.random.seed(0)  # noqa: NPY002
    expected = np.random.rand()  # noqa: NPY002
    np.random.seed(0)  # noqa: NPY002
    make_scene(Sources.of(folder), (0, 0))
    assert np.random.rand() == expected  # noqa: NPY002

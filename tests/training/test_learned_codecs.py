"""Small learned codecs: shapes by seed, what noise does, training, files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from torchmetrics_sess.photographs import open_photograph
from training.damage import damage, learned
from training.learned_codecs import LearnedCodec, load_codecs, main, train
from training.scenes import Sources


@pytest.fixture(scope="module")
def photograph() -> Image.Image:
    return open_photograph("cat").resize((160, 121))


@pytest.mark.parametrize("seed", range(12))
def test_every_seed_is_a_codec(seed: int, photograph: Image.Image) -> None:
    codec, again = LearnedCodec(seed), LearnedCodec(seed)
    received = codec.send(photograph, 0.5, 3)
    assert (received.size, received.mode) == (photograph.size, "RGB")
    assert received.tobytes() == again.send(photograph, 0.5, 3).tobytes()
    assert received.tobytes() != codec.send(photograph, 0.5, 4).tobytes()
    assert codec.block in {4, 8, 16}


def test_seeds_differ() -> None:
    codecs = [LearnedCodec(seed) for seed in range(12)]
    assert len({(c.block, c.rounds, c.tells_noise, c.absolute_error) for c in codecs}) > 6


def test_training_brings_the_photograph_nearer(tmp_path: Path, photograph: Image.Image) -> None:
    photograph.save(tmp_path / "0.png")
    # A codec of few steps.
    codec = LearnedCodec(2)
    codec.steps = 40
    before = codec.send(photograph, 0.3, 0)
    after = train(codec, [tmp_path / "0.png"], seed=2).send(photograph, 0.3, 0)

    def error(image: Image.Image) -> float:
        return float(np.mean((np.asarray(image, dtype=float) - np.asarray(photograph, dtype=float)) ** 2))

    assert error(after) < 0.5 * error(before)


@pytest.mark.parametrize(("level", "low", "high"), [(0.05, 0.5, 1), (30.0, 0, 0.3)])
def test_more_noise_leaves_less_to_see(
    level: float, low: float, high: float, photograph: Image.Image, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    photograph.save(tmp_path / "0.png")
    codec = train(LearnedCodec(2), [tmp_path / "0.png"], seed=2)
    monkeypatch.setattr("training.damage.noise_level", lambda random: level)
    _, visibility = learned(photograph, np.random.default_rng(0), [codec])
    assert low <= visibility <= high


def test_the_command_goes_on_where_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for kind, mode, name in (("photographs", "RGB", "a.jpg"), ("cutouts", "RGBA", "b.png")):
        (tmp_path / kind).mkdir()
        Image.new(mode, (80, 80), "red").save(tmp_path / kind / name)
    (tmp_path / "sources.csv").write_text("file\nphotographs/a\ncutouts/b\n")
    monkeypatch.setattr("training.learned_codecs.train", lambda codec, *_: codec)

    def run(count: int) -> None:
        where = ["--folder", str(tmp_path), "--listed", str(tmp_path / "sources.csv"), "--count", str(count)]
        monkeypatch.setattr("sys.argv", ["learned_codecs", *where])
        main()

    run(1)
    first = (tmp_path / "codecs" / "000.safetensors").stat().st_mtime_ns
    run(3)
    assert (tmp_path / "codecs" / "000.safetensors").stat().st_mtime_ns == first
    codecs = load_codecs(Sources.of(tmp_path).codecs)
    assert len(codecs) == 3
    assert all(torch.equal(a, b) for a, b in zip(codecs[2].parameters(), LearnedCodec(2).parameters(), strict=True))


def test_damage_sends_through_codecs_if_there_are_any(photograph: Image.Image) -> None:
    sent: list[float] = []

    class Watched(LearnedCodec):
        def send(self, image: Image.Image, level: float, seed: int) -> Image.Image:
            sent.append(level)
            return image

    codec = Watched(0)
    for seed in range(60):
        damage(photograph, np.random.default_rng(seed), codecs=[codec], learned_share=0.5, twice=0)
    assert 15 < len(sent) < 45
    # 12 dB to -10 dB.
    assert 0.25 <= min(sent) < max(sent) <= 3.2

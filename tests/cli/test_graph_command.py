from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from stub_extractor import AboveRelations, stub_preset
from torch import Tensor

from torchmetrics_sess.stages import Segmentation

pytestmark = pytest.mark.usefixtures("stub_networks")

Sess = Callable[..., Any]


class EqualRelations(AboveRelations):
    """Holds all relations for equally probable."""

    def probabilities(self, segmentation: Segmentation) -> Tensor:
        count = segmentation.valid.shape[1]
        return torch.full((1, 56, count, count), 0.5)


def test_it_draws_one_image(sess: Sess, image_folders: tuple[Path, Path], tmp_path: Path) -> None:
    out = tmp_path / "graph.png"
    run = sess("graph", image_folders[0] / "0.png", "-o", out, "--pieces")
    assert run.exit_code == 0, run.stderr
    # The stub sees four quarters, the upper ones over the lower ones.
    assert run.stdout.replace("\n", "") == f"4 nodes, 2 relations: {out}"
    with Image.open(out) as image:
        assert image.width == 1050
    fewer = tmp_path / "fewer.png"
    sess("graph", image_folders[0] / "0.png", "-o", fewer, "--pieces", "--objects", 2, "--relations", 0)
    assert fewer.read_bytes() != out.read_bytes()


@pytest.fixture
def equal_relations(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stub_extractor.AboveRelations", EqualRelations)
    # Networks of another label are no others' that are still in use.
    preset = stub_preset("equal relations")
    monkeypatch.setattr("torchmetrics_sess.scoring.scorer.load_preset", lambda name, overrides: preset)


@pytest.mark.usefixtures("stub_networks", "equal_relations")
@pytest.mark.parametrize(("pieces", "what"), [([], "object"), (["--pieces"], "node")])
def test_it_says_what_is_pointed_at(
    sess: Sess, image_folders: tuple[Path, Path], tmp_path: Path, pieces: list[str], what: str
) -> None:
    out = tmp_path / "graph.png"
    run = sess("graph", image_folders[0] / "0.png", "-o", out, "--at", "1,1", *pieces)
    assert run.exit_code == 0, run.stderr
    assert run.stdout.startswith(f"at 1,1: {what} ")
    assert f" {what}s, " in run.stdout
    assert out.exists()


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (["missing.png", "-o", "graph.png"], "missing.png cannot be read: no such file"),
        (["origin/0.png", "-o", "missing/graph.png"], "there is no folder missing"),
        (["origin/0.png", "-o", "graph.jpg"], "a picture ends in one of"),
    ],
)
def test_what_cannot_be_done_is_one_line(
    sess: Sess,
    image_folders: tuple[Path, Path],
    arguments: list[str],
    problem: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    run = sess("graph", *arguments)
    assert run.exit_code == 2
    assert problem in run.stderr
    assert len(run.stderr.splitlines()) == 1

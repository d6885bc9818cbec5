"""What the tests of the commands have in common."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from stub_extractor import stub_images, stub_preset
from torchvision.transforms.functional import to_pil_image
from typer.testing import CliRunner

from torchmetrics_sess.cli import app
from torchmetrics_sess.presets import Preset


@pytest.fixture
def sess() -> Callable[..., Any]:
    """Run a command within this process; the result has ``exit_code``, ``stdout`` and ``stderr``."""

    def run(*arguments: object) -> Any:
        return CliRunner().invoke(app, [str(argument) for argument in arguments], catch_exceptions=False)

    return run


@pytest.fixture
def stub_networks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let every preset have the stub's networks."""

    def load(name: str, overrides: object) -> Preset:
        return stub_preset()

    monkeypatch.setattr("torchmetrics_sess.scoring.scorer.load_preset", load)


@pytest.fixture
def image_folders(tmp_path: Path) -> tuple[Path, Path]:
    """Return two folders of seven images of the same names, which differ more and more."""
    images = stub_images(8)
    for side in ("origin", "recon"):
        (tmp_path / side).mkdir()
    for index in range(7):
        to_pil_image(images[index]).save(tmp_path / "origin" / f"{index}.png")
        to_pil_image(images[index].lerp(images[7], index / 6)).save(tmp_path / "recon" / f"{index}.png")
    return tmp_path / "origin", tmp_path / "recon"

"""``sess weights``: what the registry knows, by weight and by preset."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from torchmetrics_sess.segmenters import DinoSegmenterConfig
from torchmetrics_sess.weights import WEIGHTS, Weight

Sess = Callable[..., Any]
CONTENT = b"weights of a very small network"


def obtain(weight: Weight, path: Path) -> None:
    path.write_bytes(CONTENT)


@pytest.fixture(autouse=True)
def registry(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Register two weights of which one is not what it should be; return the cache folder."""
    for name, sha256 in (("small", hashlib.sha256(CONTENT).hexdigest()), ("wrong", "0" * 64)):
        weight = Weight(
            name=name,
            filename=f"{name}.bin",
            size=len(CONTENT),
            sha256=sha256,
            licence="CC0",
            source="this test",
            command=f"sess weights download {name}",
            obtain=obtain,
        )
        monkeypatch.setitem(WEIGHTS, name, weight)
    monkeypatch.setenv("SESS_HOME", str(tmp_path))
    monkeypatch.delenv("SESS_OFFLINE", raising=False)
    return tmp_path


def test_every_weight_is_listed(sess: Sess, registry: Path) -> None:
    result = sess("weights", "list")
    assert result.exit_code == 0
    lines = result.stdout.splitlines()
    assert {"lite", "small", "wrong"} <= {line.split()[0] for line in lines if line.strip()}
    assert all(word in result.stdout for word in ("CC0", "reference-bf16"))


def test_a_weight_is_brought_checked_and_found(sess: Sess, registry: Path) -> None:
    result = sess("weights", "download", "small")
    assert result.exit_code == 0
    assert result.stdout.strip() == f"small: {registry / 'small.bin'}"
    assert (registry / "small.bin").read_bytes() == CONTENT
    assert sess("weights", "path", "small").stdout.strip() == str(registry / "small.bin")
    assert sess("weights", "path").stdout.strip() == str(registry)
    assert sess("weights", "verify").stdout.strip() == "small: as expected"


def test_a_preset_stands_for_its_weights(sess: Sess, registry: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(DinoSegmenterConfig, "weights", lambda config: ["small", "wrong"])
    preset = registry / "own.yaml"
    preset.write_text("segmenter: {kind: dino}\nrelations: {kind: geometric}\nencoder: {kind: dino}\n")
    assert sess("weights", "verify", "sam-b").stderr.count("are not on this machine") == 2
    result = sess("weights", "download", preset)
    assert result.exit_code == 2
    assert (registry / "small.bin").exists()
    assert not (registry / "wrong.bin").exists()
    assert "0" * 64 in result.stderr


def test_a_damaged_file_is_told(sess: Sess, registry: Path) -> None:
    (registry / "small.bin").write_bytes(CONTENT[:-1])
    result = sess("weights", "verify")
    assert result.exit_code == 1
    assert "SHA-256" in result.stderr
    assert sess("weights", "verify", "wrong").exit_code == 1


def test_nothing_is_downloaded_when_offline(sess: Sess, registry: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SESS_OFFLINE", "1")
    result = sess("weights", "download", "small")
    assert result.exit_code == 2
    assert "SESS_OFFLINE=1" in result.stderr
    assert not (registry / "small.bin").exists()


@pytest.mark.parametrize("command", ["download", "verify", "path"])
def test_an_unknown_weight_is_refused(command: str, sess: Sess) -> None:
    result = sess("weights", command, "smal")
    assert result.exit_code == 2
    assert "did you mean `small`?" in result.stderr


def test_a_preset_that_cannot_be_read_is_refused(sess: Sess) -> None:
    result = sess("weights", "download", "nowhere.yaml")
    assert result.exit_code == 2
    assert "nowhere.yaml cannot be read" in result.stderr

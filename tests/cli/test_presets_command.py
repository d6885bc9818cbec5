"""``sess presets`` and ``sess signature`` tell what the package would use."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from torchmetrics_sess.presets import load_preset, preset_names
from torchmetrics_sess.weights import path_of

Sess = Callable[..., Any]


def test_every_preset_is_listed(sess: Sess) -> None:
    result = sess("presets")
    assert result.exit_code == 0
    first = [line.split()[0] for line in result.stdout.splitlines() if line.strip()]
    assert set(preset_names()) <= set(first)


def test_presets_without_their_weights_are_marked(sess: Sess, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SESS_HOME", str(tmp_path))
    assert re.search(r" lite +lite +97 MB +no ", sess("presets").stdout)
    path_of("lite").touch()
    assert re.search(r" lite +lite +97 MB +yes ", sess("presets").stdout)


def test_the_signature_is_that_of_the_preset(sess: Sess) -> None:
    assert sess("signature").stdout.strip() == load_preset("lite").signature()
    changed = load_preset("lite", {"matching.iterations": 2, "matching.beta": 0.001})
    result = sess("signature", "--long", "--set", "matching.iterations=2", "--set", "matching.beta=1e-3")
    assert result.stdout.strip() == changed.signature(long=True)


def test_an_unknown_preset_is_refused(sess: Sess) -> None:
    result = sess("signature", "--preset", "heavy")
    assert result.exit_code == 2
    assert "unknown preset 'heavy'" in result.stderr

"""Wrong arguments: what was got and what is accepted, and no error from within."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import jaxtyping
import pytest

from torchmetrics_sess.curves import Curve, delta, deltas, disagreements, plot_curves, write_compressai

CURVE = Curve.of_means("mine", "bpp", [0.2, 0.5], {"sess": [0.8, 0.9], "psnr": [28.0, 30.0]})
OTHER = Curve.of_means("other", "bpp", [0.1, 0.4], {"sess": [0.8, 0.9]})


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: plot_curves([CURVE], use=cast("Any", "poster")),
            "`use` must be one of 'paper', 'slides', got 'poster'",
        ),
        (lambda: plot_curves([CURVE], ["nope"]), "among those of the curves, sess, sess_db, psnr, got 'nope'"),
        (lambda: plot_curves([CURVE], cast("Any", "sess")), "a sequence of names such as ['sess', 'psnr'], got 'sess'"),
        (lambda: plot_curves(cast("Any", CURVE)), "`curves` must be a sequence of Curve, got Curve"),
        (lambda: plot_curves(cast("Any", [1])), "`curves` takes Curve, got int: 1"),
        (lambda: delta(cast("Any", "mine"), OTHER, "sess"), "`anchor` takes Curve, got str: 'mine'"),
        (
            lambda: delta(CURVE, OTHER, "sess", cast("Any", "bits")),
            "`kind` must be one of 'rate', 'quality', got 'bits'",
        ),
        (lambda: delta(CURVE, OTHER, "sess", resamples=-1), "`resamples` must be 0 or more, got -1"),
        (lambda: deltas(CURVE, cast("Any", OTHER), ["sess"]), "`tests` must be a sequence of Curve, got Curve"),
        (lambda: deltas(CURVE, [OTHER], "sess"), "`metrics` must be a sequence of names"),
        (lambda: disagreements([CURVE, OTHER], "sess"), "`metrics` must be a sequence of names"),
        (lambda: disagreements([CURVE, OTHER], ["lpips"]), "`metrics` must be among those of the curves"),
        (lambda: disagreements([CURVE, OTHER], ["sess"], resamples=-1), "`resamples` must be 0 or more, got -1"),
        (lambda: CURVE.means("nope"), "mine has no 'nope'; it has sess, sess_db, psnr"),
        (lambda: CURVE.only([2]), "`points` must be places of the 2 points of mine, got [2]"),
        (lambda: Curve.of_means("a", "bpp", cast("Any", ["low"]), {}), "a: `x` must be a sequence of numbers"),
        (lambda: Curve.of_means("a", "bpp", [0.5], {"psnr": cast("Any", 30.0)}), "a: `psnr` must be a sequence of nu"),
        (lambda: Curve("a", "bpp", ["1"], cast("Any", [[0.5]]), {}), "a: bpp must be a NumPy array, got list"),
    ],
)
def test_wrong_arguments_are_named(call: Callable[[], object], message: str, monkeypatch: pytest.MonkeyPatch) -> None:
    # As it is for whoever uses the package: the types of tests are checked before anything else.
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
    with pytest.raises((ValueError, TypeError), match=re.escape(message)):
        call()


def test_a_path_may_be_text(tmp_path: Path) -> None:
    write_compressai(CURVE, str(tmp_path / "mine.json"))
    assert (tmp_path / "mine.json").exists()

"""Deltas: those of the library on the means, with intervals that draw the same images for both; sentences elsewhere."""

from __future__ import annotations

import bjontegaard
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from torchmetrics_sess.bootstrap import confidence_interval
from torchmetrics_sess.curves import Curve, delta, disagreements


def a_curve(name: str = "jpeg", shift: float = 0.0, images: int = 6, seed: int = 0, axis: str = "bpp") -> Curve:
    """Return a curve of five points whose images differ in difficulty."""
    random = np.random.default_rng(seed)
    hard = random.uniform(0.5, 2, images)
    x = np.array([0.1, 0.2, 0.4, 0.8, 1.6])[:, None] * hard
    quality = np.log2(x / hard**2) + shift
    metrics = {"psnr": 30 + 4 * quality, "sess": 1 - 0.1 / 2 ** (quality + 5), "lpips": 0.5 - 0.05 * quality}
    return Curve(name, axis, list("abcde"), x, metrics, [f"{index}.png" for index in range(images)])


def folded(curve: Curve, at: int, value: float) -> Curve:
    sess = curve.metrics["sess"].copy()
    sess[at] = value
    return Curve(curve.name, curve.axis, curve.points, curve.x, {**curve.metrics, "sess": sess}, curve.images)


@pytest.mark.parametrize("metric", ["psnr", "sess"])
def test_values_are_those_of_the_library(metric: str) -> None:
    anchor, test = a_curve(), a_curve("webp", 0.3, seed=1)
    columns = [column for curve in (anchor, test) for column in (curve.x.mean(1), curve.metrics[metric].mean(1))]
    for kind, function in (("rate", bjontegaard.bd_rate), ("quality", bjontegaard.bd_psnr)):
        expected = function(*columns, method="akima", min_overlap=0)
        assert delta(anchor, test, metric, kind, resamples=0).value == expected  # type: ignore[arg-type]


@settings(deadline=None, max_examples=20)
@given(factor=st.floats(0.5, 2.0), seed=st.integers(0, 20))
def test_a_codec_with_so_many_more_bytes_needs_so_many_more_bits_by_every_metric(factor: float, seed: int) -> None:
    anchor = a_curve(seed=seed)
    planted = Curve("planted", "bpp", anchor.points, anchor.x * factor, anchor.metrics, anchor.images)
    for metric in ("psnr", "sess", "sess_db", "lpips"):
        found = delta(anchor, planted, metric, resamples=5)
        assert found.value == pytest.approx(100 * (factor - 1), abs=1e-6)
        # Both curves see the same draws of images, so that nothing is left of how they differ.
        assert found.interval == pytest.approx((100 * (factor - 1),) * 2, abs=1e-6)


def test_what_is_better_in_a_metric_that_falls_needs_fewer_bits_too() -> None:
    found = delta(a_curve(), a_curve("webp", 0.5), "lpips", resamples=0)
    assert found.value is not None
    assert found.value < 0
    higher = delta(a_curve(), a_curve("webp", 0.5), "lpips", "quality", resamples=0)
    assert higher.value == pytest.approx(-0.025)


def test_an_interval_holds_its_value_and_narrows_with_more_images() -> None:
    few = delta(a_curve(images=4), a_curve("webp", 0.2, images=4, seed=3), "psnr", resamples=100)
    many = delta(a_curve(images=40), a_curve("webp", 0.2, images=40, seed=3), "psnr", resamples=100)
    for found in (few, many):
        assert found.interval is not None
        assert found.value is not None
        assert found.interval[0] < found.value < found.interval[1]
    assert few.interval is not None
    assert many.interval is not None
    assert many.interval[1] - many.interval[0] < few.interval[1] - few.interval[0]
    assert few == delta(a_curve(images=4), a_curve("webp", 0.2, images=4, seed=3), "psnr", resamples=100)


def test_over_snr_deltas_are_decibels() -> None:
    anchor = Curve.of_means("old", "snr", [0, 5, 10, 15], {"sess": [0.5, 0.6, 0.7, 0.8]})
    test = Curve.of_means("new", "snr", [-2, 3, 8, 13], {"sess": [0.5, 0.6, 0.7, 0.8]})
    assert delta(anchor, test, "sess").value == pytest.approx(-2)
    assert delta(anchor, test, "sess", "quality").value == pytest.approx(0.04)


@pytest.mark.parametrize(
    ("anchor", "test", "message"),
    [
        (a_curve(), a_curve("webp").only([2]), "webp has a single point: a curve takes two"),
        (a_curve(), folded(a_curve("webp"), 4, 0.5), "SeSS of webp saturates: "),
        (folded(a_curve(), 2, 0.5), a_curve("webp"), "SeSS of jpeg folds back: "),
        (a_curve(), folded(a_curve("webp"), 4, 1.0), None),
        (a_curve(), a_curve("webp", 40.0), "the curves do not overlap: SeSS of jpeg ends at "),
        (Curve.of_means("jpeg", "bpp", [1, 2], {"psnr": [1, 2]}), a_curve("webp"), "jpeg has no SeSS"),
        (
            Curve.of_means("jpeg", "bpp", [1, 1], {"sess": [0.1, 0.2]}, ["q5", "q6"]),
            a_curve("webp"),
            "the points q5 and q6 of jpeg have equal bpp",
        ),
        (
            Curve.of_means("jpeg", "bpp", [1, 2], {"sess": [0.1, float("inf")]}),
            a_curve("webp"),
            "SeSS of jpeg is infinite at 2 bpp",
        ),
    ],
)
def test_a_curve_without_a_delta_gets_a_sentence(anchor: Curve, test: Curve, message: str | None) -> None:
    found = delta(anchor, test, "sess", resamples=10)
    if message is None:
        assert found.value is not None
    else:
        assert found.value is None
        assert found.interval is None
        assert found.note.startswith(message)


def test_rates_at_equal_quality_need_a_rising_curve_and_quality_at_equal_rates_does_not() -> None:
    assert delta(a_curve(), folded(a_curve("webp"), 4, 0.9), "sess", resamples=0).value is None
    assert delta(a_curve(), folded(a_curve("webp"), 4, 0.9), "sess", "quality", resamples=0).value is not None


def test_why_there_is_no_interval_is_said() -> None:
    means = Curve.of_means("paper", "bpp", [0.1, 0.4, 1.6], {"psnr": [25.0, 31.0, 37.0]})
    assert delta(a_curve(), means, "psnr").note == "no interval: of paper, the means alone are known"
    assert "different images" in delta(a_curve(), a_curve("webp", images=5), "psnr").note
    assert "single image" in delta(a_curve(images=1), a_curve("webp", images=1), "psnr").note
    # Of one image of two, SeSS falls by less than that of the other rises: the mean rises, but not in every draw.
    sess = np.array([[0.5, 0.5], [0.6, 0.6], [0.58, 0.7]])
    test = Curve("webp", "bpp", list("abc"), np.array([[0.1, 0.1], [0.4, 0.4], [1.6, 1.6]]), {"sess": sess}, ["a", "b"])
    anchor = Curve("jpeg", "bpp", test.points, 1.1 * test.x, {"sess": np.sort(sess, 0)}, test.images)
    found = delta(anchor, test, "sess", resamples=100)
    assert found.value is not None
    assert "of the draws of images" in found.note


def test_curves_over_different_axes_have_no_delta() -> None:
    with pytest.raises(ValueError, match="there is no delta"):
        delta(a_curve(), Curve.of_means("new", "snr", [1, 2], {"sess": [0.1, 0.2]}), "sess")


def test_metrics_that_disagree_beyond_their_intervals_are_a_sentence() -> None:
    jpeg, better, worse = a_curve("jpeg"), a_curve("mine", 0.5), a_curve(shift=-0.5)
    mine = Curve("mine", "bpp", jpeg.points, jpeg.x, {**better.metrics, "sess": worse.metrics["sess"]}, jpeg.images)
    [sentence] = disagreements([jpeg, mine], ["sess", "sess_db", "psnr"], resamples=50)
    fewer, more = delta(jpeg, mine, "psnr", resamples=50), delta(jpeg, mine, "sess", resamples=50)
    assert sentence.startswith("mine or jpeg? For equal PSNR, mine needs ")
    assert fewer.value is not None
    assert more.value is not None
    assert f"PSNR, mine needs {-fewer.value:.1f} %" in sentence
    assert f"SeSS, it needs {more.value:.1f} %" in sentence
    both = Curve("mine", "bpp", jpeg.points, jpeg.x, {**mine.metrics, "ssim": better.metrics["psnr"]}, jpeg.images)
    other = Curve("jpeg", "bpp", jpeg.points, jpeg.x, {**jpeg.metrics, "ssim": jpeg.metrics["psnr"]}, jpeg.images)
    [sentence] = disagreements([other, both], ["sess", "psnr", "ssim"], resamples=50)
    assert "(PSNR" in sentence
    assert "and SSIM" in sentence
    assert disagreements([jpeg, better], ["sess", "psnr", "lpips"], resamples=50) == []


def test_a_difference_within_its_interval_decides_nothing() -> None:
    jpeg, mine = a_curve("jpeg"), a_curve("mine", 0.5)
    sess = jpeg.metrics["sess"] - np.array([0.01, -0.01, 0.02, -0.02, 0.012, -0.0119])
    close = Curve("mine", "bpp", jpeg.points, jpeg.x, {**mine.metrics, "sess": sess}, jpeg.images)
    found = delta(jpeg, close, "sess", resamples=50)
    assert found.interval is not None
    assert found.interval[0] < 0 < found.interval[1]
    assert disagreements([jpeg, close], ["sess", "psnr"], resamples=50) == []


def test_over_snr_a_sentence_speaks_of_decibels() -> None:
    old = Curve.of_means("old", "snr", [0, 5, 10], {"psnr": [20.0, 25.0, 30.0], "sess": [0.5, 0.6, 0.7]})
    new = Curve.of_means("new", "snr", [-2, 3, 8], {"psnr": [20.0, 25.0, 30.0], "sess": [0.4, 0.5, 0.6]})
    [sentence] = disagreements([old, new], ["psnr", "sess"])
    assert (
        sentence
        == "new or old? For equal PSNR, new needs 2.0 dB less SNR than old; for equal SeSS, it needs 3.0 dB more."
    )


def test_a_curve_knows_its_means_and_intervals() -> None:
    curve = a_curve()
    assert curve.rates.tolist() == sorted(curve.rates)
    assert curve.means("sess_db") == pytest.approx(-10 * np.log10(1 - curve.metrics["sess"].mean(1)))
    import torch

    ends = curve.interval("sess")
    assert ends is not None
    assert ends[2] == pytest.approx(confidence_interval(torch.from_numpy(curve.metrics["sess"][2])))
    whole = Curve.of_means("whole", "bpp", [1.0], {"sess": [1.0]})
    assert whole.means("sess_db").tolist() == [float("inf")]
    assert whole.interval("sess") is None


@pytest.mark.parametrize(
    ("axis", "x", "metrics", "message"),
    [
        ("bits", [1.0], {"sess": [0.5]}, "`axis` must be one of bpp, cbr, snr, got 'bits'"),
        ("bpp", [0.0], {"sess": [0.5]}, "every bpp must be positive, got 0"),
        ("snr", [float("nan")], {"sess": [0.5]}, "every SNR must be a finite number"),
        ("bpp", [1.0], {"sess": [0.5, 0.6]}, r"sess must have the shape \(1, 1\), points by images, got \(2, 1\)"),
        ("bpp", [], {}, "mine has no point"),
    ],
)
def test_a_curve_that_cannot_be_is_refused(
    axis: str, x: list[float], metrics: dict[str, list[float]], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        Curve.of_means("mine", axis, x, metrics)


@pytest.mark.parametrize(("axis", "unit"), [("bpp", "bpp"), ("cbr", "CBR"), ("snr", "dB")])
def test_where_a_curve_is_at_fault_is_said_with_the_unit(axis: str, unit: str) -> None:
    good = Curve.of_means("good", axis, [1.0, 4.0, 7.0], {"sess": [0.5, 0.6, 0.7]})
    flat = Curve.of_means("flat", axis, [1.0, 4.0, 7.0], {"sess": [0.5, 0.9, 0.9]})
    far = Curve.of_means("far", axis, [10.0, 12.0], {"sess": [0.5, 0.9]})
    whole = Curve.of_means("whole", axis, [1.0, 4.0], {"psnr": [40.0, np.inf]})
    assert delta(good, flat, "sess").note.startswith(f"SeSS of flat saturates: 0.9 at 4 {unit}, then 0.9 at 7, so")
    assert delta(whole, whole, "psnr").note.startswith(f"PSNR of whole is infinite at 4 {unit}: ")
    assert delta(far, good, "sess", "quality").note == (
        f"the curves do not overlap: good ends at 7 {unit}, far begins at 10 {unit}"
    )

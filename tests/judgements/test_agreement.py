"""Agreement with people: made-up data sets in the formats of the real ones, and statistics against scipy's."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from scipy.stats import kendalltau, spearmanr
from torch import Tensor

from benchmarks.shared import reporting
from benchmarks.trust.agreement import Statistic, agreement, choice_statistics, logistic_fit, pearson, rating_statistics
from benchmarks.trust.human_alignment import main, measure
from benchmarks.trust.human_judgements import read_kadid, read_nights, read_plain, read_sis, read_tid2013
from torchmetrics_sess.comparison import ImageMetric, image_metrics


def save_image(path: Path, *, noise: float, seed: int = 0, size: tuple[int, int] = (24, 20)) -> None:
    """Save the picture of a seed, under noise."""
    path.parent.mkdir(parents=True, exist_ok=True)
    picture = np.random.default_rng(seed).uniform(60, 190, (*size, 3))
    noisy = picture + noise * np.random.default_rng(seed + 1000).standard_normal(picture.shape)
    Image.fromarray(noisy.clip(0, 255).astype(np.uint8)).save(path)


@pytest.fixture
def tid2013(tmp_path: Path) -> Path:
    """Make a TID2013 of three references with four levels of noise; file names differ in case from the list."""
    lines = []
    for reference, on_disk in enumerate(["I01.BMP", "I02.BMP", "i25.bmp"]):
        save_image(tmp_path / "reference_images" / on_disk, noise=0, seed=reference)
        stem = on_disk.partition(".")[0]
        for level in (1, 2, 3, 4):
            name = f"{stem}_01_{level}.bmp"
            save_image(tmp_path / "distorted_images" / name, noise=8 * level, seed=reference)
            lines.append(f"{7 - level + 0.01 * reference:.5f} {name.lower() if level % 2 else name.upper()}")
    (tmp_path / "mos_with_names.txt").write_text("\r\n".join(lines) + "\r\n")
    return tmp_path


@pytest.fixture
def kadid(tmp_path: Path) -> Path:
    """Make a KADID-10k of two references with three levels of noise."""
    lines = ["dist_img,ref_img,dmos,var"]
    for reference in (1, 2):
        save_image(tmp_path / "images" / f"I{reference:02}.png", noise=0, seed=reference)
        for level in (1, 2, 3):
            name = f"I{reference:02}_01_{level:02}.png"
            save_image(tmp_path / "images" / name, noise=9 * level, seed=reference)
            lines.append(f"{name},I{reference:02}.png,{5 - level:.2f},0.6")
    (tmp_path / "dmos.csv").write_text("\n".join(lines))
    return tmp_path


@pytest.fixture
def nights(tmp_path: Path) -> Path:
    """Make a NIGHTS of six triplets, of which four count; people choose the side with less noise."""
    lines = ["id,left_vote,right_vote,votes,ref_path,left_path,right_path,split,is_imagenet"]
    for index, (votes, split) in enumerate(
        [(8, "test"), (6, "test"), (5, "test"), (9, "train"), (7, "test"), (6, "test")]
    ):
        right = index % 2
        save_image(tmp_path / "ref" / "000" / f"{index}.png", noise=0, seed=index)
        for side, noise in (("0", 5 + 20 * right), ("1", 25 - 20 * right)):
            save_image(tmp_path / "distort" / "000" / f"{index}_{side}.png", noise=noise, seed=index)
        paths = f"ref/000/{index}.png,distort/000/{index}_0.png,distort/000/{index}_1.png"
        lines.append(f"{index},{1 - right},{right},{votes},{paths},{split},FALSE")
    (tmp_path / "data.csv").write_text("\n".join(lines))
    return tmp_path


@pytest.fixture
def sis(tmp_path: Path) -> Path:
    """Make a list of four image pairs as Crisscrossed Captions has them."""
    names = [f"COCO_val2014_{index:012}.jpg" for index in range(5)]
    for index, name in enumerate(names):
        save_image(tmp_path / "coco" / "val2014" / name, noise=10 * index)
    lines = ["image1,image2,agg_score,sampling_method"]
    lines += [f"{names[0]},{names[index]},{5 - index},i2i_csim" for index in (1, 2, 3, 4)]
    (tmp_path / "sis_val.csv").write_text("\n".join(lines) + "\n")
    return tmp_path


@pytest.fixture
def plain(tmp_path: Path) -> Path:
    """Make a list of five pairs, one of them of different sizes."""
    lines = ["human_score, image_a, image_b"]
    for index in range(5):
        save_image(tmp_path / f"{index}.png", noise=0, seed=index)
        size = (24, 20) if index < 4 else (30, 20)
        save_image(tmp_path / "changed" / f"{index}.png", noise=6 + 6 * index, seed=index, size=size)
        lines.append(f"{-index},{index}.png,changed/{index}.png")
    (tmp_path / "pairs.csv").write_text("\n".join(lines))
    return tmp_path


def test_tid2013_is_read_whatever_the_case_of_its_names(tid2013: Path) -> None:
    found = read_tid2013(tid2013)
    assert [path.name for path in found.references] == ["I01.BMP"] * 4 + ["I02.BMP"] * 4 + ["i25.bmp"] * 4
    assert [path.name for (path,) in found.others[8:]] == [f"i25_01_{level}.bmp" for level in (1, 2, 3, 4)]
    assert found.human[:5] == [6, 5, 4, 3, 6.01]
    assert not found.choices


def test_kadid_is_read(kadid: Path) -> None:
    found = read_kadid(kadid)
    assert [path.name for path in found.references] == ["I01.png"] * 3 + ["I02.png"] * 3
    assert found.others[4] == (kadid / "images" / "I02_01_02.png",)
    assert found.human == [4, 3, 2] * 2


def test_nights_is_read_by_split_and_votes(nights: Path) -> None:
    found = read_nights(nights)
    assert [path.stem for path in found.references] == ["0", "1", "4", "5"]
    assert found.others[1] == (nights / "distort/000/1_0.png", nights / "distort/000/1_1.png")
    assert found.human == [0, 1, 0, 1]
    assert found.choices
    assert [path.stem for path in read_nights(nights, "train").references] == ["3"]
    assert len(read_nights(nights, min_votes=0).human) == 5
    table = (nights / "data.csv").read_text()
    (nights / "data.csv").write_text(table.replace("0,1,0,8,", "0,6,2,8,").replace("1,0,1,6,", "1,0,0,6,"))
    with pytest.raises(ValueError, match=r"data\.csv, line 3: nobody chose either image"):
        read_nights(nights)
    (nights / "data.csv").write_text(table.replace("0,1,0,8,", "0,6,2,8,"))
    assert read_nights(nights).human == [0.25, 1, 0, 1]


def test_sis_is_read_aggregated_or_raw(sis: Path) -> None:
    found = read_sis(sis / "sis_val.csv", sis / "coco")
    assert found.human == [4, 3, 2, 1]
    assert {path.name for path in found.references} == {"COCO_val2014_000000000000.jpg"}
    assert read_sis(sis / "sis_val.csv", sis / "coco" / "val2014") == found
    table = (sis / "sis_val.csv").read_text().replace("agg_score", "annot_score")
    repeated = table + table.splitlines()[1].replace(",4,", ",1,") + "\n"
    (sis / "sis_val_raw.csv").write_text(repeated)
    assert read_sis(sis / "sis_val_raw.csv", sis / "coco").human == [2.5, 3, 2, 1]


def test_a_plain_list_is_read(plain: Path) -> None:
    found = read_plain(plain / "pairs.csv")
    assert found.references[1] == plain / "1.png"
    assert found.others[1] == (plain / "changed" / "1.png",)
    assert found.human == [0, -1, -2, -3, -4]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("pairs.csv", "image_a,image_b\n1,2\n", "pairs.csv has no column human_score, but image_a, image_b"),
        ("pairs.csv", "", "has no column image_a, image_b, human_score, but none at all"),
        ("pairs.csv", "image_a,image_b,human_score\n", "pairs.csv has no row"),
        ("pairs.csv", "image_a,image_b,human_score\n0.png,changed/0.png,good\n", "line 2: 'good' is no number"),
        ("pairs.csv", "image_a,image_b,human_score\n0.png,gone.png,1\n", "gone.png does not exist"),
        ("pairs.csv", "image_a,image_b,human_score\n0.png,gone/1.png,1\n", "gone cannot be read"),
        ("sis.csv", "image1,image2,rating\n0.png,1.png,1\n", "sis.csv has none of the columns agg_score, "),
        ("mos_with_names.txt", "\n", "lists no image"),
        ("mos_with_names.txt", "5.5\n", "line 1: expected a score and a name, got '5.5'"),
        (
            "data.csv",
            "ref_path,left_path,right_path,left_vote,right_vote,split\na,b,c,1,0,val\n",
            "no triplet of split",
        ),
        ("dmos.csv", "dist_img,ref_img,mos\na,b,1\n", "dmos.csv has no column dmos"),
    ],
)
def test_what_is_wrong_with_a_data_set_is_said(
    name: str, content: str, message: str, plain: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (plain / name).write_text(content)
    dataset = {"sis.csv": "sis", "mos_with_names.txt": "tid2013", "data.csv": "nights", "dmos.csv": "kadid"}
    path = plain / name if name in ("pairs.csv", "sis.csv") else plain
    assert main([dataset.get(name, "csv"), str(path), "--metrics", "psnr"]) == 2
    captured = capsys.readouterr()
    assert captured.err.startswith("human_alignment: ")
    assert message in captured.err
    assert captured.out == ""


@pytest.mark.parametrize(
    ("metrics", "message"), [("psnr,sim", "unknown metric 'sim'"), ("psnr,lpips", "lpips: its weights (233 MB)")]
)
def test_metrics_that_are_not_to_be_had_are_said(
    metrics: str, message: str, plain: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TORCH_HOME", str(plain))
    assert main(["csv", str(plain / "pairs.csv"), "--metrics", metrics]) == 2
    assert message in capsys.readouterr().err


def test_ratings_end_in_a_table(tid2013: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["tid2013", str(tid2013), "--metrics", "psnr,ssim", "--resamples", "50"]) == 0
    out = capsys.readouterr().out
    assert "tid2013: 12 judgements of 3 reference images" in out
    assert "left out" not in out
    table = [line.split() for line in out.splitlines()]
    header = next(row for row in table if row[:1] == ["metric"])
    assert [word for word in header if word.isupper()] == ["SRCC", "KRCC", "PLCC"]
    psnr = next(row for row in table if row[:1] == ["psnr"])
    found = read_tid2013(tid2013)
    pairs = [(reference, other) for reference, (other,) in zip(found.references, found.others, strict=True)]
    values = measure(pairs, image_metrics(["psnr"]), 8)["psnr"]
    assert float(psnr[1]) == pytest.approx(spearmanr(values, found.human).statistic, abs=6e-4)


def test_choices_end_in_a_share_of_people(nights: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["nights", str(nights), "--metrics", "psnr", "--resamples", "20", "--batch-size", "3"]) == 0
    out = capsys.readouterr().out
    assert "4 judgements of 4 reference images" in out
    assert "1.000 [1.000, 1.000]" in out
    assert "p-values" not in out


def test_results_are_written_and_undefined_pairs_left_out(
    plain: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reporting, "RESULTS", tmp_path / "results")
    options = ["--metrics", "psnr,ssim", "--resamples", "30", "--write"]
    assert main(["csv", str(plain / "pairs.csv"), *options]) == 0
    out = capsys.readouterr().out
    assert "4 judgements of 4 reference images" in out
    assert "left out, because a metric has no value for them: 1" in out
    content = json.loads((tmp_path / "results" / "human_alignment-csv.json").read_text())
    assert [(row["statistic"], row["metric"]) for row in content["rows"]] == [
        (statistic, metric) for statistic in ("SRCC", "KRCC", "PLCC") for metric in ("psnr", "ssim")
    ]
    assert content["rows"][0]["value"] == pytest.approx(1)
    assert content["rows"][0]["judgements"] == 4
    assert content["rows"][0]["left_out"] == 1
    assert set(content["rows"][0]["p_values"]) == {"ssim"}
    assert main(["csv", str(plain / "pairs.csv"), "--metrics", "ms_ssim"]) == 2
    assert "no judgement for which every metric has a value" in capsys.readouterr().err


def test_a_limit_draws_judgements_by_seed(tid2013: Path, capsys: pytest.CaptureFixture[str]) -> None:
    outputs = []
    for seed in (1, 1, 2):
        options = ["--metrics", "psnr", "--limit", "7", "--resamples", "20", "--seed", str(seed)]
        assert main(["tid2013", str(tid2013), *options]) == 0
        outputs.append(capsys.readouterr().out)
    assert "7 judgements" in outputs[0]
    assert outputs[0] == outputs[1] != outputs[2]


def test_distances_are_turned_into_similarities(kadid: Path) -> None:
    def distance(preds: list[Tensor], target: list[Tensor]) -> list[float]:
        return [value / 2 for value in range(len(preds))]

    found = read_kadid(kadid)
    pairs = [(reference, other) for reference, (other,) in zip(found.references, found.others, strict=True)]
    metrics = image_metrics(["psnr"])
    metrics["distance"] = ImageMetric("distance", distance, torch.device("cpu"), higher_is_better=False)
    values = measure(pairs, metrics, 4)
    assert values["distance"].tolist() == [0, -0.5, -1, -1.5, 0, -0.5]
    assert (np.diff(values["psnr"][:3]) < 0).all()


@given(seed=st.integers(0, 10_000), count=st.integers(5, 40), ties=st.booleans())
@settings(derandomize=True, max_examples=25, deadline=None)
def test_rank_statistics_are_those_of_scipy(seed: int, count: int, ties: bool) -> None:
    generator = np.random.default_rng(seed)
    human, values = generator.standard_normal(count), generator.standard_normal(count)
    if ties:
        human, values = human.round(), values.round()
        human[0], values[0] = 9, -9
    by_name = {each.name: each.compute(each.values["m"], human) for each in rating_statistics({"m": values}, human)}
    assert by_name["SRCC"] == pytest.approx(spearmanr(values, human).statistic)
    assert by_name["KRCC"] == pytest.approx(kendalltau(values, human).statistic)
    assert -1 - 1e-9 <= by_name["PLCC"] <= 1 + 1e-9 or math.isnan(by_name["PLCC"])


def test_the_fit_takes_a_bend_out_but_never_turns_a_metric_round() -> None:
    values = np.linspace(20, 50, 60)
    human = 1 + 8 / (1 + np.exp(-(values - 33) / 2))
    assert pearson(values, human) < 0.95
    fitted = logistic_fit(values, human)
    assert pearson(fitted, human) == pytest.approx(1, abs=1e-6)
    assert fitted == pytest.approx(human, abs=1e-2)
    turned = logistic_fit(values, -human)
    assert (np.diff(turned) >= 0).all()
    assert pearson(turned, -human) < -0.5
    infinite = np.append(values, np.inf)
    assert np.isfinite(logistic_fit(infinite, np.append(human, 9))).all()
    assert logistic_fit(np.full(3, np.inf), np.arange(3.0)).tolist() == [0, 0, 0]
    assert logistic_fit(np.ones(3), np.arange(3.0)).tolist() == [1, 1, 1]
    assert math.isnan(pearson(np.ones(3), np.arange(3.0)))


def test_a_choice_counts_as_many_people_as_make_it() -> None:
    human = np.array([1.0, 0.25, 0.5, 1.0])
    left, right = np.array([0.1, 0.1, 0.9, 0.5]), np.array([0.2, 0.0, 0.1, 0.5])
    (statistic,) = choice_statistics({"m": left}, {"m": right})
    assert statistic.compute(statistic.values["m"], human) == pytest.approx((1 + 0.75 + 0.5 + 0.5) / 4)


def mean_product(values: np.ndarray, human: np.ndarray) -> float:
    return float((values * human).mean())


def test_intervals_and_p_values_come_from_whole_references() -> None:
    generator = np.random.default_rng(0)
    human = generator.standard_normal(200)
    references = [index // 4 for index in range(200)]
    good, worse = human + 0.2 * generator.standard_normal(200), human + 2 * generator.standard_normal(200)
    statistics = rating_statistics({"good": good, "worse": worse, "same": good}, human)
    found = agreement(statistics[0], human, references, resamples=300)
    for name, (low, high) in found.interval.items():
        assert low < found.value[name] < high
    assert found.interval["good"] == found.interval["same"]
    assert found.p_values["same", "good"] == 1
    assert found.p_values["worse", "good"] == pytest.approx(2 / 301)
    assert agreement(statistics[0], human, references, resamples=300) == found
    assert agreement(statistics[0], human, references, resamples=300, seed=1) != found

    # What cannot be told of one metric does not touch the others.
    flat = agreement(Statistic("PLCC", pearson, {"good": good, "flat": np.ones(200)}), human, references, resamples=50)
    assert math.isnan(flat.value["flat"])
    assert math.isnan(flat.interval["flat"][0])
    assert math.isnan(flat.p_values["flat", "good"])
    assert flat.interval["good"][0] > 0.9

    # All judgements of one reference: nothing to draw anew.
    one = agreement(statistics[0], human, ["only"] * 200, resamples=20)
    assert one.interval["good"] == pytest.approx((one.value["good"],) * 2)
    # Judgements that are repeated tell nothing new: the intervals stay.
    statistic = Statistic("mean product", mean_product, {"good": good})
    doubled = Statistic("mean product", mean_product, {"good": np.repeat(good, 2)})
    assert agreement(doubled, np.repeat(human, 2), np.repeat(references, 2).tolist(), resamples=50).interval[
        "good"
    ] == pytest.approx(agreement(statistic, human, references, resamples=50).interval["good"])

"""``sess agree``: answers of studies and data sets of others end in tables, and bad input in a sentence."""

from __future__ import annotations

import csv
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from human_data import make_kadid, make_nights, make_plain, make_ratings, make_tid2013
from scipy.stats import spearmanr
from torch import Tensor

from torchmetrics_sess.comparison import ImageMetric, image_metrics
from torchmetrics_sess.judgements.analysis import ImagePaths, measure
from torchmetrics_sess.judgements.datasets import read_kadid, read_tid2013


@pytest.fixture
def tid2013(tmp_path: Path) -> Path:
    return make_tid2013(tmp_path)


@pytest.fixture
def kadid(tmp_path: Path) -> Path:
    return make_kadid(tmp_path)


@pytest.fixture
def nights(tmp_path: Path) -> Path:
    return make_nights(tmp_path)


@pytest.fixture
def plain(tmp_path: Path) -> Path:
    return make_plain(tmp_path)


def all_alike(text: str) -> str:
    """Return a study in which everybody gives every pair the same rating."""
    header, *lines = text.splitlines()
    return "\n".join([header, *(line[:-1] + "3" for line in lines if ",question,rate," in line)])


def measured(
    pairs: Sequence[ImagePaths], metrics: Mapping[str, ImageMetric], batch_size: int
) -> dict[str, list[float]]:
    found: dict[str, list[float]] = {name: [] for name in metrics}
    for batch in measure(pairs, metrics, batch_size):
        for name, values in batch.items():
            found[name] += values
    return found


def test_a_study_ends_in_tables_of_metrics_people_and_codecs(tmp_path: Path, sess: Any) -> None:
    ratings = make_ratings(tmp_path)
    result = sess("agree", ratings, "--metrics", "psnr", "--resamples", 50, "--out", tmp_path / "out.json")
    assert result.exit_code == 0
    for text in ("ratings, 18 questions about 6 originals", "choices, 18 questions about 6 originals"):
        assert text in result.stdout
    assert "4 raters: Krippendorff's alpha" in result.stdout
    rate, choose = json.loads((tmp_path / "out.json").read_text())["kinds"]
    for kind in (rate, choose):
        assert [codec["name"] for codec in kind["people"]["codecs"]] == ["fine", "fair", "poor"]
        assert kind["people"]["reliability"]["ceiling"] > 0.8
        assert [rater["rejected"] for rater in kind["people"]["raters"]] == [""] * 4
        # Noise is what PSNR sees best.
        assert kind["metrics"][0]["value"] > 0.9
    assert rate["people"]["raters"][0]["checks"] == 6


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda text: text.replace("answer", "value", 1), "has no column answer"),
        (lambda text: text.splitlines()[0] + "\n", "holds no answer"),
        (lambda text: text.replace(",5\n", ",nan\n", 1), "a rating is a whole number from 1 to 5, got 'nan'"),
        (lambda text: text.replace(",5\n", ",6\n", 1), "a rating is a whole number from 1 to 5, got '6'"),
        (lambda text: text.replace(",left\n", ",up\n", 1), "a choice is left, equal or right, got 'up'"),
        (lambda text: text.replace(",rate,", ",guess,", 1), "`kind` must be rate or choose, got 'guess'"),
        (lambda text: text.replace("fair/3.png", "lost/3.png"), "of which 1 are not there, such as"),
        (lambda text: all_alike(text), "people gave all 18 pairs the same rating"),
    ],
)
def test_what_is_wrong_with_answers_is_said(change: Any, message: str, tmp_path: Path, sess: Any) -> None:
    ratings = make_ratings(tmp_path)
    ratings.write_text(change(ratings.read_text()))
    result = sess("agree", ratings, "--metrics", "psnr", "--resamples", 5)
    assert result.exit_code == 2
    assert message in result.stderr


def test_one_rater_and_one_original_are_said_to_tell_little(tmp_path: Path, sess: Any) -> None:
    ratings = make_ratings(tmp_path, raters=1, originals=1, kinds=("rate",))
    result = sess("agree", ratings, "--metrics", "psnr", "--resamples", 5)
    assert result.exit_code == 0
    assert "one rater: how far people agree" in result.stdout
    assert "one original: intervals and tests say nothing" in result.stdout


@pytest.mark.parametrize("missing", ["choix", "krippendorff"])
def test_the_extra_is_named(missing: str, tmp_path: Path, sess: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, missing, None)
    result = sess("agree", make_ratings(tmp_path), "--metrics", "psnr")
    assert result.exit_code == 2
    assert f"{missing} is needed to compare people: install the extra `study`" in result.stderr


def test_a_rater_who_does_not_look_is_left_out(tmp_path: Path, sess: Any) -> None:
    ratings = make_ratings(tmp_path, kinds=("rate",))
    text = ratings.read_text().replace(
        "p3,check,rate,origin/1.png,origin/1.png,,5", "p3,check,rate,origin/1.png,origin/1.png,,1"
    )
    ratings.write_text(
        text.replace("p3,check,rate,origin/2.png,origin/2.png,,5", "p3,check,rate,origin/2.png,origin/2.png,,2")
    )
    result = sess("agree", ratings, "--metrics", "psnr", "--resamples", 5)
    assert "left out: p3, 18 answers: 2 of 6 checks failed" in result.stdout
    assert "3 raters:" in result.stdout


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
def test_what_is_wrong_with_a_data_set_is_said(name: str, content: str, message: str, plain: Path, sess: Any) -> None:
    (plain / name).write_text(content)
    dataset = {"sis.csv": "sis", "mos_with_names.txt": "tid2013", "data.csv": "nights", "dmos.csv": "kadid"}
    path = plain / name if name in ("pairs.csv", "sis.csv") else plain
    result = sess("agree", path, "--dataset", dataset.get(name, "csv"), "--metrics", "psnr")
    assert result.exit_code == 2
    assert result.stderr.startswith("sess: ")
    assert message in result.stderr
    assert result.stdout == ""


@pytest.mark.parametrize(
    ("metrics", "message"), [("psnr,sim", "unknown metric 'sim'"), ("psnr,lpips", "lpips: its weights (233 MB)")]
)
def test_metrics_that_are_not_to_be_had_are_said(
    metrics: str, message: str, plain: Path, sess: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TORCH_HOME", str(plain))
    result = sess("agree", plain / "pairs.csv", "--dataset", "csv", "--metrics", metrics)
    assert result.exit_code == 2
    assert message in result.stderr


def test_ratings_end_in_a_table(tid2013: Path, sess: Any) -> None:
    out = sess("agree", tid2013, "--dataset", "tid2013", "--metrics", "psnr,ssim", "--resamples", 50).stdout
    assert "tid2013: ratings, 12 questions about 3 originals" in out
    assert "left out" not in out
    table = [line.split() for line in out.splitlines()]
    header = next(row for row in table if row[:1] == ["metric"])
    assert [word for word in header if word.isupper()] == ["SRCC", "KRCC", "PLCC"]
    psnr = next(row for row in table if row[:1] == ["psnr"])
    found = read_tid2013(tid2013)
    pairs = [(reference, other) for reference, (other,) in zip(found.references, found.others, strict=True)]
    values = measured(pairs, image_metrics(["psnr"]), 8)["psnr"]
    assert float(psnr[1]) == pytest.approx(spearmanr(values, found.human).statistic, abs=6e-4)


def test_choices_end_in_a_share_of_people(nights: Path, sess: Any) -> None:
    options = ("--metrics", "psnr", "--resamples", 20, "--batch-size", 3)
    out = sess("agree", nights, "--dataset", "nights", *options).stdout
    assert "nights: choices, 4 questions about 4 originals" in out
    assert "1.000 [1.000, 1.000]" in out
    assert "p-values" not in out


def test_results_are_written_and_undefined_pairs_left_out(plain: Path, sess: Any) -> None:
    options = ("--dataset", "csv", "--resamples", 30)
    written = [plain / "out.json", plain / "out.csv"]
    for out in written:
        result = sess("agree", plain / "pairs.csv", *options, "--metrics", "psnr,ssim", "--out", out)
        assert result.exit_code == 0
        assert "4 questions about 4 originals" in result.stdout
        assert "left out, because a metric has no value for them: 1" in result.stdout
    [kind] = json.loads(written[0].read_text())["kinds"]
    rows = kind["metrics"]
    assert [(row["statistic"], row["metric"]) for row in rows] == [
        (statistic, metric) for statistic in ("SRCC", "KRCC", "PLCC") for metric in ("psnr", "ssim")
    ]
    assert rows[0]["value"] == pytest.approx(1)
    assert rows[0]["judgements"] == 4
    assert rows[0]["left_out"] == 1
    assert set(rows[0]["p_values"]) == {"ssim"}
    with written[1].open(newline="") as file:
        lines = list(csv.DictReader(file))
    assert [float(line["value"]) for line in lines] == [pytest.approx(row["value"]) for row in rows]
    result = sess("agree", plain / "pairs.csv", *options, "--metrics", "ms_ssim")
    assert result.exit_code == 2
    assert "no judgement for which every metric has a value" in result.stderr


def test_a_limit_draws_judgements_by_seed(tid2013: Path, sess: Any) -> None:
    outputs = []
    for seed in (1, 1, 2):
        options = ("--metrics", "psnr", "--limit", 7, "--resamples", 20, "--seed", seed)
        outputs.append(sess("agree", tid2013, "--dataset", "tid2013", *options).stdout)
    assert "7 questions" in outputs[0]
    assert outputs[0] == outputs[1] != outputs[2]


def test_distances_are_turned_into_similarities(kadid: Path) -> None:
    def distance(preds: list[Tensor], target: list[Tensor]) -> list[float]:
        return [value / 2 for value in range(len(preds))]

    found = read_kadid(kadid)
    pairs = [(reference, other) for reference, (other,) in zip(found.references, found.others, strict=True)]
    metrics = image_metrics(["psnr"])
    metrics["distance"] = ImageMetric("distance", distance, torch.device("cpu"), higher_is_better=False)
    values = measured(pairs, metrics, 4)
    assert values["distance"] == [0, -0.5, -1, -1.5, 0, -0.5]
    assert (np.diff(values["psnr"][:3]) < 0).all()

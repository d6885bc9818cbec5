"""``sess score``: the numbers of the metric, whatever can go wrong named in a sentence."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from stub_extractor import stub_preset

from torchmetrics_sess import semantic_similarity_score
from torchmetrics_sess.cli import stream
from torchmetrics_sess.cli.distortions import compress
from torchmetrics_sess.cli.stream import LoadedPair, load_pairs, score_pairs
from torchmetrics_sess.image_files import FilePair, pair_files, read_image
from torchmetrics_sess.photographs import NAMES, open_photograph
from torchmetrics_sess.scoring import Scorer

Sess = Callable[..., Any]
Folders = tuple[Path, Path]
stubbed = pytest.mark.usefixtures("stub_networks")


def expected_scores(origin: Path, recon: Path) -> dict[str, float]:
    scores = {}
    for pair in pair_files(origin, recon).pairs:
        images = [read_image(pair.recon)], [read_image(pair.origin)]
        scores[pair.name] = semantic_similarity_score(*images, stub_preset()).item()
    return scores


@stubbed
@pytest.mark.parametrize("batch_size", [1, 3, 100])
def test_scores_are_those_of_the_function(batch_size: int, sess: Sess, image_folders: Folders) -> None:
    result = sess("score", *image_folders, "--json", "-", "--batch-size", batch_size)
    assert result.exit_code == 0
    content = json.loads(result.stdout)
    expected = expected_scores(*image_folders)
    assert [entry["name"] for entry in content["scores"]] == list(expected)
    assert [entry["score"] for entry in content["scores"]] == pytest.approx(list(expected.values()), abs=1e-6)
    assert content["mean"] == pytest.approx(sum(expected.values()) / 7, abs=1e-6)
    assert content["signature"] == stub_preset().signature()
    assert content["failures"] == []
    assert result.stderr == ""


@stubbed
def test_the_table_names_the_worst_and_the_signature(sess: Sess, image_folders: Folders) -> None:
    result = sess("score", *image_folders)
    assert result.exit_code == 0
    expected = expected_scores(*image_folders)
    worst = sorted(expected, key=lambda name: expected[name])[:5]
    rows = [line.split() for line in result.stdout.splitlines() if line.strip()]
    assert rows[0] == ["pairs", "7"]
    assert rows[1] == ["mean", f"{sum(expected.values()) / 7:.4f}"]
    assert rows[2] == ["min", f"{min(expected.values()):.4f}"]
    assert [row[-2:] for row in rows[3:8]] == [[f"{expected[name]:.4f}", name] for name in worst]
    assert rows[-1] == [stub_preset().signature()]


@stubbed
def test_two_files_give_one_number(sess: Sess, image_folders: Folders) -> None:
    origin, recon = image_folders
    result = sess("score", origin / "1.png", recon / "2.png")
    assert result.exit_code == 0
    score = semantic_similarity_score([read_image(recon / "2.png")], [read_image(origin / "1.png")], stub_preset())
    assert result.stdout.split() == [f"{score:.4f}", stub_preset().signature()]


@stubbed
def test_what_cannot_be_scored_is_named_and_left_out(sess: Sess, image_folders: Folders) -> None:
    origin, recon = image_folders
    (recon / "2.png").write_bytes(b"")
    (origin / "4.png").write_text("no image")
    (recon / "5.png").rename(recon / "other.png")
    expected = expected_scores_without(origin, recon, {"2.png", "4.png"})
    result = sess("score", origin, recon, "--batch-size", 2, "--json", "-")
    assert result.exit_code == 1
    content = json.loads(result.stdout)
    assert {entry["name"]: entry["score"] for entry in content["scores"]} == pytest.approx(expected, abs=1e-6)
    reasons = {entry["name"]: entry["reason"] for entry in content["failures"]}
    assert reasons == {
        "2.png": f"{recon / '2.png'} cannot be read: the file is empty",
        "4.png": f"{origin / '4.png'} cannot be read: it is no image that Pillow knows",
        str(origin / "5.png"): f"no partner in {recon}",
        str(recon / "other.png"): f"no partner in {origin}",
    }
    result = sess("score", origin, recon)
    assert result.exit_code == 1
    assert "not scored: 4" in result.stdout
    assert all(f"  {name}: {reason}" in result.stdout.splitlines() for name, reason in reasons.items())


def expected_scores_without(origin: Path, recon: Path, broken: set[str]) -> dict[str, float]:
    scores = {}
    for name in sorted(path.name for path in origin.iterdir()):
        if name not in broken and (recon / name).exists():
            images = [read_image(recon / name)], [read_image(origin / name)]
            scores[name] = semantic_similarity_score(*images, stub_preset()).item()
    return scores


@stubbed
def test_nothing_that_can_be_read_is_no_crash(sess: Sess, tmp_path: Path) -> None:
    for side in ("origin", "recon"):
        (tmp_path / side).mkdir()
        (tmp_path / side / "a.png").touch()
    result = sess("score", tmp_path / "origin", tmp_path / "recon")
    assert result.exit_code == 1
    assert "no pair could be scored" in result.stdout
    result = sess("score", tmp_path / "origin", tmp_path / "recon", "--json", "-")
    assert json.loads(result.stdout)["mean"] is None


@stubbed
def test_a_long_list_of_failures_is_cut_on_the_screen_only(sess: Sess, image_folders: Folders) -> None:
    origin, recon = image_folders
    for index in range(30):
        (origin / f"alone{index}.png").touch()
    result = sess("score", origin, recon, "--json", recon / "scores.json")
    assert "not scored: 30" in result.stdout
    assert result.stdout.count("no partner in") == 20
    assert "and 10 more" in result.stdout
    assert len(json.loads((recon / "scores.json").read_text())["failures"]) == 30


@stubbed
def test_json_in_a_file_comes_beside_the_table(sess: Sess, image_folders: Folders, tmp_path: Path) -> None:
    path = tmp_path / "scores.json"
    path.write_text("an older run")
    result = sess("score", *image_folders, "--json", path)
    assert result.exit_code == 0
    assert "mean" in result.stdout
    assert len(json.loads(path.read_text())["scores"]) == 7
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["origin", "recon", "scores.json"]


@stubbed
def test_images_of_different_sizes_are_compared_and_noted_once(sess: Sess, image_folders: Folders) -> None:
    origin, recon = image_folders
    for index in (2, 3):
        Image.new("RGB", (20, 30)).save(recon / f"{index}.png")
    result = sess("score", origin, recon)
    assert result.exit_code == 0
    assert result.stderr.count("differ in size") == 1
    assert "2.png" in result.stderr


@stubbed
def test_names_that_look_like_markup_are_printed_as_they_are(sess: Sess, image_folders: Folders) -> None:
    origin, recon = image_folders
    for folder in image_folders:
        (folder / "6.png").rename(folder / "[red]6[bold].png")
    (recon / "[bold]x.png").touch()
    result = sess("score", origin, recon)
    assert "[red]6[bold].png" in result.stdout
    assert "[bold]x.png: no partner" in result.stdout


@stubbed
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["origin", "nowhere"], "nowhere does not exist"),
        (["origin", "origin/1.png"], "compare two folders, or two files"),
        (["origin", "empty"], "empty holds no image"),
        (["origin", "others"], "no image in origin has a partner of the same name in others"),
        (["origin", "recon", "--device", "cuda:99"], "there is no device 'cuda:99' here: "),
        (["origin", "recon", "--device", "abacus"], "there is no device 'abacus' here: "),
        (["origin", "recon", "--set", "matching.iterations"], "--set takes KEY=VALUE"),
        (["origin", "recon", "--set", "a=["], "not valid YAML"),
        (["origin", "recon", "--json", "nowhere/scores.json"], "cannot write nowhere/scores.json"),
        (["origin", "recon", "--json", "recon"], "cannot write recon"),
    ],
)
def test_mistakes_get_one_sentence(
    arguments: list[str],
    message: str,
    sess: Sess,
    image_folders: Folders,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    (tmp_path / "others").mkdir()
    (tmp_path / "others" / "other.png").touch()
    result = sess("score", *arguments)
    assert_refused(result, message)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--preset", "heavy"], "unknown preset 'heavy'"),
        (["--preset", "nowhere.yaml"], "nowhere.yaml cannot be read"),
        (["--set", "matching.iteration=3"], "did you mean `matching.iterations`?"),
        (["--set", "matching.iterations=many"], "`matching.iterations` must be int"),
        (["--set", "matching.alpha=2"], "`alpha` must be in [0, 1], got 2"),
    ],
)
def test_mistakes_about_presets_get_one_sentence(
    arguments: list[str], message: str, sess: Sess, image_folders: Folders
) -> None:
    assert_refused(sess("score", *image_folders, *arguments), message)


def test_missing_weights_get_one_sentence(
    sess: Sess, image_folders: Folders, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SESS_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("SESS_OFFLINE", "1")
    # Another layer, so that no networks in use elsewhere fit.
    assert_refused(sess("score", *image_folders, "--set", "segmenter.layer=9"), "sess weights download lite")


def assert_refused(result: Any, message: str) -> None:
    assert result.exit_code == 2
    assert result.stdout == ""
    assert result.stderr.startswith("sess: ")
    assert result.stderr.count("\n") == 1
    assert message in result.stderr


@stubbed
def test_too_little_memory_is_told_with_the_remedy(
    sess: Sess, image_folders: Folders, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> list[float]:
        raise torch.OutOfMemoryError

    monkeypatch.setattr(Scorer, "__call__", fail)
    assert_refused(sess("score", *image_folders), "cpu has not enough memory for 7 pairs at once")


def test_files_are_read_ahead_by_so_many_and_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = 0

    def pairs() -> Iterator[FilePair]:
        nonlocal asked
        for index in range(100):
            asked += 1
            yield FilePair(str(index), "", "")

    monkeypatch.setattr(stream, "read_image", lambda path: torch.zeros(3, 1, 1, dtype=torch.uint8))
    for taken, pair in enumerate(load_pairs(pairs(), ahead=5)):
        assert pair.name == str(taken)
        assert asked <= taken + 6
    assert asked == 100


def test_large_images_make_smaller_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = []

    def score(
        scorer: Scorer, preds: list[torch.Tensor], target: list[torch.Tensor], device: torch.device
    ) -> list[float]:
        sizes.append(len(preds))
        return [float(image[0, 0, 0]) for image in preds]

    monkeypatch.setattr(Scorer, "__call__", score)
    monkeypatch.setattr(stream, "_PIXELS_AT_ONCE", 1000)
    images = [torch.full((3, 10, width), index, dtype=torch.uint8) for index, width in enumerate((1, 1, 1, 10, 90, 1))]
    pairs = [LoadedPair(str(index), (image, image)) for index, image in enumerate(images)]
    pairs.insert(2, LoadedPair("broken", None, "because"))
    outcomes = list(score_pairs(pairs, Scorer(stub_preset()), device=torch.device("cpu"), batch_size=4))
    assert [outcome.name for outcome in outcomes] == ["0", "1", "broken", "2", "3", "4", "5"]
    assert [outcome.score for outcome in outcomes] == [0, 1, None, 2, 3, 4, 5]
    assert sizes == [3, 1, 1, 1]


def test_photographs_are_scored_by_the_real_networks(sess: Sess, tmp_path: Path) -> None:
    scores = {}
    (tmp_path / "origin").mkdir()
    for name in NAMES[:2]:
        open_photograph(name).save(tmp_path / "origin" / f"{name}.png")
    for quality in (90, 5):
        recon = tmp_path / f"jpeg{quality}"
        recon.mkdir()
        for name in NAMES[:2]:
            compress(open_photograph(name), quality).save(recon / f"{name}.png")
        result = sess("score", tmp_path / "origin", recon, "--json", "-", "--device", "cpu")
        assert result.exit_code == 0
        scores[quality] = json.loads(result.stdout)
    assert scores[90]["signature"].startswith("SeSS|preset:lite|")
    for good, bad in zip(scores[90]["scores"], scores[5]["scores"], strict=True):
        assert 1 >= good["score"] > 0.95 > bad["score"] > 0

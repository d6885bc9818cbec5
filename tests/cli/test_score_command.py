"""``sess score``: the numbers of the metric, whatever can go wrong named in a sentence."""

from __future__ import annotations

import csv
import dataclasses
import gc
import json
import shutil
import tracemalloc
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from stub_extractor import AboveRelations, ColourEncoder, QuarterSegmenter, SmallMemory, stub_images, stub_preset

from torchmetrics_sess import SceneGraph, SceneGraphExtractor, semantic_similarity_score
from torchmetrics_sess.bootstrap import confidence_interval
from torchmetrics_sess.cli import run as running
from torchmetrics_sess.cli import stream
from torchmetrics_sess.cli.distortions import compress
from torchmetrics_sess.cli.processes import Processes
from torchmetrics_sess.cli.results import ResultsFile
from torchmetrics_sess.cli.run import run
from torchmetrics_sess.cli.stream import LoadedPair, load_batches, score_batches, split
from torchmetrics_sess.images import FilePair, pair_files, read_image
from torchmetrics_sess.matching.relation_similarity import minilm_relation_similarity
from torchmetrics_sess.photographs import open_photograph
from torchmetrics_sess.results import Row, Summary
from torchmetrics_sess.scoring import Scorer, engine

Sess = Callable[..., Any]
Folders = tuple[Path, Path]
stubbed = pytest.mark.usefixtures("stub_networks")


def expected_scores(origin: Path, recon: Path) -> dict[str, float]:
    scores = {}
    for pair in pair_files(origin, [recon]):
        if not pair.problem:
            with suppress(ValueError):
                images = [read_image(pair.recon)], [read_image(pair.origin)]
                scores[pair.name] = semantic_similarity_score(*images, stub_preset()).item()
    return scores


def read(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def lines(text: str) -> list[list[str]]:
    return [line.split() for line in text.splitlines() if line.strip()]


@stubbed
@pytest.mark.parametrize("batch_size", ["1", "3", "auto"])
def test_scores_are_those_of_the_function(batch_size: str, sess: Sess, image_folders: Folders, tmp_path: Path) -> None:
    out = tmp_path / "scores.csv"
    result = sess("score", *image_folders, "--out", out, "--batch-size", batch_size)
    assert result.exit_code == 0
    assert result.stderr == ""
    origin, recon = image_folders
    expected = expected_scores(origin, recon)
    rows = read(out)
    assert [row["name"] for row in rows] == list(expected)
    assert [float(row["score"]) for row in rows] == pytest.approx(list(expected.values()), abs=1e-6)
    assert [row["origin"] for row in rows] == [str(origin / name) for name in expected]
    assert [row["recon"] for row in rows] == [str(recon / name) for name in expected]
    assert {(row["recon_folder"], row["status"]) for row in rows} == {(str(recon), "ok")}
    assert {row["signature"] for row in rows} == {stub_preset().signature()}


@stubbed
def test_the_table_names_the_worst_and_the_signature(sess: Sess, image_folders: Folders) -> None:
    result = sess("score", *image_folders)
    assert result.exit_code == 0
    expected = expected_scores(*image_folders)
    worst = sorted(expected, key=lambda name: expected[name])[:5]
    low, high = confidence_interval(torch.tensor(list(expected.values())))
    rows = lines(result.stdout)
    folder = str(image_folders[1])
    assert rows[0] == ["pairs", "mean", "95", "%", "interval", "min"]
    numbers = [f"{sum(expected.values()) / 7:.4f}", f"{low:.4f}", "-", f"{high:.4f}", f"{min(expected.values()):.4f}"]
    # A long path is folded into several lines.
    assert rows[2][-6:] == ["7", *numbers]
    assert folder.startswith(rows[2][0])
    assert [row for row in rows if row[0] in expected] == [[name, f"{expected[name]:.4f}"] for name in worst]
    assert rows[-1] == [stub_preset().signature()]


@stubbed
def test_several_folders_are_compared_and_originals_read_once(
    sess: Sess, image_folders: Folders, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    extracted: list[int] = []
    opened: list[str] = []
    extract, plain_read = SceneGraphExtractor.extract, stream._read

    def watched_extract(self: SceneGraphExtractor, images: list[torch.Tensor], *, masks: bool = False) -> Any:
        extracted.append(len(images))
        return extract(self, images, masks=masks)

    def watched_read(path: str, read: Callable[[str], torch.Tensor]) -> torch.Tensor | str:
        opened.append(path)
        return plain_read(path, read)

    monkeypatch.setattr(SceneGraphExtractor, "extract", watched_extract)
    monkeypatch.setattr(stream, "_read", watched_read)
    shutil.copytree("recon", "other")
    Path("other/0.png").unlink()
    Path("other/extra.png").touch()
    result = sess("score", "origin", "recon", "other", "--out", "scores.json", "--batch-size", 3)
    assert result.exit_code == 1
    assert sum(extracted) == len(opened) == len(set(opened)) == 7 + 7 + 6
    # Two pairs of one original are not torn apart, so that batches hold four pairs.
    assert extracted == [5, 6, 6, 3]

    content = json.loads(Path("scores.json").read_text())
    assert [(pair["recon_folder"], pair["name"]) for pair in content["pairs"]] == [
        *((folder, f"{index}.png") for index in range(7) for folder in ("recon", "other")),
        ("other", "extra.png"),
    ]
    expected = {folder: expected_scores(Path("origin"), Path(folder)) for folder in ("recon", "other")}
    for summary, (folder, scores) in zip(content["summary"], expected.items(), strict=True):
        assert (summary["recon_folder"], summary["pairs"]) == (folder, len(scores))
        assert summary["mean"] == pytest.approx(sum(scores.values()) / len(scores), abs=1e-6)
        assert summary["low"] < summary["mean"] < summary["high"]
        assert summary["min"] == pytest.approx(min(scores.values()), abs=1e-6)
        assert summary["worst"][0] == {"name": min(scores, key=lambda name: scores[name]), "score": summary["min"]}
    assert [summary["failed"] for summary in content["summary"]] == [0, 2]
    assert [row[:2] for row in lines(result.stdout) if row[0] in expected] == [["recon", "7"], ["other", "6"]]
    assert "  origin/0.png: no partner in other" in result.stdout.splitlines()
    assert "  other/extra.png: no partner in origin" in result.stdout.splitlines()


@stubbed
def test_a_list_of_pairs_gives_the_same_scores(
    sess: Sess, image_folders: Folders, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = [f"{index}.png" for index in range(7)]
    (tmp_path / "pairs.csv").write_text(
        "origin,recon,name,recon_folder\n" + "".join(f"origin/{name},recon/{name},{name},codec\n" for name in names)
    )
    assert sess("score", tmp_path / "pairs.csv", "--out", tmp_path / "scores.csv").exit_code == 0
    rows = read(tmp_path / "scores.csv")
    scores = {row["name"]: float(row["score"]) for row in rows}
    assert scores == pytest.approx(expected_scores(*image_folders), abs=1e-6)
    assert {row["recon_folder"] for row in rows} == {"codec"}


def test_scores_are_rescaled_if_asked_for(
    sess: Sess, image_folders: Folders, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    preset = dataclasses.replace(stub_preset(), baseline=0.5)
    monkeypatch.setattr("torchmetrics_sess.scoring.scorer.load_preset", lambda name, overrides: preset)
    for out, arguments in (("plain.csv", []), ("rescaled.csv", ["--rescale", "baseline"])):
        assert sess("score", *image_folders, "--out", tmp_path / out, *arguments).exit_code == 0
    plain, rescaled = read(tmp_path / "plain.csv"), read(tmp_path / "rescaled.csv")
    assert [float(row["score"]) for row in rescaled] == [max(0.0, 2 * float(row["score"]) - 1) for row in plain]
    assert {row["signature"] for row in rescaled} == {Scorer(preset, rescale="baseline").signature()}


@stubbed
def test_a_cache_changes_no_score_and_spares_originals(
    sess: Sess, image_folders: Folders, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    extracted: list[int] = []
    extract = SceneGraphExtractor.extract

    def watched(self: SceneGraphExtractor, images: list[torch.Tensor], *, masks: bool = False) -> Any:
        extracted.append(len(images))
        return extract(self, images, masks=masks)

    monkeypatch.setattr(SceneGraphExtractor, "extract", watched)
    caching = ["--cache", tmp_path / "graphs"]
    for out, arguments in (("plain.csv", []), ("first.csv", caching), ("second.csv", caching)):
        assert sess("score", *image_folders, "--out", tmp_path / out, *arguments).exit_code == 0
    assert extracted == [14, 14, 7]
    contents = {(tmp_path / out).read_bytes() for out in ("plain.csv", "first.csv", "second.csv")}
    assert len(contents) == 1
    (tmp_path / "occupied").touch()
    assert_refused(sess("score", *image_folders, "--cache", tmp_path / "occupied"), "can be written to")


@stubbed
def test_a_cache_takes_no_more_than_it_may(sess: Sess, image_folders: Folders, tmp_path: Path) -> None:
    def taken(name: str) -> int:
        return sum(path.stat().st_size for path in (tmp_path / name).iterdir())

    assert sess("score", *image_folders, "--cache", tmp_path / "all").exit_code == 0
    graphs, half = tmp_path / "some", taken("all") / 2
    with pytest.warns(UserWarning, match=r"raise `cache_size_mib` \(`--cache-size`\)"):
        result = sess("score", *image_folders, "--cache", graphs, "--cache-size", half / 2**20)
    assert result.exit_code == 0
    assert 0 < taken("some") <= half
    assert_refused(sess("score", *image_folders, "--cache", graphs, "--cache-size", 0), "must be a positive number")
    assert_refused(sess("score", *image_folders, "--cache-size", 5), "--cache-size says how much --cache FOLDER may")


@stubbed
def test_two_files_give_one_number(sess: Sess, image_folders: Folders) -> None:
    origin, recon = image_folders
    result = sess("score", origin / "1.png", recon / "2.png")
    assert result.exit_code == 0
    score = semantic_similarity_score([read_image(recon / "2.png")], [read_image(origin / "1.png")], stub_preset())
    assert result.stdout.split() == [f"{score:.4f}", stub_preset().signature()]


@stubbed
def test_what_cannot_be_scored_is_named_and_left_out(sess: Sess, image_folders: Folders, tmp_path: Path) -> None:
    origin, recon = image_folders
    (recon / "2.png").write_bytes(b"")
    (origin / "4.png").write_text("no image")
    (recon / "5.png").rename(recon / "other.png")
    result = sess("score", origin, recon, "--batch-size", 2, "--out", tmp_path / "scores.csv")
    assert result.exit_code == 1
    rows = read(tmp_path / "scores.csv")
    scored = {row["name"]: float(row["score"]) for row in rows if row["status"] == "ok"}
    assert scored == pytest.approx(expected_scores(origin, recon), abs=1e-6)
    failed = {row["name"]: (row["origin"], row["recon"], row["status"]) for row in rows if not row["score"]}
    reasons = {
        "2.png": f"{recon / '2.png'} cannot be read: the file is empty",
        "4.png": f"{origin / '4.png'} cannot be read: it is no image that Pillow knows",
    }
    assert failed == {
        **{name: (str(origin / name), str(recon / name), reason) for name, reason in reasons.items()},
        "5.png": (str(origin / "5.png"), "", f"no partner in {recon}"),
        "other.png": ("", str(recon / "other.png"), f"no partner in {origin}"),
    }
    shown = result.stdout.splitlines()
    assert "not scored: 4" in shown
    assert f"  {reasons['4.png']}" in shown
    assert f"  {origin / '2.png'}: {reasons['2.png']}" in shown
    assert f"  {origin / '5.png'}: no partner in {recon}" in shown
    assert f"  {recon / 'other.png'}: no partner in {origin}" in shown


@stubbed
@pytest.mark.parametrize("name", ["scores.csv", "scores.json"])
def test_nothing_that_can_be_read_is_no_crash(name: str, sess: Sess, tmp_path: Path) -> None:
    for side in ("origin", "recon"):
        (tmp_path / side).mkdir()
        (tmp_path / side / "a.png").touch()
    result = sess("score", tmp_path / "origin", tmp_path / "recon", "--out", tmp_path / name)
    assert result.exit_code == 1
    assert "no pair could be scored" in result.stdout
    assert (tmp_path / name).exists()


@stubbed
def test_a_long_list_of_failures_is_cut_on_the_screen_only(sess: Sess, image_folders: Folders, tmp_path: Path) -> None:
    origin, recon = image_folders
    for index in range(30):
        (origin / f"alone{index}.png").touch()
    result = sess("score", origin, recon, "--out", tmp_path / "scores.csv")
    assert "not scored: 30" in result.stdout
    assert result.stdout.count("no partner in") == 20
    assert "and 10 more" in result.stdout
    assert sum(row["status"] != "ok" for row in read(tmp_path / "scores.csv")) == 30


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
@pytest.mark.parametrize("extension", ["csv", "json"])
def test_a_finished_run_is_not_redone(
    extension: str, sess: Sess, image_folders: Folders, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (image_folders[1] / "3.png").write_bytes(b"")
    out = tmp_path / f"scores.{extension}"
    first = sess("score", *image_folders, "--out", out)
    assert first.exit_code == 1
    before = out.read_bytes()
    with monkeypatch.context() as context:
        context.setattr(running, "score_batches", None)
        again = sess("score", *image_folders, "--out", out)
    assert (again.exit_code, again.stdout) == (1, first.stdout)
    assert again.stderr == f"sess: nothing is left to do: {out} has the results of an earlier run\n"
    assert out.read_bytes() == before

    result = sess("score", *image_folders, "--out", out, "--overwrite", "--batch-size", 2)
    assert result.stderr == ""
    assert json.loads(out.read_text())["pairs"] if extension == "json" else out.read_bytes() == before


@stubbed
def test_results_of_another_signature_or_other_images_are_refused(
    sess: Sess, image_folders: Folders, tmp_path: Path
) -> None:
    out = tmp_path / "scores.csv"
    sess("score", *image_folders, "--out", out)
    (image_folders[1] / "2.png").unlink()
    assert_refused(sess("score", *image_folders, "--out", out), "other images: recon ")
    content = out.read_text()
    out.write_text(content.replace("preset:stub", "preset:old"))
    assert_refused(sess("score", *image_folders, "--out", out), "scores of another signature, SeSS|preset:old|")
    assert "preset:old" in out.read_text()


@stubbed
def test_an_interruption_is_no_error_message(
    sess: Sess, image_folders: Folders, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    extract = SceneGraphExtractor.extract
    calls = 0

    def interrupted(self: SceneGraphExtractor, images: list[torch.Tensor], *, masks: bool = False) -> Any:
        nonlocal calls
        calls += 1
        if calls == 3:
            raise KeyboardInterrupt
        return extract(self, images, masks=masks)

    arguments = ["score", *image_folders, "--batch-size", 2, "--out"]
    sess(*arguments, tmp_path / "whole.csv")
    with monkeypatch.context() as context:
        context.setattr(SceneGraphExtractor, "extract", interrupted)
        result = sess(*arguments, tmp_path / "scores.csv")
    assert result.exit_code == 130
    assert result.stdout == ""
    assert result.stderr.startswith("sess: interrupted; the same command goes on from here")
    assert 0 < len(read(tmp_path / "scores.csv")) < 7
    result = sess(*arguments, tmp_path / "scores.csv")
    assert "of 7 pairs are there already; going on with the others" in result.stderr
    assert (tmp_path / "scores.csv").read_bytes() == (tmp_path / "whole.csv").read_bytes()


@stubbed
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["origin", "nowhere"], "nowhere does not exist"),
        (["origin", "origin/1.png"], "compare folders with folders, or two files"),
        (["origin", "empty"], "empty holds no image"),
        (["origin", "others"], "no image in origin has a partner of the same name in others"),
        (["origin", "recon", "--device", "cuda:99"], "there is no device 'cuda:99' here: "),
        (["origin", "recon", "--device", "abacus"], "there is no device 'abacus' here: "),
        (["origin", "recon", "--set", "matching.iterations"], "--set takes KEY=VALUE"),
        (["origin", "recon", "--set", "a=["], "not valid YAML"),
        (["origin", "recon", "--out", "nowhere/scores.json"], "cannot write nowhere/scores.json: No such file"),
        (["origin", "recon", "--out", "recon"], "results are written as .csv or .json, got recon"),
        (["origin", "recon", "--batch-size", "0"], "--batch-size takes a number of at least 1, or auto, got '0'"),
        (["origin", "recon", "--device", "cpu:0", "--devices", "2"], "pass --device cpu, got cpu:0"),
        (["origin", "recon", "recon"], "named twice"),
        (["origin"], "name what is to be compared with origin, or a .csv list of pairs"),
        (["pairs.csv"], "pairs.csv cannot be read: no such file"),
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


def one_process() -> Processes:
    return Processes(0, 1, torch.device("cpu"))


def with_extractor(extractor: SceneGraphExtractor) -> Scorer:
    return Scorer(extractor=extractor, relation_similarity=minilm_relation_similarity())


def loaded_pairs(widths: Sequence[int], seed: int = 0) -> list[LoadedPair]:
    generator = torch.Generator().manual_seed(seed)
    images = [torch.randint(0, 256, (3, 10, width), dtype=torch.uint8, generator=generator) for width in widths]
    return [LoadedPair(FilePair(str(index), "", ""), (image, image)) for index, image in enumerate(images)]


def score_with(memory: SmallMemory, batches: list[list[LoadedPair]]) -> list[list[Row]]:
    return list(score_batches(batches, with_extractor(memory), device=torch.device("cpu")))


def test_batches_are_halved_until_they_fit_into_memory() -> None:
    batches = [loaded_pairs([10] * 8), loaded_pairs([10] * 8, seed=1)]
    roomy, tight = SmallMemory(10**6), SmallMemory(250)
    assert score_with(tight, batches) == score_with(roomy, batches)
    assert roomy.sizes == [8, 8]
    assert tight.sizes == [2] * 8


def test_an_image_that_does_not_fit_into_memory_is_named() -> None:
    rows = score_with(SmallMemory(250), [loaded_pairs([10, 50, 10])])
    assert [(row.score is None, row.status) for row in rows[0]] == [
        (False, "ok"),
        (True, "cpu has not enough memory for an image of 50 x 10 pixels"),
        (False, "ok"),
    ]


def test_large_images_make_smaller_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine, "_PIXELS_AT_ONCE", 1000)
    memory = SmallMemory(10**6)
    pairs = loaded_pairs([2, 2, 2, 20, 95, 2])
    pairs.insert(2, LoadedPair(FilePair("broken", "", ""), None, "because"))
    [rows] = score_with(memory, [pairs])
    assert [row.pair.name for row in rows] == ["0", "1", "broken", "2", "3", "4", "5"]
    assert [row.status for row in rows] == ["ok", "ok", "because", "ok", "ok", "ok", "ok"]
    assert memory.sizes == [4, 2]


def test_other_measures_get_the_images_of_a_pair() -> None:
    def brighter(preds: list[torch.Tensor], target: list[torch.Tensor]) -> list[float]:
        return [float(pred.float().mean() - other.float().mean()) for pred, other in zip(preds, target, strict=True)]

    dark, bright = (torch.full((3, 8, 8), value, dtype=torch.uint8) for value in (10, 30))
    pair = FilePair("a", "", "")
    batch = [LoadedPair(pair, (bright, dark)), LoadedPair(pair, None, "because"), LoadedPair(pair, (dark, bright))]
    scored = score_batches([batch], Scorer(stub_preset()), device=torch.device("cpu"), measures={"brighter": brighter})
    assert [row.metrics for rows in scored for row in rows] == [{"brighter": 20}, {}, {"brighter": -20}]


def test_files_are_read_one_batch_ahead_and_no_more() -> None:
    asked = 0

    def batches() -> Iterator[list[FilePair]]:
        nonlocal asked
        for index in range(30):
            asked += 1
            yield [FilePair(str(index), f"o{index}", f"r{index}")]

    def read(path: str) -> torch.Tensor:
        return torch.zeros(3, 1, 1, dtype=torch.uint8)

    for taken, [loaded] in enumerate(load_batches(batches(), workers=2, read=read)):
        assert loaded.pair.name == str(taken)
        assert asked <= taken + 2
    assert asked == 30


@settings(derandomize=True, max_examples=50, deadline=None)
@given(st.lists(st.integers(1, 4), max_size=12), st.integers(1, 6))
def test_batches_hold_so_many_pairs_and_whole_originals_if_they_fit(counts: list[int], size: int) -> None:
    pairs = [FilePair(str(index), str(index), "") for index, count in enumerate(counts) for _ in range(count)]
    pairs += [FilePair("alone", "", str(index)) for index in range(5)]
    batches = list(split(pairs, size))
    assert [pair for batch in batches for pair in batch] == pairs
    for batch, following in pairwise(batches):
        assert size <= len(batch) <= 2 * size
        torn = batch[-1].origin == following[0].origin != ""
        assert len(batch) == 2 * size or not torn


def test_many_reconstructions_of_one_original_are_written_as_they_come(tmp_path: Path) -> None:
    image = tmp_path / "image.png"
    Image.new("RGB", (4, 4)).save(image)
    pairs = [FilePair(str(index), str(image), str(image), "r") for index in range(50)]
    with ResultsFile(tmp_path / "scores.csv", signature="s") as results:
        rows = run(pairs, with_extractor(OneGraph()), one_process(), results=results, batch_size=5)
        next(rows)
        assert len(read(tmp_path / "scores.csv")) == 10
        assert len([*rows]) == 49


class OneGraph(SceneGraphExtractor):
    """Sees the same in every image."""

    def __init__(self) -> None:
        super().__init__(QuarterSegmenter(), AboveRelations(), ColourEncoder(), max_width=None)
        [self.graph] = super().extract([stub_images(1)[0]])

    def extract(self, images: list[torch.Tensor], *, masks: bool = False, gradient: bool = False) -> list[SceneGraph]:
        return [self.graph] * len(images)


def test_memory_does_not_grow_with_the_number_of_pairs(tmp_path: Path) -> None:
    def read(path: str) -> torch.Tensor:
        return torch.full((3, 64, 64), int(path), dtype=torch.uint8)

    pairs = [FilePair(f"{index}.png", str(index % 100), str(index % 100), "r") for index in range(400)]
    summary = Summary()
    held = []
    with ResultsFile(tmp_path / "scores.csv", signature="s") as results:
        rows = run(pairs, with_extractor(OneGraph()), one_process(), results=results, read=read)
        tracemalloc.start()
        for row in rows:
            summary.add(row)
            if summary.scored % 200 == 0:
                gc.collect()
                held.append(tracemalloc.get_traced_memory()[0])
        tracemalloc.stop()
    assert summary.scored == 400
    # A row takes 500 bytes and an image 12,000; a score takes 8.
    assert held[1] - held[0] < 200 * 100


def test_photographs_are_scored_by_the_real_networks(sess: Sess, tmp_path: Path) -> None:
    photograph, out = open_photograph("cat"), tmp_path / "scores.json"
    folders = [tmp_path / name for name in ("origin", "jpeg90", "jpeg5")]
    for folder, image in zip(folders, (photograph, compress(photograph, 90), compress(photograph, 5)), strict=True):
        folder.mkdir()
        image.save(folder / "cat.png")
    assert sess("score", *folders, "--out", out, "--device", "cpu").exit_code == 0
    content = json.loads(out.read_text())
    assert content["signature"].startswith("SeSS|preset:lite|")
    good, bad = (pair["score"] for pair in content["pairs"])
    assert 1 >= good > bad > 0.5

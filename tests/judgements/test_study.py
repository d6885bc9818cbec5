"""Studies: their settings, their questions, which comes next, and what is left of answers whatever happens."""

from __future__ import annotations

import threading
from collections import Counter
from pathlib import Path

import pytest
from human_data import CODECS, make_images

from torchmetrics_sess.images import pair_files
from torchmetrics_sess.judgements import Answer, Catalogue, Study, catalogue, read_study, write_study
from torchmetrics_sess.judgements.questions import next_turn, separation
from torchmetrics_sess.judgements.storage import ConflictError, Storage


def catalogue_of(folder: Path, study: Study) -> Catalogue:
    if not (folder / "origin").exists():
        make_images(folder, 4)
    return catalogue(pair_files(folder / "origin", [folder / codec for codec in CODECS]), study)


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("images")
    make_images(folder, 4)
    return folder


def judge(asked: Catalogue, storage: Storage, rater: str, limit: int = 1000) -> None:
    """Let somebody answer all that they are asked: the middle, or equal."""
    for _ in range(limit):
        turns = storage.offer(rater, 1, lambda turns: next_turn(asked, storage, rater, turns))
        due = [turn for turn in turns if turn.value is None]
        if not due:
            return
        value = 3.0 if asked[due[0].question].kind == "rate" else 0.5
        storage.answer(rater, due[0].position, value, 1.0)


def test_a_study_survives_its_file(tmp_path: Path) -> None:
    study = Study(title="Ünlike?", kinds=["choose"], answers_per_question=2, questions_per_rater=None)
    write_study(study, tmp_path / "study.yaml")
    assert read_study(tmp_path / "study.yaml") == Study(
        title="Ünlike?",
        kinds=["choose"],
        steps=list(Study().steps),
        meanings=list(Study().meanings),
        answers_per_question=2,
        questions_per_rater=None,
    )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("kind: [rate]", "unknown setting `kind` in .*study.yaml; did you mean `kinds`"),
        ("kinds: [guess]", "`kinds` must be a list of rate, choose or both"),
        ("repeats: 0.9", r"`repeats` must be a share in \[0, 0.5\]"),
        ("answers_per_question: 0", "`answers_per_question` must be a whole number of at least 1"),
        ("steps: [a, b]", "`steps` must be 5 texts"),
        ("- rate", "must be a mapping of settings"),
        ("kinds: [", "is not valid YAML"),
    ],
)
def test_what_is_wrong_with_a_study_is_said(text: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "study.yaml").write_text(text)
    with pytest.raises(ValueError, match=message):
        read_study(tmp_path / "study.yaml")


def test_every_pair_and_every_two_are_asked_about_and_moving_images_changes_nothing(
    images: Path, tmp_path: Path
) -> None:
    found = catalogue_of(images, Study())
    assert Counter(question.kind for question in found.questions.values()) == {"rate": 12, "choose": 12}
    assert sorted({question.codec for question in found.questions.values()}) == sorted(CODECS)
    assert len(found.checks) == 4 + 12
    moved = catalogue_of(tmp_path, Study())
    assert moved.signature == found.signature
    assert moved.questions.keys() == found.questions.keys()
    assert catalogue_of(images, Study(kinds=["rate"])).signature != found.signature


def test_every_question_has_enough_answers_before_any_has_more(images: Path, tmp_path: Path) -> None:
    asked = catalogue_of(images, Study(answers_per_question=2, questions_per_rater=12, repeats=0.0, checks=0.0))
    storage = Storage(tmp_path / "a.sqlite", asked)
    for rater in ("p1", "p2", "p3", "p4"):
        judge(asked, storage, rater)
    answered, open_ = storage.counts()
    assert sum(answered.values()) == 48
    assert set(answered.values()) == {2}
    assert set(answered) == set(asked.questions)
    assert set(open_.values()) == {0}
    # Nobody is asked twice, and everybody in an order of their own.
    orders = [[turn.question for turn in storage.turns(rater)] for rater in ("p1", "p2")]
    assert all(len(set(order)) == 12 for order in orders)
    assert orders[0] != orders[1]


def test_checks_and_repeats_are_mixed_in(images: Path, tmp_path: Path) -> None:
    asked = catalogue_of(images, Study(questions_per_rater=None, repeats=0.2, checks=0.2, seed=3))
    storage = Storage(tmp_path / "a.sqlite", asked)
    judge(asked, storage, "p1")
    turns = storage.turns("p1")
    roles = Counter(turn.role for turn in turns)
    assert roles["question"] == 24
    assert roles["check"] > 1
    assert roles["repeat"] > 1
    for turn in turns:
        question = asked[turn.question]
        if turn.role == "check":
            assert question.recon == (question.other or question.origin)
        if turn.role == "repeat":
            first = next(other for other in turns if other.question == turn.question)
            assert turn.position - first.position > 5
            assert turn.flipped != first.flipped or question.kind == "rate"


def test_codecs_that_are_not_told_apart_are_asked_about_next(images: Path, tmp_path: Path) -> None:
    asked = catalogue_of(images, Study(kinds=["choose"], answers_per_question=1, repeats=0.0, checks=0.0))
    storage = Storage(tmp_path / "a.sqlite", asked)
    for rater in ("p1", "p2"):
        for _ in range(12):
            turns = storage.offer(rater, 1, lambda turns, rater=rater: next_turn(asked, storage, rater, turns))  # type: ignore[misc]
            turn = turns[-1]
            question = asked[turn.question]
            codecs = {question.codec, question.other_codec}
            # Nobody can tell fine from fair; everybody sees that poor is poor.
            left_is_poor = (question.other_codec if turn.flipped else question.codec) == "poor"
            value = 0.5 if codecs == {"fine", "fair"} else float(left_is_poor)
            storage.answer(rater, turn.position, value, 1.0)
    apart = separation(storage.answers())
    assert apart["choose", "fair", "fine"] == 0
    assert apart["choose", "fair", "poor"] > 10
    turns = storage.offer("p3", 1, lambda turns: next_turn(asked, storage, "p3", turns))
    assert {asked[turns[0].question].codec, asked[turns[0].question].other_codec} == {"fine", "fair"}


def test_separation_is_the_difference_over_its_error() -> None:
    rows = [
        Answer("rate", "p", "o", "r", "", value, codec=codec)
        for codec, values in (("a", (1, 2, 3)), ("b", (3, 4, 5)))
        for value in map(float, values)
    ]
    assert separation(rows)["rate", "a", "b"] == pytest.approx(2 / (2 / 3) ** 0.5)


def test_an_answer_counts_once_and_in_order(images: Path, tmp_path: Path) -> None:
    asked = catalogue_of(images, Study())
    storage = Storage(tmp_path / "a.sqlite", asked)
    storage.offer("p1", 3, lambda turns: next_turn(asked, storage, "p1", turns))
    with pytest.raises(ConflictError, match="question 0 comes before question 1"):
        storage.answer("p1", 1, 3.0, 1.0)
    for _ in range(3):
        storage.answer("p1", 0, 3.0, 1.0)
    with pytest.raises(ConflictError, match="has another answer already"):
        storage.answer("p1", 0, 4.0, 1.0)
    with pytest.raises(ConflictError, match="there is no question 9"):
        storage.answer("p1", 9, 4.0, 1.0)
    assert [answer.value for answer in storage.answers()] == [3.0]
    storage.undo("p1", 0)
    storage.undo("p1", 0)
    assert list(storage.answers()) == []
    storage.answer("p1", 0, 4.0, 1.0)
    [answer] = storage.answers()
    assert (answer.rater, answer.value, answer.study) == ("p1", 4.0, asked.signature)


def test_many_raters_at_once_lose_nothing(images: Path, tmp_path: Path) -> None:
    asked = catalogue_of(images, Study(questions_per_rater=8))
    storages = [Storage(tmp_path / "a.sqlite", asked) for _ in range(2)]
    threads = [threading.Thread(target=judge, args=(asked, storages[index % 2], f"p{index}")) for index in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert Counter(answer.rater for answer in storages[0].answers()) == {f"p{index}": 8 for index in range(4)}


def test_answers_of_another_study_are_refused(images: Path, tmp_path: Path) -> None:
    Storage(tmp_path / "a.sqlite", catalogue_of(images, Study())).close()
    with pytest.raises(ValueError, match="holds the answers of another study"):
        Storage(tmp_path / "a.sqlite", catalogue_of(images, Study(kinds=["rate"])))
    with pytest.raises(ValueError, match="no answer has been given yet"):
        Storage(tmp_path / "b.sqlite")
    (tmp_path / "c.sqlite").write_text("not a database, but a text that is long enough to look like one" * 20)
    with pytest.raises(ValueError, match="cannot be used for answers"):
        Storage(tmp_path / "c.sqlite")

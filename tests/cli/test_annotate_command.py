"""``sess annotate``, in a process of its own: what it serves, what it refuses, and what outlives it."""

from __future__ import annotations

import csv
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from human_data import make_images
from PIL import Image
from study_server import StudyServer


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StudyServer]:
    folder = tmp_path_factory.mktemp("study")
    make_images(folder, 3)
    (folder / "origin" / "broken.png").write_bytes(b"no image")
    (folder / "fine" / "broken.png").write_bytes(b"no image")
    with StudyServer(folder, ["fine", "fair"]) as opened:
        yield opened


def test_a_rater_answers_to_the_end(server: StudyServer, sess: Any) -> None:
    folder = server.folder
    assert "broken.png is left out" in server.said
    assert "9 questions about 3 originals" in server.said
    status, state = server.ask("turns?rater=p1")
    assert (status, state["done"]) == (200, 0)
    turns = []
    while state["turns"]:
        turn = state["turns"][0]
        turns.append(turn)
        answer = 4 if turn["kind"] == "rate" else "left"
        body = {"rater": "p1", "position": turn["position"], "answer": answer, "seconds": 1.5}
        status, state = server.ask("answer", body)
        assert status == 200
        # Sent once more, because the answer to it got lost, it counts once.
        assert server.ask("answer", body)[1]["done"] == state["done"]
    assert state["done"] == len(turns) >= 9
    for turn in turns[:3]:
        status, content = server.ask(turn["origin"])
        assert content.startswith(b"\x89PNG")
    result = sess("annotate", "--study", folder / "study.yaml", "--export", folder / "ratings.csv")
    assert result.exit_code == 0
    with (folder / "ratings.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == len(turns)
    assert {row["rater"] for row in rows} == {"p1"}
    assert {row["answer"] for row in rows} == {"4", "left"}
    assert {float(row["seconds"]) for row in rows} == {1.5}


def test_no_path_and_no_codec_reaches_a_rater(server: StudyServer) -> None:
    folder = server.folder
    texts = [str(server.ask(path)[1]) for path in ("", "style.css", "judge.js", "turns?rater=p2", "image/9999")]
    for text in texts:
        for secret in (str(folder), folder.name, "fair", "0.png"):
            assert secret not in text
    overview = str(server.ask(server.overview.removeprefix(server.address))[1])
    assert "fine" in overview
    assert str(folder) not in overview


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        ("turns?rater=", None, 400),
        ("turns?rater=%3DCMD()", None, 400),
        ("turns?rater=%3Cscript%3E", None, 400),
        ("turns?rater=" + "x" * 41, None, 400),
        ("answer", [], 400),
        ("answer", {"rater": "p3", "position": -1, "answer": 3}, 400),
        ("answer", {"rater": "p3", "position": 0, "answer": 6}, 400),
        ("answer", {"rater": "p3", "position": 0, "answer": True}, 400),
        ("answer", {"rater": "p3", "position": 2, "answer": 3}, 409),
        ("answer", {"rater": "p3", "position": 0, "answer": "x" * 20000}, 413),
        ("image/9999", None, 404),
        ("image/../../study.yaml", None, 404),
        ("example/99/origin", None, 404),
        ("example/0/other", None, 404),
    ],
)
def test_what_is_no_answer_is_refused(path: str, body: Any, status: int, server: StudyServer) -> None:
    server.ask("turns?rater=p3")
    assert server.ask(path, body)[0] == status


def test_other_pages_and_other_names_are_kept_out(server: StudyServer) -> None:
    body = {"rater": "p4", "position": 0, "answer": 3}
    assert server.ask("answer", body, **{"content-type": "text/plain"})[0] == 415
    assert server.ask("", host="elsewhere.example")[0] == 400


def test_beyond_this_machine_everything_lies_behind_a_token(tmp_path: Path) -> None:
    make_images(tmp_path, 2)
    with StudyServer(tmp_path, ["fine", "fair"], "--host", "0.0.0.0") as server:  # noqa: S104
        token, port = re.fullmatch(r"http://[^/]+:(\d+)/([\w-]{16})/", server.address).group(2, 1)  # type: ignore[union-attr]
        server.address = f"http://127.0.0.1:{port}/"
        for path in (
            "",
            "turns?rater=p1",
            "image/0",
            "style.css",
            token[:-1] + "/",
            server.overview.rpartition("/")[2],
        ):
            assert server.ask(path)[0] == 404
        assert server.ask(f"{token}/turns?rater=p1")[0] == 200
        assert server.ask(f"{token}/image/0")[0] == 200


def test_what_cannot_be_asked_about_is_said(tmp_path: Path, sess: Any) -> None:
    assert "name the originals" in sess("annotate").stderr
    result = sess("annotate", "--study", tmp_path / "none.yaml", "--export", tmp_path / "a.csv")
    assert result.exit_code == 2
    assert "no answer has been given yet" in result.stderr
    for folder in ("origin", "fine"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "0.png").write_bytes(b"")
    result = sess("annotate", tmp_path / "origin", tmp_path / "fine", "--study", tmp_path / "study.yaml")
    assert result.exit_code == 2
    assert "0.png cannot be read: the file is empty" in result.stderr
    assert "no pair of images is left to ask about" in result.stderr
    for folder in ("origin", "fine"):
        Image.new("RGB", (8, 8)).save(tmp_path / folder / "0.png")
    (tmp_path / "study.yaml").write_text("kinds: [choose]\n")
    result = sess("annotate", tmp_path / "origin", tmp_path / "fine", "--study", tmp_path / "study.yaml")
    assert "to choose, an original needs two reconstructions" in result.stderr


def test_the_extra_is_named(tmp_path: Path, sess: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "uvicorn", None)
    result = sess("annotate", tmp_path, tmp_path, "--study", tmp_path / "study.yaml")
    assert result.exit_code == 2
    assert "uvicorn is needed to ask people: install the extra `study`" in result.stderr

"""Downloads of weights, from a server on this machine: broken connections, wrong files, several processes at once."""

import hashlib
import os
import shutil
import subprocess
import sys
import textwrap
from collections import namedtuple
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Event, Thread
from time import sleep

import huggingface_hub
import pytest

from torchmetrics_sess import weights
from torchmetrics_sess.weights import (
    WEIGHTS,
    CorruptWeightError,
    MissingWeightError,
    Weight,
    download,
    fetch,
    fetch_all,
    path_of,
    store,
    verify,
)
from torchmetrics_sess.weights.sources import from_url

CONTENT = bytes(range(256)) * 4000
SHA256 = hashlib.sha256(CONTENT).hexdigest()


@dataclass
class Server:
    """What the server on this machine serves, how well, and what it was asked."""

    url: str
    content: bytes = CONTENT
    status: int | None = None
    cut_after: int | None = None
    knows_ranges: bool = True
    stalls: bool = False
    delay: float = 0
    ranges: list[str | None] = field(default_factory=list)
    done: Event = field(default_factory=Event)


@pytest.fixture
def server() -> Iterator[Server]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            wanted = self.headers["Range"]
            state.ranges.append(wanted)
            if state.status is not None:
                self.send_error(state.status)
                return
            start = int(wanted.removeprefix("bytes=").removesuffix("-")) if wanted and state.knows_ranges else 0
            body = state.content[start:]
            self.send_response(206 if start else 200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            sleep(state.delay)
            self.wfile.write(body[: state.cut_after])
            if state.stalls:
                self.wfile.flush()
                state.done.wait(10)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as http:
        state = Server(f"http://127.0.0.1:{http.server_port}/model.pth")
        thread = Thread(target=http.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield state
        state.done.set()
        http.shutdown()
        thread.join()


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SESS_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("SESS_OFFLINE", raising=False)
    return tmp_path / "cache"


@pytest.fixture
def weight(server: Server, monkeypatch: pytest.MonkeyPatch) -> Weight:
    """The `ram` weights, as if they were a small file on this machine's server."""
    small = replace(WEIGHTS["ram"], size=len(CONTENT), sha256=SHA256, obtain=partial(from_url, url=server.url))
    monkeypatch.setitem(WEIGHTS, "ram", small)
    return small


def remains(cache: Path) -> set[str]:
    """Return the names of what is in the cache, besides locks."""
    return {path.name for path in cache.iterdir() if path.suffix != ".lock"}


def test_a_file_arrives_whole_and_checked(server: Server, weight: Weight, cache: Path) -> None:
    assert fetch("ram") == path_of("ram") == cache / "ram_epoch12.pth"
    assert path_of("ram").read_bytes() == CONTENT
    assert remains(cache) == {"ram_epoch12.pth", "ram_epoch12.pth.checked"}
    fetch("ram")
    assert server.ranges == [None]


def test_a_broken_download_goes_on_where_it_stopped(server: Server, weight: Weight, cache: Path) -> None:
    server.cut_after = 300_000
    with pytest.raises(MissingWeightError, match="the download failed: the connection broke after 300000 of 1024000"):
        fetch("ram")
    assert remains(cache) == {"ram_epoch12.pth.part"}
    with pytest.raises(MissingWeightError, match="the connection broke after 600000 of 1024000 bytes"):
        fetch("ram")
    server.cut_after = None
    assert fetch("ram").read_bytes() == CONTENT
    assert server.ranges == [None, "bytes=300000-", "bytes=600000-"]
    assert remains(cache) == {"ram_epoch12.pth", "ram_epoch12.pth.checked"}


def test_a_server_without_ranges_sends_it_all_again(server: Server, weight: Weight) -> None:
    server.cut_after, server.knows_ranges = 300_000, False
    with pytest.raises(MissingWeightError):
        fetch("ram")
    server.cut_after = None
    assert fetch("ram").read_bytes() == CONTENT


@pytest.mark.parametrize("left", [b"?" * (len(CONTENT) + 1), CONTENT])
def test_whatever_an_earlier_attempt_left_is_made_good(
    server: Server, weight: Weight, cache: Path, left: bytes
) -> None:
    cache.mkdir()
    (cache / "ram_epoch12.pth.part").write_bytes(left)
    assert fetch("ram").read_bytes() == CONTENT
    assert len(server.ranges) == (left != CONTENT)


def test_a_wrong_file_is_refused_with_both_hashes(server: Server, weight: Weight, cache: Path) -> None:
    server.content = CONTENT[::-1]
    got = hashlib.sha256(server.content).hexdigest()
    with pytest.raises(CorruptWeightError, match=f"its SHA-256 is {got}, expected {SHA256}") as caught:
        fetch("ram")
    assert weight.source in str(caught.value)
    assert remains(cache) == set()
    server.content = CONTENT
    assert fetch("ram").read_bytes() == CONTENT


def test_a_file_of_another_size_is_not_even_downloaded(server: Server, weight: Weight, cache: Path) -> None:
    server.content = CONTENT + b"more"
    with pytest.raises(MissingWeightError, match="offers 1024004 bytes where 1024000 are expected"):
        fetch("ram")
    assert remains(cache) == set()


def test_offline_nothing_is_asked_for(server: Server, weight: Weight, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SESS_OFFLINE", "1")
    with pytest.raises(MissingWeightError, match="SESS_OFFLINE=1 forbids the download"):
        fetch("ram")
    assert server.ranges == []


def test_the_error_says_all_that_helps(server: Server, weight: Weight, cache: Path) -> None:
    server.status = 404
    with pytest.raises(MissingWeightError) as caught:
        fetch("ram")
    assert str(caught.value) == (
        f"the weights `ram` (1 MB), which the presets 'reference' and 'reference-bf16' need, are not on this machine: "
        f"the download failed: {server.url.split('/')[2]} answers 404 Not Found for {server.url}. With a connection, "
        f"run `sess weights download ram`; or bring {weight.source} to {cache / 'ram_epoch12.pth'}."
    )


def test_no_server(monkeypatch: pytest.MonkeyPatch, weight: Weight) -> None:
    closed = replace(weight, obtain=partial(from_url, url="http://127.0.0.1:9/model.pth"))
    monkeypatch.setitem(WEIGHTS, "ram", closed)
    with pytest.raises(MissingWeightError, match=r"127.0.0.1:9 cannot be reached: .*refused"):
        fetch("ram")


def test_a_connection_that_stalls_is_given_up(
    server: Server, weight: Weight, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(download, "_TIMEOUT_SECONDS", 0.2)
    server.cut_after, server.stalls = 2**17, True
    with pytest.raises(MissingWeightError, match=r"the connection to .* broke: timed out"):
        fetch("ram")


def test_a_full_disk_is_noticed_before(server: Server, weight: Weight, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: usage(2_000_000, 1_500_000, 500_000))
    with pytest.raises(MissingWeightError, match=r"1 MB more are needed in .*, where 0 MB are free"):
        fetch("ram")
    assert server.ranges == []


def test_files_brought_by_hand_are_checked(server: Server, weight: Weight, cache: Path) -> None:
    cache.mkdir()
    path_of("ram").write_bytes(CONTENT[::-1])
    with pytest.raises(CorruptWeightError, match=r"Delete it and run `sess weights download ram`\."):
        fetch("ram")
    path_of("ram").write_bytes(CONTENT)
    assert fetch("ram") == path_of("ram")
    assert server.ranges == []


def test_a_checked_file_is_read_again_only_after_a_change(weight: Weight, monkeypatch: pytest.MonkeyPatch) -> None:
    path = fetch("ram")
    with monkeypatch.context() as patch:
        patch.setattr(store, "_check", lambda *_: pytest.fail("the file was read"))
        fetch("ram")
    path.write_bytes(CONTENT[::-1])
    os.utime(path, ns=(0, 0))
    with pytest.raises(CorruptWeightError):
        fetch("ram")
    with pytest.raises(CorruptWeightError):
        verify("ram")


def test_a_cache_that_cannot_be_written_to_will_do(weight: Weight, cache: Path) -> None:
    cache.mkdir()
    path_of("ram").write_bytes(CONTENT)
    # Not even the superuser can write into a folder.
    (cache / "ram_epoch12.pth.checked").mkdir()
    assert fetch("ram") == path_of("ram")


def test_several_processes_download_once(server: Server, weight: Weight) -> None:
    # Long enough for the others to come and find that there is no file yet.
    server.delay = 1
    script = f"""
        from dataclasses import replace
        from functools import partial
        from torchmetrics_sess import weights
        from torchmetrics_sess.weights.sources import from_url
        obtain = partial(from_url, url={server.url!r})
        ram = replace(weights.WEIGHTS["ram"], size={len(CONTENT)}, sha256={SHA256!r}, obtain=obtain)
        weights.WEIGHTS["ram"] = ram
        print(weights.fetch("ram"))
    """
    command = [sys.executable, "-c", textwrap.dedent(script)]
    processes = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(3)]
    assert [process.communicate()[0].strip() for process in processes] == [str(path_of("ram"))] * 3
    assert path_of("ram").read_bytes() == CONTENT
    assert server.ranges == [None]


def test_one_error_names_all_that_is_missing(server: Server, weight: Weight, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SESS_OFFLINE", "1")
    monkeypatch.setitem(WEIGHTS, "open_clip_vit_h_14", replace(WEIGHTS["open_clip_vit_h_14"], find=lambda _: None))
    with pytest.raises(MissingWeightError) as caught:
        fetch_all(["sam_vit_h", "ram", "open_clip_vit_h_14"])
    lines = str(caught.value).splitlines()
    assert lines[0].startswith("3 files of weights (6510 MB), which the presets 'reference' and 'reference-bf16' need")
    assert lines[1:4] == [
        "  sam_vit_h (2565 MB): SESS_OFFLINE=1 forbids the download",
        "  ram (1 MB): SESS_OFFLINE=1 forbids the download",
        "  open_clip_vit_h_14 (3945 MB): SESS_OFFLINE=1 forbids the download",
    ]
    assert "`sess weights download sam_vit_h ram open_clip_vit_h_14`" in lines[4]
    assert all(weights.WEIGHTS[n].source in lines[5 + i] for i, n in enumerate(["sam_vit_h", "ram"]))


def test_a_copy_that_other_software_keeps_is_linked(
    server: Server, weight: Weight, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    elsewhere = tmp_path / "elsewhere.pth"
    elsewhere.write_bytes(CONTENT)
    monkeypatch.setitem(WEIGHTS, "ram", replace(weight, find=lambda _: elsewhere))
    monkeypatch.setenv("SESS_OFFLINE", "1")
    assert fetch("ram").resolve() == elsewhere
    elsewhere.write_bytes(CONTENT[::-1])
    path_of("ram").unlink()
    with pytest.raises(CorruptWeightError, match=str(elsewhere)):
        fetch("ram")
    # When the other software has thrown it away, it is had from the server.
    monkeypatch.delenv("SESS_OFFLINE")
    elsewhere.write_bytes(CONTENT)
    fetch("ram")
    elsewhere.unlink()
    monkeypatch.setitem(WEIGHTS, "ram", weight)
    assert fetch("ram").read_bytes() == CONTENT
    assert not path_of("ram").is_symlink()
    assert server.ranges == [None]


def test_open_clip_weights_live_in_the_cache_of_hugging_face(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clip = replace(WEIGHTS["open_clip_vit_b_32"], size=len(CONTENT), sha256=SHA256)
    monkeypatch.setitem(WEIGHTS, clip.name, clip)
    blob = tmp_path / "blob"
    blob.write_bytes(CONTENT)
    asked = []

    def hf_hub_download(repository: str, filename: str, revision: str) -> str:
        asked.append((repository, filename, revision))
        return str(blob)

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", hf_hub_download)
    monkeypatch.setattr(huggingface_hub, "try_to_load_from_cache", lambda *_, **__: None)
    assert fetch(clip.name).resolve() == blob
    assert path_of(clip.name).suffix == ".safetensors"
    [(repository, filename, revision)] = asked
    assert clip.source == f"https://huggingface.co/{repository}/resolve/{revision}/{filename}"

    path_of(clip.name).unlink()
    monkeypatch.setenv("SESS_OFFLINE", "1")
    with pytest.raises(MissingWeightError, match="SESS_OFFLINE=1 forbids the download"):
        fetch(clip.name)
    monkeypatch.setattr(huggingface_hub, "try_to_load_from_cache", lambda *_, **__: str(blob))
    assert fetch(clip.name).resolve() == blob
    assert len(asked) == 1


@pytest.mark.parametrize("error", [ValueError("the token is not valid"), OSError("no route to the hub")])
def test_open_clip_weights_that_cannot_be_had(error: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    def hf_hub_download(*_: object, **__: object) -> str:
        raise error

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", hf_hub_download)
    monkeypatch.setattr(huggingface_hub, "try_to_load_from_cache", lambda *_, **__: None)
    with pytest.raises(MissingWeightError, match=f"the download failed: {error}"):
        fetch("open_clip_vit_b_32")


@pytest.mark.parametrize("terminal", [True, False])
def test_progress_shows_on_a_terminal_only(
    weight: Weight, terminal: bool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("TTY_COMPATIBLE", "1" if terminal else "0")
    fetch("ram")
    out, err = capsys.readouterr()
    assert out == ""
    assert ("ram_epoch12.pth" in err) == terminal
    assert terminal or err == ""


def test_every_weight_says_what_it_is() -> None:
    for name, weight in WEIGHTS.items():
        assert weight.name == name
        assert weight.size > 10**7
        assert len(weight.sha256) == 64
        assert set(weight.sha256) <= set("0123456789abcdef")
        assert weight.command == f"sess weights download {name}"
    assert len({weight.filename for weight in WEIGHTS.values()}) == len(WEIGHTS)

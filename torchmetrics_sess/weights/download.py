"""Large files from web servers, without losing what has arrived when the connection breaks."""

from __future__ import annotations

import shutil
from http.client import HTTPException, HTTPResponse
from pathlib import Path
from urllib.error import HTTPError, URLError
from urllib.parse import urlsplit
from urllib.request import Request, urlopen

_CHUNK = 1 << 20
# Without a byte for so long, a connection counts as broken.
_TIMEOUT_SECONDS = 30


def download(url: str, path: Path, size: int) -> None:
    """Bring a file to ``path``, going on from what an earlier attempt has left there.

    A progress bar shows on a terminal, and nowhere else.

    Args:
        url: where the file is, by HTTP.
        path: where it goes; holds all that has arrived even after an error.
        size: of the whole file in bytes.

    Raises:
        OSError: if the server cannot be reached, does not have the file or has one of another size, the connection
            breaks, or the disk is full; the message says which.
    """
    try:
        _resume(url, path, size)
    except HTTPError as error:
        raise OSError(f"{_host(url)} answers {error.code} {error.reason} for {url}") from error
    except URLError as error:
        raise OSError(f"{_host(url)} cannot be reached: {error.reason}") from error
    except (TimeoutError, HTTPException) as error:
        raise OSError(f"the connection to {_host(url)} broke: {error or type(error).__name__}") from error


def _resume(url: str, path: Path, size: int) -> None:
    present = path.stat().st_size if path.exists() else 0
    if present > size:
        # Nothing that could be gone on from.
        path.unlink()
        present = 0
    if present == size:
        return
    _check_space(path, size - present)
    headers = {"User-Agent": "torchmetrics-sess"} | ({"Range": f"bytes={present}-"} if present else {})
    with urlopen(Request(url, headers=headers), timeout=_TIMEOUT_SECONDS) as response:  # noqa: S310
        if response.status != 206:
            # The server sends the whole file, asked or not.
            present = 0
        length = response.headers.get("Content-Length")
        if length is not None and present + int(length) != size:
            raise OSError(f"{_host(url)} offers {present + int(length)} bytes where {size} are expected")
        _save(response, path, present, size)


def _save(response: HTTPResponse, path: Path, present: int, size: int) -> None:
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

    console = Console(stderr=True)
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
    )
    with (
        path.open("ab" if present else "wb") as file,
        Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress,
    ):
        task = progress.add_task(path.name.removesuffix(".part"), total=size, completed=present)
        while chunk := response.read(_CHUNK):
            file.write(chunk)
            present += len(chunk)
            progress.update(task, completed=present)
    if present != size:
        raise OSError(f"the connection broke after {present} of {size} bytes")


def _check_space(path: Path, missing: int) -> None:
    free = shutil.disk_usage(path.parent).free
    if free < missing:
        raise OSError(f"{missing / 1e6:.0f} MB more are needed in {path.parent}, where {free / 1e6:.0f} MB are free")


def _host(url: str) -> str:
    return urlsplit(url).netloc

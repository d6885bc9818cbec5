"""The page on which people judge, and the few addresses behind it.

What reaches a browser are the texts of the study, the pixels of images decoded and encoded anew, and numbers: no path,
no name of a codec, and no byte of a file as it was.
"""

from __future__ import annotations

import functools
import io
import json
import math
import secrets
import socket
from collections.abc import Awaitable, Callable, MutableMapping, Sequence
from dataclasses import dataclass
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from PIL import Image
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.routing import Mount, Route

from torchmetrics_sess.__about__ import __version__
from torchmetrics_sess.images import read_image
from torchmetrics_sess.judgements.answers import STEPS
from torchmetrics_sess.judgements.questions import next_turn, separation
from torchmetrics_sess.judgements.storage import ConflictError, Storage, Turn
from torchmetrics_sess.judgements.study import Catalogue

_Message = MutableMapping[str, Any]
_Send = Callable[[_Message], Awaitable[None]]
_Receive = Callable[[], Awaitable[_Message]]

# The turn at hand, and those whose images a browser fetches meanwhile.
_AHEAD = 3
_LONGEST_NAME = 40
_LARGEST_BODY = 10_000
# Encoded images that are kept in memory.
_IMAGES_KEPT = 64
_CHOICES = {"left": 0.0, "equal": 0.5, "right": 1.0}

_HEADERS = [
    (
        b"content-security-policy",
        b"default-src 'none'; img-src 'self' data:; style-src 'self'; script-src 'self'; connect-src 'self'; "
        b"base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    ),
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-resource-policy", b"same-origin"),
]


@dataclass(frozen=True)
class Example:
    """What a step of the scale looks like.

    Args:
        step: 1 to 5.
        text: what became of the original.
        origin: the original.
        recon: what was made of it.
    """

    step: int
    text: str
    origin: Image.Image
    recon: Image.Image


@dataclass(frozen=True)
class Links:
    """Where a study is found.

    Args:
        raters: for people who judge.
        overview: for whoever runs the study: it names codecs, which raters must not see.
    """

    raters: str
    overview: str


def study_app(
    catalogue: Catalogue,
    storage: Storage,
    *,
    examples: Sequence[Example] = (),
    token: str = "",
    overview: str = "overview",
    hosts: Sequence[str] = ("127.0.0.1", "localhost"),
) -> Starlette:
    """Return the application that serves a study.

    Args:
        catalogue: what is asked.
        storage: where answers go.
        examples: what the steps look like, shown before the first question.
        token: every address starts with it, unless it is empty; any other one does not exist.
        overview: the name of the page for whoever runs the study.
        hosts: names under which the server may be addressed; a page elsewhere cannot have its own name lead here.
    """
    pages = _Pages(catalogue, storage, list(examples))
    routes = [
        Route("/", pages.start),
        Route("/style.css", pages.style),
        Route("/judge.js", pages.script),
        Route(f"/{overview}", pages.overview),
        Route("/image/{number:int}", pages.image),
        Route("/example/{number:int}/{side}", pages.example),
        Route("/turns", pages.turns),
        Route("/answer", pages.answer, methods=["POST"]),
        Route("/undo", pages.undo, methods=["POST"]),
    ]
    return Starlette(
        routes=[Mount(f"/{token}", routes=routes)] if token else routes,
        middleware=[Middleware(TrustedHostMiddleware, allowed_hosts=list(hosts)), Middleware(_Guard)],
    )


def open_socket(host: str, port: int) -> socket.socket:
    """Return a socket that listens.

    Raises:
        ValueError: if that is not possible.
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        listening = socket.socket(family, kind, protocol)
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind(address)
        listening.listen(128)
    except OSError as error:
        raise ValueError(f"cannot listen on {host}, port {port}: {error.strerror or error}") from error
    return listening


def is_loopback(host: str) -> bool:
    """Say whether only this machine can reach ``host``.

    Examples:
        >>> is_loopback("127.0.0.1"), is_loopback("0.0.0.0")
        (True, False)
    """
    return host == "localhost" or host.startswith("127.") or host == "::1"


def serve(
    catalogue: Catalogue,
    storage: Storage,
    listening: socket.socket,
    *,
    examples: Sequence[Example] = (),
    announce: Callable[[Links], None] = lambda links: None,
) -> None:
    """Serve a study until interrupted.

    On an address that other machines reach, all that there is lies behind a token in the link.

    Args:
        catalogue: what is asked.
        storage: where answers go.
        listening: from ``open_socket``.
        examples: what the steps look like.
        announce: is called with the links before the first request is answered.
    """
    import uvicorn

    host, port = listening.getsockname()[:2]
    local = is_loopback(host)
    # Links stay what they are when the server is started again.
    token = "" if local else _token(storage, "token")
    overview = f"overview-{_token(storage, 'overview')}"
    app = study_app(
        catalogue,
        storage,
        examples=examples,
        token=token,
        overview=overview,
        hosts=("127.0.0.1", "localhost", host) if local else ("*",),
    )
    name = host if local or host not in ("0.0.0.0", "::") else socket.gethostname()  # noqa: S104 - a comparison
    raters = f"http://{f'[{name}]' if ':' in name else name}:{port}/" + (f"{token}/" if token else "")
    announce(Links(raters, raters + overview))
    config = uvicorn.Config(
        app, log_level="warning", access_log=False, server_header=False, lifespan="off", timeout_graceful_shutdown=2
    )
    uvicorn.Server(config).run(sockets=[listening])


def _token(storage: Storage, name: str) -> str:
    return storage.remember(name, secrets.token_urlsafe(12))


class _Guard:
    """Adds to every answer what keeps a browser from doing anything but showing it."""

    def __init__(self, app: Callable[[_Message, _Receive, _Send], Awaitable[None]]) -> None:
        self._app = app

    async def __call__(self, scope: _Message, receive: _Receive, send: _Send) -> None:
        async def guarded(message: _Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message.get("headers", []), *_HEADERS]
            await send(message)

        await self._app(scope, receive, guarded)


class _Pages:
    """What there is behind each address."""

    def __init__(self, catalogue: Catalogue, storage: Storage, examples: list[Example]) -> None:
        self._catalogue = catalogue
        self._storage = storage
        self._examples = examples
        self._paths = catalogue.images
        self._numbers = {path: number for number, path in enumerate(self._paths)}
        self._environment = Environment(
            loader=PackageLoader("torchmetrics_sess.judgements", "page"),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        self._encoded = functools.lru_cache(maxsize=_IMAGES_KEPT)(self._encode)

    def start(self, request: Request) -> Response:
        study = self._catalogue.study
        return self._page(
            "judge.html",
            study=study,
            steps=list(enumerate(zip(study.steps, study.meanings, strict=True), 1)),
            examples={example.step: (number, example) for number, example in enumerate(self._examples)},
            longest=_LONGEST_NAME,
        )

    def style(self, request: Request) -> Response:
        return self._text("style.css", "text/css")

    def script(self, request: Request) -> Response:
        return self._text("judge.js", "text/javascript")

    def overview(self, request: Request) -> Response:
        catalogue, storage = self._catalogue, self._storage
        answered, _ = storage.counts()
        wanted = catalogue.study.answers_per_question
        rows = []
        for kind in catalogue.study.kinds:
            of_kind = [each for each in catalogue.questions.values() if each.kind == kind]
            done = sum(answered.get(each.key, 0) >= wanted for each in of_kind)
            rows.append((kind, len(of_kind), sum(answered.get(each.key, 0) for each in of_kind), done))
        originals: dict[str, int] = dict.fromkeys(catalogue.names, 0)
        for each in catalogue.questions.values():
            originals[each.origin] += answered.get(each.key, 0)
        apart = sorted(separation(storage.answers()).items(), key=lambda entry: entry[1])
        return self._page(
            "overview.html",
            study=catalogue.study,
            signature=catalogue.signature,
            version=__version__,
            kinds=rows,
            wanted=wanted,
            people=storage.people(),
            originals=[(catalogue.names[path], count) for path, count in originals.items()],
            apart=[(kind, a, b, "∞" if math.isinf(value) else f"{value:.1f}") for (kind, a, b), value in apart],
        )

    def image(self, request: Request) -> Response:
        number = request.path_params["number"]
        if number >= len(self._paths):
            raise HTTPException(404)
        try:
            content = self._encoded(number)
        except ValueError as error:
            # It could be read when the study was opened.
            raise HTTPException(404, "this image cannot be read any more") from error
        return _png(content)

    def example(self, request: Request) -> Response:
        number, side = request.path_params["number"], request.path_params["side"]
        if number >= len(self._examples) or side not in ("origin", "recon"):
            raise HTTPException(404)
        example = self._examples[number]
        return _png(_as_png(example.origin if side == "origin" else example.recon))

    def turns(self, request: Request) -> Response:
        return self._turns(_rater(request.query_params.get("rater")))

    async def answer(self, request: Request) -> Response:
        body = await _body(request)
        return await run_in_threadpool(self._answer, body)

    async def undo(self, request: Request) -> Response:
        body = await _body(request)
        return await run_in_threadpool(self._undo, body)

    def _answer(self, body: dict[str, Any]) -> Response:
        rater, position = _rater(body.get("rater")), _position(body.get("position"))
        turn = next((turn for turn in self._storage.turns(rater) if turn.position == position), None)
        if turn is None:
            raise HTTPException(409, "there is no such question")
        given, kind = body.get("answer"), self._catalogue[turn.question].kind
        if kind == "rate":
            if not isinstance(given, int) or isinstance(given, bool) or not 1 <= given <= STEPS:
                raise HTTPException(400, f"an answer is a whole number from 1 to {STEPS}")
            value = float(given)
        else:
            if not isinstance(given, str) or given not in _CHOICES:
                raise HTTPException(400, "an answer is left, equal or right")
            value = _CHOICES[given]
        try:
            self._storage.answer(rater, position, value, _seconds(body.get("seconds")))
        except ConflictError as error:
            raise HTTPException(409, str(error)) from error
        return self._turns(rater)

    def _undo(self, body: dict[str, Any]) -> Response:
        rater = _rater(body.get("rater"))
        self._storage.undo(rater, _position(body.get("position")))
        return self._turns(rater)

    def _turns(self, rater: str) -> Response:
        choose = functools.partial(next_turn, self._catalogue, self._storage, rater)
        turns = self._storage.offer(rater, _AHEAD, choose)
        done = sum(turn.value is not None for turn in turns)
        study = self._catalogue.study
        total = max(len(turns), min(study.questions_per_rater or math.inf, len(self._catalogue.questions)))
        return JSONResponse(
            {"done": done, "total": int(total), "turns": [self._shown(turn) for turn in turns[done : done + _AHEAD]]},
            headers={"cache-control": "no-store"},
        )

    def _shown(self, turn: Turn) -> dict[str, Any]:
        question = self._catalogue[turn.question]
        shown = [question.recon, question.other] if question.other else [question.recon]
        if turn.flipped:
            shown.reverse()
        return {
            "position": turn.position,
            "kind": question.kind,
            "origin": f"image/{self._numbers[question.origin]}",
            "shown": [f"image/{self._numbers[path]}" for path in shown],
        }

    def _encode(self, number: int) -> bytes:
        return _as_png(Image.fromarray(read_image(self._paths[number]).permute(1, 2, 0).numpy()))

    def _page(self, name: str, **content: Any) -> Response:
        page = self._environment.get_template(name).render(**content)
        # A file name need not be valid text.
        return HTMLResponse(page.encode("utf-8", "backslashreplace"), headers={"cache-control": "no-store"})

    def _text(self, name: str, kind: str) -> Response:
        text = self._environment.get_template(name).render()
        return Response(text, media_type=kind, headers={"cache-control": "no-cache"})


async def _body(request: Request) -> dict[str, Any]:
    """Read a small JSON object; a form of another page cannot send one."""
    if request.headers.get("content-type", "").partition(";")[0] != "application/json":
        raise HTTPException(415, "answers are JSON")
    content = bytearray()
    async for part in request.stream():
        content += part
        if len(content) > _LARGEST_BODY:
            raise HTTPException(413, "an answer is smaller")
    try:
        body = json.loads(content)
    except ValueError as error:
        raise HTTPException(400, "this is no JSON") from error
    if not isinstance(body, dict):
        raise HTTPException(400, "an answer is a JSON object")
    return body


def _rater(name: Any) -> str:
    """Return the name of a rater. It ends up in a table, where one that starts with `=` would be a formula."""
    text = " ".join(str(name).split()) if isinstance(name, str) else ""
    if not (
        0 < len(text) <= _LONGEST_NAME and text[0].isalnum() and all(sign.isalnum() or sign in " ._-@" for sign in text)
    ):
        raise HTTPException(
            400, f"a name is up to {_LONGEST_NAME} letters, digits, spaces and . _ - @, a letter or digit first"
        )
    return text


def _position(value: Any) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value < 2**31:
        raise HTTPException(400, "`position` must be the number of a question")
    return value


def _seconds(value: Any) -> float:
    if not isinstance(value, int | float) or isinstance(value, bool) or not 0 <= value <= 86400:
        return math.nan
    return float(value)


def _as_png(image: Image.Image) -> bytes:
    with io.BytesIO() as file:
        # Quick to encode: it travels once, and not far.
        image.save(file, format="PNG", compress_level=1)
        return file.getvalue()


def _png(content: bytes) -> Response:
    return Response(content, media_type="image/png", headers={"cache-control": "private, max-age=3600"})

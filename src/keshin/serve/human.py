"""The page of a study: people name what they see, each at their own speed, several at a time.

Every picture has the number of its question, which was drawn by lot; no path, file name or class is
in any address. Right answers leave the server when a person has finished all rounds, and only to
that person's results.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Any, TypeAlias

import msgspec
import numpy as np
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

import keshin.pages
from keshin.errors import DataError, KeshinError, PictureError
from keshin.evaluate.human.journal import Answers, Stale
from keshin.evaluate.human.model_answers import ModelAnswers, verified
from keshin.evaluate.human.results import own_results
from keshin.evaluate.human.sitting import Answered, Begun, Event, Finished, Sitting, Undone
from keshin.evaluate.human.source import Source
from keshin.evaluate.human.study import now
from keshin.pages.thumbnails import thumbnail

PAGES = Path(__file__).parent / "pages"
SHARED = Path(keshin.pages.__file__).parent
FILES = {
    "/": (PAGES / "human.html", "text/html; charset=utf-8"),
    "/colours.css": (SHARED / "colours.css", "text/css; charset=utf-8"),
    "/human.css": (PAGES / "human.css", "text/css; charset=utf-8"),
    "/human.js": (PAGES / "human.js", "text/javascript; charset=utf-8"),
    "/texts.js": (PAGES / "texts.js", "text/javascript; charset=utf-8"),
}
"""Everything that is served from a file; nothing that a client says becomes part of a path."""
AHEAD = 3
"""Pictures that a page may fetch before they are asked about."""
KEPT = 256
"""Thumbnails in memory."""
SIDE, EXAMPLE_SIDE = 900, 420
"""Longest sides in pixels, of a question and of an example."""
SMALL, QUALITY = 160, 90
"""Pictures up to this side stay as they are, bit by bit; the quality of all others."""
Asked: TypeAlias = Callable[[], ModelAnswers | None]


class JoinBody(msgspec.Struct, forbid_unknown_fields=True):
    """A person comes, or comes back."""

    name: Annotated[str, msgspec.Meta(max_length=200)]


class StepBody(msgspec.Struct, forbid_unknown_fields=True):
    """A step, and how many came before it."""

    after: Annotated[int, msgspec.Meta(ge=0)]


class AnswerBody(msgspec.Struct, forbid_unknown_fields=True):
    """An answer; no choice is "I don't know"."""

    after: Annotated[int, msgspec.Meta(ge=0)]
    question: Annotated[int, msgspec.Meta(ge=0)]
    choice: Annotated[int, msgspec.Meta(ge=0)] | None
    seconds: Annotated[float, msgspec.Meta(ge=0)]


class Page:
    """The requests of a study's page. ``asked`` gives the model's answers, or None without one; it
    may take long the first time and is called for results only. ``language`` ("en", "ja") is what
    the page begins in; None: what the browser asks for."""

    def __init__(
        self, answers: Answers, source: Source, asked: Asked, *, language: str | None = None
    ) -> None:
        self._language = language
        self._answers, self._study, self._source = answers, answers.study, source
        self._asked, self._asking = asked, threading.Lock()
        self._thumbnail = lru_cache(KEPT)(self._made)

    def app(self) -> Starlette:
        """The application; put a ``Guard`` around it."""
        person = "/api/people/{number:int}"
        routes = [
            *(Route(path, _file(*file), methods=["GET"]) for path, file in FILES.items()),
            Route("/api/study", self._reading(self.study), methods=["GET"]),
            Route("/api/people", self._posting(JoinBody, self.join), methods=["POST"]),
            Route(person, self._reading(self.state), methods=["GET"]),
            Route(f"{person}/begin", self._posting(StepBody, self.begin), methods=["POST"]),
            Route(f"{person}/answer", self._posting(AnswerBody, self.answer), methods=["POST"]),
            Route(f"{person}/undo", self._posting(StepBody, self.undo), methods=["POST"]),
            Route(f"{person}/finish", self._posting(StepBody, self.finish), methods=["POST"]),
            Route(f"{person}/results", self._reading(self.results), methods=["GET"]),
            Route("/picture/{number:int}", self.picture, methods=["GET"]),
            Route("/example/{label:int}/{number:int}", self.example, methods=["GET"]),
        ]
        return Starlette(routes=routes)

    # --- what the page reads --------------------------------------------------------------------

    def study(self) -> dict[str, Any]:
        """What everybody may know; answers are not in it."""
        study = self._study
        return {
            "key": study.key,
            "title": study.title,
            "language": self._language,
            "questions": len(study.questions),
            "rounds": study.rounds,
            "classes": [
                {"name": name, "aliases": others}
                for name, others in zip(study.names, study.aliases, strict=True)
            ],
            "closed": bool(study.people),
            "people": [
                {
                    "number": number,
                    "name": sitting.person,
                    "answered": sitting.answered,
                    "finished": sitting.finished,
                }
                for number, sitting in enumerate(self._answers.sittings)
            ],
        }

    def state(self, number: int) -> dict[str, Any]:
        """Where a person is."""
        return _state(number, self._answers.journal(number).sitting)

    def results(self, number: int) -> dict[str, Any]:
        """How well a person did, beside the model, once all is done."""
        sitting = self._answers.journal(number).sitting
        if not sitting.finished:
            raise Stale("Results are shown at the end.")
        model, problem = None, ""
        try:
            with self._asking:  # one at a time: the second finds what the first was told
                model = self._asked()
        except KeshinError as error:
            problem = str(error)
        return {**own_results(sitting, model), "problem": problem}

    async def picture(self, request: Request) -> Response:
        """A question's picture."""
        number: int = request.path_params["number"]
        if number >= len(self._study.questions):
            return _said(404, "There is no such picture.")
        return await self._shown("question", number, 0)

    async def example(self, request: Request) -> Response:
        """A class's example."""
        label, number = request.path_params["label"], request.path_params["number"]
        shown = self._study.examples
        if label >= len(shown) or number >= len(shown[label]):
            return _said(404, "There is no such picture.")
        return await self._shown("example", label, number)

    async def _shown(self, kind: str, *place: int) -> Response:
        try:
            content, media = await run_in_threadpool(self._thumbnail, kind, *place)
        except (DataError, PictureError) as error:
            return _said(
                500, str(error) if kind == "example" else "The picture is not what it was."
            )
        keep = {"cache-control": "private, max-age=86400, immutable"}
        return Response(content, media_type=media, headers=keep)

    def _made(self, kind: str, first: int, second: int) -> tuple[bytes, str]:
        if kind == "question":
            question = self._study.questions[first]
            picture = verified(self._source.data, question.row, question.digest)
            return thumbnail(picture, SIDE, exact=SMALL, quality=QUALITY)
        example = self._study.examples[first][second]
        picture = verified(self._source.examples, example.row, example.digest)
        return thumbnail(picture, EXAMPLE_SIDE, exact=SMALL, quality=QUALITY)

    # --- what the page does ---------------------------------------------------------------------

    def join(self, body: JoinBody) -> dict[str, Any]:
        """A person joins or goes on."""
        return self.state(self._answers.join(body.name))

    def begin(self, number: int, body: StepBody) -> dict[str, Any]:
        """The examples of a round are about to be seen."""
        sitting = self._answers.journal(number).sitting
        event = Begun(shots=self._study.rounds[sitting.round], at=now())
        return self._record(number, event, body.after)

    def answer(self, number: int, body: AnswerBody) -> dict[str, Any]:
        """A picture gets a class, or "I don't know"."""
        sitting = self._answers.journal(number).sitting
        event = Answered(
            shots=self._study.rounds[sitting.round],
            question=body.question,
            choice=body.choice,
            seconds=round(min(body.seconds, 86_400.0), 3),
            at=now(),
        )
        return self._record(number, event, body.after)

    def undo(self, number: int, body: StepBody) -> dict[str, Any]:
        """The last answer is taken back."""
        return self._record(number, Undone(at=now()), body.after)

    def finish(self, number: int, body: StepBody) -> dict[str, Any]:
        """Nothing changes any more; results may be seen."""
        return self._record(number, Finished(at=now()), body.after)

    def _record(self, number: int, event: Event, after: int) -> dict[str, Any]:
        self._answers.journal(number).record(event, after)
        return self.state(number)

    # --- HTTP -----------------------------------------------------------------------------------

    def _reading(self, method: Callable[..., Any]) -> Callable[[Request], Any]:
        async def handle(request: Request) -> Response:
            return await _answered(method, *request.path_params.values())

        return handle

    def _posting(self, kind: type[Any], method: Callable[..., Any]) -> Callable[[Request], Any]:
        async def handle(request: Request) -> Response:
            try:
                body = msgspec.json.decode(await request.body(), type=kind)
            except (msgspec.DecodeError, UnicodeDecodeError) as error:
                return _said(400, f"The body is not as expected: {error}.")
            return await _answered(method, *request.path_params.values(), body)

        return handle


def _state(number: int, sitting: Sitting) -> dict[str, Any]:
    return {
        "number": number,
        "name": sitting.person,
        "revision": sitting.revision,
        "phase": sitting.phase,
        "round": sitting.round,
        "shots": sitting.study.rounds[sitting.round],
        "position": sitting.position,
        "upcoming": sitting.upcoming(AHEAD) if sitting.phase == "question" else (),
        "canUndo": sitting.can_undo,
        "answered": sitting.answered,
    }


async def _answered(method: Callable[..., Any], *arguments: Any) -> Response:
    """Run what may wait for the disk beside the others, and say how it went."""
    try:
        return _json(200, await run_in_threadpool(method, *arguments))
    except Stale as error:
        return _said(409, str(error))
    except DataError as error:
        return _said(400, str(error))


def _file(path: Path, media: str) -> Callable[[Request], Any]:
    content = path.read_bytes()

    async def handle(request: Request) -> Response:
        del request
        return Response(content, headers={"content-type": media})

    return handle


def _said(status: int, why: str) -> Response:
    return _json(status, {"error": why})


def _json(status: int, value: object) -> Response:
    content = msgspec.json.encode(value, enc_hook=_plain)
    return Response(content, status, media_type="application/json")


def _plain(value: object) -> object:
    if isinstance(value, np.generic):
        return value.item()
    raise NotImplementedError(f"{type(value).__name__} is not sent")

"""The application: what is asked under which address, and what is answered."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Callable, Collection
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

import torch
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import HTMLResponse, JSONResponse, Response
from starlette.datastructures import FormData
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp

from counterpoise.core.strict_json import to_json
from counterpoise.core.version import __version__
from counterpoise.errors import InputError

from .asking import SHARES, check_request, to_share
from .batching import Batcher, Rows
from .fields import find_fields
from .guard import Guard, refuse
from .limits import Limits, Refusal, say_busy
from .metrics import KIND, Metrics
from .page import make_page
from .rows import Asked, explain_nothing, parse_asked
from .schema import ELSEWHERE, describe_files, describe_rows, responses
from .uploads import Uploads, check_files, hide_paths, store_row

if TYPE_CHECKING:
    from counterpoise.deploy.inputs.samples import Samples
    from counterpoise.deploy.predictor import Predictor

T = TypeVar("T")
SMALL = 1 << 14  # bytes of JSON that are read faster than they are handed to a thread
PLACES = ("/", "/docs", "/openapi.json", "/healthz", "/metrics", "/predict", "/predict/files")


class Service:
    """A predictor with what reads for it, and what gathers its questions.

    Args:
        predictor: that answers.
        limits: of a request.
    """

    def __init__(self, predictor: Predictor, limits: Limits) -> None:
        self.predictor, self.limits = predictor, limits
        self.fields = find_fields(predictor.preprocessing)
        self.metrics = Metrics()
        self.batcher = Batcher(predictor, limits, self.metrics.rows.observe)
        self.metrics.queue.set_function(lambda: len(self.batcher.waiting))
        self.metrics.readers.set_function(lambda: self.reading)
        self.reading = 0
        # Apart, so that a film which takes long keeps no numbers waiting.
        self.readers = ThreadPoolExecutor(1, "counterpoise-read")
        self.decoders = ThreadPoolExecutor(limits.decoders, "counterpoise-decode")
        self.uploads = Uploads()

    async def stop(self) -> None:
        """Stop the threads and delete what was uploaded."""
        await self.batcher.stop()
        for pool in (self.readers, self.decoders):
            pool.shutdown(wait=False, cancel_futures=True)
        self.uploads.close()

    async def work(self, pool: ThreadPoolExecutor, do: Callable[[], T]) -> T:
        """Do something in a thread of a pool, unless too much waits for that already."""
        if self.reading >= self.limits.queue:
            raise say_busy("the server has too many requests to read")
        self.reading += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(pool, do)
        finally:
            self.reading -= 1

    async def answer_rows(self, body: bytes) -> Rows:
        """The answers to the rows of a body in JSON."""

        def read() -> tuple[Asked, Samples]:
            asked = parse_asked(body, self.fields, self.limits)
            return asked, self._read(asked.rows)

        small = len(body) <= SMALL
        asked, samples = read() if small else await self.work(self.readers, read)
        return await self._answer(samples, asked, {})

    async def answer_form(self, form: FormData, asked: Asked) -> Rows:
        """The answer to the one row of a form."""
        with self.uploads.open_folder() as folder:
            names: dict[str, str] = {}

            def read() -> Samples:
                row, found = store_row(form, folder, self.fields, self.limits)
                names.update(found)
                wrong = check_files(names, self.fields, self.limits)
                left = {name: cell for name, cell in row.items() if name not in wrong}
                if wrong and not left:
                    raise Refusal(422, "; ".join(wrong.values()))
                try:
                    samples = self._read([left])
                except InputError as error:
                    raise Refusal(422, hide_paths(str(error), names)) from None
                if wrong:
                    samples.problems[0] = "; ".join([*wrong.values(), *samples.problems.values()])
                return samples

            samples = await self.work(self.decoders, read)
        return await self._answer(samples, asked, names)

    def _read(self, rows: list[dict[str, Any]]) -> Samples:
        """The samples of rows.

        Raises:
            Refusal: no row has anything, or what they have cannot be read.
        """
        if not any(rows):
            known = ", ".join(self.fields)
            raise Refusal(422, f"no row has any modality; known: {known}")
        several = [name for name, field in self.fields.items() if field.tensors]
        try:
            if any(name in row for name in several for row in rows):
                parts = [self._read_alone(k, row) for k, row in enumerate(rows)]
                samples = type(parts[0]).join(parts)
            else:
                samples = self.predictor.read(rows)
            explain_nothing(samples.problems, rows, self.fields)
            return samples
        except InputError:
            raise
        except Exception as error:  # hostile values can break a library anywhere
            print(f"counterpoise: {type(error).__name__} while reading: {error}", file=sys.stderr)
            raise Refusal(422, "the rows cannot be read") from None

    def _read_alone(self, number: int, row: dict[str, Any]) -> Samples:
        try:
            return self.predictor.read(_as_columns(row))
        except InputError as error:
            reason = str(error)
            for name in row:
                reason = reason.replace(f"X[{name!r}]", name)
            raise InputError(f"row {number}: {reason}") from None

    async def _answer(self, samples: Samples, asked: Asked, names: dict[str, str]) -> Rows:
        """The answers; a request of which no row can be answered is refused."""
        self.metrics.problems.inc(len(samples.problems))
        if not bool(torch.stack(list(samples.present.values())).any()):
            number, reason = next(iter(samples.problems.items()))
            where = f"row {number}: " if asked.rows else ""  # a form is one row
            raise Refusal(422, where + hide_paths(reason, names))
        found = await self.batcher.answer(samples, (asked.accuracy, asked.coverage))
        for row in found:
            if "problem" in row:
                row["problem"] = hide_paths(row["problem"], names)
        return found


def _as_columns(row: dict[str, Any]) -> dict[str, Any]:
    """One row as columns, for modalities of which a sample is several arrays."""
    return {
        name: {key: part[None] for key, part in cell.items()} if isinstance(cell, dict) else [cell]
        for name, cell in row.items()
    }


def create_app(
    predictor: Predictor,
    limits: Limits | None = None,
    *,
    token: str | None = None,
    hosts: Collection[str] | None = None,
) -> ASGIApp:
    """An application of ASGI that answers over HTTP.

    Args:
        predictor: that answers.
        limits: of a request; None: those of :class:`Limits`.
        token: that requests must bring, but for the page and ``/healthz``.
        hosts: what requests may call this server; None: anything.
    """
    limits = limits or Limits()
    service = Service(predictor, limits)

    @asynccontextmanager
    async def live(_: FastAPI) -> AsyncIterator[None]:
        service.batcher.start()
        try:
            yield
        finally:
            await service.stop()

    app = FastAPI(
        title="counterpoise",
        version=__version__,
        summary="A multimodal model that answers with whatever inputs are there.",
        docs_url=None,
        redoc_url=None,
        lifespan=live,
        redirect_slashes=False,
    )
    if token is not None:
        _say_token(app)
    _add_predict(app, service)
    _add_pages(app, service, token is not None, hosts is not None)
    _add_errors(app)
    return Guard(app, limits, service.metrics, token, hosts, PLACES)


def _add_predict(app: FastAPI, service: Service) -> None:
    fields, limits = service.fields, service.limits

    @app.post(
        "/predict",
        summary="Answer rows of numbers and texts, each with any of the modalities",
        openapi_extra=describe_rows(fields, limits),
        responses=responses(),
        response_class=JSONResponse,
    )
    async def predict(request: Request) -> Response:
        check_request(request, "application/json", shares=False)
        return _to_response(await service.answer_rows(await request.body()))

    @app.post(
        "/predict/files",
        summary="Answer one row, whose modalities are files and fields of a form",
        openapi_extra=describe_files(fields),
        responses=responses(),
        response_class=JSONResponse,
    )
    async def predict_files(request: Request) -> Response:
        check_request(request, "multipart/form-data", shares=True)
        query = request.query_params
        accuracy, coverage = (to_share(query, name) for name in SHARES)
        most = len(fields) + 4096  # the pictures of a clip
        async with request.form(max_files=most, max_fields=most, max_part_size=limits.body) as form:
            found = await service.answer_form(form, Asked([], accuracy, coverage))
        return _to_response(found)


def _to_response(rows: Rows) -> Response:
    return Response(to_json({"predictions": rows}), media_type="application/json")


def _add_pages(app: FastAPI, service: Service, locked: bool, named: bool) -> None:
    facts = service.predictor.facts
    data = facts.get("data") or {}
    about = {
        "status": "ready",
        "model": data.get("name"),
        "checksum": facts.get("checksum"),
        "modalities": list(service.fields),
        "version": __version__,
    }
    page, policy = make_page(service.predictor, service.fields, locked, named)

    @app.get("/healthz", summary="Whether the server is ready, and which model answers")
    async def healthz() -> dict[str, Any]:
        return about

    @app.get(
        "/metrics",
        summary="Counts, for Prometheus",
        response_class=Response,
        responses={200: {"content": {"text/plain": {"schema": {"type": "string"}}}}},
    )
    async def metrics() -> Response:
        return Response(service.metrics.write(), media_type=KIND)

    @app.get("/", include_in_schema=False)
    @app.get("/docs", include_in_schema=False)
    async def show_page() -> Response:
        return HTMLResponse(page, headers={"Content-Security-Policy": policy})


def _say_token(app: FastAPI) -> None:
    """Say in the OpenAPI description that a token is needed."""
    make = app.openapi

    def describe() -> dict[str, Any]:
        found = make()
        parts = found.setdefault("components", {})
        parts["securitySchemes"] = {"token": {"type": "http", "scheme": "bearer"}}
        for path, ways in found["paths"].items():
            for way in ways.values() if path != "/healthz" else ():
                way["security"] = [{"token": []}]
                way["responses"]["401"] = {"description": ELSEWHERE[401]}
        return found

    app.openapi = describe  # type: ignore[method-assign]  # as FastAPI's documentation says


def _add_errors(app: FastAPI) -> None:
    """Every error is one line; none tells what lies on the server's disk."""

    def add(kind: type[Exception], make: Callable[[Any], Refusal]) -> None:
        async def handle(_: Request, error: Exception) -> Response:
            return refuse(make(error))

        app.add_exception_handler(kind, handle)

    add(Refusal, lambda error: error)
    add(InputError, lambda error: Refusal(422, str(error)))
    add(ClientDisconnect, lambda _: Refusal(400, "the client went away"))
    add(RequestValidationError, lambda error: Refusal(422, str(error.errors()[0].get("msg"))))
    add(HTTPException, _from_http)
    add(MemoryError, lambda _: Refusal(413, "the request needs more memory than there is"))
    app.add_exception_handler(Exception, partial(_fail))


def _from_http(error: HTTPException) -> Refusal:
    reasons = {404: "there is no such address; / shows what there is"}
    reason = reasons.get(error.status_code, str(error.detail))
    return Refusal(error.status_code, reason, dict(error.headers or {}))


async def _fail(_: Request, error: Exception) -> Response:
    print(f"counterpoise: error: {type(error).__name__}: {error}", file=sys.stderr)
    return refuse(Refusal(500, "the model failed on this request; the server's log says why"))

"""What stands before every request: the token, the size of the body, the time it may take."""

from __future__ import annotations

import asyncio
import hmac
import time
from collections.abc import Collection
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from .limits import Limits, Refusal
from .metrics import Metrics

OPEN = ("/", "/docs", "/healthz")  # without the token: a page cannot be asked for with one
SAFE = {
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "x-frame-options": "DENY",
    "cross-origin-resource-policy": "same-origin",
    "cache-control": "no-store",
}
BARE = "default-src 'none'; frame-ancestors 'none'"


def refuse(refusal: Refusal) -> JSONResponse:
    """The answer to a request that is refused."""
    return JSONResponse({"detail": refusal.reason}, refusal.status, dict(refusal.headers))


class Guard:
    """An application of ASGI around another one.

    Args:
        app: the other one.
        limits: ``body`` and ``seconds``.
        metrics: where each request is noted.
        token: that requests must bring, but for the page and ``/healthz``; None: none.
        hosts: what a request may call this server; None: anything. A page of the web whose name
            points to this machine calls it otherwise, and is refused.
        paths: that metrics know by name.
    """

    def __init__(
        self,
        app: ASGIApp,
        limits: Limits,
        metrics: Metrics,
        token: str | None = None,
        hosts: Collection[str] | None = None,
        paths: Collection[str] = (),
    ) -> None:
        self.app, self.limits, self.metrics = app, limits, metrics
        self.token = None if token is None else token.encode()
        self.hosts, self.paths = hosts, frozenset(paths)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
            return
        if scope["type"] != "http":  # nothing here speaks over web sockets
            return
        visit = _Visit(receive, send, self.limits.body)
        begun = time.perf_counter()
        try:
            self._check(scope)
            work = self.app(scope, visit.receive, visit.send)
            await asyncio.wait_for(work, self.limits.seconds)
        except Refusal as refusal:
            await visit.refuse(scope, refusal)
        except asyncio.TimeoutError:
            await visit.refuse(scope, self._say_late(visit))
        except asyncio.CancelledError:
            await visit.refuse(scope, Refusal(503, "the server ends", {"Connection": "close"}))
            raise
        finally:
            path = scope["path"] if scope["path"] in self.paths else "other"
            self.metrics.note(path, visit.status, time.perf_counter() - begun)

    def _say_late(self, visit: _Visit) -> Refusal:
        limit = f"{self.limits.seconds:g} s, which is the limit"
        if visit.whole:
            return Refusal(503, f"the answer takes more than {limit}", {"Retry-After": "1"})
        return Refusal(408, f"the body did not come within {limit}", {"Connection": "close"})

    def _check(self, scope: Scope) -> None:
        """Refuse by the headers alone."""
        headers = Headers(scope=scope)
        if self.hosts is not None:
            self._check_host(headers)
        if self.token is not None and scope["path"] not in OPEN:
            said = headers.get("authorization", "").encode("latin-1", "replace")
            scheme, _, found = said.partition(b" ")
            if scheme.lower() != b"bearer" or not hmac.compare_digest(found.strip(), self.token):
                raise Refusal(
                    401,
                    "needs the header `Authorization: Bearer TOKEN` with this server's token",
                    {"WWW-Authenticate": "Bearer"},
                )
        told = headers.get("content-length", "0")
        if not told.isascii() or not told.isdecimal():
            raise Refusal(400, "Content-Length must be a whole number")
        if len(told) > 18 or int(told) > self.limits.body:
            raise say_large(self.limits)

    def _check_host(self, headers: Headers) -> None:
        assert self.hosts is not None
        host = headers.get("host", "")
        if _host_of(f"//{host}") not in self.hosts:
            raise Refusal(
                421, "this server is called otherwise; use the address that it printed, or a token"
            )
        origin = headers.get("origin")
        if origin is not None and urlsplit(origin).netloc != host:
            raise Refusal(403, "pages of other sites may not ask this server")


def _host_of(url: str) -> str | None:
    try:
        return urlsplit(url).hostname
    except ValueError:
        return None


def say_large(limits: Limits) -> Refusal:
    """The refusal of a body that is too large."""
    reason = f"the body is larger than {limits.body:,} bytes, which is the limit"
    return Refusal(413, reason, {"Connection": "close"})


class _Visit:
    """One request: counts the bytes that come, adds headers to what goes.

    Attributes:
        status: of the answer; 499 where the client went before there was one.
        whole: whether all of the body has come.
    """

    def __init__(self, receive: Receive, send: Send, most: int) -> None:
        self._receive, self._send, self._left = receive, send, most
        self.most, self.status, self.whole = most, 499, False
        self._began = False

    async def receive(self) -> Message:
        message = await self._receive()
        if message["type"] == "http.request":
            self._left -= len(message.get("body", b""))
            if self._left < 0:
                raise say_large(Limits(body=self.most))
            self.whole = not message.get("more_body", False)
        return message

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self._began, self.status = True, message["status"]
            headers = MutableHeaders(raw=message["headers"])
            for name, value in SAFE.items():
                headers.setdefault(name, value)
            headers.setdefault("content-security-policy", BARE)
            message["headers"] = headers.raw
        await self._send(message)

    async def refuse(self, scope: Scope, refusal: Refusal) -> None:
        """Answer with a refusal, unless an answer has begun."""
        if not self._began:
            await refuse(refusal)(scope, self._receive, self.send)

"""What the headers and the query of a request ask, before its body is read."""

from __future__ import annotations

from typing import Any

from starlette.requests import Request

from counterpoise.errors import unknown

from .limits import Refusal
from .rows import check_share

SHARES = ("accuracy", "coverage")


def check_request(request: Request, kind: str, shares: bool) -> None:
    """Refuse a body of another kind, one that is compressed, and a query that means nothing.

    Args:
        request: whose headers have come.
        kind: the ``Content-Type`` that is wanted.
        shares: whether the query may ask for accuracy and coverage; else the body does.

    Raises:
        Refusal: 415 for the body, 422 for the query.
    """
    coding = request.headers.get("content-encoding", "").strip().lower()
    if coding not in ("", "identity"):
        raise Refusal(
            415,
            f"Content-Encoding {coding[:80]!r} is not read; send the body as it is",
            {"Accept-Encoding": "identity"},
        )
    found = request.headers.get("content-type", "").split(";")[0].strip().lower()
    if found != kind:
        raise Refusal(415, f"Content-Type must be {kind}, found {found[:80] or 'none'!r}")
    for name in request.query_params:
        _check_parameter(name, shares)


def _check_parameter(name: str, shares: bool) -> None:
    if name not in SHARES:
        place = "" if shares else "; here they belong into the body, beside rows"
        raise Refusal(422, f"{unknown('query parameter', name[:80], SHARES)}{place}")
    if not shares:
        raise Refusal(422, f"{name} belongs into the body, beside rows, found it in the query")


def to_share(query: Any, name: str) -> float | None:
    """The share that a query asks for once; None where it does not."""
    words = query.getlist(name)
    if not words:
        return None
    try:
        return check_share(name, float(words[0]) if len(words) == 1 else None or words)
    except ValueError:
        return check_share(name, words[0])

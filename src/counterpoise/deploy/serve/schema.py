"""The OpenAPI description of the model's own modalities."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .fields import Field
from .limits import Limits

SHARE = {"type": "number", "exclusiveMinimum": 0, "exclusiveMaximum": 1}
SHARES = {
    "accuracy": "wanted of the answers: `withheld` says which do not reach it",
    "coverage": "wanted of `set`: how often the truth is to be in it",
}
REFUSALS = {
    400: "what came is no JSON, or no form",
    408: "the body did not come in time",
    413: "the body is too large, or would be once it is decoded",
    415: "another Content-Type",
    422: "something that the model does not take; `detail` says what",
    503: "too many requests; `Retry-After` says when to come again",
}
ELSEWHERE = {  # of no operation of their own, but what a client may meet
    401: "the token is missing, or another",
    403: "a page of another site asks",
    404: "there is no such address",
    405: "the address wants another method",
    421: "the server is called by another name than its own",
    500: "the model failed on this request; the server's log says why",
}
ANSWER: dict[str, Any] = {
    "type": "object",
    "required": ["label", "present", "weights", "expected", "metric"],
    "properties": {
        "label": {"description": "the class, the labels, or the number; null: no answer"},
        "probabilities": {
            "type": "object",
            "additionalProperties": {"type": ["number", "null"]},
            "description": "by class, calibrated for the modalities that are present",
        },
        "present": {"type": "string", "description": "the modalities, joined by +"},
        "weights": {
            "type": "object",
            "additionalProperties": {"type": ["number", "null"]},
            "description": "how far the answer moves without each modality, as a share",
        },
        "expected": {
            "type": ["number", "null"],
            "description": "the metric as it was measured with these modalities",
        },
        "metric": {"type": "string"},
        "problem": {"type": "string", "description": "what could not be read"},
        "withheld": {"type": "boolean", "description": "whether the answer is too unsure"},
        "set": {
            "type": ["array", "null"],
            "description": "classes that the truth is among; of a number from and to",
        },
    },
}


def list_statuses(locked: bool, named: bool) -> dict[int, str]:
    """The statuses of refusals that can occur, and what they mean.

    Args:
        locked: whether a token is needed.
        named: whether requests must call the server by its own names.
    """
    never = ({401} if not locked else set()) | ({403, 421} if not named else set())
    found = REFUSALS | ELSEWHERE
    return {status: found[status] for status in sorted(found) if status not in never}


def responses() -> dict[int | str, dict[str, Any]]:
    """What may come back, by status."""
    detail = {
        "type": "object",
        "required": ["detail"],
        "properties": {"detail": {"type": "string", "description": "one line"}},
    }
    found: dict[int | str, dict[str, Any]] = {
        status: {"description": text, "content": {"application/json": {"schema": detail}}}
        for status, text in REFUSALS.items()
    }
    several = {"type": "array", "items": ANSWER}
    schema = {
        "type": "object",
        "required": ["predictions"],
        "properties": {"predictions": several},
    }
    content = {"application/json": {"schema": schema}}
    return found | {200: {"description": "an answer for each row", "content": content}}


def describe_rows(fields: Mapping[str, Field], limits: Limits) -> dict[str, Any]:
    """The body in JSON: rows of those modalities that are numbers or texts."""
    row = {
        "type": "object",
        "minProperties": 1,
        "additionalProperties": False,
        "properties": {name: f.schema() for name, f in fields.items() if f.inline},
    }
    shares = {
        name: {**SHARE, "type": ["number", "null"], "description": text}
        for name, text in SHARES.items()
    }
    schema = {
        "type": "object",
        "required": ["rows"],
        "additionalProperties": False,
        "properties": {
            "rows": {"type": "array", "minItems": 1, "maxItems": limits.rows, "items": row},
            **shares,
        },
    }
    content = {"application/json": {"schema": schema}}
    return {"requestBody": {"required": True, "content": content}}


def describe_files(fields: Mapping[str, Field]) -> dict[str, Any]:
    """The form: a field for each modality; and the query."""
    parts: dict[str, Any] = {}
    for name, field in fields.items():
        file: dict[str, Any] = {"type": "string", "format": "binary"}
        if field.media:
            parts[name] = {"type": "array", "items": file} if field.several else file
        else:
            said = {"numbers": "numbers: [1.5, 2] or 1.5 2", "text": "a text"}[field.inline]
            parts[name] = {"type": "string", "description": said}
    schema = {"type": "object", "additionalProperties": False, "properties": parts}
    query = [
        {"name": name, "in": "query", "required": False, "schema": SHARE, "description": text}
        for name, text in SHARES.items()
    ]
    content = {"multipart/form-data": {"schema": schema}}
    return {"requestBody": {"required": True, "content": content}, "parameters": query}

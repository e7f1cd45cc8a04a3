"""The page that a browser shows: a form with a field for each modality, and how programs ask."""

from __future__ import annotations

import hashlib
import re
from base64 import b64encode
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from counterpoise.core.version import __version__

from .fields import Field
from .schema import list_statuses

if TYPE_CHECKING:
    from counterpoise.deploy.predictor import Predictor

TEMPLATE = Path(__file__).with_name("page.html")
INLINE = re.compile(r"<(script|style)>(.*?)</\1>", re.DOTALL)
REST = "connect-src 'self'; img-src data:; form-action 'none'; base-uri 'none'"


def make_page(
    predictor: Predictor, fields: Mapping[str, Field], locked: bool, named: bool
) -> tuple[str, str]:
    """The page, and the content security policy under which its own script alone runs.

    Args:
        predictor: that answers.
        fields: modality -> how it is brought.
        locked: whether a token is needed.
        named: whether requests must call the server by its own names.
    """
    from jinja2 import Environment, StrictUndefined

    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    page = environment.from_string(TEMPLATE.read_text(encoding="utf-8")).render(
        fields=[(f"field-{number}", field) for number, field in enumerate(fields.values())],
        hidden=[name for name in predictor.modalities if name not in fields],
        model=(predictor.facts.get("data") or {}).get("name") or "model",
        classes=[str(name) for name in predictor.classes],
        refusals=list_statuses(locked, named),
        locked=locked,
        version=__version__,
    )
    hashes: dict[str, list[str]] = {"script": [], "style": []}
    for kind, text in INLINE.findall(page):
        digest = b64encode(hashlib.sha256(text.encode()).digest()).decode()
        hashes[kind].append(f"'sha256-{digest}'")
    own = "; ".join(f"{kind}-src {' '.join(found)}" for kind, found in hashes.items())
    return page, f"default-src 'none'; {own}; {REST}; frame-ancestors 'none'"

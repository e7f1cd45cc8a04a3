"""Uploaded files, in a private folder, under names of our own; gone after the request."""

from __future__ import annotations

import secrets
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from starlette.datastructures import FormData, UploadFile

from counterpoise.data.readers.numbers import to_numbers
from counterpoise.errors import InputError, unknown

from .fields import Field
from .limits import Limits, Refusal
from .media import check_file
from .rows import parse_json, to_cell

BLOCK = 1 << 20


class Uploads:
    """A private folder of the server's own, in which each request has one.

    Args:
        parent: where it is made; None: where the system keeps what is temporary.
    """

    def __init__(self, parent: Path | None = None) -> None:
        self.path = Path(tempfile.mkdtemp(prefix="counterpoise-serve-", dir=parent))

    def close(self) -> None:
        """Delete the folder and all that is in it."""
        shutil.rmtree(self.path, ignore_errors=True)

    @contextmanager
    def open_folder(self) -> Iterator[Path]:
        """A folder of one request, deleted whatever happens."""
        folder = Path(tempfile.mkdtemp(dir=self.path))
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)


def store_row(
    form: FormData, folder: Path, fields: Mapping[str, Field], limits: Limits
) -> tuple[dict[str, Any], dict[str, str]]:
    """The cells of the one row of a form, its files written to ``folder``.

    Returns:
        Modality -> cell; and path of each file -> how messages call it.

    Raises:
        Refusal: an unknown field, one that is given twice, or of the wrong kind.
    """
    row: dict[str, Any] = {}
    names: dict[str, str] = {}
    for name in dict.fromkeys(form):
        if name not in fields:
            raise Refusal(422, str(unknown("modality", name[:80], fields)))
        field = fields[name]
        values = [value for value in form.getlist(name) if not _is_blank(value)]
        if len(values) > 1 and not field.several:
            raise Refusal(422, f"{name} is given {len(values)} times; send one row a request")
        cells = [_store(value, field, folder, limits) for value in values]
        names |= {str(cell): name for cell in cells if isinstance(cell, Path)}
        if cells:
            row[name] = [str(c) for c in cells] if field.several else _as_cell(cells[0])
    return row, names


def check_files(
    names: Mapping[str, str], fields: Mapping[str, Field], limits: Limits
) -> dict[str, str]:
    """Modality -> why a file of it is not decoded, by :func:`check_file`; those that are have none.

    Args:
        names: path of each file -> its modality, of :func:`store_row`.
        fields: modality -> how it is brought.
        limits: of a file.
    """
    wrong: dict[str, str] = {}
    for path, name in names.items():
        reason = "" if name in wrong else _find_fault(Path(path), fields[name], limits)
        if reason:
            wrong[name] = f"{name}: {hide_paths(reason, names)}"
    return wrong


def _find_fault(path: Path, field: Field, limits: Limits) -> str:
    """Why :func:`check_file` refuses a file; empty where it does not."""
    try:
        check_file(path, field, limits)
    except InputError as error:
        return str(error)
    return ""


def hide_paths(text: str, names: Mapping[str, str]) -> str:
    """A message in which a file is called by its field, and no folder is named."""
    for path, name in names.items():
        text = text.replace(path, f"the file of {name!r}")
        text = text.replace(Path(path).name, f"the file of {name!r}")
        text = text.replace(str(Path(path).parent), "the request")
    return text


def _is_blank(value: UploadFile | str) -> bool:
    """Whether a form was sent with this field left empty."""
    return not value.strip() if isinstance(value, str) else not value.filename and not value.size


def _as_cell(cell: Any) -> Any:
    return str(cell) if isinstance(cell, Path) else cell


def _store(value: UploadFile | str, field: Field, folder: Path, limits: Limits) -> Any:
    if isinstance(value, str):
        return _parse_field(value, field, limits)
    if not field.media:
        raise Refusal(422, f"{field.name} must be {field.wanted}, found a file")
    suffix = Path(value.filename or "").suffix.lower()
    path = folder / f"{secrets.token_hex(16)}{suffix if suffix in field.suffixes else ''}"
    with path.open("xb") as file:
        shutil.copyfileobj(value.file, file, BLOCK)
    return path


def _parse_field(text: str, field: Field, limits: Limits) -> Any:
    """The cell of a field of text: JSON, or ``1.5 2 3``, where numbers are wanted."""
    if field.inline != "numbers":
        if field.inline == "text":
            return text
        raise Refusal(422, f"{field.name} must be a file, found a text")
    try:
        if text.lstrip()[:1] in ("[", "{"):
            return to_cell(parse_json(text.encode("utf-8", "replace"), limits), field)
        if len(text) > 2 * limits.numbers:
            raise InputError(f"must hold at most {limits.numbers:,} numbers")
        return to_numbers(text) if not field.tensors else to_cell(text, field)
    except InputError as error:
        raise Refusal(422, f"{field.name} {error}") from None
    except Refusal as error:
        reason = error.reason.replace("the body", field.name)
        raise Refusal(error.status, reason) from None

"""Files that are written atomically, and read with clear errors."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import Tensor

from counterpoise.errors import InputError

from . import seal
from .files import check_file, read_bytes
from .files import is_draft as is_draft
from .files import write as write
from .schema import parse_json
from .strict_json import to_json

RESTORE = "take it from a copy of the folder, or begin anew in another one"


def write_json(path: Path, value: object) -> None:
    """Write ``value`` as indented JSON, atomically."""
    write(path, (to_json(value, indent=2) + "\n").encode())


def read_json(path: Path) -> Any:
    """Read a JSON file; :class:`InputError` if it is missing or damaged."""
    return _parse(path, _read(path))


def write_record(path: Path, record: Mapping[str, Any]) -> None:
    """Write a record as indented JSON with a checksum (:mod:`counterpoise.core.seal`)."""
    text = to_json({**record, seal.KEY: seal.PLACE.decode()}, indent=2) + "\n"
    write(path, seal.seal_json(text.encode()))


def read_record(path: Path, mend: str = RESTORE) -> tuple[Any, bool]:
    """What :func:`write_record` wrote, and whether it has a checksum, which older files lack.

    Args:
        path: of the file.
        mend: what to do about a damaged file.

    Raises:
        InputError: it is missing or damaged.
    """
    content = _read(path)
    fits = seal.check_json(content)
    _check_seal(path, fits, mend=mend)
    found = _parse(path, content)
    if fits:
        del found[seal.KEY]
    return found, bool(fits)


def _read(path: Path) -> bytes:
    try:
        return read_bytes(path)
    except FileNotFoundError:
        raise InputError(f"{path} is not there") from None


def _parse(path: Path, content: bytes) -> Any:
    try:
        return parse_json(content)
    except InputError:
        raise
    except (ValueError, MemoryError) as error:
        raise InputError(f"{path} is damaged ({error})") from None


def _check_seal(path: Path, fits: bool | None, sealed: bool = False, mend: str = RESTORE) -> None:
    """Raise :class:`InputError` unless a checksum fits.

    Args:
        path: of the file.
        fits: whether it does; ``None`` where there is none.
        sealed: whether there must be one.
        mend: what to do about a damaged file.
    """
    if fits is False or (sealed and fits is None):
        reason = "its checksum does not fit" if fits is False else "its checksum is gone"
        raise InputError(f"{path} is damaged or was changed ({reason}); {mend}")


def write_state(path: Path, state: Mapping[str, Any]) -> None:
    """Write nested tensors and plain values with a checksum, atomically."""
    buffer = io.BytesIO()
    torch.save(dict(state), buffer)
    write(path, seal.seal_trailer(buffer.getvalue()))


def read_state(path: Path, sealed: bool = False) -> dict[str, Any]:
    """Read what :func:`write_state` wrote, without running anything in it (``weights_only``).

    Args:
        path: of the file.
        sealed: whether it must have a checksum, which older files lack.
    """
    mend = "delete it to start the run again"
    content = _read(path)
    _check_seal(path, seal.check_trailer(content), sealed, mend)
    try:
        found = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
        if not isinstance(found, dict):
            raise TypeError("it holds no state")
        return cast("dict[str, Any]", found)
    except Exception as error:  # a damaged file makes torch raise almost anything
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise InputError(f"{path} is damaged ({reason}); {mend}") from None


def write_weights(path: Path, weights: Mapping[str, Tensor], metadata: Mapping[str, str]) -> None:
    """Write a state dict as safetensors with a checksum in their metadata, atomically."""
    # Copies, since safetensors refuses tied weights: each name is then stored by itself.
    tensors = {name: tensor.detach().cpu().clone().contiguous() for name, tensor in weights.items()}
    content = safetensors.torch.save(tensors, {**metadata, seal.KEY: seal.PLACE.decode()})
    write(path, seal.seal_tensors(_sort_metadata(content)))


def _sort_metadata(content: bytes) -> bytes:
    """Safetensors with sorted metadata: otherwise two files of the same weights may differ."""
    end = 8 + int.from_bytes(content[:8], "little")
    header = json.loads(content[8:end])
    header["__metadata__"] = dict(sorted(header["__metadata__"].items()))
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text + content[end:]


def read_weights(path: Path) -> dict[str, Tensor]:
    """Read a safetensors file; :class:`InputError` if it is missing or damaged."""
    try:
        check_file(path)
        return safetensors.torch.load_file(path)
    except FileNotFoundError:
        raise InputError(f"{path} is not there") from None
    except (SafetensorError, KeyError, RuntimeError, TypeError) as error:
        raise InputError(f"{path} is damaged ({error})") from None


def read_metadata(path: Path, sealed: bool, mend: str) -> dict[str, str]:
    """The metadata of safetensors whose checksum fits, without it.

    Args:
        path: of the file.
        sealed: whether it must have a checksum, which older files lack.
        mend: what to do about a damaged file.
    """
    content = _read(path)
    _check_seal(path, seal.check_tensors(content), sealed, mend)
    try:
        header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
        found = dict(header.get("__metadata__", {}))
    except (ValueError, TypeError, AttributeError, RecursionError) as error:
        raise InputError(f"{path} is damaged ({error}); {mend}") from None
    found.pop(seal.KEY, None)
    return found


def add_seal(path: Path) -> None:
    """Give a checkpoint, or safetensors, of an older version its checksum."""
    content = _read(path)
    if path.suffix == ".pt":
        if seal.check_trailer(content) is None:
            write(path, seal.seal_trailer(content))
    elif seal.check_tensors(content) is None:
        write_weights(path, read_weights(path), read_metadata(path, False, RESTORE))


def difference(found: Any, wanted: Any, path: str = "") -> str | None:
    """The first place where two nested values differ, as a line; ``None`` if they are equal."""
    if isinstance(found, dict) and isinstance(wanted, dict):
        for key in sorted({*found, *wanted}):
            line = difference(found.get(key), wanted.get(key), f"{path}.{key}" if path else key)
            if line:
                return line
        return None
    return None if found == wanted else f"{path} is {found!r} there and {wanted!r} here"

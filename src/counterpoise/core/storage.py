"""Files that are written atomically, and read with clear errors."""

from __future__ import annotations

import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import Tensor

from counterpoise.errors import InputError

from .files import check_file, open_file, read_bytes
from .files import is_draft as is_draft
from .files import write as write
from .schema import parse_json
from .strict_json import to_json


def write_json(path: Path, value: object) -> None:
    """Write ``value`` as indented JSON, atomically."""
    write(path, (to_json(value, indent=2) + "\n").encode())


def read_json(path: Path) -> Any:
    """Read a JSON file; :class:`InputError` if it is missing or damaged."""
    try:
        return parse_json(read_bytes(path))
    except FileNotFoundError:
        raise InputError(f"{path} is not there") from None
    except InputError:
        raise
    except (ValueError, MemoryError) as error:
        raise InputError(f"{path} is damaged ({error})") from None


def write_state(path: Path, state: Mapping[str, Any]) -> None:
    """Write nested tensors and plain values, atomically."""
    buffer = io.BytesIO()
    torch.save(dict(state), buffer)
    write(path, buffer.getvalue())


def read_state(path: Path) -> dict[str, Any]:
    """Read what :func:`write_state` wrote, without running anything in it (``weights_only``)."""
    try:
        with open_file(path) as file:
            found = torch.load(file, map_location="cpu", weights_only=True)
        if not isinstance(found, dict):
            raise TypeError("it holds no state")
        return cast("dict[str, Any]", found)
    except FileNotFoundError:
        raise InputError(f"{path} is not there") from None
    except (PermissionError, InputError):
        raise
    except Exception as error:  # a damaged file makes torch raise almost anything
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise InputError(
            f"{path} is damaged ({reason}); delete it to start the run again"
        ) from None


def write_weights(path: Path, weights: Mapping[str, Tensor], metadata: Mapping[str, str]) -> None:
    """Write a state dict as safetensors, atomically."""
    # Copies, since safetensors refuses tied weights: each name is then stored by itself.
    tensors = {name: tensor.detach().cpu().clone().contiguous() for name, tensor in weights.items()}
    write(path, safetensors.torch.save(tensors, dict(metadata)))


def read_weights(path: Path) -> dict[str, Tensor]:
    """Read a safetensors file; :class:`InputError` if it is missing or damaged."""
    try:
        check_file(path)
        return safetensors.torch.load_file(path)
    except FileNotFoundError:
        raise InputError(f"{path} is not there") from None
    except (SafetensorError, KeyError, RuntimeError, TypeError) as error:
        raise InputError(f"{path} is damaged ({error})") from None


def difference(found: Any, wanted: Any, path: str = "") -> str | None:
    """The first place where two nested values differ, as a line; ``None`` if they are equal."""
    if isinstance(found, dict) and isinstance(wanted, dict):
        for key in sorted({*found, *wanted}):
            line = difference(found.get(key), wanted.get(key), f"{path}.{key}" if path else key)
            if line:
                return line
        return None
    return None if found == wanted else f"{path} is {found!r} there and {wanted!r} here"

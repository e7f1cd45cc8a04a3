"""The folder of a pack: ``config.json``, ``model.safetensors``, a card, and files of readers."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import safetensors.torch
from torch import Tensor

from counterpoise.core import storage
from counterpoise.core.files import find_digest
from counterpoise.core.lock import draft_folder
from counterpoise.core.paths import check_folder, expand
from counterpoise.core.strict_json import to_json
from counterpoise.core.version import __version__
from counterpoise.errors import InputError

FORMAT = 1
CONFIG, WEIGHTS, CARD = "config.json", "model.safetensors", "README.md"
KIND = "counterpoise"

# Format -> what brings config.json of that format to the next one.
UPGRADES: dict[int, Callable[[dict[str, Any]], dict[str, Any]]] = {}


@dataclass(frozen=True)
class Pack:
    """What a folder holds, read and checked.

    Attributes:
        facts: ``config.json``, in the shape of this format.
        weights: ``model.safetensors``.
        files: name -> content of the others that ``config.json`` lists.
    """

    facts: dict[str, Any]
    weights: dict[str, Tensor]
    files: dict[str, bytes]


def is_pack(path: Path | str) -> bool:
    """Whether a folder holds a pack."""
    try:
        return bool(storage.read_json(expand(path) / CONFIG).get("library_name") == KIND)
    except (InputError, AttributeError, OSError):
        return False


def write_pack(path: Path, pack: Pack, card: str, *, overwrite: bool = False) -> dict[str, Any]:
    """Write a folder in one step; returns ``config.json`` with the checksums.

    Args:
        path: of the folder.
        pack: what it is to hold.
        card: ``README.md``, which may be changed afterwards: it has no checksum.
        overwrite: replace the pack that is there.

    Raises:
        InputError: the folder holds something.
    """
    _check_free(path, overwrite)
    tensors = {name: t.detach().cpu().clone().contiguous() for name, t in pack.weights.items()}
    contents = {**pack.files, WEIGHTS: safetensors.torch.save(tensors, {"format": "pt"})}
    facts: dict[str, Any] = {**pack.facts, "library_name": KIND, "format": FORMAT}
    facts["files"] = {k: hashlib.sha256(content).hexdigest() for k, content in contents.items()}
    facts = json.loads(to_json(facts))  # as it will be read
    facts["checksum"] = sum_up(facts)
    contents |= {CARD: card.encode(), CONFIG: (to_json(facts, indent=2) + "\n").encode()}
    with draft_folder(path) as draft:
        for name, content in contents.items():
            storage.write(draft / "new" / name, content)
        if path.exists():
            path.rename(draft / "old")
        (draft / "new").rename(path)
    return facts


def _check_free(path: Path, overwrite: bool) -> None:
    check_folder(path)
    if not path.exists() or not any(path.iterdir()):
        return
    if not is_pack(path):
        raise InputError(f"{path} is not empty and holds no pack; choose another folder")
    if not overwrite:
        raise InputError(
            f"{path} holds a pack already; choose another folder, or say --overwrite "
            "(overwrite=True)"
        )


def sum_up(facts: Mapping[str, Any]) -> str:
    """The checksum of ``config.json``, whatever its white space and the order of its keys."""
    rest = {key: value for key, value in facts.items() if key not in ("checksum", "license")}
    return hashlib.sha256(to_json(rest, sort_keys=True).encode()).hexdigest()


def read_pack(path: Path) -> Pack:
    """What a folder holds.

    Raises:
        InputError: no pack, one of a newer version, or a damaged one.
    """
    facts = read_facts(path)
    files = {}
    for name, wanted in facts["files"].items():
        try:
            inside = (path / name).resolve()
        except (OSError, RuntimeError):  # links in a circle
            raise InputError(f"{path / name} is no file; copy the whole folder again") from None
        if not inside.is_relative_to(path.resolve()):
            raise InputError(f"{path / CONFIG} names a file outside of its folder: {name!r}")
        if not inside.is_file():
            raise InputError(f"{path / name} is not there; copy the whole folder again")
        if find_digest(inside) != wanted:
            raise InputError(f"{path / name} is damaged or was changed; copy it again")
        if name != WEIGHTS:
            files[name] = inside.read_bytes()
    return Pack(facts, storage.read_weights(path / WEIGHTS), files)


def read_facts(path: Path) -> dict[str, Any]:
    """``config.json`` in the shape of this format.

    Raises:
        InputError: none, one of a newer version, or a damaged one.
    """
    file = path / CONFIG
    if not file.is_file():
        if (path / "run.json").is_file():
            raise InputError(
                f"{path} is a run and no pack; `counterpoise pack {path} OUT` packs it"
            )
        raise InputError(f"{path} holds no pack ({CONFIG}); `counterpoise pack RUN OUT` makes one")
    facts: Any = storage.read_json(file)
    if not isinstance(facts, dict) or facts.get("library_name") != KIND:
        raise InputError(f"{file} is of another library, not a pack of counterpoise")
    found = facts.get("format")
    if not isinstance(found, int) or found < 1:
        raise InputError(f"{file} is damaged (no format)")
    if found > FORMAT:
        made = facts.get("made_with", {}).get("counterpoise", "a newer version")
        raise InputError(
            f"{path} holds a pack of format {found}, written by counterpoise {made}; "
            f"counterpoise {__version__} reads up to {FORMAT}; install the version that wrote it"
        )
    if facts.get("checksum") != sum_up(facts):
        raise InputError(f"{file} is damaged or was changed; copy it again, or pack the run again")
    for number in range(found, FORMAT):
        facts = UPGRADES[number](facts)
    return dict(facts)

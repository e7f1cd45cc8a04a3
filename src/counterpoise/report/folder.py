"""``compare.json``: what makes a comparison this one, how it was made, which runs it has."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from msgspec import field

from counterpoise.core.folder import Folder, last_made_with
from counterpoise.core.schema import Shape
from counterpoise.errors import InputError
from counterpoise.training.settings import Settings

from . import records

FORMAT = 3  # from here on with a checksum
NO_VERSION = ("command", "time", "git")  # what `made_with` holds beside versions


class AskedRun(Shape):
    """A run that was asked for."""

    data: str
    method: str
    seed: int


class IdentityOfComparison(Shape):
    """What makes a comparison this one; the settings have checks of their own."""

    settings: dict[str, Any] = field(default_factory=dict)
    data: str | None = None
    modalities: list[str] | None = None
    fusion: str | None = None
    width: int | None = None
    precision: str | None = None
    fingerprint: str | None = None
    encoders: dict[str, str] = field(default_factory=dict)
    own: dict[str, dict[str, Any]] = field(default_factory=dict)  # label -> settings, width
    freeze: list[str] = field(default_factory=list)
    subsets: str | list[list[str]] | None = None


class RecordOfComparison(Shape):
    """``compare.json``."""

    identity: IdentityOfComparison
    runs: list[AskedRun] = field(default_factory=list)
    whole: list[AskedRun] = field(default_factory=list)
    parts: list[str] = field(default_factory=list)


def comparison_folder(path: Path | str) -> Folder:
    """The folder of a comparison; its record has ``runs``, what was asked for, as an addition.

    ``runs`` lists objects with ``data``, ``method`` and ``seed``. Where it has some parts of a
    comparison, ``parts`` names them (``"3/8"``), and ``whole`` lists the runs of all parts.
    """
    return Folder(
        path,
        "compare.json",
        kind="comparison",
        format=FORMAT,
        upgrade=_upgrade,
        essence=_read_settings,
        sealed=FORMAT,
        shape=RecordOfComparison,
    )


def describe_making(record: dict[str, Any]) -> tuple[str | None, dict[str, Any]]:
    """The last command that worked on a comparison, and its versions by name."""
    made = last_made_with(record)
    versions = {name: version for name, version in made.items() if name not in NO_VERSION}
    return made.get("command"), versions


def _read_settings(identity: dict[str, Any]) -> dict[str, Any]:
    """The identity with settings as this version writes them."""
    settings = Settings.from_record({**identity.get("settings", {}), "seed": 0}).plain()
    return {**identity, "settings": settings}


def _upgrade(record: dict[str, Any]) -> dict[str, Any]:
    """Format 1, which version 0.1.0 wrote before its release; 2 had the same shape as 3."""
    if record.get("format", 1) > 1:
        return record
    versions = record.get("versions") or {}
    if not isinstance(versions, dict):
        raise ValueError(f"versions must be an object, found {versions!r:.60}")
    made = {**versions, "command": record.get("command")}
    return {
        "format": 1,
        "identity": record.get("identity", {}),
        "made_with": made,
        "runs": record.get("runs", []),
    }


def read_runs(record: Mapping[str, Any], key: str = "runs") -> list[tuple[str, str, int]]:
    """Data, method and seed of each run that a comparison was asked for, in this order."""
    try:
        return [records.run_of(run) for run in record.get(key, [])]
    except (TypeError, KeyError):
        raise InputError(
            "compare.json is damaged: runs must be a list of objects with data, method and seed"
        ) from None


def read_lines(folder: Path, name: str = "records.jsonl") -> list[records.Record]:
    """The lines of a comparison, run by run as it was asked for, whichever was done first."""
    home = comparison_folder(folder)
    runs = read_runs(home.read()) if home.is_claimed() else []
    return records.sort_runs(records.read(folder / name), runs)

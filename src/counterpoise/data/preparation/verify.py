"""Prepared data, read from end to end to see whether they are whole."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from counterpoise.core import storage
from counterpoise.core.files import find_digest
from counterpoise.core.paths import expand
from counterpoise.errors import InputError

from .cache import open_cache
from .format import AGAIN, INDEX


def verify(folder: Path | str) -> tuple[int, int]:
    """Read every file of prepared data; how many there are, and how many lack a checksum.

    Older versions gave one to shards only.

    Raises:
        InputError: no prepared data; files that are damaged or missing, each by its name.
    """
    folder = expand(folder)
    if not (folder / INDEX).exists():
        open_cache(folder)  # says what is there instead
    index, sealed = storage.read_record(folder / INDEX, AGAIN)
    wrong, count, without = [], 2, int(not sealed)
    for entry in _entries(folder, index):
        path = folder / str(entry["file"])
        count += 2
        if not _is_whole(path, entry):
            wrong.append(path.name)
        fits = _check_record(path.with_suffix(".json"))
        wrong += [] if fits is not False else [path.with_suffix(".json").name]
        without += fits is None
    fits = _check_record(folder / "plan.json")
    wrong += [] if fits is not False else ["plan.json"]
    without += fits is None
    if wrong:
        raise InputError(
            f"{folder} has files that are damaged or missing: {', '.join(wrong)}; {AGAIN}"
        )
    open_cache(folder)
    return count, without


def _entries(folder: Path, index: Any) -> Iterator[dict[str, Any]]:
    try:
        for shards in index["splits"].values():
            for entry in shards:
                if Path(entry["file"]).name != entry["file"]:
                    raise InputError(f"{folder / INDEX} names a file outside of its folder")
                yield entry
    except (KeyError, TypeError, AttributeError) as error:
        raise InputError(f"{folder / INDEX} is damaged ({error!r}); {AGAIN}") from None


def _is_whole(path: Path, entry: dict[str, Any]) -> bool:
    with suppress(OSError, InputError):
        return find_digest(path) == entry.get("sha256")
    return False


def _check_record(path: Path) -> bool | None:
    """Whether a record is whole; ``None`` where an older version wrote it, without a checksum."""
    try:
        record, sealed = storage.read_record(path)
    except (OSError, InputError):
        return False
    if sealed:
        return True
    # Those of shards have no format: what belongs to the checksums is there since they are.
    newer = "small" in record or record.get("format", 1) > 2 if isinstance(record, dict) else True
    return False if newer else None

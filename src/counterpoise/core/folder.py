"""A folder that belongs to one thing: a run, a comparison or prepared data."""

from __future__ import annotations

import json
import os
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from msgspec import field

from counterpoise.errors import InputError

from . import schema, storage
from .lock import LOCK
from .paths import check_folder, expand
from .strict_json import to_json
from .version import __version__

Record = dict[str, Any]


ADVICE = "restore it from a copy, or make it anew in another folder"


class Recorded(schema.Shape):
    """What the file of every folder holds; its owners add what they need."""

    identity: dict[str, Any]
    made_with: dict[str, Any] = field(default_factory=dict)
    continued: list[dict[str, Any]] = field(default_factory=list)


class Folder:
    """A folder, and the file in it that says what it holds.

    The file is JSON: ``format`` (a number), ``identity`` (what makes it this run and no other),
    ``made_with`` (:func:`counterpoise.core.provenance.made_with`), and what its owner adds. Where
    somebody went on in another way, ``continued`` lists how, in the form of ``made_with``.

    Args:
        path: of the folder, which need not exist.
        file: name of the file.
        kind: what messages call the content, such as ``"run"``.
        format: the number that is written; what was written before there were numbers has 1.
        upgrade: brings the record of an older format to the shape of this one. Its ``identity``
            and ``made_with`` say what the older version did where it did not say so itself.
        essence: the part of an identity, in any wording, that must be equal; all by default.
        sealed: from which format on the file has a checksum.
        shape: what a record must hold, in the shape of this format; more is allowed.
    """

    def __init__(
        self,
        path: Path | str,
        file: str,
        *,
        kind: str,
        format: int,
        upgrade: Callable[[Record], Record] | None = None,
        essence: Callable[[Record], Record] = dict,
        sealed: int = 1,
        shape: type[schema.Shape] = schema.Shape,
    ) -> None:
        self.path = expand(path)
        self.file = self.path / file
        self.kind, self.format, self.sealed = kind, format, sealed
        self._upgrade, self._essence = upgrade, essence
        self._shape = shape

    def essence(self, identity: Record) -> Record:
        """The part of an identity that must be equal where two folders hold the same thing."""
        return self._essence(identity)

    def is_claimed(self) -> bool:
        """Whether the file is there."""
        return os.path.lexists(self.file)

    def read(self) -> Record:
        """The record, in the shape of this format.

        Raises:
            InputError: no such file, a damaged one, one of a newer format, or of an older one
                that is not read any more; the line says which version wrote it.
        """
        record, has_checksum = storage.read_record(self.file)
        found = record.get("format", 1) if isinstance(record, dict) else None
        if not isinstance(found, int) or isinstance(found, bool) or found < 1:
            raise InputError(f"{self.file} is damaged (no record of a {self.kind})")
        if found > self.format or (found < self.format and self._upgrade is None):
            raise InputError(
                f"{self.path} holds a {self.kind} of format {found}, written by counterpoise "
                f"{_version(record)}; counterpoise {__version__} reads format {self.format}; "
                "use the version that wrote it, or choose another folder"
            )
        if not has_checksum:
            self._warn_of_age(found)
        try:
            record = self._upgrade(record) if found < self.format and self._upgrade else record
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise InputError(f"{self.file} is damaged ({error!r})") from None
        for shape in (Recorded, self._shape):
            schema.check(record, shape, self.file, ADVICE)
        return dict(record)

    def _warn_of_age(self, found: int) -> None:
        """Say that damage cannot be seen; :class:`InputError` where a checksum should be."""
        if found >= self.sealed:
            raise InputError(
                f"{self.file} is damaged or was changed (its checksum is gone); {storage.RESTORE}"
            )
        warnings.warn(
            f"{self.path} was written by an older version, without checksums: damage in its files "
            "is not noticed",
            UserWarning,
            stacklevel=4,
        )

    def check(self, identity: Mapping[str, Any], *, again: bool = True) -> Record | None:
        """The record, if the folder holds this very thing; ``None`` if it is free.

        Args:
            identity: plain values.
            again: whether a folder that holds it already may be taken up.

        Raises:
            InputError: the folder holds something else, and where the identities differ; or it
                holds the same, and ``again`` is false.
        """
        if self.is_claimed():
            record = self.read()
            known, wanted = self._essence(record["identity"]), self._essence(_plain(identity))
            other = storage.difference(known, wanted)
            if other:
                raise InputError(
                    f"{self.path} holds a {self.kind} with other settings: {other:.300}; choose "
                    "another folder"
                )
            if not again:
                raise InputError(
                    f"{self.path} holds this {self.kind} already; resume it, or choose another"
                )
            return record
        check_folder(self.path)
        if self.path.exists() and any(
            entry.name != LOCK and not storage.is_draft(entry) for entry in self.path.iterdir()
        ):
            raise InputError(
                f"{self.path} is not empty and holds no {self.kind}; choose another folder"
            )
        return None

    def claim(
        self,
        identity: Mapping[str, Any],
        *,
        made_with: Mapping[str, Any],
        again: bool = True,
        **more: Any,
    ) -> Record:
        """Make the folder this thing's own, or take it up again; the record.

        Args:
            identity: plain values.
            made_with: :func:`counterpoise.core.provenance.made_with`.
            again: see :meth:`check`.
            more: further entries of the record, written over those that are there.

        Raises:
            InputError: see :meth:`check`.
        """
        known = self.check(identity, again=again)
        identity = _plain(identity)
        if known is None:
            record = {"format": self.format, "identity": identity, "made_with": dict(made_with)}
        else:
            record = {**known, "format": self.format, "identity": identity}
            ways = [known.get("made_with", {}), *known.get("continued", [])]
            if _without_time(ways[-1]) != _without_time(made_with):
                record["continued"] = [*ways[1:], dict(made_with)]
        record = _plain({**record, **more})
        if record != known:
            storage.write_record(self.file, record)
        return record


def last_made_with(record: Mapping[str, Any]) -> Mapping[str, Any]:
    """How the content of a folder was made, or how somebody went on with it last."""
    ways = [record.get("made_with", {}), *record.get("continued", [])]
    last: Mapping[str, Any] = ways[-1]
    return last


def _plain(value: Mapping[str, Any]) -> Record:
    """The values as JSON gives them back."""
    found: Record = json.loads(to_json(value))
    return found


def _without_time(made: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in made.items() if key != "time"}


def _version(record: Mapping[str, Any]) -> str:
    """The version of counterpoise that wrote a record."""
    later = record.get("continued")
    made = later[-1] if isinstance(later, list) and later else record.get("made_with")
    made = made if isinstance(made, Mapping) else {}
    return str(made.get("counterpoise", "of an unknown version"))[:60]

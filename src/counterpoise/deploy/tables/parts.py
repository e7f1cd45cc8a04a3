"""What was answered so far: parts in a folder beside the file, which are joined at the end."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO

from counterpoise.core import storage
from counterpoise.core.files import check_file, replacing
from counterpoise.core.folder import Folder
from counterpoise.core.lock import Lock
from counterpoise.core.paths import expand
from counterpoise.core.provenance import made_with
from counterpoise.core.schema import Shape, check, parse_json
from counterpoise.core.strict_json import to_json
from counterpoise.data.readers.base import need
from counterpoise.errors import InputError, check_choice

from .layout import HIDDEN, Layout, flatten

FORMATS = (".csv", ".parquet", ".jsonl")
ROWS = 16384  # of a part at most
SECONDS = 10.0  # after which a part is written, however small it is


class Joined(Shape):
    """What ``predict.json`` says beside what every folder says."""

    joined: bool = False


class Parts:
    """The parts of one output.

    Each is written in one step and says where it starts, so that a run that was killed goes on
    behind the last one.

    Args:
        out: the file that is made at the end; its suffix says the format.
        layout: of its columns.
        identity: of model, table and options, in plain values.
        resume: go on with what is there.

    Attributes:
        done: rows in the parts that are there.

    Raises:
        InputError: an output that is there; parts of something else, or parts without ``resume``.
    """

    def __init__(
        self, out: Path | str, layout: Layout, identity: Mapping[str, Any], *, resume: bool
    ) -> None:
        self.out, self.layout = expand(out), layout
        check_format(self.out)
        self._folder = Folder(
            self.out.with_name(f"{self.out.name}.parts"),
            "predict.json",
            kind="prediction",
            format=2,
            upgrade=dict,
            sealed=2,
            shape=Joined,
        )
        self._lock = Lock(self._folder.path, "prediction")
        try:
            self._take_up(identity, resume)
        except BaseException:
            self._lock.release()
            raise
        self._batches: list[Any] = []
        self._notes: dict[str, dict[str, int]] = {}
        self._since = time.monotonic()

    def _take_up(self, identity: Mapping[str, Any], resume: bool) -> None:
        """Begin, or go on with what is there; :class:`InputError` where that may not be."""
        claimed = self._folder.is_claimed()
        joined = claimed and resume and bool(self._folder.read().get("joined"))
        if self.out.exists() and not joined:
            raise InputError(f"{self.out} is there already; name another file, or delete it")
        if claimed and not resume:
            raise InputError(
                f"{self._folder.path} holds a prediction that was begun: --resume goes on with it, "
                "or delete it"
            )
        self._identity = dict(identity)
        if claimed:
            self._check_same()
        self._folder.claim(self._identity, made_with=made_with())
        self.done = self._count()

    def _check_same(self) -> None:
        """Raise :class:`InputError` where the parts are of another model, table or question."""
        before = self._folder.read()["identity"]
        now = json.loads(to_json(self._identity))
        other = [name for name in now if before.get(name) != now[name]]
        if other:
            raise InputError(
                f"{self._folder.path} holds a prediction with other settings ({', '.join(other)} "
                "changed): name another --out, or delete that folder"
            )

    def _paths(self) -> list[Path]:
        return sorted(self._folder.path.glob("*.arrow"))

    def _count(self) -> int:
        """The rows of the parts, which follow each other."""
        count = 0
        for path in self._paths():
            if not path.stem.isdecimal():
                raise InputError(f"{path} is no part of this prediction; move it elsewhere")
            if int(path.stem) != count:
                raise InputError(f"{path} does not follow the part before it; delete {path.parent}")
            count += sum(len(batch) for batch in self._open(path))
        return count

    def _open(self, path: Path) -> list[Any]:
        arrow = need("pyarrow", "stream")
        check_file(path)
        try:
            with arrow.ipc.open_file(path) as file:
                batches = [file.get_batch(k) for k in range(file.num_record_batches)]
        except (arrow.ArrowException, OSError) as error:
            raise InputError(f"{path} is damaged ({error}); delete {path.parent}") from None
        if batches and not batches[0].schema.equals(self.layout.schema):
            raise InputError(f"{path} holds other columns; delete {path.parent}")
        return batches

    def add(self, batch: Any, notes: Mapping[str, Mapping[str, int]]) -> None:
        """Take some rows.

        Args:
            batch: of :meth:`Layout.make`.
            notes: what is counted -> modality -> count.
        """
        self._batches.append(batch)
        for kind, counts in notes.items():
            for name, count in counts.items():
                kept = self._notes.setdefault(kind, {})
                kept[name] = kept.get(name, 0) + count
        late = time.monotonic() - self._since > SECONDS
        if late or sum(map(len, self._batches)) >= ROWS:
            self.flush()

    def flush(self) -> None:
        """Write what was taken as a part."""
        if self._batches:
            arrow = need("pyarrow", "stream")
            sink = arrow.BufferOutputStream()
            about = {"notes": json.dumps(self._notes)}
            with arrow.ipc.new_file(sink, self.layout.schema.with_metadata(about)) as writer:
                for batch in self._batches:
                    writer.write_batch(batch)
            path = self._folder.path / f"{self.done:012d}.arrow"
            storage.write(path, sink.getvalue().to_pybytes())
            self.done += sum(map(len, self._batches))
        self._batches, self._notes, self._since = [], {}, time.monotonic()

    def read(self) -> Iterator[tuple[list[Any], dict[str, dict[str, int]]]]:
        """The batches of each part, and what was counted in it."""
        for path in self._paths():
            batches = self._open(path)
            about = batches[0].schema.metadata or {} if batches else {}
            yield batches, _read_notes(path, about.get(b"notes", b"{}"))

    def join(self) -> None:
        """Make the output of all parts in one step; the parts stay until :meth:`remove`."""
        write = {".csv": self._write_csv, ".parquet": self._write_parquet}
        with replacing(self.out) as file:
            write.get(self.out.suffix.lower(), self._write_json)(file)
            self._folder.claim(self._identity, made_with=made_with(), joined=True)

    def remove(self) -> None:
        """Remove the parts."""
        shutil.rmtree(self._folder.path)
        self._lock.release()

    def _shown(self) -> Iterator[Any]:
        """The batches of all parts without the hidden columns."""
        shown = [name for name in self.layout.schema.names if not name.startswith(HIDDEN)]
        for batches, _ in self.read():
            for batch in batches:
                yield batch.replace_schema_metadata(None).select(shown)

    def _write_csv(self, file: BinaryIO) -> None:
        csv = need("pyarrow.csv", "stream")
        writer = None
        for batch in self._shown():
            flat = flatten(batch, self.layout.classes)
            writer = writer or csv.CSVWriter(file, flat.schema)
            writer.write_batch(flat)
        if writer is not None:
            writer.close()

    def _write_parquet(self, file: BinaryIO) -> None:
        parquet = need("pyarrow.parquet", "stream")
        writer = None
        for batch in self._shown():
            writer = writer or parquet.ParquetWriter(file, batch.schema)
            writer.write_batch(batch)
        if writer is not None:
            writer.close()

    def _write_json(self, file: BinaryIO) -> None:
        for batch in self._shown():  # ASCII, since some programs end lines at U+2028 too
            lines = (to_json(row) for row in batch.to_pylist())
            file.writelines(f"{line}\n".encode() for line in lines)


def _read_notes(path: Path, said: bytes) -> dict[str, dict[str, int]]:
    """What was counted in a part: kind -> modality -> count."""
    try:
        found = parse_json(said)
    except ValueError as error:
        raise InputError(f"{path} is damaged ({error}); delete {path.parent}") from None
    check({"notes": found}, dict[str, dict[str, dict[str, int]]], path, f"delete {path.parent}")
    return dict(found)


def check_format(out: Path) -> None:
    """Raise :class:`InputError` unless this names a file that can be written."""
    check_choice("the format of --out", out.suffix.lower(), FORMATS)
    check_file(out)
    if not out.parent.is_dir():
        raise InputError(f"the folder of {out} is not there; make it first")

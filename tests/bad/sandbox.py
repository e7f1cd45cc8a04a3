"""Where bad inputs are tried: a folder that nothing may change, and a watch for what hangs."""

from __future__ import annotations

import contextlib
import hashlib
import io
import os
import signal
import traceback
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from counterpoise.cli.main import main
from counterpoise.errors import InputError

PATIENCE = 60  # seconds that one bad input may take, on a machine that is busy

Row = tuple[str, "list[object]"]  # what is wrong, and the words of the command
Door = tuple[str, Callable[[], object]]  # what is wrong, and the call


class HangError(BaseException):
    """Something was waited for."""


@contextlib.contextmanager
def watch() -> Iterator[None]:
    """Raise :class:`HangError` where something takes too long."""

    def stop(*_: object) -> None:
        raise HangError(f"not done after {PATIENCE} s")

    before = signal.signal(signal.SIGALRM, stop)
    signal.alarm(PATIENCE)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def take_picture(folder: Path) -> dict[str, str]:
    """Every path below a folder, with a digest of each file and the target of each link."""
    found = {}
    for path in sorted(folder.rglob("*")):
        name = str(path.relative_to(folder))
        if path.is_symlink():
            found[name] = os.readlink(path)
        elif path.is_file():
            found[name] = hashlib.sha256(path.read_bytes()).hexdigest()
        else:
            found[name] = "folder" if path.is_dir() else "other"
    return found


@dataclass(frozen=True)
class Said:
    """What a command did: its exit status and what it printed."""

    status: int
    out: str
    err: str


def run(words: list[object]) -> Said:
    """Run one command in this process; what Python does not catch is a status of 1."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err), watch():
        try:
            status = main([str(word) for word in words])
        except SystemExit as error:
            status = int(error.code or 0)
        except HangError as error:
            status = 124
            err.write(str(error))
        except BaseException:
            status = 1
            err.write(traceback.format_exc())
    return Said(status, out.getvalue(), err.getvalue())


def check_refused(words: list[object]) -> None:
    """Fail unless a command ends with status 2 and one last line that says why."""
    said = run(words)
    lines = said.err.splitlines()
    assert said.status == 2, f"status {said.status}: {said.err[-1500:]}"
    assert lines, said
    assert lines[-1].startswith("counterpoise: error: "), said.err[-1500:]
    errors = [line for line in lines if "error: " in line]
    assert len(errors) == 1, said.err[-1500:]
    assert "Traceback" not in said.err, said.err[-1500:]
    check_line(lines[-1])


def check_line(line: str) -> None:
    """Fail unless an error is one line without control characters, of a length one can read."""
    assert line.strip()
    assert all(c.isprintable() for c in line), repr(line)
    assert len(line) <= 1500, f"{len(line)} characters: {line[:200]}"


def check_door(call: Callable[[], Any]) -> None:
    """Fail unless a call raises :class:`InputError` in one line."""
    with watch(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            found = call()
        except InputError as error:
            check_line(str(error))
            return
    raise AssertionError(f"nothing was refused; it returned {found!r}"[:120])

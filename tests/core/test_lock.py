"""One writer for a folder."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from counterpoise import InputError, fit
from counterpoise.core.files import draft_path, is_draft, remove_drafts, replacing
from counterpoise.core.lock import LOCK, draft_folder, hold

from toy import toy_data, toy_model  # isort: skip

HOLD = """
import sys, time
from pathlib import Path
from counterpoise.core.lock import hold
with hold(Path(sys.argv[1]), "run"):
    print("held", flush=True)
    time.sleep(600)
"""


def test_the_second_is_told_who_holds_it(tmp_path: Path) -> None:
    with hold(tmp_path / "run", "run"):
        line = rf"process {os.getpid()} on .* writes to this run; wait"
        with pytest.raises(InputError, match=line), hold(tmp_path / "run", "run"):
            raise AssertionError("two writers")
        found: list[BaseException] = []

        def other() -> None:
            try:
                with hold(tmp_path / "run"):
                    pass
            except InputError as error:
                found.append(error)

        thread = threading.Thread(target=other)
        thread.start()
        thread.join()
        assert len(found) == 1
    with hold(tmp_path / "run"):
        pass


def test_nothing_is_left_where_nothing_was_written(tmp_path: Path) -> None:
    with hold(tmp_path / "a" / "b"):
        assert (tmp_path / "a" / "b" / LOCK).is_file()
    assert list(tmp_path.iterdir()) == []
    with hold(tmp_path):
        (tmp_path / "kept").write_text("x")
    assert [path.name for path in tmp_path.iterdir()] == ["kept"]


def test_a_lock_ends_with_its_process(tmp_path: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", HOLD, tmp_path], stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"held\n"
        with pytest.raises(InputError, match=f"process {holder.pid} on"), hold(tmp_path):
            pass
        holder.kill()
    assert (tmp_path / LOCK).exists()
    with hold(tmp_path):
        assert json.loads((tmp_path / LOCK).read_text())["process"] == os.getpid()
    assert not (tmp_path / LOCK).exists()


def test_what_is_no_lock_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").write_text("stays")
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / LOCK).symlink_to(tmp_path / "elsewhere")
    with pytest.raises(InputError, match="is a link; delete it"), hold(tmp_path / "run"):
        pass
    assert (tmp_path / "elsewhere").read_text() == "stays"
    (tmp_path / "folder" / LOCK).mkdir(parents=True)
    with pytest.raises(InputError, match="is no file; delete it"), hold(tmp_path / "folder"):
        pass
    with pytest.raises(InputError, match="must be a folder"), hold(tmp_path / "elsewhere"):
        pass
    with pytest.raises(InputError, match="must be a folder"), hold(tmp_path / "elsewhere" / "x"):
        pass


def test_a_file_system_without_locks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import errno
    import fcntl

    def flock(*_: object) -> None:
        raise OSError(errno.ENOLCK, "no locks")

    monkeypatch.setattr(fcntl, "flock", flock)
    with pytest.warns(UserWarning, match="has no locks"), hold(tmp_path):
        pass


def test_fit_is_the_only_writer(tmp_path: Path) -> None:
    data = toy_data(samples=40)
    with hold(tmp_path, "run"), pytest.raises(InputError, match="is in use: process"):
        fit(toy_model(data), data, out=tmp_path, epochs=1)
    run = fit(toy_model(data), data, out=tmp_path, epochs=1)
    assert len(run.history) == 1
    assert not any(path.name.startswith(".") for path in tmp_path.iterdir())


def test_drafts_of_the_dead_go_and_those_of_the_living_stay(tmp_path: Path) -> None:
    dead, old = draft_path(tmp_path / "run.json"), tmp_path / ".run.json.4242.tmp"
    others = [tmp_path / name for name in (".x.tmp", ".vimrc", "a.tmp", ".x.12345678901234567.tmp")]
    for path in (dead, old, *others):
        path.write_text("{")
    (tmp_path / f".link.{'a' * 16}.tmp").symlink_to(tmp_path / "a.tmp")
    with replacing(tmp_path / "new") as file:
        file.write(b"x")
        with hold(tmp_path):
            left = {path.name for path in tmp_path.iterdir() if is_draft(path)}
            assert len(left) == 2  # the link, and what is being written
            assert not dead.exists() and not old.exists()
    assert all(path.exists() for path in others) and (tmp_path / "new").read_bytes() == b"x"
    remove_drafts(tmp_path)


def test_folders_of_drafts(tmp_path: Path) -> None:
    left = draft_path(tmp_path / "pack")
    left.mkdir()
    (left / "x").write_text("x")
    with draft_folder(tmp_path / "pack") as first:
        assert not left.exists() and is_draft(first)
        with draft_folder(tmp_path / "pack") as second:
            assert first.exists() and second != first
    assert list(tmp_path.iterdir()) == []

"""Nothing that a user's data hold controls the terminal, and every report of it is made."""

from __future__ import annotations

import csv
import os
import pty
import re
import sys
import threading
import warnings
from collections.abc import Callable
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest

from counterpoise import InputError
from counterpoise.cli.main import main
from counterpoise.core.console import make_console, make_table, printing
from counterpoise.core.names import check_name
from counterpoise.errors import UNPRINTABLE, printable
from counterpoise.report import records
from counterpoise.report.page import write_report

ESC = "\x1b[2J\x1b]0;title\x07"
EVIL = f"a{ESC}\x9b1m\u202eb\u2066\x00\x7f\u200b"
# What rich itself writes: colours, moves of the cursor, hiding it, links.
RICH = re.compile(r"\x1b\[(\?25[lh]|[0-9;]*[mAK]|2K|1A)|\r")


def on_a_terminal(work: Callable[[], object]) -> str:
    """What ``work`` prints on a terminal, without what rich itself writes there."""
    master, slave = pty.openpty()
    pieces: list[bytes] = []

    def listen() -> None:
        while True:
            try:
                piece = os.read(master, 1 << 16)
            except OSError:
                return
            if not piece:
                return
            pieces.append(piece)

    listener = threading.Thread(target=listen)
    listener.start()
    before = sys.stdout, sys.stderr
    with open(slave, "w", encoding="utf-8", newline="") as stream:
        sys.stdout = sys.stderr = stream
        try:
            work()
        finally:
            sys.stdout, sys.stderr = before
    listener.join(timeout=60)
    os.close(master)
    return RICH.sub("", b"".join(pieces).decode("utf-8", "replace"))


def test_every_way_to_the_terminal_is_guarded() -> None:
    def work() -> None:
        with printing():
            print(EVIL)
            print(EVIL, file=sys.stderr)
            sys.stdout.writelines([EVIL, "\n"])
            table = make_table(title=EVIL)
            table.add_column(EVIL)
            table.add_row(EVIL)
            console = make_console(force_terminal=True)
            console.print(table)
            console.print(EVIL, style="bold")
            make_console(stderr=True).print(EVIL)

    seen = on_a_terminal(work)
    assert seen.count("2J") >= 8
    assert not UNPRINTABLE.search(seen)


def write_hostile(folder: Path) -> Path:
    path = folder / "evil\x1b[31m.csv"
    generator = np.random.default_rng(0)
    with path.open("w", newline="") as file:
        out = csv.writer(file)
        out.writerow(["id", "x", "y", f"bad{ESC}", "target"])
        for k in range(60):
            numbers = [" ".join(f"{n:.3f}" for n in generator.normal(size=3)) for _ in range(2)]
            label = f"class{k % 2}\x1b[2J\x01\u202e"
            out.writerow([f"r{k}\x1b[5m", *numbers, f"word\x1b[1m {k}", label])
    return path


@pytest.mark.slow
def test_hostile_data_through_every_command(tmp_path: Path) -> None:
    table = write_hostile(tmp_path)
    made, run, out = (str(tmp_path / name) for name in ("made\x1b[1m", "run\x1b[1m", "all\x1b[1m"))
    answers, pack = str(tmp_path / "answers\x1b[1m.csv"), str(tmp_path / "pack\x1b[1m")
    base = [str(table), made]
    commands = [
        (2, ["prepare", *base, "--target", f"no{ESC}"]),
        (2, ["prepare", *base, "--type", f"x={ESC}"]),
        (2, ["prepare", *base, f"--{ESC}"]),
        (2, [ESC]),
        (0, ["prepare", *base, "--modalities", "x,y"]),
        (2, ["train", made, "--method", ESC, "--out", run]),
        (0, ["train", made, "--epochs", "1", "--out", run]),
        (0, ["evaluate", run]),
        (0, ["compare", made, "--methods", "joint,ogm", "--epochs", "1", "--out", out]),
        (0, ["report", out]),
        (0, ["pack", run, pack]),
        (0, ["predict", pack, str(table), "--out", answers, "--ignore", f"bad{ESC}"]),
        (2, ["predict", pack, str(table), "--out", answers, "--id", ESC]),
    ]
    for status, command in commands:
        found: list[int] = []

        def work(command: list[str] = command, found: list[int] = found) -> None:
            with warnings.catch_warnings():
                try:
                    found.append(main(command))
                except SystemExit as error:
                    found.append(int(error.code or 0))

        seen = on_a_terminal(work)
        assert found == [status], (command, seen)
        assert not UNPRINTABLE.search(seen), (command, seen)
    page = (Path(out) / "report.html").read_text()
    assert not UNPRINTABLE.search(page)
    for svg in re.findall(r"<svg.*?</svg>", page, re.DOTALL):
        ElementTree.fromstring(svg)


def test_a_report_holds_any_name(tmp_path: Path) -> None:
    name = f"{EVIL}\ud800\ufffe"
    lines = [
        (name, f"m{name}", 0, 0, "validation", "epoch", f"x{name}", "accuracy", 0.5),
        (name, f"m{name}", 0, 0, "test", "last", f"x{name}", "accuracy", 0.5),
        (name, f"m{name}", 0, 0, "test", "last", f"x{name}+y", "accuracy", 0.5),
        (name, f"m{name}", 0, 0, "run", "run", "", "done", 1),
    ]
    records.append(
        tmp_path / "records.jsonl", [dict(zip(records.RECORD, r, strict=True)) for r in lines]
    )
    page = write_report(tmp_path).read_text()
    assert "\\x1b" in page and not UNPRINTABLE.search(page)
    svgs = re.findall(r"<svg.*?</svg>", page, re.DOTALL)
    for svg in svgs:
        ElementTree.fromstring(svg)
    assert svgs


def test_names_of_modalities_hold_nothing_of_it() -> None:
    for letter in "\x1b\x01\x7f\x9b\u202e\u2066\u200b\u2028\ud800\ufeff":
        with pytest.raises(InputError, match="control characters") as caught:
            check_name(f"a{letter}b")
        assert not UNPRINTABLE.search(str(caught.value))
    for name in ("\u0646\u200c\u0645", "naïve", "图像", "a b", "a.b"):
        check_name(name)


def test_errors_are_shown_in_printable_characters() -> None:
    assert str(InputError("a\x1b[2J\nb\u202e")) == r"a\x1b[2J b\u202e"
    assert printable("a\tb\nc \u00a0 é 图 \u200d") == "a\tb\nc \u00a0 é 图 \u200d"

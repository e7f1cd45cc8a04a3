"""Completion by real shells: the scripts that the command prints do complete."""

from __future__ import annotations

import os
import pty
import select
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from counterpoise.cli.main import main

CASES = [
    ("", "train"),
    ("tr", "train"),
    ("train --label-s", "--label-smoothing"),
    ("train --method modality-d", "modality-dropout"),
    ("train --optimizer adamw", "adamw"),
    ("train --schedule cos", "cosine"),
    ("train dig", "digits"),
    ("compare digits --fusion fil", "film"),
    ("train --config mla-c", "mla-crema-d"),
    ("methods mmp", "mmpareto"),
    ("data crema", "crema-d"),
    ("evaluate fold", "folder"),
    ("prepare tab", "table.csv"),
    ("completion ba", "bash"),
]


def script(shell: str, folder: Path, capsys: pytest.CaptureFixture[str]) -> Path:
    """What the command prints, in a file, beside what is to be completed."""
    assert main(["completion", shell]) == 0
    path = folder / f"script.{shell}"
    path.write_text(capsys.readouterr().out)
    (folder / "folder").mkdir()
    (folder / "table.csv").touch()
    return path


def test_bash_completes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = script("bash", tmp_path, capsys)
    lines = [f"source {path}", 'function=$(complete -p counterpoise | sed "s/.* -F //; s/ .*//")']
    for line, _ in CASES:
        words = " ".join(f"'{word}'" for word in ["counterpoise", *line.split(" ")])
        lines += [f"COMP_WORDS=({words})", "COMP_CWORD=$((${#COMP_WORDS[@]} - 1))"]
        lines += ["COMPREPLY=()", "$function", 'echo "${COMPREPLY[*]}"']
    done = subprocess.run(
        ["bash", "-c", "\n".join(lines)], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert done.stderr == ""
    for (line, wanted), found in zip(CASES, done.stdout.splitlines(), strict=True):
        assert wanted in found.split(), line


@pytest.mark.skipif(shutil.which("zsh") is None, reason="zsh is not installed")
def test_zsh_completes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = script("zsh", tmp_path, capsys)
    process, terminal = pty.fork()
    if process == 0:
        os.chdir(tmp_path)
        os.environ["TERM"] = "dumb"
        os.execvp("zsh", ["zsh", "-f", "-i"])
    start = f'autoload -U compinit; compinit -u -D; eval "$(cat {path})"; PS1="next""> "\n'
    os.write(terminal, start.encode())
    assert "next> " in read(terminal, "next> ")
    for line, wanted in CASES[1:]:
        os.write(terminal, f"counterpoise {line}\t".encode())
        end = "/" if wanted == "folder" else " "  # it is not there before all is completed
        assert wanted + end in read(terminal, wanted + end), line
        os.write(terminal, b"\x15")  # empty the line
    os.write(terminal, b"exit\n")
    read(terminal, "exit")
    os.close(terminal)
    os.waitpid(process, 0)


def read(terminal: int, wanted: str, seconds: float = 20) -> str:
    """What the terminal shows until ``wanted`` is in it."""
    found, end = "", time.monotonic() + seconds
    while wanted not in found and time.monotonic() < end:
        if select.select([terminal], [], [], 0.1)[0]:
            found += os.read(terminal, 65536).decode(errors="replace")
    return found


def test_without_shtab_the_error_names_the_extra(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "shtab", None)
    assert main(["completion", "bash"]) == 2
    assert "pip install '.[completion]' in the checkout" in capsys.readouterr().err

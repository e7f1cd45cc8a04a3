"""Every flag that takes a number refuses what is none, in one line, before anything is made."""

from __future__ import annotations

import argparse
from pathlib import Path

import pytest
from folded import check_each

from counterpoise.cli.arguments import build_parser
from counterpoise.cli.main import COMMANDS, main

BASE = {
    "train": ["digits"],
    "compare": ["digits"],
    "tune": ["digits"],
    "prepare": ["table.csv", "out", "--quiet"],
    "predict": ["MODEL", "table.csv", "--out", "answers.csv"],
    "serve": ["MODEL"],
    "evaluate": ["RUN"],
}
FLOATS = ("-inf", "nan", "1e400", "x")
WHOLE = ("inf", "", "1.5", "9" * 400)


def find_flags() -> list[tuple[str, argparse.Action, bool]]:
    """Command, flag, and whether it takes whole numbers, of each flag that takes a number."""
    _, parsers = build_parser(COMMANDS)
    found = []
    for command, parser in parsers.items():
        for action in parser._actions:
            kind = getattr(action.type, "__name__", "")
            if action.dest in ("encoder_lr", "fractions"):
                kind = "float"
            if kind in ("int", "float"):
                found.append((command, action, kind == "int"))
    return found


def test_flags_of_numbers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("table.csv").write_text("target,a\n" + "".join(f"{k % 2},{k}.5\n" for k in range(20)))
    flags = find_flags()
    assert {command for command, *_ in flags} == set(BASE) and len(flags) > 30

    def check(command: str, flag: str, text: str) -> None:
        value = {"--encoder-lr": f"audio={text}", "--fractions": f"{text},0.2,0.1"}.get(flag, text)
        assert main([command, *BASE[command], f"{flag}={value}"]) == 2
        said = capsys.readouterr().err
        names = (flag, flag.strip("-").replace("-", "_"))
        assert said.count("\n") == 1 and any(name in said for name in names), said
        assert len(said) < 700 and [p.name for p in tmp_path.iterdir()] == ["table.csv"]

    check_each(
        (
            (command, action.option_strings[0], text)
            for command, action, whole in flags
            for text in (WHOLE if whole else FLOATS)
        ),
        check,
    )


def test_other_values(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("table.csv").write_text("target,a\n" + "".join(f"{k % 2},{k}.5\n" for k in range(20)))
    train, prepare = ["train", "digits"], ["prepare", "table.csv", "out", "--quiet"]

    def check(words: list[str], said: str) -> None:
        assert main(words) == 2
        error = capsys.readouterr().err
        assert said in error and error.count("\n") == 1, error
        assert [p.name for p in tmp_path.iterdir()] == ["table.csv"]

    check_each(
        [
            ([*train, "--modalities", "audio,audio"], "must name each once, found 'audio' twice"),
            ([*prepare, "--modalities", "a,a"], "must name each once, found 'a' twice"),
            ([*train, "--max-norm", "0"], "max_norm must be a number above 0, found 0"),
            ([*train, "--width", "0"], "width must be a whole number from 1 to 65536, found 0"),
            ([*train, "--width", "1000000000000"], "width must be a whole number from 1 to 65536"),
            (
                [*train, "--method", "cml", "--set", "weight=inf"],
                "weight must be a number from 0, found 'inf'",
            ),
            ([*train, "--method", "cml:margin=2"], "margin must be a number from 0 to 1, found 2"),
            ([*train, "--optimizer", "adam:betas=[0.9,1]"], "betas[1] must be a number from 0 and"),
            ([*train, "--schedule", "step:every=0"], "'step:every=0': every must be a whole"),
            ([*train, "--fusion", "shared:width=0"], "width must be a whole number from 1"),
            ([*train, "--fusion", "cosine:scale=nan"], "scale must be a number from 1e-06"),
            ([*train, "--encoder", "audio=transformer:heads=5"], "heads must divide the width"),
            ([*train, "--encoder", "audio=transformer:dropout=1"], "dropout must be a number from"),
            ([*train, "--encoder", "audio=lstm:layers=1000000"], "layers must be a whole number"),
            ([*prepare, "--type", "a=audio", "--set", "a.mels=0"], "mels must be a whole number"),
            ([*prepare, "--type", "a=image", "--set", "a.size=0"], "size must be a whole number"),
            ([*prepare, "--type", "a=audio", "--set", "a.rate=1e12"], "rate must be a"),
        ],
        check,
    )

"""The flags of the settings come from their declarations; configurations and flags agree."""

from __future__ import annotations

import inspect
from dataclasses import asdict, fields
from pathlib import Path

import pytest
from training.test_settings import USED

from counterpoise import InputError, Settings
from counterpoise.cli import prepare
from counterpoise.cli.arguments import build_parser, parse, ready_configs
from counterpoise.cli.experiment import read_settings
from counterpoise.cli.main import COMMANDS
from counterpoise.data.preparation import manifest, plan
from counterpoise.training.declaration import declarations


def settings(*words: str) -> Settings:
    return read_settings(parse([*words], COMMANDS))


@pytest.mark.parametrize("command", ["train", "compare"])
def test_without_flags_the_settings_are_the_defaults(command: str) -> None:
    assert settings(command, "digits") == Settings()


@pytest.mark.parametrize("name", [item.name for item in fields(Settings)])
def test_every_setting_has_its_flag_and_its_key(name: str, tmp_path: Path) -> None:
    value = USED[name]
    pairs = [f"{key}={number}" for key, number in value.items()] if isinstance(value, dict) else []
    flag = f"--{name.replace('_', '-')}"
    wanted = {**asdict(Settings()), name: value}
    words = [word for text in pairs or [str(value)] for word in (flag, text)]
    assert asdict(settings("train", "digits", *words)) == wanted
    config = tmp_path / "c.yaml"
    config.write_text(f"{flag[2:]}: {value!r}\n".replace("'a'", "a"))
    assert asdict(settings("train", "--config", str(config))) == wanted


def test_the_help_shows_every_declaration() -> None:
    parser = build_parser(COMMANDS, "train")[1]["train"]
    text = " ".join(parser.format_help().split())
    for name, declared in declarations(Settings).items():
        assert f"--{name.replace('_', '-')}" in text
        assert declared.explain() in text
    assert "(default 0.9, of sgd)" in text


def test_a_flag_wins_over_the_file(tmp_path: Path) -> None:
    config = tmp_path / "c.yaml"
    config.write_text("encoder-lr: {a: 0.1, b: 0.2}\nlr: 0.5\n")
    found = settings("train", "--config", str(config), "--encoder-lr", "b=1", "--lr", "0.25")
    assert (found.encoder_lr, found.lr) == ({"a": 0.1, "b": 1.0}, 0.25)


@pytest.mark.parametrize("path", ready_configs(), ids=lambda path: path.stem)
def test_the_configurations_of_papers_are_understood(path: Path) -> None:
    found = settings("train", "--config", path.stem)
    assert found.epochs >= 30 or path.stem.startswith("amd")


def test_what_prepare_says_without_importing_it_is_true() -> None:
    assert prepare.TASKS == manifest.TASKS
    text = build_parser(COMMANDS, "prepare")[1]["prepare"].format_help()
    assert ",".join(map(str, plan.FRACTIONS)) in text


def test_only_the_command_that_is_called_gets_its_arguments() -> None:
    parsers = build_parser(COMMANDS, "report")[1]
    assert len(parsers["report"]._actions) > 1
    assert len(parsers["train"]._actions) == 1


def test_every_command_says_what_it_does() -> None:
    for name, command in COMMANDS.items():
        module = inspect.getmodule(command.run)
        assert module is not None and module.__doc__ == f"The command ``counterpoise {name}``."
    with pytest.raises(InputError, match="did you mean 'evaluate'"):
        parse(["evalute"], COMMANDS)

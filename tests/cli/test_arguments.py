"""The flags of the settings come from their declarations; configurations and flags agree."""

from __future__ import annotations

import inspect
import json
import math
import re
from dataclasses import asdict, fields
from pathlib import Path

import pytest
from training.test_settings import USED

from counterpoise import InputError, Settings
from counterpoise.cli import arguments
from counterpoise.cli.arguments import build_parser, parse, ready_configs
from counterpoise.cli.experiment import make_recipe, read_settings
from counterpoise.cli.main import COMMANDS
from counterpoise.cli.output import print_json
from counterpoise.compare.recipe import Recipe
from counterpoise.core import storage
from counterpoise.core.labels import parse_options
from counterpoise.data import targets
from counterpoise.data.preparation import plan
from counterpoise.report.records import append
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
    words = [flag] if value is True else words
    assert asdict(settings("train", "digits", *words)) == wanted
    config = tmp_path / "c.yaml"
    said = "true" if value is True else repr(value)
    config.write_text(f"{flag[2:]}: {said}\n".replace("'a'", "a"))
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
    assert arguments.TASKS == targets.TASKS
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


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("--encoder-lr a=.1 --encoder-lr a=.2", "--encoder-lr must name 'a' once, found 0.1 and"),
        ("--schedule cosine:scale=1:scale=2", "option 'scale' must be given once, found 1 and 2"),
        ("--optimizer adamw:eps=1:eps=2", "option 'eps' must be given once"),
        ("--momentum 1.5", "momentum must be a number from 0 and below 1, found 1.5"),
        ("--lr 1e400", "lr must be a finite number, found inf"),
        ("--lr nan", "lr must be a number from 0, found nan"),
        ("--patience 2.5", "invalid int value: '2.5'"),
    ],
)
def test_flags_that_say_nothing_or_two_things_are_refused(words: str, message: str) -> None:
    with pytest.raises(InputError, match=re.escape(message)):
        settings("train", "digits", *words.split())


def test_options_of_a_method_are_given_once() -> None:
    with pytest.raises(InputError, match=r"'rates.audio' must be given once, found 0.1 and 0.2"):
        parse_options(["rates.audio=0.1", "rates.audio=0.2"])
    assert parse_options(["rates.audio=0.1", "rates.image=0.2"]) == {
        "rates": {"audio": 0.1, "image": 0.2}
    }
    with pytest.raises(InputError, match=r"--encoder must name 'a' once, found mlp and cnn"):
        words = ["train", "digits", "--encoder", "a=mlp", "--encoder", "a=cnn"]
        make_recipe(parse(words, COMMANDS))


@pytest.mark.parametrize("word", ["None", "none", "null"])
def test_what_may_be_none_takes_the_word(word: str) -> None:
    words = [f"--{name}={word}" for name in ("patience", "max-norm", "best-with", "metric")]
    assert settings("train", "digits", *words) == Settings()


def test_a_flag_wins_over_the_same_key_of_a_file(tmp_path: Path) -> None:
    config = tmp_path / "c.yaml"
    config.write_text(
        "encoder-lr: {a: 0.1, b: 0.2}\nset: {rates: {audio: 0.5, image: 0.4}, mode: paper}\n"
    )
    words = ["train", "digits", "--config", str(config), "--encoder-lr=a=0.3"]
    options = parse([*words, "--set", "rates.audio=0.1"], COMMANDS)
    assert read_settings(options).encoder_lr == {"a": 0.3, "b": 0.2}
    assert sorted(options.set) == ["mode=paper", "rates.audio=0.1", "rates.image=0.4"]
    assert parse([*words, "--set", "rates=0.2"], COMMANDS).set == ["mode=paper", "rates=0.2"]


def test_a_flag_that_the_optimiser_does_not_know_is_warned_of() -> None:
    with pytest.warns(UserWarning, match=r"^--momentum does nothing: adam has none$"):
        settings("train", "digits", "--optimizer", "adam", "--momentum", "0.5")
    settings("train", "digits", "--optimizer", "adam")
    settings("train", "digits", "--momentum", "0.5")


def test_everything_that_is_printed_or_written_is_strict_json(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def refuse(word: str) -> None:
        raise AssertionError(word)

    value = {"metric": math.nan, "list": [math.inf, 1.5]}
    print_json(value)
    storage.write_json(tmp_path / "a.json", value)
    append(tmp_path / "records.jsonl", [value])
    for text in (
        capsys.readouterr().out,
        (tmp_path / "a.json").read_text(),
        (tmp_path / "records.jsonl").read_text(),
    ):
        found = json.loads(text, parse_constant=refuse)
        found.pop("checksum", None)
        assert found == {"metric": None, "list": [None, 1.5]}


@pytest.mark.parametrize("command", ["train", "compare"])
def test_each_flag_of_the_experiment_reaches_its_field(command: str) -> None:
    words = ["--modalities", "a,b", "--data-dir", "D", "--fusion", "late", "--width", "7"]
    words += ["--precision", "bf16", "--encoder", "a=mlp", "--task", "regression", "--epochs", "4"]
    words += ["--subsets", "a+b,b", "--freeze", "b"]
    recipe = make_recipe(parse([command, "x.npz", *words], COMMANDS))
    assert recipe == Recipe(
        data="x.npz",
        modalities=("a", "b"),
        data_dir="D",
        settings=Settings(epochs=4),
        fusion="late",
        width=7,
        precision="bf16",
        encoders={"a": "mlp"},
        task="regression",
        subsets=[["a", "b"], ["b"]],
        freeze=("b",),
    )

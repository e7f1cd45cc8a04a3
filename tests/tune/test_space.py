"""Spaces: read from a file, refused in one line that names the place, and applied to a recipe."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from folded import check_each

from counterpoise import InputError, Settings, build_method
from counterpoise.compare.recipe import Recipe
from counterpoise.core.plain_yaml import parse_yaml
from counterpoise.methods import METHODS
from counterpoise.tune.point import default_point, describe_point, split_point
from counterpoise.tune.space import (
    Choices,
    Range,
    check_uses,
    default_space,
    parse_space,
    read_space,
)

GOOD = """
lr: {low: 1e-4, high: 1e-1, log: true}
weight-decay: {low: 1e-6, high: 1e-2, log: true}
width: [32, 64, 128]
batch-size: {low: 8, high: 64, log: true}
encoder-lr.audio: {low: 0.1, high: 1}
schedule: [constant, cosine]
max-norm: [null, 1.0]
methods:
  ogm: {alpha: {low: 0.1, high: 1.0}, onset: [jump, continuous]}
  modality-dropout: {rates.audio: {low: 0, high: 0.9}}
"""
LABELS = ["joint", "ogm", "modality-dropout+ogm-ge", "modality-dropout+ogm"]


def parse(text: str, labels: list[str] | None = None) -> Any:
    return parse_space(parse_yaml(text), labels or LABELS, "space file s.yaml")


def test_settings_and_options_are_read(tmp_path: Path) -> None:
    (tmp_path / "s.yaml").write_text(GOOD)
    found = read_space(tmp_path / "s.yaml", LABELS)
    joint = found["joint"]
    assert joint["lr"] == Range(1e-4, 1e-1, log=True)
    assert joint["width"] == Choices((32, 64, 128))
    assert joint["batch_size"] == Range(8, 64, log=True, whole=True)
    assert joint["encoder_lr.audio"] == Range(0.1, 1)
    assert joint["max_norm"] == Choices((None, 1.0))
    assert found["ogm"] == joint | {
        "ogm:alpha": Range(0.1, 1.0),
        "ogm:onset": Choices(("jump", "continuous")),
    }
    assert "modality-dropout:rates.audio" in found["modality-dropout+ogm-ge"]
    assert "ogm:alpha" not in found["modality-dropout+ogm-ge"]
    assert "ogm:alpha" in found["modality-dropout+ogm"]


WRONG = {
    "": "s.yaml must hold name: values lines",
    "[1]": "s.yaml must hold name: values lines",
    "lrr: [1]": "unknown name in space file s.yaml 'lrr'; did you mean 'lr'?",
    "seed: [1, 2]": "seed cannot be searched",
    "metric: [accuracy]": "metric cannot be searched",
    "lr: 3": "lr must be {low: A, high: B}",
    "lr: []": "lr must be {low: A, high: B}",
    "lr: {low: 1}": "lr lacks high",
    "lr: {low: 1, high: 2, lg: true}": "unknown key in space file s.yaml: lr 'lg'",
    "lr: {low: 1, high: 2, log: 1}": "lr.log must be true or false",
    "lr: {low: 2, high: 1}": "lr.low must be below high, found 2",
    "lr: {low: 1, high: 1}": "lr.low must be below high",
    "lr: {low: 0, high: 1, log: true}": "lr.low must be above 0 where log is true",
    "lr: {low: -1, high: 1}": "lr.low must be a number from 0, found -1",
    "lr: {low: 0.1, high: .inf}": "lr.high must be a finite number",
    "lr: {low: true, high: 2}": "lr.low must be a number from 0, found True",
    "momentum: {low: 0, high: 1}": "momentum.high must be a number from 0 and below 1, found 1",
    "momentum: [0.5, 1]": "momentum[1] must be a number from 0 and below 1, found 1",
    "epochs: {low: 0, high: 3}": "epochs.low must be a whole number from 1, found 0",
    "epochs: {low: 1, high: 3.5}": "epochs.high must be a whole number from 1, found 3.5",
    "width: {low: 0, high: 3}": "width.low must be a whole number from 1",
    "width: [64, 64]": "width must name each choice once, found 64 twice",
    "width: [[1]]": "width[0] must be a word, a number",
    "schedule: {low: 1, high: 2}": "schedule is no number",
    "schedule: [cosinus]": "did you mean 'cosine'?",
    "encoder-lr: {low: 1, high: 2}": "encoder-lr is a mapping: name a part",
    "lr.audio: {low: 1, high: 2}": "lr.audio has no parts",
    "methods: 3": "methods must hold name: values lines",
    "methods: {mla: {order: [fixed]}}": "unknown method in space file s.yaml: methods 'mla'",
    "methods: {ogm: {}}": "methods.ogm must hold name: values lines",
    "methods: {ogm: {alfa: [1]}}": "unknown option in space file s.yaml: methods.ogm 'alfa'; did",
    "methods: {ogm: {alpha: {low: -1, high: 1}}}": "methods.ogm.alpha.low must be a number from 0",
    "methods: {ogm: {start: {low: 0, high: 1.5}}}": "methods.ogm.start.high must be a whole number",
    "methods: {ogm: {onset: [jumpy]}}": "unknown value for space file s.yaml: methods.ogm.onset[0]",
    "methods: {ogm: {onset: {low: 0, high: 1}}}": "methods.ogm.onset is no number",
    "methods: {ogm: {alpha.x: {low: 0, high: 1}}}": "methods.ogm.alpha.x has no parts",
}


def test_what_does_not_fit_is_refused_with_its_place() -> None:
    def check(text: str, said: str) -> None:
        with pytest.raises(InputError) as error:
            parse(text)
        assert said in str(error.value), str(error.value)

    check_each(WRONG.items(), check)


def test_the_file_of_the_page_is_read() -> None:
    page = (Path(__file__).parents[2] / "docs" / "tune.md").read_text()
    found = parse(page.partition("```yaml\n")[2].partition("```")[0])
    assert set(found["ogm"]) == {"lr", "weight_decay", "width", "schedule", "ogm:alpha"}


def test_an_option_is_set_or_searched() -> None:
    text = "methods: {mla: {order: [fixed, shuffle]}}"
    with pytest.raises(InputError, match="set by 'mla:order=fixed' in --methods, too"):
        parse(text, ["mla:order=fixed"])
    assert parse(text, ["mla:projector=off"])["mla:projector=off"]


def test_what_the_optimiser_does_not_have_is_refused() -> None:
    spaces = parse("momentum: {low: 0, high: 0.9}")
    check_uses(spaces, Settings())
    with pytest.raises(InputError, match="momentum is searched and does nothing: adam has none"):
        check_uses(spaces, Settings(optimizer="adam"))
    check_uses(parse("{momentum: [0, 0.9], optimizer: [adam, sgd]}"), Settings(optimizer="adam"))


def test_the_usual_space_follows_from_what_is_declared() -> None:
    found = default_space("ogm", Settings(lr=0.03))
    assert found == {
        "lr": Range(0.0003, 0.3, log=True),
        "weight_decay": Range(1e-6, 0.01, log=True),
        "ogm:alpha": Range(0.08, 8.0, log=True),
    }
    assert default_space("pmr", Settings())["pmr:share"] == Range(0.0, 1.0)
    assert "multi-loss:weight" not in default_space("multi-loss:weight=2", Settings())
    for method in METHODS:  # every end of every range is a value that the method takes
        for name, domain in default_space(method, Settings()).items():
            if ":" in name:
                option = name.split(":")[1]
                build_method(f"{method}:{option}={domain.low}")
                build_method(f"{method}:{option}={domain.high}")


def test_numbers_have_four_digits_and_stay_inside() -> None:
    domain = Range(1.23456e-4, 0.1, log=True)
    assert domain.settle(0.0123456) == 0.01235
    assert domain.settle(1.23457e-4) == 1.23456e-4 or domain.holds(domain.settle(1.23457e-4))
    assert domain.holds(domain.settle(1.23456e-4))
    assert Range(0, 1).settle(0.0) == 0.0
    assert Range(8, 64, whole=True).settle(12345) == 12345


def test_a_point_becomes_settings_and_a_label() -> None:
    recipe, space = Recipe("digits", width=64), parse(GOOD)["modality-dropout+ogm"]
    default = default_point(space, recipe, "modality-dropout+ogm")
    assert default["lr"] == 0.01 and default["width"] == 64 and default["ogm:alpha"] == 0.8
    assert split_point(default, recipe, "modality-dropout+ogm") == ({}, "modality-dropout+ogm")
    point = default | {
        "lr": 1e-05,
        "width": 32,
        "encoder_lr.audio": 0.5,
        "ogm:alpha": 0.25,
        "ogm:onset": "continuous",
        "modality-dropout:rates.audio": 0.5,
    }
    settings, label = split_point(point, recipe, "modality-dropout+ogm")
    assert settings == {"lr": 1e-05, "width": 32, "encoder_lr": {"audio": 0.5}}
    assert label == "modality-dropout:rates.audio=0.5+ogm:alpha=0.25:onset=continuous"
    assert build_method(label).settings()["ogm"]["alpha"] == 0.25
    changed = recipe.change(settings)
    assert (changed.width, changed.settings.lr) == (32, 1e-05)
    assert changed.settings.encoder_lr == {"audio": 0.5}
    assert "ogm.alpha 0.25" in describe_point(point)


def test_options_of_a_label_are_where_a_search_begins() -> None:
    recipe = Recipe("digits")
    assert default_point(["ogm:alpha", "lr"], recipe, "ogm:alpha=0.3") == {
        "ogm:alpha": 0.3,
        "lr": 0.01,
    }

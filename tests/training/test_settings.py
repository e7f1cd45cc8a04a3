"""Settings: each is declared once, checked, written and read again, also from older records."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from counterpoise import InputError, Settings
from counterpoise.training.declaration import NEEDED, declarations, describe

# What every record has held since the first version, in which no other setting was known.
FIRST = {
    "epochs": 3,
    "batch_size": 16,
    "optimizer": "sgd",
    "lr": 0.1,
    "momentum": 0.5,
    "weight_decay": 0.0,
    "max_norm": None,
    "seed": 4,
}
# A value of each setting that does something; the tests of flags use them, too.
USED: dict[str, Any] = {
    "epochs": 3,
    "batch_size": 16,
    "accumulate": 4,
    "optimizer": "sgd",
    "lr": 0.1,
    "momentum": 0.5,
    "weight_decay": 0.01,
    "max_norm": 2.0,
    "seed": 4,
    "best_with": "a+b",
    "schedule": "step:every=2:factor=0.5",
    "warmup": 0.5,
    "encoder_lr": {"a": 0.1, "b": 2.0},
    "patience": 5,
    "metric": "macro-f1",
    "class_weights": "balanced",
    "label_smoothing": 0.1,
    "local_batch_norm": True,
}


def refuse(message: str, **changes: Any) -> None:
    with pytest.raises(InputError) as caught:
        Settings(**changes)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_every_setting_is_declared_and_documented() -> None:
    assert list(declarations(Settings)) == [item.name for item in fields(Settings)] == list(USED)
    assert Settings.__doc__ is not None
    for line in describe(Settings):
        assert line in Settings.__doc__.splitlines()
        assert len(line) <= 100


@pytest.mark.parametrize("name", USED)
def test_a_record_holds_every_setting_that_does_something(name: str) -> None:
    settings = Settings(**{name: USED[name]})
    assert settings.plain()[name] == USED[name]
    assert Settings.from_record(json.loads(json.dumps(settings.plain()))) == settings


def test_what_does_nothing_is_omitted_and_read_as_doing_nothing() -> None:
    assert set(Settings().plain()) == {*FIRST} - {"max_norm"}
    assert "momentum" not in Settings(optimizer="adam", momentum=0.5).plain()
    record = Settings(optimizer="adam").plain()
    assert Settings.from_record(record) == Settings(optimizer="adam")


def test_an_old_record_means_what_it_meant() -> None:
    """Whatever the defaults of today are: a setting that was not known does nothing."""
    old = Settings.from_record(FIRST)
    assert {name: getattr(old, name) for name in FIRST} == FIRST
    for name, declared in declarations(Settings).items():
        assert name in FIRST or getattr(old, name) == declared.off
    assert Settings.from_record({**FIRST, "lr_step": 2, "lr_factor": 0.5}) == replace(
        old, schedule="step:every=2:factor=0.5"
    )
    assert Settings.from_record({**FIRST, "optimizer": "adam"}).plain() == {
        name: value
        for name, value in {**FIRST, "optimizer": "adam"}.items()
        if name not in ("momentum", "max_norm")
    }


def test_a_record_that_lacks_a_setting_or_holds_another_is_refused() -> None:
    for name, declared in declarations(Settings).items():
        if declared.off is NEEDED:
            with pytest.raises(InputError, match=f"lack '{name}'"):
                Settings.from_record({key: FIRST[key] for key in FIRST if key != name})
    with pytest.raises(InputError, match="unknown setting 'lrs'"):
        Settings.from_record({**FIRST, "lrs": 1})


def test_numbers_of_numpy_and_torch_become_plain() -> None:
    settings = Settings(
        epochs=np.int64(2),
        batch_size=torch.tensor(8),
        lr=np.float32(0.5),
        warmup=1,
        encoder_lr={"a": np.float64(0.25)},
        class_weights=np.array([1, 2]),
    )
    values = settings.plain()
    assert values["class_weights"] == [1.0, 2.0]
    assert json.loads(json.dumps(values)) == values
    assert {n: type(values[n]) for n in ("epochs", "batch_size", "lr", "warmup")} == {
        "epochs": int,
        "batch_size": int,
        "lr": float,
        "warmup": float,
    }


@pytest.mark.parametrize("name", USED)
@pytest.mark.parametrize("value", [True, np.True_, object(), b"x"])
def test_what_is_no_value_is_refused_by_name(name: str, value: Any) -> None:
    switch = declarations(Settings)[name].kind is bool and isinstance(value, bool | np.bool_)
    refuse(name, **{name: 1 if switch else value})


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"epochs": 0}, "epochs must be a whole number from 1, found 0"),
        ({"epochs": 2.0}, "epochs must be a whole number from 1, found 2.0"),
        ({"epochs": None}, "epochs must be a whole number from 1, found None"),
        ({"lr": float("nan")}, "lr must be a number from 0, found nan"),
        ({"lr": np.array([[0.1], [0.2]])}, "lr must be a number from 0, found array"),
        ({"lr": "0.1"}, "lr must be a number from 0, found '0.1'"),
        ({"optimizer": "sdg"}, "unknown optimizer 'sdg'; did you mean 'sgd'?"),
        ({"optimizer": "sgd:beta=1"}, "unknown option of sgd 'beta'"),
        ({"schedule": "steps"}, "unknown schedule 'steps'; did you mean 'step'?"),
        ({"schedule": "step:ever=2"}, "unknown option of step 'ever'; did you mean 'every'?"),
        ({"schedule": "step"}, "missing a required argument: 'every'"),
        ({"best_with": ""}, "best_with must be a word, found ''"),
        ({"label_smoothing": 1}, "label_smoothing must be a number from 0 and below 1, found 1"),
        ({"encoder_lr": 0.1}, "encoder_lr must be a dict of names and numbers, found 0.1"),
        ({"encoder_lr": {"a": -1}}, "encoder_lr['a'] must be a number from 0, found -1"),
        ({"class_weights": "no.yaml"}, "'balanced' or a file of class: weight lines, found 'no"),
        ({"class_weights": {"cat": -1}}, "class_weights['cat'] must be a number from 0, found -1"),
        ({"class_weights": [1, True]}, "class_weights[1] must be a number from 0, found True"),
        ({"patience": 0}, "patience must be a whole number from 1, found 0"),
    ],
)
def test_bounds(changes: Mapping[str, Any], said: str) -> None:
    refuse(said, **changes)


def test_a_mapping_is_a_copy() -> None:
    given = {"a": 0.5}
    settings, other = Settings(encoder_lr=given), Settings()
    given["a"] = 1.0
    assert settings.encoder_lr == {"a": 0.5} and other.encoder_lr == {}
    assert Settings(encoder_lr=None) == other  # type: ignore[arg-type]
    assert Settings().encoder_lr is not other.encoder_lr


@pytest.mark.parametrize(
    ("text", "weights"),
    [
        ("cat: 2\ndog: 0.5\n", {"cat": 2.0, "dog": 0.5}),
        ('{"0": 1, "1": 3}', {"0": 1.0, "1": 3.0}),
        ("0: 1\n1: 3\n", {"0": 1.0, "1": 3.0}),
        ("[1, 3]", [1.0, 3.0]),
    ],
)
def test_weights_of_classes_from_a_file_are_kept_themselves(
    text: str, weights: Any, tmp_path: Path
) -> None:
    """Not the name of the file, which may change before the run is opened again."""
    path = tmp_path / "w.yaml"
    path.write_text(text)
    settings = Settings(class_weights=str(path))
    path.unlink()
    assert settings.class_weights == weights
    assert replace(settings, epochs=2).class_weights == weights


@pytest.mark.parametrize("text", ["5", "a: [", "a: b", "\x00"])
def test_a_file_that_holds_no_weights_is_refused(text: str, tmp_path: Path) -> None:
    path = tmp_path / "w.yaml"
    path.write_text(text)
    refuse("class_weights", class_weights=str(path))


def test_settings_that_cannot_go_together_are_refused() -> None:
    with pytest.raises(InputError, match="best_with must name a modality once"):
        Settings(best_with="a+a").best_subset(("a", "b"))
    with pytest.raises(InputError, match="lr must be a finite number, found inf"):
        Settings(lr=float("inf"))

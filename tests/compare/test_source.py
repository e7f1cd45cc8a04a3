"""Other processes find the data of a comparison, or get them, and never take others for them."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest
from toy import toy_data

from counterpoise import InputError, load
from counterpoise.compare.recipe import Recipe
from counterpoise.compare.source import Source


def write(path: Path, seed: int = 0) -> Path:
    generator = np.random.default_rng(seed)
    target = np.arange(60) % 2
    np.savez(path, target=target, **{m: generator.normal(size=(60, 3)) for m in ("a", "b")})
    return path


def test_what_has_a_name_or_a_path_is_not_sent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "toy.npz")
    recipe = Recipe("toy.npz", data_dir="data")
    source = Source.of(recipe, recipe.load())
    assert source.data is None
    assert source.recipe.data == str(tmp_path / "toy.npz")
    assert source.recipe.data_dir == str(tmp_path / "data")
    assert source.recipe.identity() == recipe.identity()
    assert source.recipe.source() == recipe.source()
    monkeypatch.chdir("/")
    sent = pickle.loads(pickle.dumps(source))
    assert sent.open().fingerprint() == source.fingerprint
    assert sent.open() is source.open(), "once in a process"
    named = Recipe("digits")
    assert Source.of(named, named.load()) == Source(named, load("digits").fingerprint(), None)


def test_what_is_in_memory_alone_is_sent() -> None:
    data = toy_data()
    source = Source.of(Recipe("my own arrays"), data)
    assert source.open() is data


def test_other_data_of_this_name_are_refused(tmp_path: Path) -> None:
    recipe = Recipe(str(write(tmp_path / "toy.npz", seed=2)))
    source = Source.of(recipe, recipe.load())
    write(tmp_path / "toy.npz", seed=1)
    with pytest.raises(InputError, match="on this machine are others"):
        source.open()
    (tmp_path / "toy.npz").unlink()
    with pytest.raises(InputError, match=r"toy\.npz"):
        source.open()

"""Files are whole or not there, and nothing in them is run."""

from __future__ import annotations

import pickle
from pathlib import Path

import pytest
import torch

from counterpoise import InputError
from counterpoise.core import storage


def test_a_failed_write_leaves_the_old_file_and_no_draft(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "x"
    storage.write(path, b"old")

    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", fail)
    with pytest.raises(OSError, match="No space"):
        storage.write(path, b"new")
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_state_round_trip(tmp_path: Path) -> None:
    state = {"a": torch.arange(3), "b": {"c": [1, 2.5, "x", None]}}
    storage.write_state(tmp_path / "s.pt", state)
    found = storage.read_state(tmp_path / "s.pt")
    assert torch.equal(found["a"], state["a"])
    assert found["b"] == state["b"]


class Bomb:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return (print, ("boom",))


@pytest.mark.parametrize("writer", ["torch", "pickle"])
def test_a_pickle_with_code_is_refused_and_not_run(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], writer: str
) -> None:
    path = tmp_path / "s.pt"
    if writer == "torch":
        torch.save({"x": Bomb()}, path)
    else:
        path.write_bytes(pickle.dumps({"x": Bomb()}))
    with pytest.raises(InputError, match="is damaged"):
        storage.read_state(path)
    assert capsys.readouterr().out == ""


def test_weights_round_trip_and_damage(tmp_path: Path) -> None:
    path = tmp_path / "w.safetensors"
    storage.write_weights(path, {"w": torch.eye(2)}, {"epoch": "3"})
    assert torch.equal(storage.read_weights(path)["w"], torch.eye(2))
    path.write_bytes(path.read_bytes()[:-5])
    with pytest.raises(InputError, match="is damaged"):
        storage.read_weights(path)
    with pytest.raises(InputError, match="is not there"):
        storage.read_weights(tmp_path / "no")
    with pytest.raises(InputError, match="is not there"):
        storage.read_json(tmp_path / "no")

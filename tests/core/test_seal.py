"""A checksum inside of a content: one flipped bit anywhere is noticed."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file

from counterpoise import InputError
from counterpoise.core import seal, storage

Write = Callable[[Path], None]
Read = Callable[[Path], object]
WEIGHTS = {"b": torch.arange(5.0), "a": torch.eye(2)}

KINDS: dict[str, tuple[Write, Read]] = {
    "record.json": (
        lambda path: storage.write_record(path, {"lr": 0.1, "name": "ü", "nested": {"x": [1e-9]}}),
        lambda path: _sealed(storage.read_record(path)),
    ),
    "state.pt": (
        lambda path: storage.write_state(path, {"model": WEIGHTS, "history": "[]"}),
        lambda path: storage.read_state(path, sealed=True),
    ),
    "weights.safetensors": (
        lambda path: storage.write_weights(path, WEIGHTS, {"epoch": "3", "run": "x"}),
        lambda path: storage.read_metadata(path, sealed=True, mend="delete it"),
    ),
}


def _sealed(found: tuple[object, bool]) -> None:
    if not found[1]:  # as those who read a record do, whose format says that it has one
        raise InputError("its checksum is gone")


@pytest.mark.parametrize("name", KINDS)
def test_every_flipped_bit_is_noticed(name: str, tmp_path: Path) -> None:
    write, read = KINDS[name]
    path = tmp_path / name
    write(path)
    whole = path.read_bytes()
    read(path)
    draw = random.Random(0)
    places = {draw.randrange(8 * len(whole)) for _ in range(400)} | set(range(8 * len(whole)))
    for place in sorted(places)[:: 1 + len(places) // 1000]:
        spoilt = bytearray(whole)
        spoilt[place // 8] ^= 1 << place % 8
        path.write_bytes(bytes(spoilt))
        with pytest.raises(InputError, match=r"damaged|is gone"):
            read(path)


@pytest.mark.parametrize("name", KINDS)
def test_what_is_cut_or_lengthened_is_noticed(name: str, tmp_path: Path) -> None:
    write, read = KINDS[name]
    path = tmp_path / name
    write(path)
    whole = path.read_bytes()
    for content in (whole[:-1], whole[: len(whole) // 2], whole + b"\n", b"", whole + whole):
        path.write_bytes(content)
        with pytest.raises(InputError, match=r"damaged|is gone"):
            read(path)


def test_other_programs_read_the_files(tmp_path: Path) -> None:
    for name, (write, _) in KINDS.items():
        write(tmp_path / name)
    state = torch.load(tmp_path / "state.pt", weights_only=True)
    mapped = torch.load(tmp_path / "state.pt", weights_only=True, mmap=True)
    assert torch.equal(state["model"]["b"], WEIGHTS["b"])
    assert torch.equal(mapped["model"]["b"], WEIGHTS["b"])
    assert torch.equal(load_file(tmp_path / "weights.safetensors")["a"], torch.eye(2))
    with safe_open(tmp_path / "weights.safetensors", "pt") as file:
        assert file.metadata()["epoch"] == "3"
    assert json.loads((tmp_path / "record.json").read_text())["lr"] == 0.1


def test_the_same_weights_are_the_same_bytes(tmp_path: Path) -> None:
    for name in "ab":
        for _ in range(5):  # safetensors orders metadata by chance
            storage.write_weights(tmp_path / name, WEIGHTS, {"epoch": "3", "run": "x", "z": "y"})
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_a_line() -> None:
    line = seal.seal_line(b'{"value":1,"checksum":"0000000000000000"}')
    assert seal.check_line(line) is True
    assert seal.check_line(b'{"value":1}') is None
    for place in range(8 * len(line)):
        spoilt = bytearray(line)
        spoilt[place // 8] ^= 1 << place % 8
        assert not seal.check_line(bytes(spoilt))


def test_what_older_versions_wrote_is_sealed(tmp_path: Path) -> None:
    from safetensors.torch import save_file

    torch.save({"model": WEIGHTS}, tmp_path / "old.pt")
    save_file(WEIGHTS, tmp_path / "old.safetensors", {"epoch": "3"})
    assert torch.equal(storage.read_state(tmp_path / "old.pt")["model"]["a"], torch.eye(2))
    with pytest.raises(InputError, match="checksum is gone"):
        storage.read_state(tmp_path / "old.pt", sealed=True)
    for name in ("old.pt", "old.safetensors"):
        for _ in range(2):
            storage.add_seal(tmp_path / name)
    assert torch.equal(
        storage.read_state(tmp_path / "old.pt", sealed=True)["model"]["a"], torch.eye(2)
    )
    about = storage.read_metadata(tmp_path / "old.safetensors", True, "")
    assert about == {"epoch": "3"}

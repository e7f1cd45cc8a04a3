"""The folder of a pack: written in one step, read with checks."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from folded import check_each

from counterpoise import InputError
from counterpoise.deploy import folder
from counterpoise.deploy.folder import Pack, is_pack, read_facts, read_pack, sum_up, write_pack

FACTS = {"made_with": {"counterpoise": "0.1.0"}, "license": None, "number": 0.1, "none": None}


def pack(**facts: Any) -> Pack:
    return Pack({**FACTS, **facts}, {"w": torch.arange(3.0)}, {"tokenizer.json": b"{}"})


def test_what_was_written_is_read(tmp_path: Path) -> None:
    path = tmp_path / "model"
    said = write_pack(path, pack(), "# card\n")
    found = read_pack(path)
    assert found.facts == said and found.files == {"tokenizer.json": b"{}"}
    assert torch.equal(found.weights["w"], torch.arange(3.0))
    assert sorted(p.name for p in path.iterdir()) == [
        *("README.md", "config.json", "model.safetensors", "tokenizer.json")
    ]
    assert is_pack(path) and not is_pack(tmp_path) and not is_pack(tmp_path / "no")


def test_other_white_space_an_edited_card_and_a_licence_do_no_harm(tmp_path: Path) -> None:
    path = tmp_path / "model"
    facts = write_pack(path, pack(), "card")
    other = dict(reversed({**facts, "license": "mit"}.items()))
    (path / "config.json").write_text(json.dumps(other))
    (path / "README.md").write_text("mine")
    (path / "notes.txt").write_text("mine")
    assert read_pack(path).facts["license"] == "mit"


def test_damage_is_found(tmp_path: Path) -> None:
    def change(name: str, content: bytes | None, line: str) -> None:
        path = tmp_path / str(abs(hash((name, content))))
        write_pack(path, pack(), "card")
        if content is None:
            (path / name).unlink()
        else:
            (path / name).write_bytes(content)
        with pytest.raises(InputError, match=line):
            read_pack(path)

    def config(**changes: Any) -> bytes:
        path = tmp_path / "first"
        if not path.exists():
            write_pack(path, pack(), "card")
        return json.dumps({**read_facts(path), **changes}).encode()

    newer = config(format=9)
    cases = [
        ("model.safetensors", b"\0" * 90, "model.safetensors is damaged or was changed"),
        ("model.safetensors", None, "model.safetensors is not there; copy the whole folder"),
        ("tokenizer.json", b"[]", "tokenizer.json is damaged or was changed"),
        ("config.json", None, r"holds no pack \(config.json\)"),
        ("config.json", b"{", "config.json is damaged"),
        ("config.json", b"[]", "is of another library"),
        ("config.json", b'{"model_type": "bert"}', "is of another library"),
        ("config.json", config(number=0.2), "was changed"),
        ("config.json", config(format=None), r"damaged \(no format\)"),
        ("config.json", newer, "of format 9, written by counterpoise 0.1.0"),
    ]
    check_each(cases, change)


def test_nothing_is_read_outside_of_the_folder(tmp_path: Path) -> None:
    path = tmp_path / "model"
    facts = write_pack(path, pack(), "card")
    (tmp_path / "secret").write_text("x")
    facts = {**facts, "files": {**facts["files"], "../secret": "0"}}
    facts["checksum"] = sum_up(facts)
    (path / "config.json").write_text(json.dumps(facts))
    with pytest.raises(InputError, match=r"names a file outside of its folder: '\.\./secret'"):
        read_pack(path)


def test_what_is_there_stays(tmp_path: Path) -> None:
    path = tmp_path / "model"
    write_pack(path, pack(), "card")
    with pytest.raises(InputError, match="holds a pack already; choose another folder, or say"):
        write_pack(path, pack(), "card")
    again = write_pack(path, pack(number=2), "new", overwrite=True)
    assert read_facts(path) == again and (path / "README.md").read_text() == "new"
    assert [p.name for p in tmp_path.iterdir()] == ["model"]
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "thesis.txt").write_text("x")
    for overwrite in (False, True):
        with pytest.raises(InputError, match="is not empty and holds no pack"):
            write_pack(tmp_path / "other", pack(), "card", overwrite=overwrite)
    with pytest.raises(InputError, match="must be a folder, found a file"):
        write_pack(tmp_path / "other" / "thesis.txt", pack(), "card")


def test_a_write_that_fails_leaves_the_old_pack(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "model"
    before = write_pack(path, pack(), "card")

    def fail(file: Path, content: bytes) -> None:
        if file.name == "README.md":
            raise OSError(28, "No space left on device")
        file.parent.mkdir(exist_ok=True)
        file.write_bytes(content)

    monkeypatch.setattr(folder.storage, "write", fail)
    with pytest.raises(OSError, match="No space"):
        write_pack(path, pack(number=3), "card", overwrite=True)
    assert read_pack(path).facts == before and [p.name for p in tmp_path.iterdir()] == ["model"]

"""Texts to tokens: trained, given and missing tokenizers."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from tokenizers import Tokenizer, models, pre_tokenizers

from counterpoise import InputError
from counterpoise.data.readers import Text, build_reader

TEXTS = [
    f"The cat number {k} sat on the mat; it purred {'very ' * (k % 5)}well." for k in range(40)
]


def words(path: Path, **options: object) -> Path:
    """A tokenizer of three words, as a file; its padding is 3."""
    known = {"the": 0, "cat": 1, "[UNK]": 2, "[PAD]": 3}
    made = Tokenizer(models.WordLevel(known, unk_token="[UNK]"))
    made.pre_tokenizer = pre_tokenizers.Whitespace()
    if options:
        made.enable_padding(**options)
        made.enable_truncation(2)
    made.save(str(path))
    return path


def test_a_trained_tokenizer() -> None:
    reader = Text(vocabulary=300).fit(TEXTS)
    assert 259 < reader.vocabulary_size <= 300
    lengths = [int(Text(length=256).changed("x", vocabulary_json=reader.vocabulary_json)
                   .read(text)["attention_mask"].sum()) for text in TEXTS]  # fmt: skip
    assert reader.length == np.ceil(np.quantile(lengths, 0.95)) < max(lengths) + 1
    found = reader.read("The CAT sat")
    assert list(found) == ["input_ids", "attention_mask"]
    for array in found.values():
        assert array.shape == (reader.length,) and array.dtype == np.int64
    used = int(found["attention_mask"].sum())
    assert found["attention_mask"].tolist() == [1] * used + [0] * (reader.length - used)
    assert not found["input_ids"][used:].any() and found["input_ids"][:used].all()
    assert (found["input_ids"] < reader.vocabulary_size).all()
    assert (reader.read("the cat sat")["input_ids"] == found["input_ids"]).all()
    assert (reader.read("the mat sat")["input_ids"] != found["input_ids"]).any()
    exact = Text(vocabulary=300, lower=False).fit(TEXTS)
    assert (exact.read("The")["input_ids"] != exact.read("the")["input_ids"]).any()
    assert json.loads(json.dumps(reader.settings())) == reader.settings()
    assert build_reader(reader.settings()) == reader
    assert reader.fit(["other texts"]) == reader


def test_long_texts_are_cut_and_keep_their_end_token() -> None:
    reader = Text(length=6, vocabulary=270).fit(TEXTS)
    assert reader.length == 6
    long, short = reader.read(" ".join(TEXTS)), reader.read("cat")
    assert long["attention_mask"].all()
    ids = short["input_ids"][: int(short["attention_mask"].sum())]
    assert long["input_ids"][0] == ids[0] and long["input_ids"][-1] == ids[-1]
    assert Text(vocabulary=300).fit(["many words " * 300]).length == 256


@pytest.mark.slow
def test_the_same_in_every_process() -> None:
    """Hashes of words differ from process to process; the tokenizer may not."""
    program = (
        "import hashlib, sys; from counterpoise.data.readers import Text;"
        "texts = [f'words {k} {k * k} of {chr(97 + k % 26)}{chr(97 + k % 7)}' for k in range(300)];"
        "print(hashlib.sha256(Text(vocabulary=290).fit(texts).vocabulary_json.encode())"
        ".hexdigest())"
    )
    found = {
        subprocess.run([sys.executable, "-c", program], capture_output=True, check=True).stdout
        for _ in range(2)
    }
    assert len(found) == 1


def test_a_tokenizer_of_ones_own(tmp_path: Path) -> None:
    path = words(tmp_path / "tokenizer.json")
    for name in (path, tmp_path):
        reader = Text(tokenizer=str(name)).fit(["the cat", "the dog sat"])
        assert reader.length == 3 and reader.vocabulary_size == 4
        found = reader.read("the dog")
        assert found["input_ids"].tolist() == [0, 2, 3]
        assert found["attention_mask"].tolist() == [1, 1, 0]
    path.unlink()  # what was fitted needs the file no more
    assert reader.read("cat")["input_ids"].tolist() == [1, 3, 3]
    padded = words(tmp_path / "p.json", pad_id=9, length=8, direction="left")
    reader = Text(tokenizer=str(padded), length=4).fit(["the"])
    assert reader.read("the cat the")["input_ids"].tolist() == [0, 1, 0, 9]


def test_a_name_in_the_local_cache_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import huggingface_hub

    held = words(tmp_path / "held.json")
    asked: list[tuple[str, ...]] = []

    def look(*names: str) -> str | None:
        asked.append(names)
        return str(held) if names[0] == "some/model" else None

    monkeypatch.setattr(huggingface_hub, "try_to_load_from_cache", look)
    assert Text(tokenizer="some/model").fit(["cat"]).vocabulary_size == 4
    with pytest.raises(InputError, match=r"nothing is fetched here, so run `hf download other/mod"):
        Text(tokenizer="other/model").fit(["cat"])
    assert asked == [("some/model", "tokenizer.json"), ("other/model", "tokenizer.json")]
    monkeypatch.undo()
    with pytest.raises(InputError, match=r"is neither a folder nor in the local"):
        Text(tokenizer="no/such/name here").fit(["cat"])
    with pytest.raises(InputError, match=r"tokenizer .*tokenizer.json is not there"):
        (tmp_path / "bare").mkdir()
        Text(tokenizer=str(tmp_path / "bare")).fit(["cat"])
    (tmp_path / "junk.json").write_text("{}")
    with pytest.raises(InputError, match=r"the tokenizer cannot be read"):
        Text(tokenizer=str(tmp_path / "junk.json")).fit(["cat"])


def test_texts_in_files(tmp_path: Path) -> None:
    (tmp_path / "1.txt").write_text("﻿the cat", encoding="utf-8")
    (tmp_path / "2.txt").write_bytes("café cat".encode("latin-1"))
    (tmp_path / "3.txt").write_text("  \n")
    reader = Text(tokenizer=str(words(tmp_path / "t.json")), file=True).fit(
        [tmp_path / "1.txt", tmp_path / "none.txt", tmp_path / "3.txt"]
    )
    assert reader.length == 2
    assert reader.read(tmp_path / "1.txt")["input_ids"].tolist() == [0, 1]
    assert reader.read(str(tmp_path / "2.txt"))["input_ids"].tolist() == [2, 1]
    with pytest.raises(InputError, match="holds no text"):
        reader.read(tmp_path / "3.txt")
    with pytest.raises(InputError, match=r"none.txt is not there"):
        reader.read(tmp_path / "none.txt")


def test_what_cannot_be_read() -> None:
    with pytest.raises(InputError, match="the text reader has no tokenizer yet"):
        Text().read("cat")
    with pytest.raises(InputError, match="holds no text"):
        Text().fit(TEXTS).read(" \n")
    for options, message in (({"length": 1}, "length must be"), ({"vocabulary": 0}, "vocabulary")):
        with pytest.raises(InputError, match=message):
            Text().changed("note", **options)

"""Texts to tokens: trained, given and missing tokenizers."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

import hypothesis.strategies as st
import numpy as np
import pytest
from folded import check_each
from hypothesis import given, settings
from tokenizers import Tokenizer, models, pre_tokenizers, trainers

from counterpoise import InputError
from counterpoise.data.readers import Text, build_reader
from counterpoise.data.readers import text as module
from counterpoise.data.readers.base import Unmeasured

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


# Unicode White_Space, and what Python counts as such besides (the separators of ASCII)
SPACES = "\t\n\v\f\r\x1c\x1d\x1e\x1f \x85\xa0\u1680\u2000\u2003\u200a\u2028\u2029\u202f\u205f\u3000"


def same(one: object, two: object) -> bool:
    """Whether two samples, or two errors, are equal."""
    if isinstance(one, dict) and isinstance(two, dict):
        return list(one) == list(two) and all(
            (one[k] == two[k]).all() and one[k].dtype == two[k].dtype for k in one
        )
    return type(one) is type(two) and str(one) == str(two)


def gapped(path: Path) -> Path:
    """A tokenizer for which, as for those of GPT, blanks are tokens."""
    made = Tokenizer(models.BPE())
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    made.train_from_iterator(
        TEXTS, trainers.BpeTrainer(vocab_size=300, initial_alphabet=alphabet, show_progress=False)
    )
    made.save(str(path))
    return path


def test_white_space_is_no_token_unless_it_is_kept(tmp_path: Path) -> None:
    """Tags that were deleted leave double blanks, which tell their class."""
    given_one = str(gapped(tmp_path / "t.json"))
    for options in ({"vocabulary": 300}, {"tokenizer": given_one}):
        usual = Text(**options, length=24).fit(TEXTS)
        kept = Text(**options, length=24, keep_spaces=True).fit(TEXTS)
        plain = usual.read("the cat sat")
        for space in [*SPACES, "  ", "\r\n", " \t\u00a0 "]:
            spaced = f"{space}the{space}cat{space}{space}sat{space}"
            assert same(usual.read(spaced), plain), repr(space)
            assert not same(kept.read(spaced), kept.read("the cat sat")), repr(space)
        joined = usual.read("\U0001f469\u200d\U0001f52c")  # no width, and yet another character
        assert not same(joined, usual.read("\U0001f469 \U0001f52c"))


def test_a_leak_through_blanks_is_closed() -> None:
    words = np.array(
        ["the", "a", "cat", "dog", "sat", "ran", "on", "mat", "and", "then", "saw", "it"]
    )
    rng = np.random.default_rng(0)
    goal = np.arange(200) % 2
    texts = [("  " if k else " ").join(rng.choice(words, 9)) for k in goal]

    def tell(reader: Text) -> float:
        """The best accuracy of any one token: those in which the classes differ."""
        ids = [reader.read(text)["input_ids"] for text in texts]
        has = np.array([np.bincount(row, minlength=400) > 0 for row in ids])
        share = (has == goal[:, None]).mean(0)
        return float(np.maximum(share, 1 - share).max())

    assert tell(Text(vocabulary=300, keep_spaces=True).fit(texts)) == 1
    assert tell(Text(vocabulary=300).fit(texts)) < 0.65


def test_older_settings_keep_white_space() -> None:
    older = {"type": "text", "length": 9, "vocabulary": 300, "lower": True, "file": False}
    assert build_reader(older).keep_spaces  # type: ignore[attr-defined]
    kept, usual = Text(keep_spaces=True), Text()
    assert "keep_spaces" not in kept.settings() and build_reader(kept.settings()) == kept
    assert usual.settings()["keep_spaces"] is False and build_reader(usual.settings()) == usual


def test_the_tokenizer_of_an_older_folder_is_made_again() -> None:
    spaced = [text.replace("on", "on ") for text in TEXTS]
    made = Text(vocabulary=300, keep_spaces=True).fit(spaced)
    known = Tokenizer.from_str(made.vocabulary_json).get_vocab()
    digest = hashlib.sha256(repr(sorted(known.items())).encode()).hexdigest()[:16]
    # As of the version before there was a choice.
    assert (made.length, digest) == (21, "b8fe0a205f467841")


ODD = st.text(
    st.sampled_from("aB 9\t\n\0\u00e9\u3000\u200b\U0001f600\ud83d\ude00\udc80"), max_size=40
)
CELLS = st.one_of(
    ODD, st.integers(), st.floats(), st.none(), st.binary(max_size=3), st.lists(ODD, max_size=2)
)


@settings(max_examples=150, deadline=None)
@given(cells=st.lists(CELLS, max_size=12), keep=st.booleans())
def test_together_is_as_one_by_one(cells: list[object], keep: bool) -> None:
    reader = KEPT if keep else USUAL
    found = reader.read_many(cells)
    assert len(found) == len(cells)
    for cell, value in zip(cells, found, strict=True):
        assert same(value, reader._attempt(cell)), repr(cell)
        assert isinstance(value, dict | InputError), repr(cell)


USUAL = Text(vocabulary=300, length=12).fit(TEXTS)
KEPT = Text(vocabulary=300, length=12, keep_spaces=True).fit(TEXTS)


def test_many_parts_keep_their_order(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(module, "TOGETHER", 3)
    cells = [*TEXTS[:7], " ", *TEXTS[7:9], None]
    pairs = zip(USUAL.read_many(cells), map(USUAL._attempt, cells), strict=True)
    assert all(same(*pair) for pair in pairs)
    assert USUAL.read_many([]) == []
    bare = Tokenizer(models.WordLevel({"the": 0}, unk_token="the"))
    bare.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Split("x", "removed"), pre_tokenizers.Whitespace()]
    )
    bare.save(str(tmp_path / "bare.json"))
    reader = Text(tokenizer=str(tmp_path / "bare.json"), length=3).fit([])
    found = reader.read_many(["the", "x", "the the"])
    assert str(found[1]) == "holds no token" and same(found[2], reader.read("the the"))


def test_what_is_no_text() -> None:
    def refuse(cell: object, said: str) -> None:
        with pytest.raises(InputError, match=f"is a {said}, where a text or a number is wanted"):
            USUAL.read(cell)

    check_each(
        [
            (b"cat", "bytes"),
            (["the", "cat"], "list"),
            (("the",), "tuple"),
            (np.array(["cat"]), "ndarray"),
            ({"text": "cat"}, "dict"),
            (None, "NoneType"),
        ],
        refuse,
    )
    assert USUAL.lacks(float("nan")) and not USUAL.lacks(0.0) and not USUAL.lacks("nan")
    with pytest.raises(Unmeasured):
        USUAL.read(float("nan"))
    for number in (7, np.int64(7), 7.5):
        assert same(USUAL.read(number), USUAL.read(str(number)))
    halves = USUAL.fit(["a \ud83d b", TEXTS[0]])  # a half of a pair does not end the work
    assert same(halves.read("a\ud83d"), halves.read("a\ufffd"))
    assert same(halves.read("\ud83d\ude00"), halves.read("\U0001f600"))


def test_a_very_long_text_is_read_from_its_beginning() -> None:
    long = "cat on mats " * 20_000
    start = " ".join(long.split()[:30])
    assert same(USUAL.read(long), USUAL.read(start))
    assert len(USUAL._text(long)) <= module.ENOUGH
    unbroken = "x" * (module.ENOUGH + 5)  # its tokens may depend on all of it
    assert USUAL._text(unbroken) == unbroken
    assert KEPT._text(long) == long


def test_some_of_many_texts_decide(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST", 10)
    assert Text(vocabulary=300).fit(TEXTS) == Text(vocabulary=300).fit(module.some(TEXTS, 10))
    asked: list[str] = []
    monkeypatch.setattr(Text, "_try", lambda _, cell: asked.append(cell) or cell)
    Text(vocabulary=300).fit(TEXTS)
    assert len(asked) == 10
    asked.clear()
    assert USUAL.fit(TEXTS) == USUAL and not asked  # everything is known


def test_the_encoding_of_a_file_is_what_its_mark_says(tmp_path: Path) -> None:
    reader, path = Text(file=True, vocabulary=300, length=12).fit([]), tmp_path / "a.txt"
    plain = USUAL.changed("x", vocabulary_json=reader.vocabulary_json)

    def check(encoding: str, mark: str, text: str = "caf\xe9 \u20ac") -> None:
        path.write_bytes((mark + text).encode(encoding))
        assert same(reader.read(path), plain.read(text))

    marked = [(f"utf-{form}", "\ufeff") for form in ("8", "16-le", "16-be", "32-le", "32-be")]
    check_each([*marked, ("utf-8", ""), ("latin-1", "", "caf\xe9 cat")], check)
    for content, said in (
        ("cat".encode("utf-16-le"), "holds NUL bytes and no byte-order mark"),
        (b"\xff\xfea", "byte-order mark of utf-16 and is no such text at byte"),
        (b"\xef\xbb\xbfcaf\xe9", "byte-order mark of utf-8 and is no such text at byte 3"),
    ):
        path.write_bytes(content)
        with pytest.raises(InputError, match=said):
            reader.read(path)


def test_one_process_of_several_takes_one_core() -> None:
    program = (
        "import os, sys; from counterpoise.data.readers import Text;"
        "r = Text(vocabulary=300).fit([f'a b {k}' for k in range(50)]);"
        "r.read_many(['a b'] * 5000);"
        "print(len(os.listdir('/proc/self/task')), os.environ.get('TOKENIZERS_PARALLELISM'))"
    )
    environment = {k: v for k, v in os.environ.items() if k != "TOKENIZERS_PARALLELISM"}
    found = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        check=True,
        env={**environment, "OMP_NUM_THREADS": "1"},
    )
    assert found.stdout.split() == [b"1", b"false"]

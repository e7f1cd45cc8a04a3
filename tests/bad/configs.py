"""Configuration files that are wrong."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from bad.sandbox import Row

DEEP = 3000
TEXTS: dict[str, str | bytes] = {
    "a list": "- epochs: 1\n",
    "a word": "epochs\n",
    "a number": "12\n",
    "an unknown key": "epoch: 1\n",
    "a key twice": "epochs: 1\nepochs: 2\n",
    "a key twice, in a mapping": "encoder_lr: {image: 1, image: 2}\n",
    "sixties": "epochs: 1:30\n",
    "sixties of fractions": "lr: 1:30.5\n",
    "a list for a number": "epochs: [1, 2]\n",
    "a mapping for a number": "epochs: {a: 1}\n",
    "a mapping for a word": "fusion: {a: 1}\n",
    "yes for a number": "epochs: yes\n",
    "infinity": "lr: .inf\n",
    "no number": "lr: .nan\n",
    "a long number": f"epochs: {'9' * 5000}\n",
    "a long hexadecimal number": f"epochs: 0x{'f' * 5000}\n",
    "a date": "epochs: 2020-01-01\n",
    "binary": "epochs: !!binary aGVsbG8=\n",
    "a Python object": "epochs: !!python/object/apply:os.system ['touch hacked']\n",
    "a Python name": "epochs: !!python/name:os.system\n",
    "an unknown tag": "epochs: !nothing 1\n",
    "a set": "epochs: !!set {1, 2}\n",
    "a recursive alias": "encoder: &a {image: *a}\n",
    "a recursive list": "modalities: &a [*a]\n",
    "an alias to nothing": "epochs: *a\n",
    "many laughs": "a: &a [x,x,x,x,x,x,x,x,x]\n"
    + "".join(
        f"{c}: &{c} [{','.join(['*' + p] * 9)}]\n"
        for p, c in zip("abcdefgh", "bcdefghi", strict=True)
    ),
    "deep lists": f"epochs: {'[' * DEEP}{']' * DEEP}\n",
    "deep mappings": f"epochs: {'{a: ' * DEEP}1{'}' * DEEP}\n",
    "very deep": "epochs: " + "[" * 100_000,
    "no end": "epochs: [1\n",
    "no end of a text": 'fusion: "late\n',
    "a tab": "epochs:\n\t- 1\n",
    "two documents": "epochs: 1\n---\nepochs: 2\n",
    "a key that is a list": "? [a, b]\n: 1\n",
    "a key that is a number": "1: 2\n",
    "a key that is null": "null: 2\n",
    "a merge of nothing": "<<: 1\n",
    "no UTF-8": b"epochs: \xff\xfe\n",
    "zeros": b"\0" * 100,
    "a picture": b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR",
    "control characters": b"epochs: \x1b[31m1\n",
    "an escape in a key": b'"\\e[31m": 1\n',
    "NUL in a text": b'fusion: "late\\0"\n',
    "itself": "config: {}\n",
    "a bad device": "device: meta\n",
    "a bad method option": "set: {nothing: 1}\n",
    "set is a list": "set: [1, 2]\n",
    "encoder is a word": "encoder: conv2d\n",
    "encoder of numbers": "encoder: {image: 1}\n",
    "no such class weights": "class_weights: nothing.yaml\n",
    "out is a list": "out: [a, b]\n",
    "quiet is a word": "quiet: maybe\n",
    "a huge exponent": "lr: 1e400\n",
    "minus": "batch_size: -1\n",
    "a fraction": "batch_size: 1.5\n",
}

CLASS_WEIGHTS: dict[str, str | bytes] = {
    "empty": "",
    "a word": "balanced\n",
    "one number": "1\n",
    "negative": "{0: -1, 1: 1}\n",
    "infinite": "{0: .inf}\n",
    "words": "{0: heavy}\n",
    "unknown class": "{nothing: 1}\n",
    "too few": "[1, 2]\n",
    "nested": "{0: {1: 2}}\n",
    "twice": "{0: 1, 0: 2}\n",
    "recursive": "&a [*a]\n",
    "deep": "[" * DEEP + "]" * DEEP,
    "binary": b"\xff\xfe\0\1",
    "a Python object": "!!python/object/apply:os.system ['touch hacked']\n",
    "a long number": f"{{0: {'9' * 5000}}}\n",
}


def config_rows(folder: Path, out: Path) -> Iterator[Row]:
    """Commands with these files."""
    folder.mkdir()
    for number, (name, text) in enumerate(TEXTS.items()):
        path = folder / f"config-{number}.yaml"
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        words: list[object] = ["train", "digits", "--config", path]
        yield f"config: {name}", words if "out" in name else [*words, "--out", out]
        if number % 4 == 0:
            yield f"compare, config: {name}", ["compare", "digits", "--config", path, "--out", out]
    for number, (name, text) in enumerate(CLASS_WEIGHTS.items()):
        path = folder / f"weights-{number}.yaml"
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        words = ["train", "digits", "--class-weights", path, "--out", out]
        yield f"class weights: {name}", words
    os.mkfifo(folder / "pipe.yaml")
    (folder / "folder.yaml").mkdir()
    (folder / "nowhere.yaml").symlink_to(folder / "gone")
    (folder / "circle.yaml").symlink_to(folder / "circle.yaml")
    for odd in ("pipe", "folder", "nowhere", "circle"):
        for flag in ("--config", "--class-weights"):
            words = ["train", "digits", flag, folder / f"{odd}.yaml", "--out", out]
            yield f"{flag}: {odd}", words

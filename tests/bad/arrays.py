"""Files of arrays and tables that are wrong."""

from __future__ import annotations

import os
from collections.abc import Iterator
from math import sin
from pathlib import Path
from typing import Any

import numpy as np
from bad.sandbox import Row

N = 40
X = np.random.default_rng(0).normal(size=(N, 3)).astype(np.float32)
Y = np.arange(N) % 2
GOOD: dict[str, Any] = {"a": X, "b": X[:, :2], "target": Y}
STRANGE = np.array([{}] * N, dtype=object)


def lines(form: str) -> bytes:
    """Rows of a table: ``k`` counts them, ``x`` is a number, ``y`` one of two classes."""
    rows = (form.format(k=k, x=round(sin(k), 4), y=k % 2) for k in range(N))
    return "".join(f"{row}\n" for row in rows).encode()


NPZ: dict[str, dict[str, Any]] = {
    "nothing in it": {},
    "no target": {"a": X},
    "no modality": {"target": Y},
    "a target of another length": GOOD | {"target": Y[:-1]},
    "a modality of another length": GOOD | {"b": X[:-1]},
    "no rows": {"a": X[:0], "target": Y[:0]},
    "one row": {"a": X[:1], "target": Y[:1]},
    "a scalar": GOOD | {"b": np.float32(1)},
    "a scalar target": GOOD | {"target": np.int64(1)},
    "words": GOOD | {"b": np.array(["x"] * N)},
    "complex numbers": GOOD | {"b": X.astype(np.complex64)},
    "dates": GOOD | {"b": np.array(["2020-01-01"] * N, dtype="datetime64[D]")},
    "records": GOOD | {"b": np.zeros(N, dtype=[("x", "f4"), ("y", "f4")])},
    "objects": GOOD | {"b": STRANGE},
    "a target of objects": GOOD | {"target": STRANGE},
    "infinity": GOOD | {"b": np.where(X > 2, np.inf, X)},
    "nothing but NaN": GOOD | {"b": np.full_like(X, np.nan)},
    "a target of NaN": GOOD | {"target": np.full(N, np.nan)},
    "an infinite target": GOOD | {"target": np.where(Y > 0, np.inf, 0.0)},
    "one class": GOOD | {"target": np.zeros(N, dtype=np.int64)},
    "a complex target": GOOD | {"target": Y.astype(np.complex64)},
    "a target of dates": GOOD | {"target": np.array(["2020-01-01"] * N, dtype="datetime64[D]")},
    "a wide target": GOOD | {"target": np.zeros((N, 2, 2))},
    "splits of other words": GOOD | {"split": np.array(["x"] * N)},
    "splits too short": GOOD | {"split": np.array(["train"] * (N - 1))},
    "no test rows": GOOD | {"split": np.array(["train"] * N)},
    "groups too short": GOOD | {"group": np.arange(N - 1)},
    "one group": GOOD | {"group": np.zeros(N, dtype=np.int64)},
    "negative weights": GOOD | {"weight": -np.ones(N)},
    "infinite weights": GOOD | {"weight": np.full(N, np.inf)},
    "weights of zero": GOOD | {"weight": np.zeros(N)},
    "weights too short": GOOD | {"weight": np.ones(N - 1)},
    "classes too few": GOOD | {"classes": np.array(["x"])},
    "classes twice": GOOD | {"classes": np.array(["x", "x"])},
    "a name with a plus": GOOD | {"c+d": X},
    "a name with a comma": GOOD | {"c,d": X},
    "a name with a colon": GOOD | {"c:d": X},
    "a name with a control character": GOOD | {"c\x01": X},
    "a name with an escape": GOOD | {"c\x1b[31m": X},
    "an empty name": GOOD | {" ": X},
    "no values in a row": GOOD | {"b": X[:, :0]},
}

RAW: dict[str, bytes] = {
    "empty": b"",
    "text": b"hello\n",
    "zeros": b"\0" * 1000,
    "a zip of nothing": b"PK\x05\x06" + b"\0" * 18,
    "half a zip": b"PK\x03\x04" + b"\0" * 20,
    "a pickle": b"\x80\x04K\x01.",
    "a picture": b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR",
}

TABLES: dict[str, bytes] = {
    "empty": b"",
    "a line": b"id,target,x\n",
    "one row": b"id,target,x\n1,a,2\n",
    "no target": b"id,x\n" + lines("{k},{x}"),
    "no modality": b"id,target\n" + lines("{k},{y}"),
    "one class": b"id,target,x\n" + lines("{k},a,{x}"),
    "no targets in it": b"id,target,x\n" + lines("{k},,{x}"),
    "infinite targets": b"id,target,x\n" + lines("{k},inf,{x}"),
    "one id": b"id,target,x\n" + lines("1,{y},{x}"),
    "columns twice": b"id,target,x,x\n" + lines("{k},{y},{x},{x}"),
    "a plus in a name": b"id,target,x+y\n" + lines("{k},{y},{x}"),
    "an escape in a name": b"id,target,\x1bx\n" + lines("{k},{y},{x}"),
    "zeros": b"\0" * 1000,
    "no UTF-8": b"id,target,x\n" + b"\xff\xfe\xfa,1,2\n" * N,
    "an open quote": b'id,target,x\n1,a,"' + b"x" * 100_000,
    "files that are not there": b"id,target,x\n" + lines("{k},{y},no/{k}.wav"),
    "splits of other words": b"id,target,split,x\n" + lines("{k},{y},nothing,{x}"),
    "no test rows": b"id,target,split,x\n" + lines("{k},{y},train,{x}"),
    "Parquet that is none": b"PAR1" + b"\0" * 100,
}

JSON_LINES: dict[str, bytes] = {
    "a list": b"[1, 2]\n" * N,
    "numbers": b"1\n" * N,
    "half a line": b'{"id": 1, "target": "a", "x": ',
    "no JSON": b"hello\n" * N,
    "deep": b'{"id": 1, "target": "a", "x": ' + b"[" * 100_000 + b"]" * 100_000 + b"}\n",
    "a long number": b'{"id": 1, "target": "a", "x": ' + b"9" * 5000 + b"}\n",
    "NaN": b'{"id": 1, "target": NaN, "x": NaN}\n' * N,
    "a key twice": b'{"id": 1, "id": 2, "target": "a", "x": 1}\n' * N,
}


def array_rows(folder: Path, out: Path) -> Iterator[Row]:
    """Commands with these files."""
    folder.mkdir()
    for number, (name, arrays) in enumerate(NPZ.items()):
        path = folder / f"{number}.npz"
        np.savez(path, **arrays)
        yield f"train, npz: {name}", ["train", path, "--out", out, "--epochs", 1]
        if number % 3 == 0:
            yield f"prepare, npz: {name}", ["prepare", path, out]
    for name, content in RAW.items():
        for suffix in (".npz", ".csv", ".parquet", ".jsonl", ".zip", ".tar.gz"):
            path = folder / f"{name.replace(' ', '-')}{suffix}"
            path.write_bytes(content)
            command = ["train", path, "--out", out] if suffix == ".npz" else ["prepare", path, out]
            yield f"{command[0]}, {suffix}: {name}", command
    for suffix, texts in ((".csv", TABLES), (".jsonl", JSON_LINES)):
        for number, (name, content) in enumerate(texts.items()):
            path = folder / f"table-{number}{suffix}"
            path.write_bytes(content)
            yield f"prepare, {suffix}: {name}", ["prepare", path, out]
    for suffix in (".npz", ".csv", ".tsv", ".parquet", ".jsonl", ".zip"):
        pipe, nowhere = folder / f"pipe{suffix}", folder / f"nowhere{suffix}"
        os.mkfifo(pipe)
        nowhere.symlink_to(folder / "gone")
        (folder / f"folder{suffix}").mkdir()
        for kind in ("pipe", "nowhere", "folder"):
            path = folder / f"{kind}{suffix}"
            command = ["train", path, "--out", out] if suffix == ".npz" else ["prepare", path, out]
            yield f"{command[0]}: {kind}{suffix}", command

"""Every value of every file that a run, a comparison and a cache leave, replaced by a wrong one.

The door that reads it works, or raises ``InputError`` in one line; nothing else, and at once.
"""

from __future__ import annotations

import contextlib
import io
import json
import re
import shutil
import signal
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch

import counterpoise as cp
from counterpoise.cli.main import main
from counterpoise.core import seal, storage
from counterpoise.data.preparation.cache import find_older, open_cache
from counterpoise.report import write_report
from counterpoise.training.record import RunRecord
from counterpoise.training.run import open_run

TOY = ["--epochs", "2", "--width", "4", "--quiet"]
DEEP = "[" * 100_000
# As JSON text.
WRONG = ["null", "true", "-1", "1e400", '"x"', "[]", "{}", DEEP, "1" * 5000, "9" * 18, "0.5", '""']
WRONG += ["[[]]", '{"x": {}}', "NaN", '{"a": 1, "a": 2}', "-9223372036854775809"]
HOLE = "the value goes here"


@contextmanager
def hurry(seconds: int = 60) -> Iterator[None]:
    """Fail where something takes this long, also inside of a call that waits."""

    def stop(*_: object) -> None:
        raise TimeoutError(f"after {seconds} s")

    before = signal.signal(signal.SIGALRM, stop)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def put(path: Path, content: bytes) -> None:
    """Write a file of a folder as its owner would, with a checksum that fits."""
    if path.suffix == ".pt" and seal.check_trailer(content) is None:
        content = seal.seal_trailer(content)
    if path.suffix == ".json":
        content = seal_object(content)
    if path.suffix == ".jsonl":
        content = b"\n".join(map(seal_line, content.split(b"\n")))
    path.write_bytes(content)


def seal_object(content: bytes) -> bytes:
    """JSON text with a checksum at its end, whatever is wrong in it."""
    body = re.sub(rb',\s*"checksum":\s*"[0-9a-f]{64}"\s*\}\s*\Z', b"}", content).rstrip()
    if not body.startswith(b"{") or not body.endswith(b"}") or len(body) < 3:
        return content
    return seal.seal_json(body[:-1].rstrip() + b',\n  "checksum": "' + seal.PLACE + b'"\n}\n')


def seal_line(line: bytes) -> bytes:
    body = re.sub(rb',\s*"checksum":\s*"[0-9a-f]{16}"\}\Z', b"}", line)
    if not body.startswith(b"{") or not body.endswith(b"}") or len(body) < 3:
        return line
    return seal.seal_line(body[:-1] + b',"checksum":"' + seal.PLACE[:16] + b'"}')


def places(value: Any, at: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Where a value has values; of a list the first and the last."""
    yield at
    if isinstance(value, dict):
        for key, item in value.items():
            yield from places(item, (*at, key))
    elif isinstance(value, list) and value:
        for number in sorted({0, len(value) - 1}):
            yield from places(value[number], (*at, number))


def swap(value: Any, at: tuple[Any, ...], new: Any) -> Any:
    """A copy with another value at a place."""
    if not at:
        return new
    copied = value.copy()
    copied[at[0]] = swap(value[at[0]], at[1:], new)
    return copied


def spoil(value: Any) -> Iterator[tuple[str, str]]:
    """What was done, and the JSON with a wrong value in one place, or without a key."""
    for at in places(value):
        text = json.dumps(swap(value, at, HOLE))
        for wrong in WRONG:
            yield f"{at} = {wrong[:20]}", text.replace(f'"{HOLE}"', wrong)
        if at and isinstance(at[-1], str):
            holder = value
            for key in at[:-1]:
                holder = holder[key]
            rest = {k: v for k, v in holder.items() if k != at[-1]}
            yield f"without {at}", json.dumps(swap(value, at[:-1], rest))
    yield from [("empty", ""), ("not UTF-8", "\udcff"), ("text", "hello"), ("cut", text[:40])]
    yield "more", json.dumps({**value, "of_another_version": [1]})


def ask(door: Callable[[], object]) -> str | None:
    """What is wrong with how a door takes it; None if it works or refuses in one line."""
    try:
        with hurry(), warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            door()
    except cp.InputError as error:
        return None if len(str(error).splitlines()) == 1 and len(str(error)) < 2000 else "too long"
    except BaseException as error:
        return f"{type(error).__name__}: {error}"[:300]
    return None


def try_all(
    path: Path, doors: dict[str, Callable[[], object]], every: int = 1
) -> tuple[int, list[str]]:
    """How many wrong files were tried, and what went wrong."""
    content, count, failed = path.read_bytes(), 0, []
    assert {name: ask(door) for name, door in doors.items()} == dict.fromkeys(doors)
    for number, (what, text) in enumerate(spoil(json.loads(content))):
        if number % every:
            continue
        put(path, text.encode(errors="surrogateescape"))
        for name, door in doors.items():
            count += 1
            if said := ask(door):
                failed.append(f"{path.name} {what}: {name}: {said}")
    put(path, content)
    return count, failed


def resume(folder: Path) -> None:
    """Go on with a copy of a run, so that what is written there is of no other case."""
    shutil.rmtree(folder.with_name("copy"), ignore_errors=True)
    shutil.copytree(folder, folder.with_name("copy"))
    words = ["train", "digits", *TOY, "--method", "multi-loss", "--optimizer", "adam", "--resume"]
    assert main([*words, "--out", str(folder.with_name("copy"))]) in (0, 2)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run, a comparison of one run, prepared data."""
    home = tmp_path_factory.mktemp("wrong")
    words = [*TOY, "--method", "multi-loss", "--optimizer", "adam"]
    assert main(["train", "digits", *words, "--out", str(home / "run")]) == 0
    words = [*TOY, "--seeds", "1", "--methods", "joint"]
    assert main(["compare", "digits", *words, "--out", str(home / "compare")]) == 0
    old = Path(__file__).parents[1] / "old" / "b6368ef"
    shutil.copytree(old / "prepared", home / "prepared")
    shutil.copytree(old / "run-chain", home / "old-run")
    return home


def check(count: int, failed: list[str], least: int) -> None:
    assert not failed, f"{len(failed)} of {count}:\n" + "\n".join(failed[:60])
    assert count >= least


@pytest.mark.slow
def test_run_json(home: Path) -> None:
    doors = {"open": partial(open_run, home / "run"), "go on": partial(resume, home / "run")}
    check(*try_all(home / "run" / "run.json", doors, every=3), 100)
    check(
        *try_all(home / "old-run" / "run.json", {"open": partial(open_run, home / "old-run")}), 100
    )


@pytest.mark.slow
def test_the_files_of_a_comparison(home: Path) -> None:
    folder = home / "compare"

    def again() -> None:
        words = [*TOY, "--seeds", "1", "--methods", "joint"]
        assert main(["compare", "digits", *words, "--out", str(folder)]) in (0, 2)

    record = (folder / "compare.json").read_bytes()

    def again_and_back() -> None:
        before = {p: p.read_bytes() for p in folder.glob("*.json*")}
        try:
            again()
        finally:
            for path, content in before.items():
                put(path, content)

    doors = {"report": partial(write_report, folder), "again": again_and_back}
    check(*try_all(folder / "compare.json", doors, every=5), 100)
    assert (folder / "compare.json").read_bytes() == record
    for name in ("records.jsonl", "samples.jsonl"):
        lines = (folder / name).read_text().splitlines()
        first, rest = lines[-1], lines[:-1]
        count, failed = 0, []
        for what, text in spoil(json.loads(first)):
            put(folder / name, "\n".join([*rest, text, ""]).encode(errors="surrogateescape"))
            count += 1
            if said := ask(partial(write_report, folder)):
                failed.append(f"{name} {what}: {said}")
        put(folder / name, "\n".join([*lines, ""]).encode())
        check(count, failed, 100)


@pytest.mark.slow
def test_the_files_of_prepared_data(home: Path) -> None:
    folder = home / "prepared"

    def read() -> None:
        data = open_cache(folder)
        for split in data.splits.values():
            for column in split.inputs.values():
                column.rows(torch.arange(len(split)))

    check(*try_all(folder / "dataset.json", {"read": read}), 500)
    check(*try_all(folder / "plan.json", {"look": partial(find_older, folder)}), 100)


def wrong_states(state: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    """What was done, and the state of a checkpoint with it."""
    others = [None, True, -1, "x", [], {}, torch.zeros(3), torch.zeros(2, 2, dtype=torch.int64)]
    others += [{"x": torch.zeros(1)}, 10**30, float("nan"), {3: 4}]
    for at in places(state):
        for other in others:
            yield f"{at} = {other!r:.30}", swap(state, at, other)
        if at:
            holder = state
            for key in at[:-1]:
                holder = holder[key]
            if isinstance(holder, dict):
                rest = {k: v for k, v in holder.items() if k != at[-1]}
                yield f"without {at}", swap(state, at[:-1], rest)
    for what, text in spoil({"history": json.loads(state["history"])}):
        with contextlib.suppress(IndexError):  # what spoils the whole has no history
            cut = text.split('"history":', 1)[1].rstrip()[:-1]
            yield f"history {what}", {**state, "history": cut}


@pytest.mark.slow
def test_checkpoints(home: Path) -> None:
    path = home / "run" / "checkpoint.pt"
    content, state = path.read_bytes(), storage.read_state(path)
    count, failed = 0, []
    for number, (what, other) in enumerate(wrong_states(state)):
        if number % 11:
            continue
        buffer = io.BytesIO()
        torch.save(other, buffer)
        put(path, buffer.getvalue())
        doors = {"open": partial(open_run, home / "run")}
        doors |= {"go on": partial(resume, home / "run")} if number % 99 == 0 else {}
        for name, door in doors.items():
            count += 1
            if said := ask(door):
                failed.append(f"{what}: {name}: {said}")
    put(path, content)
    check(count, failed, 100)


@pytest.mark.slow
def test_predictions_on_validation(home: Path) -> None:
    path = home / "run" / "validation-last.safetensors"
    content = path.read_bytes()
    named, key = storage.read_weights(path), RunRecord.read(home / "run").key()
    count, failed = 0, []
    for name, tensor in named.items():
        none = tensor[..., :0] if tensor.dim() else torch.zeros(0)
        for other in (none, torch.zeros(3, 5), tensor.to(torch.uint8), torch.ones(())):
            storage.write_weights(path, named | {name: other}, {"epoch": "1", "run": key})
            for door in (
                lambda: open_run(home / "run")[0].predictor(),
                partial(resume, home / "run"),
            ):
                count += 1
                if said := ask(door):
                    failed.append(f"{name} {list(other.shape)}: {said}")
    put(path, content)
    check(count, failed, 30)

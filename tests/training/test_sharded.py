"""Encoders that are split over the ranks train what whole ones do, on any number of ranks."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import warnings
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from folded import check_each
from settings import CASES
from several_ranks import PARTS, WEIGHED
from torch import Tensor
from toy import toy_data, toy_model, weights

from counterpoise import METHODS, build_method, fit
from counterpoise.core.shards import map_nested, share, sum_squares, whole
from counterpoise.core.storage import read_weights
from counterpoise.errors import InputError
from counterpoise.training.record import RunRecord
from counterpoise.training.run import open_checkpoint

REFUSED = ("g-blending", "lfm", "umt")
FEW = ("joint", "multi-loss", "modality-dropout", "mla", "ogm", "diagnose-relearn")
VARIANTS = ("relearn reset", "relearn + mla", "mmpareto released", "valuation of modalities")
ADAM: dict[str, Any] = {"optimizer": "adamw", "max_norm": 0.05}
KINDS: dict[str, tuple[str, ...]] = {  # beside "vector, few", for all
    f"vector, empty, {WEIGHED}, {PARTS}": (*FEW, "mmpareto", "amco"),
    "BatchNorm, few": ("joint", "mla", "diagnose-relearn"),
    f"BatchNorm, empty, {PARTS}": ("joint", "mla"),
    "layers, few": ("joint", "relearn reset"),
    "wrapped, few": ("joint", "agm"),
}
PLAN: list[list[Any]] = [
    *(["compare", case, "vector, few", {}] for case in (*METHODS, *VARIANTS)),
    *(["compare", case, kind, {}] for kind, cases in KINDS.items() for case in cases),
    *(["compare", case, "vector, few", ADAM] for case in ("joint", "mla", "agm", "relearn reset")),
    ["compare", "joint", "BatchNorm, few", {"local_batch_norm": True}],
    ["own"],
]
MUTANTS: dict[str, tuple[str, dict[str, Any]]] = {
    "averaged twice": ("joint", {}),
    "own norm": ("joint", ADAM),
    "own noise": ("ogm-ge", {}),
    "graph": ("mmpareto", {}),
}
EARLY = [["compare", case, "vector, few", options] for case, options in MUTANTS.values()]
SKIPPING: list[list[Any]] = [["skipping", False], ["skipping", True]]
Answers = list[dict[str, Any]]


def ask(folder: Path, world: int, plan: Sequence[Any]) -> list[Answers]:
    """What each of ``world`` ranks finds by a plan, all of them in one process group."""
    (folder / "plan.json").write_text(json.dumps(plan))
    (folder / f"meeting{world}").unlink(missing_ok=True)
    command = [sys.executable, str(Path(__file__).with_name("on_sharded_ranks.py")), str(folder)]
    started = []
    for rank in range(world):
        settings = {"WORLD_SIZE": str(world), "RANK": str(rank), "OMP_NUM_THREADS": "1"}
        with (folder / f"log{rank}").open("w") as log:
            paths = os.pathsep.join(filter(None, sys.path))
            env = {**os.environ, **settings, "PYTHONPATH": paths}
            started.append(subprocess.Popen(command, env=env, stdout=log, stderr=log))
    try:
        for process in started:
            process.wait(timeout=300)
    finally:
        for process in started:
            process.kill()
    files = [folder / f"found{world}.{rank}.pt" for rank in range(world)]
    logs = "\n".join((folder / f"log{rank}").read_text()[-3000:] for rank in range(world))
    assert all(file.exists() for file in files), logs
    found = [torch.load(file, weights_only=True) for file in files]
    for file in files:
        file.unlink()
    return found


@cache
def home() -> Path:
    import tempfile

    return Path(tempfile.mkdtemp(prefix="counterpoise-sharded-"))


@cache
def answers(world: int) -> dict[str, Answers]:
    """Entry of the plan -> what each rank finds."""
    mutants = [[*entry, mutation] for entry, mutation in zip(EARLY, MUTANTS, strict=True)]
    plan = PLAN + ([*SKIPPING, *mutants] if world > 1 else EARLY)
    found = ask(home(), world, plan)
    return {json.dumps(entry): list(every) for entry, *every in zip(plan, *found, strict=True)}


@pytest.fixture(scope="module", autouse=True)
def _tidy() -> Iterator[None]:
    yield
    if home.cache_info().currsize:
        import shutil

        shutil.rmtree(home())


def check_like_one(entry: list[Any], mutation: str | None = None) -> None:
    (alone,) = answers(1)[json.dumps(entry)]
    key = json.dumps([*entry, mutation] if mutation else entry)
    loose = not str(entry[2:3]).startswith("['vector")  # as in tests/test_ranks.py
    for found in answers(2)[key]:
        assert found.keys() == alone.keys(), found.get("refused")
        for name, tensor in alone.items():
            torch.testing.assert_close(
                found[name],
                tensor,
                rtol=0,
                atol=1e-4 if loose else 1e-5,
                equal_nan=True,
                msg=lambda text, name=name: f"{name}: {text}",
            )


@pytest.mark.slow
def test_two_ranks_train_what_one_does() -> None:
    plan = {json.dumps(e[1:]): e for e in PLAN if not (e[0] == "compare" and e[1] in REFUSED)}
    plan.pop(json.dumps(["joint", "BatchNorm, few", {"local_batch_norm": True}]))  # other weights
    check_each(list(plan), lambda key: check_like_one(plan[key]))


@pytest.mark.slow
def test_layers_that_only_some_ranks_run_are_trained_as_without_it() -> None:
    plain, split = (answers(2)[json.dumps(entry)] for entry in SKIPPING)
    for mine, wanted in zip(split, plain, strict=True):
        for name, tensor in wanted.items():
            torch.testing.assert_close(mine[name], tensor, rtol=0, atol=1e-5, equal_nan=True)


@pytest.mark.slow
def test_each_rank_has_the_same_where_its_statistics_are_its_own() -> None:
    entry = ["compare", "joint", "BatchNorm, few", {"local_batch_norm": True}]
    first, second = answers(2)[json.dumps(entry)]
    same = [name for name in first if "running" not in name and "num_batches" not in name]
    for name in same:
        if name.startswith("model."):
            torch.testing.assert_close(first[name], second[name], rtol=0, atol=0)


@pytest.mark.slow
@pytest.mark.parametrize("mutation", MUTANTS)
def test_each_mutant_would_be_seen(mutation: str) -> None:
    entry = EARLY[list(MUTANTS).index(mutation)]
    with pytest.raises(AssertionError):
        check_like_one(entry, mutation)


@pytest.mark.slow
def test_a_method_that_needs_whole_encoders_is_refused_by_name() -> None:
    for case in REFUSED:
        for found in answers(2)[json.dumps(["compare", case, "vector, few", {}])]:
            assert CASES[case][0] in found["refused"] and "leave shard out" in found["refused"]


def gaps(found: Tensor, wanted: Tensor) -> float:
    return float((found - wanted).abs().max())


RESUMED = ("joint", "inforeg")


def go_on(folder: Path, world: int, steps: Sequence[tuple[str, int, bool]]) -> dict[str, Any]:
    """Begin or resume runs, each for so many epochs and split or not; what the last one says."""
    plan = [
        ["folder", f"{name} {case}", case, epochs, shard]
        for case in RESUMED
        for name, epochs, shard in steps
    ]
    first, *others = ask(folder, world, plan)
    for other in others:
        for mine, its in zip(first, other, strict=True):
            for name, tensor in mine["state"].items():
                assert torch.equal(tensor, its["state"][name])
    return {entry[1]: found for entry, found in zip(plan, first, strict=True)}


@pytest.mark.slow
def test_a_run_goes_on_on_another_number_of_ranks(tmp_path: Path) -> None:
    alone = go_on(tmp_path, 1, [("whole", 3, False), ("more", 2, False)])
    steps = [("fewer", 2, True), ("mixed", 2, True), ("more", 3, True), ("mixed", 3, False)]
    ends = go_on(tmp_path, 2, steps) | go_on(tmp_path, 1, [("fewer", 3, False)])
    for case in RESUMED:
        wanted = alone[f"whole {case}"]
        for name in ("fewer", "mixed", "more"):
            found = ends[f"{name} {case}"]
            for key in ("single", "best", "whole"):
                assert gaps(found[key], wanted[key]) < 1e-5, (name, key)
            for key, tensor in found["state"].items():
                assert gaps(tensor, wanted["state"][key]) < 1e-5, (name, key)
            assert found["packed"] == "abc"
        split = ends[f"more {case}"]
        assert "run.gather()" in split["refused"]
        assert split["encoders"] < 0.6 * wanted["encoders"]
        check_files(tmp_path / f"more {case}", split["state"])


def check_files(folder: Path, state: dict[str, Tensor]) -> None:
    """The files of a run that was split hold whole tensors, and no pickle of anything else."""
    last = read_weights(folder / "last.safetensors")
    assert {k: v.shape for k, v in last.items()} == {k: v.shape for k, v in state.items()}
    assert all(torch.equal(last[k], state[k]) for k in state)
    saved = open_checkpoint(RunRecord.read(folder))  # weights_only, with its checksum
    kinds = set()
    map_nested(saved, lambda tensor: kinds.add(type(tensor)))
    assert kinds == {Tensor}


@pytest.mark.slow
def test_each_of_two_ranks_holds_half(tmp_path: Path) -> None:
    for (found,) in ask(tmp_path, 2, [["measure"]]):
        whole, split = found["whole"], found["split"]
        fusion = 2 * whole["fusion"]  # its moments, whole on each rank
        assert split["parameters"] <= 0.55 * whole["parameters"]
        assert split["moments"] - fusion <= 0.55 * (whole["moments"] - fusion)


def test_methods_say_before_training_whether_they_need_whole_encoders() -> None:
    refused = [name for name in METHODS if METHODS[name].needs_whole]
    assert sorted(refused) == ["g-blending", "lfm", "umt"]
    for name in refused:
        with pytest.raises(InputError, match=rf"method {name!r} needs whole ones \(it "):
            build_method(name).check_shards()
    for name in set(METHODS) - set(refused):
        build_method(name).check_shards()
    with pytest.raises(InputError, match="'g-blending' needs whole ones"):
        build_method("modality-dropout+g-blending").check_shards()


def test_one_process_holds_all_and_says_so() -> None:
    data = toy_data(samples=40)
    with pytest.warns(UserWarning, match="found one, which holds them whole"):
        split = fit(toy_model(data), data, epochs=1, shard=True)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        alone = fit(toy_model(data), data, epochs=1)
    assert all(torch.equal(weights(split.model)[k], v) for k, v in weights(alone.model).items())


def test_encoders_that_share_parameters_are_refused() -> None:
    data = toy_data(samples=40)
    model: Any = toy_model(data)
    first, *_ = (p for p in model.fusion.parameters())
    model.encoders[model.modalities[0]].register_parameter("tied", first)
    with pytest.raises(InputError, match="shares parameters with the fusion; leave shard out"):
        fit(model, data, epochs=1, shard=True)


def test_plain_tensors_are_their_own_parts() -> None:
    x = torch.arange(6.0).view(2, 3)
    assert whole(x) is x and share(x, x) is x
    assert float(sum_squares([x, x])) == pytest.approx(110.0)

"""The flags that say where runs are carried out, and what is refused before anything starts."""

from __future__ import annotations

import os
from argparse import Namespace
from pathlib import Path
from typing import Any

import pytest
from folded import check_each

from counterpoise import InputError
from counterpoise.cli.main import main
from counterpoise.cli.places import choose_place, read_shares
from counterpoise.core.executors import Here, Processes
from counterpoise.core.on_ray import OnRay


def options(**given: Any) -> Namespace:
    defaults = {"on": None, "address": None, "per_run": None, "jobs": 1, "device": "cpu"}
    return Namespace(**(defaults | given))


def test_without_ray_jobs_choose() -> None:
    assert isinstance(choose_place(options()), Here)
    place = choose_place(options(jobs=3))
    assert isinstance(place, Processes) and place.count == 3


def test_a_run_takes_a_cpu_and_with_cuda_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RAY_ADDRESS", raising=False)

    def check(given: dict[str, Any], cpus: float, gpus: float) -> None:
        place = choose_place(options(on="ray", **given))
        assert isinstance(place, OnRay)
        assert (place.cpus, place.gpus, place.address) == (cpus, gpus, None)

    cases: list[tuple[dict[str, Any], float, float]] = [
        ({}, 1, 0),
        ({"device": "cuda"}, 1, 1),
        ({"device": "cuda", "per_run": "cpus=4"}, 4, 1),
        ({"device": "cuda", "per_run": "gpus=0.5,cpus=2"}, 2, 0.5),
        ({"per_run": "cpus=0.5"}, 0.5, 0),
    ]
    check_each(cases, check)


def test_shares_are_read() -> None:
    assert read_shares(None) == {}
    assert read_shares("cpus=1,gpus=0.5") == {"cpus": 1, "gpus": 0.5}
    for text in ("", "cpus", "cpus=", "cpus=x", "cpus=nan", "cpus=-1", "1", "cpus=1,", "gpus=inf"):
        with pytest.raises(InputError, match="--per-run"):
            read_shares(text)


def test_what_does_not_go_together_is_refused_in_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def check(words: str, said: str) -> None:
        out = tmp_path / "out"
        assert main(["compare", "digits", "--out", str(out), *words.split()]) == 2
        error = capsys.readouterr().err
        assert error.count("\n") == 1 and said in error
        assert not out.exists()

    cases = [
        ("--address there:1", "--address is of --on ray"),
        ("--per-run cpus=1", "--per-run is of --on ray"),
        ("--on ray --jobs 2", "leave --jobs out"),
        ("--on ray --device cuda:1", "must be cpu or cuda"),
        ("--on ray --device mps", "must be cpu or cuda"),
        ("--on ray --per-run gpus=1", "does not go with --device cpu"),
        ("--on ray --device cuda --per-run gpus=0", "does not go with --device cuda"),
        ("--on ray --per-run cpus=0", "cpus must be a number from 0.01"),
        ("--on ray --per-run cpus=1,cpus=1", "found cpus twice"),
        ("--on ray --address there", "--address must read HOST:PORT or auto"),
        ("--on ray --address 127.0.0.1:1", "does not answer"),
        ("--on nothing", "--on"),
    ]
    check_each(cases, check)
    monkeypatch.setenv("RAY_ADDRESS", "127.0.0.1:2")  # as jobs of Ray find it
    check("--on ray", "127.0.0.1:2 does not answer")
    assert os.environ["RAY_ADDRESS"] == "127.0.0.1:2"

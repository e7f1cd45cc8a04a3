"""Jobs as tasks of Ray: what they get, what they say, and what happens when they are lost."""

from __future__ import annotations

import io
import os
import pickle
import shutil
import warnings
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from folded import check_each

from counterpoise import InputError, NotFiniteError
from counterpoise.core import on_ray, ray_cluster
from counterpoise.core.ears import Ears
from counterpoise.core.on_ray import OnRay
from counterpoise.core.ray_cluster import LEAST_STORE, STORE, choose_base, choose_store
from counterpoise.core.sharing import LARGE, read_apart, write_apart

Tell = Callable[[Any], None]
slow = pytest.mark.slow


def test_messages_are_kept_in_their_order_until_they_are_taken() -> None:
    ears = Ears()
    ears.hear(1)
    ears.hear(2)
    assert (ears.take(), ears.take()) == ([1, 2], [])


def test_large_arrays_are_apart_and_lie_in_what_is_given() -> None:
    value = {"a": torch.randn(LARGE), "b": np.arange(LARGE), "c": "d", "e": torch.zeros(2)}
    memory = io.BytesIO()
    content = write_apart(value, memory, pickle.Pickler)
    view = bytearray(memory.getvalue())
    assert len(content) < LARGE < 4 * LARGE + 8 * LARGE == len(view)
    found = read_apart(content, view)
    assert torch.equal(found["a"], value["a"]) and (found["b"] == value["b"]).all()
    assert found["c"] == "d" and found["e"].tolist() == [0, 0]
    view[:] = bytes(len(view))
    assert not found["a"].any() and not found["b"].any()


@pytest.mark.parametrize(
    ("free", "size", "in_memory", "least"),
    [
        (10**10, 0, True, STORE),
        (10**10, 10**9, True, 10**9 + STORE),
        (2 * LEAST_STORE, 0, True, LEAST_STORE),
        (2 * LEAST_STORE, LEAST_STORE, False, STORE + LEAST_STORE),
        (64 * 2**20, 0, False, STORE),  # as containers have it
        (0, 0, False, STORE),
    ],
)
def test_objects_are_in_memory_where_they_fit(
    free: int, size: int, in_memory: bool, least: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=free))
    folder, store = choose_store(size, Path("/there"))
    assert (folder is None) == in_memory and store >= least
    assert not in_memory or store <= free


def test_temporary_files_have_short_names(monkeypatch: pytest.MonkeyPatch) -> None:
    for base, chosen in (("/tmp", "/tmp"), ("/var/folders/x", "/tmp"), ("/scratch", "/scratch")):
        monkeypatch.setattr(ray_cluster.tempfile, "gettempdir", lambda base=base: base)
        assert choose_base() == Path(chosen)


def test_the_environment_is_as_before(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "1")  # what the user has set stays
    monkeypatch.setenv("RAY_AUTH_TOKEN", "mine")
    before = dict(os.environ)
    with ray_cluster._environment(None):
        assert os.environ["RAY_USAGE_STATS_ENABLED"] == "1"
        assert len(os.environ["RAY_AUTH_TOKEN"]) == 64
    assert dict(os.environ) == before
    with ray_cluster._environment("there:1"):
        assert os.environ["RAY_AUTH_TOKEN"] == "mine"
        assert "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER" not in os.environ
    assert dict(os.environ) == before


def test_bad_shares_and_addresses_are_refused() -> None:
    def check(said: str, words: dict[str, Any]) -> None:
        with pytest.raises(InputError, match=said):
            OnRay(**words)

    cases: list[tuple[str, dict[str, Any]]] = [
        ("cpus must be a number from 0.01", {"cpus": 0}),
        ("cpus must be a whole number above 1", {"cpus": 1.5}),
        ("gpus must be a number from 0 ", {"gpus": -1}),
        ("gpus must be a whole number above 1", {"gpus": 2.5}),
        ("must read HOST:PORT or auto, found 'there'", {"address": "there"}),
        ("must read HOST:PORT", {"address": "there:0x1"}),
        ("must read HOST:PORT", {"address": ":6379"}),
        ("start it on one of its machines", {"address": "ray://there:10001"}),
        ("does not answer", {"address": "127.0.0.1:1"}),
    ]
    check_each(cases, check)


def cluster(*has: dict[str, float], alive: bool = True) -> Any:
    nodes = [{"Alive": alive, "Resources": each} for each in has]
    return SimpleNamespace(nodes=lambda: nodes)


def test_one_machine_must_have_all_that_a_run_takes() -> None:
    place = OnRay(cpus=2, gpus=0.5)
    place.check_room(cluster({"CPU": 1}, {"CPU": 2, "GPU": 1}))
    for has in (cluster({"CPU": 2}, {"CPU": 1, "GPU": 1}), cluster()):
        with pytest.raises(InputError, match="more than any machine of the cluster has"):
            place.check_room(has)
    with pytest.raises(InputError, match="found none"):
        place.check_room(cluster({"CPU": 2, "GPU": 1}, alive=False))


# What follows runs on a cluster of this machine.


@pytest.fixture(scope="module")
def here() -> Iterator[Any]:
    with ray_cluster.open_cluster(None, False, 0) as ray:
        yield ray


def double(job: int, tell: Tell) -> int:
    for step in range(3):
        tell((job, step))
    if job == 1:
        warnings.warn("one is odd", UserWarning, stacklevel=1)
    return 2 * job


@slow
def test_results_messages_and_warnings_arrive(here: Any) -> None:
    heard: list[Any] = []
    with pytest.warns(UserWarning, match="one is odd"):
        found = dict(OnRay(cpus=0.5).run(double, range(8), heard.append))
    assert found == {job: 2 * job for job in range(8)}
    assert sorted(heard) == [(job, step) for job in range(8) for step in range(3)]
    for job in range(8):
        assert [step for of, step in heard if of == job] == [0, 1, 2]


def fail(error: BaseException, count: Path, job: int, tell: Tell) -> None:
    with count.open("a") as file:
        file.write("x")
    raise error


@slow
def test_errors_come_back_as_they_are_and_are_not_tried_again(here: Any, tmp_path: Path) -> None:
    for error in (InputError("a must be b"), NotFiniteError("nan"), KeyError("a bug")):
        count = tmp_path / type(error).__name__
        with pytest.raises(type(error)) as found:
            list(OnRay().run(partial(fail, error, count), [0], print))
        assert type(found.value) is type(error) and found.value.args == error.args
        assert count.read_text() == "x"


def die(count: Path, times: int, job: int, tell: Tell) -> int:
    with count.open("a") as file:
        file.write("x")
    if len(count.read_text()) <= times:
        os._exit(1)
    return job


@slow
def test_a_lost_worker_is_tried_again_but_not_for_ever(here: Any, tmp_path: Path) -> None:
    few, many = tmp_path / "few", tmp_path / "many"
    assert list(OnRay().run(partial(die, few, 2), [7], print)) == [(7, 7)]
    assert few.read_text() == "xxx"
    with pytest.raises(InputError, match=r"the worker of 7 was lost 4 times .* go on") as found:
        list(OnRay().run(partial(die, many, 99), [7], print))
    assert many.read_text() == "xxxx"
    assert "\n" not in str(found.value)


class Holds:
    """Work with large arrays, in a tensor and in NumPy."""

    def __init__(self) -> None:
        self.tensor, self.array = torch.arange(10**6), np.arange(10**6)

    def __call__(self, job: int, tell: Tell) -> tuple[int, int, str, str, int, int]:
        there = self.tensor.data_ptr(), self.array.__array_interface__["data"][0]
        names = [_mapped(address) for address in there]
        total = int(self.tensor.sum()), int(self.array.sum())
        return (*total, *names, torch.get_num_threads(), os.getpid())


def _mapped(address: int) -> str:
    """The name of the file that is mapped to an address of this process."""
    for line in Path("/proc/self/maps").read_text().splitlines():
        start, _, end = line.split()[0].partition("-")
        if int(start, 16) <= address < int(end, 16):
            return line.split(maxsplit=5)[-1]
    return ""


@slow
def test_data_in_memory_are_put_once_and_not_copied(
    here: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    puts = []
    real = here.put
    monkeypatch.setattr(here, "put", lambda value: puts.append(value) or real(value))
    found = [result for _, result in OnRay(cpus=2).run(Holds(), range(4), print)]
    total = sum(range(10**6))
    assert {each[:2] for each in found} == {(total, total)}
    assert all("/dev/shm/plasma" in name for each in found for name in each[2:4])
    assert {each[4] for each in found} == {2}, "threads"
    assert len(puts) == 1


@slow
def test_stopping_early_ends_what_is_left(here: Any, tmp_path: Path) -> None:
    runs = OnRay().run(partial(die, tmp_path / "count", 0), range(200), print)
    next(iter(runs))
    runs.close()
    assert list(OnRay().run(double, [3], lambda _: None)) == [(3, 6)]
    assert len((tmp_path / "count").read_text()) < 200


@slow
def test_a_machine_that_left_is_not_waited_for_for_ever(
    here: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(on_ray, "PATIENCE", 1.0)
    monkeypatch.setattr(on_ray, "LOOK", 0.2)
    place = OnRay(cpus=64)
    asked = iter([None])  # it is there when the runs begin
    real = place.check_room
    monkeypatch.setattr(place, "check_room", lambda ray: next(asked, True) and real(ray))
    with pytest.raises(InputError, match="more than any machine"):
        list(place.run(double, [1], print))

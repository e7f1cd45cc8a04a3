"""What a launcher says of its processes, which rank is lost, and which device each takes."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import Any

import pytest
import torch
from folded import check_each

from counterpoise.core.device import choose_device
from counterpoise.core.heartbeat import Peer, find_lost, find_place, is_gone
from counterpoise.core.launch import find_launch
from counterpoise.errors import InputError

SAID = {
    "RANK": "1",
    "WORLD_SIZE": "4",
    "LOCAL_RANK": "1",
    "LOCAL_WORLD_SIZE": "2",
    "MASTER_ADDR": "localhost",
    "MASTER_PORT": "29500",
}


def test_a_launcher_is_found_by_all_that_it_says() -> None:
    launch = find_launch(SAID | {"TORCHELASTIC_RESTART_COUNT": "2"})
    assert launch is not None
    assert (launch.rank, launch.world, launch.place, launch.here) == (1, 4, 1, 2)
    assert (launch.attempt, launch.host, launch.port, launch.hosted) == (
        2,
        "localhost",
        29500,
        False,
    )
    hosted = find_launch(SAID | {"TORCHELASTIC_USE_AGENT_STORE": "True"})
    assert hosted is not None and hosted.hosted


def test_less_is_no_launcher() -> None:
    def check(name: str) -> None:
        assert find_launch({key: value for key, value in SAID.items() if key != name}) is None

    check_each(["RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT"], check)
    assert find_launch(SAID | {"WORLD_SIZE": "1"}) is None


def test_numbers_out_of_range_are_refused() -> None:
    def check(name: str, value: str) -> None:
        with pytest.raises(InputError, match=f"^{name} must be a whole number from"):
            find_launch(SAID | {name: value})

    wrong = [("RANK", "4"), ("RANK", "-1"), ("RANK", "x"), ("WORLD_SIZE", "2.5")]
    wrong += [("WORLD_SIZE", "9" * 5000), ("MASTER_PORT", "0"), ("MASTER_PORT", "70000")]
    wrong += [("LOCAL_RANK", "2"), ("LOCAL_WORLD_SIZE", "5"), ("RANK", "²")]
    check_each(wrong, check)


def test_each_process_takes_its_own_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert choose_device("cuda", 1, 2) == "cuda:1"
    assert choose_device("cpu", 1, 2) == "cpu"
    assert choose_device("cuda:1", 0, 1) == "cuda:1"
    for name in ("cuda:1", "mps"):
        with pytest.raises(InputError, match="is one device, and 2 processes"):
            choose_device(name, 0, 2)
    with pytest.raises(InputError, match="each of the 3 processes on this machine, found 2"):
        choose_device("cuda", 0, 3)


def beat(**changes: Any) -> dict[str, Any]:
    said = {"count": 1, "state": "alive", "host": "h", "place": "elsewhere", "process": 1}
    return {**said, **changes}


def test_a_rank_is_lost_when_it_is_silent_or_gone() -> None:
    peer = Peer(1)
    for count in range(3):
        peer.hear(beat(count=count), 4.0)
    assert find_lost([peer], "here", 5, 300) is None
    peer.hear(beat(count=2), 4.0)
    assert find_lost([peer], "here", 5, 300) is None
    peer.hear(beat(count=2), 4.0)
    found = find_lost([peer], "here", 5, 300)
    assert found is not None and found[1] == "has not been heard of for 8 s"
    peer.hear(beat(count=3, state="done"), 4.0)
    peer.hear(beat(count=3, state="done"), 99.0)
    assert find_lost([peer], "here", 5, 300) is None, "one that has done its work is not lost"


def test_a_rank_that_has_not_come_has_longer() -> None:
    peer = Peer(1)
    peer.hear({}, 200.0)
    assert find_lost([peer], "here", 5, 300) is None
    peer.hear({}, 101.0)
    found = find_lost([peer], "here", 5, 300)
    assert found is not None and found[1] == "has not started within 301 s"


def test_a_process_that_has_ended_is_gone_also_before_its_parent_knows() -> None:
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    assert not is_gone(child.pid) and not is_gone(os.getpid())
    peer = Peer(1, beat(place=find_place(), process=child.pid))
    assert find_lost([peer], find_place(), 5, 300) is None
    child.kill()
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)  # it stays, as a zombie
    assert is_gone(child.pid)
    found = find_lost([peer], find_place(), 5, 300)
    assert found is not None and found[1] == "was killed or has crashed"
    assert find_lost([Peer(1, beat(process=child.pid))], find_place(), 5, 300) is None
    child.communicate()
    assert is_gone(child.pid)

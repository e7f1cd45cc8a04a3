"""A watch over the processes that train together: when one is lost, all end, with one line.

Collectives wait for a rank as long as it lives, since rank 0 may write or cluster for longer than
any timeout. So each rank has a thread that beats into a store, and listens to the others.
"""

from __future__ import annotations

import json
import os
import re
import select
import signal
import socket
import threading
import time
import traceback
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any, NoReturn

import torch.distributed as dist
from torch._C._distributed_c10d import PrefixStore, Store, TCPStore

from .launch import Launch

COME = 300.0  # seconds that a rank has at least to start, while Python reads its libraries
CALM = 5.0  # seconds without a beat of who is to blame when connections broke
GRACE = {"signal": 2.0, "lost": 10.0}  # seconds in which somebody to blame may show
NETWORK = re.compile(r"gloo|nccl|connection (closed|reset)|broken pipe|socket", re.IGNORECASE)


@dataclass
class Peer:
    """Another rank, as it was heard of last."""

    rank: int
    said: dict[str, Any] = field(default_factory=dict)
    silent: float = 0.0  # seconds

    def hear(self, said: dict[str, Any], elapsed: float) -> None:
        """Take what its last beat says, ``elapsed`` seconds after one looked before."""
        self.silent = 0.0 if said != self.said else self.silent + elapsed
        self.said = said

    @property
    def state(self) -> str:
        return str(self.said.get("state", ""))


def find_place() -> str:
    """What tells processes that see the same process numbers from others."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{boot} {os.readlink('/proc/self/ns/pid')}"
    except OSError:
        return socket.gethostname()


def is_gone(process: int) -> bool:
    """Whether a process of this machine has ended."""
    try:
        os.kill(process, 0)
        state = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0]
        return state in "ZX"
    except ProcessLookupError:
        return True
    except (OSError, IndexError):
        return False


def find_lost(
    peers: list[Peer], place: str, silence: float, come: float
) -> tuple[Peer, str] | None:
    """The rank that is lost, and why; ``None`` while none is.

    Args:
        peers: the other ranks.
        place: :func:`find_place` of this process.
        silence: seconds after which a rank that was heard of is lost.
        come: seconds that ranks have to start.
    """
    for peer in peers:
        if peer.state == "done":
            continue
        if peer.said and peer.said["place"] == place and is_gone(peer.said["process"]):
            return peer, "was killed or has crashed"
        if peer.said and peer.silent >= silence:
            return peer, f"has not been heard of for {peer.silent:.0f} s"
        if not peer.said and peer.silent >= come:
            return peer, f"has not started within {peer.silent:.0f} s"
    return None


class Watch:
    """The thread that beats and listens; ends this process when another one is lost.

    Args:
        launch: which process this is.
        timeout: seconds without a beat after which a rank is lost.
    """

    def __init__(self, launch: Launch, timeout: float = 120.0) -> None:
        self.launch, self.timeout = launch, timeout
        self.again = ""  # how the command goes on after it was stopped
        self._state, self._count, self._why = "alive", 0, ""
        self._since: float | None = None  # when something began to be wrong
        self._place, self._all_done = find_place(), threading.Event()
        self._peers = [Peer(rank) for rank in range(launch.world) if rank != launch.rank]
        self._ending = threading.Lock()
        self._read, self._write = os.pipe()
        self._store = self.make_store("counterpoise")

    def connect(self) -> Store:
        """A connection of its own to the store where the ranks meet."""
        launch = self.launch
        return TCPStore(
            launch.host,
            launch.port,
            launch.world,
            is_master=launch.rank == 0 and not launch.hosted,
            timeout=timedelta(seconds=COME),
            wait_for_workers=False,
            multi_tenant=True,
        )

    def make_store(self, name: str) -> Store:
        """A store of its own for one purpose and this start of the ranks."""
        return PrefixStore(f"{name}/{self.launch.attempt}", self.connect())

    def start(self) -> None:
        """Begin to beat; signals that end a program are taken by the thread from now on."""
        os.set_blocking(self._write, False)
        signal.set_wakeup_fd(self._write, warn_on_full_buffer=False)
        # The main thread may be inside of a collective, where no handler of Python runs.
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, lambda *_: None)
        threading.Thread(target=self._watch, name="counterpoise-heartbeat", daemon=True).start()

    def finish(self, status: int = 0) -> NoReturn:
        """End this process when all ranks have done their work."""
        if status:
            self.end("", status)
        self._state = "done"
        os.write(self._write, b"\0")  # the next beat is now
        self._all_done.wait()
        if self.launch.rank == 0 and not self.launch.hosted:
            time.sleep(1.0)  # the others still ask this process whether all are done
        os._exit(0)

    def end(self, text: str, status: int) -> NoReturn:
        """End this process, and so all; print the text, unless another rank has said why."""
        with self._ending:
            own = f"{self.launch.rank} {status}"
            try:
                first = self._store.compare_set("said", "", own).decode()
            except RuntimeError:
                first = own
            if first == own and text:
                # The main thread may hold the lock of sys.stderr; a bar may have hidden the cursor.
                before = "\x1b[?25h\n" if os.isatty(2) else ""
                os.write(2, f"{before}{text.rstrip()}\n".encode(errors="replace"))
            os._exit(int(first.split()[1]))

    def end_by(self, error: BaseException) -> NoReturn:
        """End because of an error; one that another rank's end has caused names that rank."""
        if isinstance(error, dist.DistError) or (
            isinstance(error, RuntimeError) and NETWORK.search(str(error))
        ):
            self._why = str(error).strip().split("\n")[0]
            self._state = "lost"
            threading.Event().wait()  # for the thread, which ends this process
        self.end("".join(traceback.format_exception(error)), 1)

    def stop(self) -> NoReturn:
        """End because of a signal; the thread finds out whether a lost rank is the reason."""
        self._state = "signal"
        threading.Event().wait()
        raise AssertionError("the process has ended")

    def _watch(self) -> None:
        before = time.monotonic()
        while True:
            interval = min(1.0, self.timeout / 10)
            if select.select([self._read], [], [], interval)[0]:
                sent = os.read(self._read, 64)
                if set(sent) & {signal.SIGINT, signal.SIGTERM} and self._state == "alive":
                    self._state = "signal"
            now = time.monotonic()
            # Where all processes were stopped and went on, nobody was silent meanwhile.
            elapsed, before = min(now - before, 2 * interval), now
            try:
                self._beat()
                self._listen(elapsed)
            except RuntimeError:
                self._lose_store()
            self._judge(now)

    def _beat(self) -> None:
        self._count += 1
        beat = {"count": self._count, "state": self._state, "host": socket.gethostname()}
        beat |= {"place": self._place, "process": os.getpid()}
        self._store.set(f"beat/{self.launch.rank}", json.dumps(beat))

    def _listen(self, elapsed: float) -> None:
        if self._store.check(["said"]):
            self.end("", 1)
        for peer in self._peers:
            key = f"beat/{peer.rank}"
            known = peer.said or self._store.check([key])
            said = json.loads(self._store.get(key)) if known else {}
            peer.hear(said, elapsed)

    def _judge(self, now: float) -> None:
        if self._state == "done" and all(peer.state == "done" for peer in self._peers):
            self._all_done.set()
            return
        silence = min(self.timeout, CALM) if self._state == "lost" else self.timeout
        found = find_lost(self._peers, self._place, silence, max(self.timeout, COME))
        if found is not None and not self._has_ended_well(found[0]):
            self.end(self._blame(*found), 1)
        if self._state not in GRACE:
            return
        self._since = now if self._since is None else self._since
        together = self._state == "signal" and all(p.state == "signal" for p in self._peers)
        if together or now - self._since > GRACE[self._state]:
            self.end(*self._give_up())

    def _has_ended_well(self, peer: Peer) -> bool:
        """Whether a rank that has ended said so before; its last word may have come just now."""
        try:
            self._listen(0.0)
        except RuntimeError:
            return False
        return peer.state == "done"

    def _blame(self, peer: Peer, how: str) -> str:
        said = peer.said
        where = f" ({said['host']}, process {said['process']})" if said else ""
        return (
            f"counterpoise: error: rank {peer.rank} of {self.launch.world}{where} {how}, so all "
            f"ranks end; the same command{self.again} goes on"
        )

    def _give_up(self) -> tuple[str, int]:
        """What is said where nobody is to blame, and the exit status."""
        if self._state == "signal":
            return f"counterpoise: stopped; the same command{self.again} goes on", 130
        return (
            f"counterpoise: error: the ranks have lost each other ({self._why}); the same command"
            f"{self.again} goes on"
        ), 1

    def _lose_store(self) -> None:
        """End since the store is gone: with its launcher, or with rank 0, which has kept it."""
        launch = self.launch
        ended = [peer.rank for peer in self._peers if peer.state == "done"]
        if self._state == "done" and len(ended) == len(self._peers):
            os._exit(0)
        speaker = next(r for r in range(launch.world) if launch.hosted or r > 0)
        text = ""
        if launch.rank == speaker and launch.hosted:
            text = (
                f"counterpoise: error: the launcher has ended; the same command{self.again} goes on"
            )
        elif launch.rank == speaker:
            text = self._blame(self._peers[0], "has ended, and with it where the ranks meet")
        self.end(text, 1)


_current: Watch | None = None


def start_watch(launch: Launch) -> Watch:
    """The watch of this process, from now on."""
    global _current
    _current = Watch(launch)
    _current.start()
    return _current


def current_watch() -> Watch | None:
    """The watch of this process; ``None`` where it was not launched with others."""
    return _current

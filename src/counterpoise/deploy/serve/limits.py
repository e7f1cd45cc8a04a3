"""What one request may cost, and how a request is refused."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

MIB = 1 << 20


@dataclass(frozen=True)
class Limits:
    """What the server takes, and how much of it at once.

    Attributes:
        body: bytes of a request.
        seconds: from its first byte to its answer.
        rows: of a request.
        batch: rows that the model answers at once; a larger request is answered alone.
        wait: seconds that a batch waits for more rows, where requests are many.
        queue: requests that are read or wait for the model; more are asked to come again.
        decoders: files that are decoded at once.
        numbers: of a request in JSON, or of a table in a file.
        depth: of lists in lists in JSON.
        pixels: of a picture, or of one frame of a film.
        frames: of a film.
        decoded: bytes that the arrays of a file take.
    """

    body: int = 16 * MIB
    seconds: float = 30.0
    rows: int = 256
    batch: int = 64
    wait: float = 0.0
    queue: int = 256
    decoders: int = 2
    numbers: int = 1_000_000
    depth: int = 16
    pixels: int = 50_000_000
    frames: int = 20_000
    decoded: int = 256 * MIB


@dataclass
class Refusal(Exception):
    """A request that is not answered: a status of HTTP and one line that says why.

    Attributes:
        status: 400 to 503.
        reason: what is wrong and what to do, in one line.
        headers: that go with it.
    """

    status: int
    reason: str
    headers: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        super().__init__(self.reason)
        self.reason = " ".join(self.reason.split())


def say_busy(what: str) -> Refusal:
    """The refusal of a request that may be sent again soon."""
    return Refusal(503, f"{what}; send the request again in a second", {"Retry-After": "1"})

"""The processes that a launcher such as ``torchrun`` started together, from their environment."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass

from counterpoise.errors import InputError

NEEDED = ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")


@dataclass(frozen=True)
class Launch:
    """One of several processes that were started together.

    Attributes:
        rank: its number, 0 to ``world - 1``.
        world: how many there are.
        place: its number among those on this machine.
        here: how many are on this machine.
        attempt: how often the launcher has started all of them again.
        host, port: of the store where they meet.
        hosted: whether the launcher keeps this store; else rank 0 does.
    """

    rank: int
    world: int
    place: int
    here: int
    attempt: int
    host: str
    port: int
    hosted: bool


def find_launch(environment: Mapping[str, str] = os.environ) -> Launch | None:
    """What a launcher has said; ``None`` where this process is alone.

    A number of processes without the rest (a batch system may set it) means nothing.

    Raises:
        InputError: a number that is none, or out of its range.
    """
    if not all(environment.get(name) for name in NEEDED):
        return None

    def number(name: str, default: int, least: int, most: int) -> int:
        text = environment.get(name, str(default))
        if not text.isascii() or not text.isdigit() or not least <= int(text[:9]) <= most:
            raise InputError(
                f"{name} must be a whole number from {least} to {most}, found {text[:50]!r}; the "
                "launcher (torchrun) sets it"
            )
        return int(text[:9])

    world = number("WORLD_SIZE", 1, 1, 10**6)
    if world == 1:
        return None
    rank = number("RANK", 0, 0, world - 1)
    here = number("LOCAL_WORLD_SIZE", 1, 1, world)
    return Launch(
        rank,
        world,
        number("LOCAL_RANK", 0, 0, here - 1),
        here,
        number("TORCHELASTIC_RESTART_COUNT", 0, 0, 10**6),
        environment["MASTER_ADDR"],
        number("MASTER_PORT", 0, 1, 65535),
        environment.get("TORCHELASTIC_USE_AGENT_STORE") == "True",
    )

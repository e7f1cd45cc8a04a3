"""Where the runs of a command are carried out: the flags that say so, and what they choose."""

from __future__ import annotations

import argparse
import os
from typing import TYPE_CHECKING

from counterpoise.errors import InputError, check_number, unknown

if TYPE_CHECKING:
    from counterpoise.core.executors import Executor

SHARES = ("cpus", "gpus")


def add_place(parser: argparse.ArgumentParser) -> None:
    """The flags ``--on``, ``--address`` and ``--per-run``, beside ``--jobs``."""
    add = parser.add_argument_group("where the runs are carried out").add_argument
    add(
        "--on",
        choices=("ray",),
        help="as tasks of Ray in place of --jobs (needs the extra [ray]; see docs/ray.md)",
    )
    add(
        "--address",
        metavar="HOST:PORT",
        help="of a cluster of Ray, or auto (default: RAY_ADDRESS, else one is started here)",
    )
    add(
        "--per-run",
        metavar="cpus=N,gpus=N",
        help="what each run takes of the cluster; by default one CPU, and with --device cuda one "
        "GPU; gpus=0.5 lets two share one",
    )


def choose_place(options: argparse.Namespace) -> Executor:
    """What carries out the runs.

    Raises:
        InputError: flags that do not go together, or Ray is not installed.
    """
    if options.on is None:
        for flag, value in (("--address", options.address), ("--per-run", options.per_run)):
            if value is not None:
                raise InputError(f"{flag} is of --on ray, which is not given; add it")
        from counterpoise.core.executors import choose_executor

        return choose_executor(options.jobs)
    if options.jobs != 1:
        raise InputError(
            f"--jobs {options.jobs} is for processes of this machine; with --on ray as many runs "
            "train at a time as --per-run leaves room for, so leave --jobs out"
        )
    kind, _, number = options.device.partition(":")
    if number or kind not in ("cpu", "cuda"):
        raise InputError(
            f"--device {options.device} with --on ray must be cpu or cuda: Ray gives each run a GPU"
        )
    given = read_shares(options.per_run)
    cpus, gpus = given.get("cpus", 1.0), given.get("gpus", 1.0 if kind == "cuda" else 0.0)
    if (gpus > 0) != (kind == "cuda"):
        raise InputError(
            f"--per-run gpus={gpus:g} does not go with --device {kind}; runs on GPUs need "
            "--device cuda and gpus above 0"
        )
    address = options.address
    if address is None:
        address = os.environ.get("RAY_ADDRESS") or None

    from counterpoise.core.on_ray import OnRay

    return OnRay(address, cpus, gpus)


def read_shares(text: str | None) -> dict[str, float]:
    """What ``cpus=1,gpus=0.5`` says; :class:`InputError` for anything else."""
    found: dict[str, float] = {}
    for word in [] if text is None else text.split(","):
        name, equals, number = word.partition("=")
        if name not in SHARES:
            raise unknown("word in --per-run (cpus=N,gpus=N)", name[:60], SHARES)
        if name in found:
            raise InputError(f"--per-run must name each once, found {name} twice")
        try:
            value = float(number)
        except ValueError:
            equals = ""
        if not equals:
            raise InputError(f"--per-run must read cpus=N,gpus=N, found {word!r:.80}")
        found[name] = check_number(f"--per-run {name}", value, 0)
    return found

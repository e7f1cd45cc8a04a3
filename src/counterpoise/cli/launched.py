"""Commands under a launcher such as ``torchrun``: one process of several runs this."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable
from contextlib import suppress
from datetime import timedelta
from typing import TYPE_CHECKING, NoReturn

from counterpoise.core.launch import Launch
from counterpoise.errors import InputError, check_number

from .arguments import Command

if TYPE_CHECKING:
    from counterpoise.core.heartbeat import Watch

TOGETHER = ("train", "evaluate")  # all ranks work on it
ALONE = ("methods", "data", "completion")  # rank 0 prints


def add_timeout(parser: argparse.ArgumentParser) -> None:
    """The flag ``--rank-timeout``."""
    parser.add_argument(
        "--rank-timeout",
        type=float,
        default=120.0,
        metavar="SECONDS",
        help="under torchrun: all ranks end when one has not been heard of for as long "
        "(default %(default)g)",
    )


def run_rank(launch: Launch, command: Callable[[], int]) -> NoReturn:
    """Run a command as one rank of several, and end the process; rank 0 alone prints."""
    os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")  # its warnings of closed connections
    from counterpoise.core.heartbeat import start_watch

    watch = start_watch(launch)
    if launch.rank > 0:
        sys.stdout = sys.stderr = open(os.devnull, "w")  # noqa: SIM115  # until the process ends
    try:
        status = command()
    except SystemExit as error:  # of --help and --version
        status = error.code if isinstance(error.code, int) else 0
    except BaseException as error:
        watch.end_by(error)
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError):
            stream.flush()
    watch.finish(status)


def find_watch() -> Watch | None:
    """The watch of this process; ``None`` where it is alone. Imports nothing that takes long."""
    module = sys.modules.get("counterpoise.core.heartbeat")
    return None if module is None else module.current_watch()


def run_command(command: Command, options: argparse.Namespace) -> None:
    """Run a command; of several ranks, those that it is for.

    Raises:
        InputError: a command of one process, under a launcher.
    """
    watch, name = find_watch(), options.command
    if watch is not None and name not in (*TOGETHER, *ALONE):
        jobs = "; --jobs says how many runs train at a time" if name in ("compare", "tune") else ""
        raise InputError(
            f"{name} is the work of one process, found {watch.launch.world}; run it without "
            f"torchrun{jobs}"
        )
    if watch is None or name in TOGETHER or watch.launch.rank == 0:
        command.run(options)


def join_ranks(options: argparse.Namespace) -> bool:
    """Join the other ranks, if there are any; whether the launcher has started them again.

    ``options.device`` becomes this rank's own.

    Raises:
        InputError: a timeout out of its bounds, or a device that the ranks would share.
    """
    timeout = check_number("--rank-timeout", options.rank_timeout, 1, 86400)
    watch = find_watch()
    if watch is None:
        return False
    import torch
    import torch.distributed as dist

    from counterpoise.core.device import choose_device

    launch, watch.timeout = watch.launch, timeout
    watch.again = " with --resume" if options.command == "train" else ""
    device = getattr(options, "device", "cpu")
    backend = "gloo"
    if device.partition(":")[0] != "cpu":
        options.device = choose_device(device, launch.place, launch.here)
        torch.cuda.set_device(options.device)
        backend = "cpu:gloo,cuda:nccl"
    # The watch ends ranks that wait for a lost one; others may wait as long as they must.
    dist.init_process_group(
        backend,
        store=watch.make_store("group"),
        rank=launch.rank,
        world_size=launch.world,
        timeout=timedelta(days=30),
    )
    return launch.attempt > 0

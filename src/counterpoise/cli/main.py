"""The command line: whole experiments without a line of code."""

from __future__ import annotations

import errno
import sys
import warnings
from collections.abc import Sequence

from counterpoise.core.console import printing, replace_unknown
from counterpoise.core.launch import find_launch
from counterpoise.errors import InputError

from . import (
    compare,
    completion,
    data,
    evaluate,
    export,
    methods,
    pack,
    predict,
    prepare,
    report,
    serve,
    train,
    tune,
)
from .arguments import parse
from .exhausted import EXHAUSTED, is_exhausted
from .launched import find_watch, run_command, run_rank
from .output import forget_warnings, print_warning
from .signals import Stopped, stop_quietly

COMMANDS = {
    "methods": methods.COMMAND,
    "data": data.COMMAND,
    "prepare": prepare.COMMAND,
    "train": train.COMMAND,
    "compare": compare.COMMAND,
    "tune": tune.COMMAND,
    "evaluate": evaluate.COMMAND,
    "report": report.COMMAND,
    "pack": pack.COMMAND,
    "predict": predict.COMMAND,
    "export": export.COMMAND,
    "serve": serve.COMMAND,
    "completion": completion.COMMAND,
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit status: 0, 2 for bad input, 130 when interrupted.

    Other signals that stop it give 128 and their number.
    """
    arguments = list(sys.argv[1:] if argv is None else argv)
    try:
        launch = find_launch()
    except InputError as error:
        return _fail(str(error))
    return _run(arguments) if launch is None else run_rank(launch, lambda: _run(arguments))


def _run(arguments: list[str]) -> int:
    """Run one command as :func:`main` does, in this process."""
    replace_unknown()
    with printing():
        return _carry_out(arguments)


def _carry_out(arguments: list[str]) -> int:
    forget_warnings()
    try:
        with stop_quietly(), warnings.catch_warnings():
            warnings.showwarning = print_warning  # type: ignore[assignment]  # takes what it gives
            options = parse(arguments, COMMANDS)
            options.command_line = arguments
            run_command(COMMANDS[options.command], options)
        return 0
    except InputError as error:
        return _fail(str(error))
    except OSError as error:
        if error.errno == errno.ENOSPC:
            return _fail("the disk is full; free some space and run the same command again")
        if error.errno == errno.EPIPE:  # the reader of our output has gone, as `| head` does
            if watch := find_watch():
                watch.end("", 0)
            sys.stderr.close()
            return 0
        if error.errno in (errno.EMFILE, errno.ENFILE):
            return _fail("too many files are open; allow more of them (ulimit -n)")
        if is_exhausted(error):
            return _fail(EXHAUSTED)
        return _fail(f"{error.filename or 'file'}: {error.strerror or error}")
    except Exception as error:
        if not is_exhausted(error):
            raise
        return _fail(EXHAUSTED)
    except KeyboardInterrupt as error:
        if watch := find_watch():
            watch.stop()
        again = " with --resume" if {"train", "predict"} & set(arguments) else ""
        print(f"counterpoise: stopped; the same command{again} goes on", file=sys.stderr)
        return error.status if isinstance(error, Stopped) else 130


def _fail(message: str) -> int:
    line = f"counterpoise: error: {' '.join(message.split())}"
    if watch := find_watch():
        watch.end(line, 2)
    print(line, file=sys.stderr)
    return 2

"""The command line: whole experiments without a line of code."""

from __future__ import annotations

import errno
import re
import sys
import warnings
from collections.abc import Sequence

from counterpoise.core.console import replace_unknown
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
)
from .arguments import parse
from .output import forget_warnings, print_warning

# What torch says where an allocation fails, on a processor and on an accelerator.
MEMORY = re.compile(r"can't allocate memory|not enough memory|out of memory", re.IGNORECASE)

COMMANDS = {
    "methods": methods.COMMAND,
    "data": data.COMMAND,
    "prepare": prepare.COMMAND,
    "train": train.COMMAND,
    "compare": compare.COMMAND,
    "evaluate": evaluate.COMMAND,
    "report": report.COMMAND,
    "pack": pack.COMMAND,
    "predict": predict.COMMAND,
    "export": export.COMMAND,
    "serve": serve.COMMAND,
    "completion": completion.COMMAND,
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit status: 0, 2 for bad input, 130 when interrupted."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    replace_unknown()
    forget_warnings()
    try:
        with warnings.catch_warnings():
            warnings.showwarning = print_warning  # type: ignore[assignment]  # takes what it gives
            options = parse(arguments, COMMANDS)
            options.command_line = arguments
            COMMANDS[options.command].run(options)
        return 0
    except InputError as error:
        return _fail(str(error))
    except OSError as error:
        if error.errno == errno.ENOSPC:
            return _fail("the disk is full; free some space and run the same command again")
        if error.errno == errno.EPIPE:  # the reader of our output has gone, as `| head` does
            sys.stderr.close()
            return 0
        return _fail(f"{error.filename or 'file'}: {error.strerror or error}")
    except (MemoryError, RuntimeError) as error:
        if not isinstance(error, MemoryError) and not MEMORY.search(str(error)):
            raise
        return _fail("the memory is full; take a smaller --width, --batch-size, data set or model")
    except KeyboardInterrupt:
        again = " with --resume" if {"train", "predict"} & set(arguments) else ""
        print(f"counterpoise: stopped; the same command{again} goes on", file=sys.stderr)
        return 130


def _fail(message: str) -> int:
    print(f"counterpoise: error: {' '.join(message.split())}", file=sys.stderr)
    return 2

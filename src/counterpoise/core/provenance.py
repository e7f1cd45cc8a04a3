"""How results came about: versions, command, machine, and the commit of the user's own code."""

from __future__ import annotations

import platform
import shlex
import subprocess
import sys
from contextlib import suppress
from datetime import datetime, timezone
from os import environ
from pathlib import Path
from typing import Any

import numpy as np
import torch

from .version import __version__

PATIENCE = 2.0  # seconds that git may take, so that a large or slow tree does not hold up a run


def made_with(command: str | None = None) -> dict[str, Any]:
    """How what begins now is made, in plain values.

    Args:
        command: the command line; by default that of this process.

    Returns:
        ``counterpoise``, ``torch``, ``numpy`` and ``python`` (versions), ``machine``, ``command``,
        ``time`` (UTC) and, in a directory that git knows, ``git``: ``commit`` and ``changed``,
        whether files that git follows differ from it.
    """
    git = find_commit(Path.cwd())
    return {
        "counterpoise": __version__,
        "torch": str(torch.__version__),
        "numpy": np.__version__,
        "python": platform.python_version(),
        "machine": f"{platform.machine()}, {torch.get_num_threads()} torch thread(s)",
        "command": command or describe_command(),
        "time": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        **({"git": git} if git else {}),
    }


def find_commit(directory: Path) -> dict[str, Any] | None:
    """The commit of the git repository around ``directory``; ``None`` where there is none.

    Never raises: git may be missing, slow, or refuse the directory.
    """
    words = ["git", "status", "--porcelain=v2", "--branch", "--untracked-files=no"]
    with suppress(OSError, ValueError, subprocess.SubprocessError):
        found = subprocess.run(
            words,
            cwd=directory,
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=True,
            env={**environ, "GIT_OPTIONAL_LOCKS": "0"},  # only looks, and gets in nobody's way
        )
        lines = found.stdout.splitlines()
        commits = [line.split()[-1] for line in lines if line.startswith("# branch.oid ")]
        if commits and commits[0] != "(initial)":
            return {"commit": commits[0], "changed": any(line[:1] != "#" for line in lines)}
    return None


def describe_command() -> str:
    """What started this process, with its program by name."""
    program = Path(sys.argv[0])
    name = program.parent.name if program.name == "__main__.py" else program.name
    return shlex.join([name or "python", *sys.argv[1:]])

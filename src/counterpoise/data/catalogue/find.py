"""Where data sets lie on this machine."""

from __future__ import annotations

import os
from pathlib import Path

from counterpoise.errors import InputError

# Data set -> what its owners publish, and where it goes below the data folder.
NEEDS = {
    "utd-mhad": (
        "the folders Skeleton and Inertial (and Depth, if it is used) of UTD-MHAD by Chen, Jafari "
        "and Kehtarnavaz (a1_s1_t1_skeleton.mat, ...) as utd_mhad/Skeleton, utd_mhad/Inertial"
    ),
    "av-mnist": (
        "t10k-images-idx3-ubyte.gz and t10k-labels-idx1-ubyte.gz of MNIST by LeCun, Cortes and "
        "Burges in mnist/, and the 3,000 WAV files of the Free Spoken Digit Dataset by Jackson "
        "et al. (0_george_0.wav, ...) in fsdd/recordings/"
    ),
}


def data_folder(data_dir: str | Path | None = None) -> Path:
    """The folder that holds all data sets.

    ``data_dir``, or the environment variable COUNTERPOISE_DATA, or ``counterpoise`` in the user's
    cache (``$XDG_CACHE_HOME`` or ``~/.cache``), whichever is set first.
    """
    if data_dir is not None:
        return Path(data_dir).expanduser()
    if variable := os.environ.get("COUNTERPOISE_DATA"):
        return Path(variable).expanduser()
    cache = os.environ.get("XDG_CACHE_HOME")
    return (Path(cache) if cache else Path.home() / ".cache") / "counterpoise"


def find(name: str, folder: str, data_dir: str | Path | None = None) -> Path:
    """The folder or file ``folder`` of the data set ``name``.

    Raises:
        InputError: it is not there; the message says what to put where.
    """
    root = data_folder(data_dir)
    path = root / folder
    if not path.exists():
        raise InputError(
            f"data set {name!r} is not complete: found no {path}; put {NEEDS[name]} below {root}, "
            "or point --data-dir (data_dir=) or COUNTERPOISE_DATA to the folder that holds them"
        )
    return path

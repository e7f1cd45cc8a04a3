"""UTD-MHAD as its owners publish it, with what cannot be read listed instead of ending the work."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from counterpoise.core.tasks import Classification
from counterpoise.data.preparation.table import Bad, Row, Table
from counterpoise.data.readers.base import Array, Reader, existing
from counterpoise.errors import InputError

from .base import Published
from .utd_mhad import ACTIONS, SUBJECTS, _read
from .utd_mhad import READERS as FILES

PART = {subject: part for part, members in SUBJECTS.items() for subject in members}
NEEDS = (
    "Skeleton/, Inertial/ and Depth/ (a1_s1_t1_skeleton.mat, ...), or those of them that are used"
)


@dataclass(frozen=True)
class _Recording(Reader):
    """One .mat file as ``utd_mhad.py`` beside this reads it, in physical units."""

    modality: ClassVar[str]

    def read(self, cell: Any) -> Array:
        path = existing(cell)
        key, _, _, prepared = FILES[self.modality]
        return np.asarray(prepared(self.array(path, key), path), dtype=np.float32)

    def array(self, path: Path, key: str) -> Array:
        return _read(path, key)


class UtdSkeleton(_Recording):
    """float32 [60, 64]: x, y, z of 20 joints in metres from the hip, without their mean posture."""

    name, kind, modality = "utd-skeleton", "sequence", "skeleton"


class UtdInertial(_Recording):
    """float32 [6, 64]: acceleration in g, rotation in degrees per second."""

    name, kind, modality = "utd-inertial", "sequence", "inertial"


class UtdDepth(_Recording):
    """float32 [16, 60, 80]: the person's distance relative to their mean; the background is 0.

    Frames of a multiple of 60 x 80, such as the published 240 x 320, lose rows and columns: every
    fourth is kept.
    """

    name, kind, modality = "utd-depth", "image", "depth"

    def array(self, path: Path, key: str) -> Array:
        frames = _read(path, key)
        step = frames.shape[0] // 60
        if frames.ndim != 3 or step == 0 or frames.shape[:2] != (60 * step, 80 * step):
            raise InputError(
                f"{path} must hold frames of 60 x 80 or a multiple, found {list(frames.shape)}"
            )
        return frames[::step, ::step]


READERS: dict[str, Reader] = {r.modality: r() for r in (UtdSkeleton, UtdInertial, UtdDepth)}


def utd_mhad(raw: Path) -> Table:
    """The 861 sequences by action, subject and trial; a sequence may lack modalities."""
    folders = {m: raw / m.capitalize() for m in READERS if (raw / m.capitalize()).is_dir()}
    if not folders:
        raise InputError(f"found no {raw / 'Skeleton'}; RAW must hold {NEEDS}")
    files: dict[tuple[int, int, int], dict[str, str]] = {}
    bad: list[Bad] = []
    for modality, folder in folders.items():
        for path in sorted(folder.glob("*.mat")):
            match = re.fullmatch(rf"a(\d+)_s(\d+)_t(\d+)_{modality}", path.stem)
            action, subject, trial = map(int, match.groups()) if match else (0, 0, 0)
            if not (1 <= action <= len(ACTIONS) and subject in PART):
                reason = f"is not a file like a1_s1_t1_{modality}.mat (actions 1-27, subjects 1-8)"
                bad.append(Bad(path.name, modality, reason))
            else:
                files.setdefault((action, subject, trial), {})[modality] = str(path)
    rows = [
        Row(
            f"a{action}_s{subject}_t{trial}",
            ACTIONS[action - 1],
            files[action, subject, trial],
            PART[subject],
            f"s{subject}",
        )
        for action, subject, trial in sorted(files)
    ]
    return Table(
        "utd-mhad",
        rows,
        {m: READERS[m] for m in folders},
        Classification(len(ACTIONS), names=ACTIONS),
        bad,
        {m: FILES[m][2] for m in folders},
    )


UTD_MHAD = Published(
    name="utd-mhad",
    summary="861 sequences of 27 actions by 8 people: skeleton, worn sensor, depth",
    modalities=tuple(READERS),
    licence="free for research (Chen, Jafari and Kehtarnavaz, ICIP 2015); cite the paper",
    source="https://www.utdallas.edu/~kehtar/UTD-MHAD.html",
    size="skeleton and inertial 25 MB, depth some 250 MB",
    needs=NEEDS,
    table=utd_mhad,
)

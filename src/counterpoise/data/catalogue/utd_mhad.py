"""UTD-MHAD: 27 actions of 8 people, recorded by a depth camera and one worn sensor."""

from __future__ import annotations

import re
from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from counterpoise.core.tasks import Classification
from counterpoise.data.arrays import ArrayData
from counterpoise.data.dataset import Dataset
from counterpoise.data.preparation.table import Bad, Row, Table
from counterpoise.data.readers.base import Reader, existing
from counterpoise.errors import InputError, unknown

from .base import DatasetEntry

SUBJECTS = {"train": (1, 3, 5), "validation": (7,), "test": (2, 4, 6, 8)}
PART = {subject: part for part, members in SUBJECTS.items() for subject in members}
ACTIONS = (
    *("swipe left", "swipe right", "wave", "clap", "throw", "cross arms", "basketball shoot"),
    *("draw x", "draw circle clockwise", "draw circle counter-clockwise", "draw triangle"),
    *("bowling", "boxing", "baseball swing", "tennis swing", "arm curl", "tennis serve", "push"),
    *("knock", "catch", "pick up and throw", "jog", "walk", "sit to stand", "stand to sit"),
    *("lunge", "squat"),
)
STEPS = 64  # of a skeleton or inertial sequence after resampling
FRAMES = 16  # of a depth sequence
HIP = 3  # the hip centre among the 20 joints
SLAB = 500.0  # millimetres of depth, from a person's mean, that are told apart

Array = NDArray[np.float32]


@dataclass(frozen=True)
class Recording(Reader):
    """One .mat file, in physical units.

    Attributes:
        modality: in the name of the file.
        key: the array in the file.
        shape: of a sample.
        units: of each channel.
    """

    modality: ClassVar[str]
    key: ClassVar[str]
    shape: ClassVar[tuple[int, ...]]
    units: ClassVar[tuple[str, ...]]

    def read(self, cell: Any) -> Array:
        path = existing(cell)
        return np.asarray(self.convert(_read(path, self.key), path), dtype=np.float32)

    @abstractmethod
    def convert(self, array: NDArray[Any], path: Path) -> NDArray[Any]:
        """The sample of the array in a file."""


class UtdSkeleton(Recording):
    """float32 [60, 64]: x, y, z of 20 joints in metres from the hip, without their mean posture."""

    name, kind, modality = "utd-skeleton", "sequence", "skeleton"
    key, shape, units = "d_skel", (60, STEPS), ("m",) * 60

    def convert(self, array: NDArray[Any], path: Path) -> NDArray[Any]:
        _check_shape(array, (20, 3, None), path)
        joints = resample((array - array[HIP]).reshape(60, -1).T, STEPS).T
        # Without the mean posture, in which people differ more than in what they do: 97 instead of
        # 90 % of validation actions are then told apart.
        moving: NDArray[Any] = joints - joints.mean(1, keepdims=True)
        return moving


class UtdInertial(Recording):
    """float32 [6, 64]: acceleration in g, rotation in degrees per second."""

    name, kind, modality = "utd-inertial", "sequence", "inertial"
    key, shape, units = "d_iner", (6, STEPS), ("g",) * 3 + ("deg/s",) * 3

    def convert(self, array: NDArray[Any], path: Path) -> NDArray[Any]:
        _check_shape(array, (None, 6), path)
        channels: NDArray[Any] = resample(array, STEPS).T
        return channels


class UtdDepth(Recording):
    """float32 [16, 60, 80]: the person's distance relative to their mean; the background is 0.

    Frames of a multiple of 60 x 80, such as the published 240 x 320, lose rows and columns: every
    fourth is kept.
    """

    name, kind, modality = "utd-depth", "image", "depth"
    key, shape, units = "d_depth", (FRAMES, 60, 80), ("slab",) * FRAMES

    def convert(self, array: NDArray[Any], path: Path) -> NDArray[Any]:
        step = array.shape[0] // 60
        if array.ndim != 3 or step == 0 or array.shape[:2] != (60 * step, 80 * step):
            raise InputError(
                f"{path} must hold frames of 60 x 80 or a multiple, found {list(array.shape)}"
            )
        chosen = np.linspace(0, array.shape[2] - 1, FRAMES).round().astype(int)
        frames: NDArray[Any] = np.asarray(
            array[::step, ::step, chosen].transpose(2, 0, 1), dtype=np.float32
        )
        person = frames > 0
        if person.any():
            distance = float(frames[person].mean())
            frames[person] = np.clip(1 - (frames[person] - distance) / SLAB, 0, 2)
        return frames


READERS: dict[str, Recording] = {r.modality: r() for r in (UtdSkeleton, UtdInertial, UtdDepth)}


def _read(path: Path, key: str) -> NDArray[Any]:
    """The numeric array ``key`` of a MATLAB v5 file."""
    from scipy.io import loadmat

    try:
        array = loadmat(path, variable_names=[key])[key]
    except Exception as error:  # a damaged file can break the reader anywhere
        raise InputError(
            f"cannot read {key!r} from {path} ({type(error).__name__}: {error}); "
            "fetch the file again"
        ) from error
    if not isinstance(array, np.ndarray) or array.dtype.kind not in "fiu" or array.size == 0:
        raise InputError(f"{path} must hold numbers in {key!r}; fetch the file again")
    if not np.isfinite(array).all():
        raise InputError(f"{path} must hold finite numbers in {key!r}; fetch the file again")
    return array


def _check_shape(array: NDArray[Any], expected: tuple[int | None, ...], path: Path) -> None:
    """Raise unless ``array`` has the shape ``expected``, in which None is any length."""
    fits = array.ndim == len(expected) and all(
        want in (None, have) for want, have in zip(expected, array.shape, strict=True)
    )
    if not fits:
        wanted = ", ".join("T" if n is None else str(n) for n in expected)
        raise InputError(
            f"{path} must hold an array [{wanted}], found {list(array.shape)}; fetch the file again"
        )


def resample(series: NDArray[Any], steps: int) -> NDArray[np.float64]:
    """[T, C] -> [steps, C], linear in time, first and last step kept."""
    at = np.linspace(0, len(series) - 1, steps)
    left = np.floor(at).astype(int)
    right = np.minimum(left + 1, len(series) - 1)
    weight = (at - left)[:, None]
    blended: NDArray[np.float64] = series[left] * (1 - weight) + series[right] * weight
    return blended


def utd_mhad(
    data_dir: str | Path | None = None,
    modalities: Sequence[str] = ("skeleton", "inertial"),
) -> ArrayData:
    """UTD-MHAD (Chen, Jafari and Kehtarnavaz, ICIP 2015): 861 sequences of 27 actions.

    Training subjects are 1, 3 and 5, validation is 7, test are 2, 4, 6 and 8. Over the
    training subjects, every channel has mean 0 and every unit of measure (metres, g, degrees per
    second) variance 1.

    * ``skeleton`` [60, 64]: x, y and z of 20 joints in metres from the hip centre, without their
      mean over the sequence, resampled linearly to 64 steps.
    * ``inertial`` [6, 64]: acceleration (g) and rotation (degrees per second), resampled likewise.
    * ``depth`` [16, 60, 80]: 16 frames evenly spaced over the sequence. The person is 1 at their
      mean distance in the sequence, 0 from 0.5 m behind it and 2 from 0.5 m before; the background,
      which the owners have removed, is 0. Needs about 0.6 GB of memory while loading.

    A sequence without the file of a modality is a sample that lacks the modality.

    Args:
        data_dir: holds ``utd_mhad/Skeleton``, ``utd_mhad/Inertial`` and ``utd_mhad/Depth``;
            default COUNTERPOISE_DATA, then the user's cache.
        modalities: which to load, at least one.

    Raises:
        InputError: a folder is not there, or a file cannot be read.
    """
    _check_modalities(modalities)
    files: dict[str, dict[tuple[int, int, int], Path]] = {}
    for modality in modalities:
        folder = UtdMhad.find(f"utd_mhad/{modality.capitalize()}", data_dir)
        files[modality] = _list_files(folder, modality)
    keys = sorted(set().union(*files.values()))
    subjects = np.array([subject for _, subject, _ in keys])
    split = np.full(len(keys), "validation", dtype="<U10")
    for part, members in SUBJECTS.items():
        split[np.isin(subjects, members)] = part
    inputs: dict[str, Array] = {}
    present: dict[str, NDArray[np.bool_]] = {}
    for modality in modalities:
        reader = READERS[modality]
        values = np.zeros((len(keys), *reader.shape), dtype=np.float32)
        mask = np.array([sequence in files[modality] for sequence in keys])
        for row in np.flatnonzero(mask):
            values[row] = reader.read(files[modality][keys[row]])
        inputs[modality], present[modality] = values, mask
        _standardise(values, mask, split == "train", reader)
    return ArrayData(
        inputs,
        np.array([action - 1 for action, _, _ in keys]),
        present=present,
        task=Classification(len(ACTIONS), names=ACTIONS),
        split=split,
        groups=subjects,
        name="utd-mhad",
        kinds={m: READERS[m].kind for m in modalities},
        scaled=True,
    )


def _check_modalities(modalities: Sequence[str]) -> None:
    if not modalities:
        raise InputError(f"modalities must name at least one of {', '.join(READERS)}, found none")
    for modality in modalities:
        if modality not in READERS:
            raise unknown("modality of utd-mhad", modality, READERS)


def _parse(path: Path, modality: str) -> tuple[int, int, int] | None:
    """(action, subject, trial) of a file by its name; None if it is not named like one."""
    match = re.fullmatch(rf"a(\d+)_s(\d+)_t(\d+)_{modality}\.mat", path.name)
    return (int(match[1]), int(match[2]), int(match[3])) if match else None


def _list_files(folder: Path, modality: str) -> dict[tuple[int, int, int], Path]:
    """(action, subject, trial) -> file."""
    found: dict[tuple[int, int, int], Path] = {}
    for path in folder.iterdir():
        if (sequence := _parse(path, modality)) is not None:
            action, subject, _ = sequence
            if not (1 <= action <= len(ACTIONS) and subject in PART):
                raise InputError(
                    f"{path} names action {action} of subject {subject}; "
                    f"UTD-MHAD has actions 1-{len(ACTIONS)} and subjects 1-8"
                )
            found[sequence] = path
    if not found:
        raise InputError(f"found no file like a1_s1_t1_{modality}.mat in {folder}")
    return found


def _standardise(
    values: Array,
    present: NDArray[np.bool_],
    train: NDArray[np.bool_],
    reader: Recording,
) -> None:
    """Bring every channel to mean 0 and every unit to deviation 1 over training rows, in place.

    One deviation per channel would blow up the noise of joints that hardly move: on skeletons it
    costs about ten points of validation accuracy.
    """
    rows = np.flatnonzero(present & train)
    if len(rows) == 0:
        raise InputError(
            f"utd-mhad has no training sequence (subjects 1, 3, 5) with {reader.modality}"
        )
    known = values[rows]
    axes = tuple(a for a in range(known.ndim) if a != 1)
    mean = known.mean(axes, dtype=np.float64)
    variance = known.var(axes, dtype=np.float64)
    deviation = np.ones(len(reader.units))
    for unit in set(reader.units):
        same = np.array([u == unit for u in reader.units])
        if (spread := variance[same].mean()) > 0:  # a constant unit stays at 0
            deviation[same] = np.sqrt(spread)
    shape = (-1, *(1,) * (values.ndim - 2))
    shift = mean.reshape(shape).astype(np.float32)
    scale = deviation.reshape(shape).astype(np.float32)
    for row in values:  # row by row: no second array of this size
        row -= shift
        row /= scale


def list_recordings(raw: Path) -> Table:
    """The 861 sequences by action, subject and trial; a sequence may lack modalities.

    Args:
        raw: holds ``Skeleton``, ``Inertial`` and ``Depth``, or some of them.
    """
    folders = {m: raw / m.capitalize() for m in READERS if (raw / m.capitalize()).is_dir()}
    if not folders:
        raise InputError(f"found no {raw / 'Skeleton'}; RAW must hold {UtdMhad.raw}")
    files: dict[tuple[int, int, int], dict[str, str]] = {}
    bad: list[Bad] = []
    for modality, folder in folders.items():
        for path in sorted(folder.glob("*.mat")):
            sequence = _parse(path, modality)
            if sequence and 1 <= sequence[0] <= len(ACTIONS) and sequence[1] in PART:
                files.setdefault(sequence, {})[modality] = str(path)
            else:
                reason = f"is not a file like a1_s1_t1_{modality}.mat (actions 1-27, subjects 1-8)"
                bad.append(Bad(path.name, modality, reason))
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
        {m: READERS[m].units for m in folders},
    )


class UtdMhad(DatasetEntry):
    """UTD-MHAD in the catalogue: :func:`utd_mhad`, or prepared by :func:`list_recordings`."""

    name = "utd-mhad"
    summary = "861 sequences of 27 actions by 8 people: skeleton, worn sensor, depth"
    modalities = ("skeleton", "inertial", "depth")
    default = ("skeleton", "inertial")
    licence = "free for research (Chen, Jafari and Kehtarnavaz, ICIP 2015); cite the paper"
    needs = (
        "the folders Skeleton and Inertial (and Depth, if it is used) of UTD-MHAD by Chen, Jafari "
        "and Kehtarnavaz (a1_s1_t1_skeleton.mat, ...) as utd_mhad/Skeleton, utd_mhad/Inertial"
    )
    folders = ("utd_mhad/Skeleton", "utd_mhad/Inertial")
    source = "https://www.utdallas.edu/~kehtar/UTD-MHAD.html"
    size = "skeleton and inertial 25 MB, depth some 250 MB"
    raw = (
        "Skeleton/, Inertial/ and Depth/ (a1_s1_t1_skeleton.mat, ...), or those of them that are "
        "used"
    )

    def read(self, data_dir: str | Path | None, modalities: tuple[str, ...]) -> Dataset:
        return utd_mhad(data_dir, modalities)

    def table(self, raw: Path) -> Table:
        return list_recordings(raw)

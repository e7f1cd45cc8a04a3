"""What the feature files of speech share: arrays by part, utterances that lack something."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from counterpoise.core.tasks import Classification, Sentiment
from counterpoise.data.preparation.table import Bad, Row, Table
from counterpoise.data.readers import ArrayFile, Reader
from counterpoise.errors import InputError

from .pickles import read_pickle
from .video_lists import without_leaks

Array = NDArray[Any]

KEYS = {"text": "text", "audio": "audio", "visual": "vision"}  # modality -> its name in the files
PARTS = {"train": "train", "valid": "validation", "test": "test"}
SIDES = ("negative", "non-negative")
MOST = 3.0  # the scale of sentiment ends here
UTTERANCE = re.compile(r"(.+?)(?:\$_\$|\[|_)\d+\]?")  # video$_$3, video[3] or video_3


class Features(ArrayFile):
    """float32 [C, T] of steps [T, C]; shorter ones are filled up to the longest of training."""

    name: ClassVar[str] = "features"
    kind: ClassVar[str] = "sequence"


def readers() -> dict[str, Reader]:
    """For each modality one."""
    return {m: Features(axis=0) for m in KEYS}


def steps(value: Any) -> Array | None:
    """float32 [T, C] with 0 for all that is not finite; None where nothing is left.

    Raises:
        InputError: it is no such array.
    """
    try:
        array = np.asarray(value, dtype=np.float32)
    except (TypeError, ValueError):
        raise InputError(f"is {type(value).__name__} that holds no numbers") from None
    if array.ndim != 2:
        raise InputError(f"must be steps [T, C], found {list(array.shape)}")
    if not np.isfinite(array).all():
        array = np.nan_to_num(array, nan=0.0, posinf=0.0, neginf=0.0)
    return array if array.any() else None


def cells(values: Mapping[str, Any], name: str, bad: list[Bad]) -> dict[str, Array] | None:
    """Modality -> steps, without what is missing; None, and a line in ``bad``, if one is broken."""
    found = {}
    for modality, value in values.items():
        try:
            array = steps(value)
        except InputError as error:
            bad.append(Bad(name, modality, str(error)))
            return None
        if array is not None:
            found[modality] = array
    return found


def parts_of(path: Path) -> Iterator[tuple[str, str, Mapping[str, Any]]]:
    """Split, its name in the file, arrays by name: a pickle of ``train``, ``valid`` and ``test``.

    Raises:
        InputError: another layout.
    """
    whole = read_pickle(path)
    if not isinstance(whole, Mapping):
        raise InputError(f"{path} must hold a dict, found {type(whole).__name__}")
    for key, split in PARTS.items():
        part = whole.get(key)
        if not isinstance(part, Mapping):
            raise InputError(f"{path} must hold {', '.join(PARTS)}, found {_names(whole)}")
        yield split, f"{path}, {key}", part


def columns(where: str, part: Mapping[str, Any], names: Sequence[str]) -> list[Any]:
    """The arrays of these names, one row an utterance.

    Raises:
        InputError: one is not there, or they differ in length.
    """
    for name in names:
        if name not in part:
            raise InputError(f"{where} must hold {name!r}, found {_names(part)}")
    found = [part[name] for name in names]
    counts = [len(column) if hasattr(column, "__len__") else 0 for column in found]
    if len(set(counts)) > 1:
        sizes = ", ".join(f"{n} {c}" for n, c in zip(names, counts, strict=True))
        raise InputError(f"{where} must hold as many rows of each, found {sizes}")
    return found


def _names(part: Mapping[Any, Any]) -> str:
    return ", ".join(sorted(str(key) for key in part)) or "nothing"


def utterance(value: Any) -> tuple[str, str]:
    """Name and source video of an utterance, from what a file has as its id.

    That is a text with the number of the utterance after the video's name, or a sequence that
    begins with the video's name.
    """
    if isinstance(value, (bytes, str)):
        name = _word(value)
        match = UTTERANCE.fullmatch(name)
        return name, match[1] if match else name
    words = [_word(x) for x in np.ravel(np.asarray(value, dtype=object))]
    return "_".join(words), words[0].split("[")[0] if words else ""


def _word(value: Any) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)


def first_file(raw: Path, names: Sequence[str], needs: str, *folders: str) -> Path:
    """The first of ``names`` that lies in ``raw`` or a folder of it."""
    for name in names:
        for folder in ("", *folders):
            if (path := raw / folder / name).is_file():
                return path
    raise InputError(f"found no {raw / names[0]}; RAW must hold {needs}")


def sentiment_rows(path: Path, bad: list[Bad]) -> Iterator[Row]:
    """The utterances of a feature file, their sentiment as target."""
    for split, where, part in parts_of(path):
        label = "regression_labels" if "regression_labels" in part else "labels"
        names = [*KEYS.values(), label, *(["id"] if "id" in part else [])]
        found = dict(zip(names, columns(where, part, names), strict=True))
        seen: set[str] = set()
        for k, target in enumerate(found[label]):
            name, video = f"{split}-{k}", None
            if "id" in found:
                name, video = utterance(found["id"][k])
            name = f"{name}#{k}" if name in seen else name
            seen.add(name)
            values = cells({m: found[key][k] for m, key in KEYS.items()}, name, bad)
            if values is not None:
                yield Row(name, target, values, split, video)


def sentiment_table(name: str, rows: Iterable[Row], bad: list[Bad], two: bool = False) -> Table:
    """A table of utterances with one number each, or the side of 0 on which it lies.

    Args:
        name: of the data set.
        rows: with an array of one number as target.
        bad: takes rows without a number in -3 .. 3.
        two: classes: 0 is on the side of the positive ones, as papers count it.
    """
    kept = []
    for row in rows:
        try:
            value = float(np.ravel(np.asarray(row.target, dtype=np.float64))[0])
        except (TypeError, ValueError, IndexError):
            value = float("nan")
        if not abs(value) <= MOST + 1e-4:  # nor NaN
            bad.append(Bad(row.id, "", f"sentiment must lie in -3..3, found {row.target!r:.40}"))
            continue
        target = SIDES[int(value >= 0)] if two else value
        kept.append(Row(row.id, target, row.cells, row.split, row.group))
    task = Classification(2, SIDES) if two else Sentiment()
    grouped = any(row.group is not None for row in kept)
    kept = without_leaks(kept, bad) if grouped else kept
    return Table(name, kept, readers(), task, bad)

"""IEMOCAP as its owners publish it, and as features: dialogues of ten actors, emotions."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from counterpoise.core.files import check_file, read_bytes
from counterpoise.core.tasks import Classification, MultiLabel
from counterpoise.data.preparation.table import Bad, Row, Table
from counterpoise.data.readers import Audio, Reader, Text, Video
from counterpoise.errors import InputError, unknown

from .base import DatasetEntry
from .features import KEYS, cells, columns, parts_of, readers
from .pickles import read_npy

# The four classes of most papers; excitement counts as happiness.
FOUR = {"neu": "neutral", "hap": "happy", "exc": "happy", "sad": "sad", "ang": "angry"}
NINE = {
    "neu": "neutral",
    "hap": "happy",
    "sad": "sad",
    "ang": "angry",
    "exc": "excited",
    "fru": "frustrated",
    "sur": "surprised",
    "fea": "afraid",
    "dis": "disgusted",
}
UNUSED = ("oth", "xxx")  # another emotion; listeners did not agree
PARTS = {"1": "train", "2": "train", "3": "train", "4": "validation", "5": "test"}  # by session
LISTS = {"my_train_iemo.txt": "train", "my_test_iemo.txt": "test"}
TURN = re.compile(r"\[([\d.]+)\s*-\s*([\d.]+)\]\s+(\S+)\s+(\S+)\s+\[[^\]]*\]")
SAID = re.compile(r"(Ses\S+)\s+\[[^\]]*\]:?\s*(.*)")
NEEDS = (
    "Session1 to Session5 of IEMOCAP_full_release, each with dialog/EmoEvaluation/*.txt, "
    "dialog/transcriptions/*.txt, sentences/wav/<dialog>/*.wav and, for the visual modality, "
    "dialog/avi/DivX/*.avi"
)
# Modality -> file of features, and its columns where all are stacked.
FEATURES = {
    "text": ("text_feat_10036.npy", slice(0, 300)),
    "audio": ("audio_feat_10036.npy", slice(300, 380)),
    "visual": ("visual_feat_10036.npy", slice(380, 690)),
}
FEATURE_NEEDS = (
    "text_feat_10036.npy, audio_feat_10036.npy, visual_feat_10036.npy and df_iemocap.csv; or "
    "X_train.npy, Y_train.npy, X_val.npy, Y_val.npy, X_test.npy, Y_test.npy and labels.npy; or "
    "iemocap_data.pkl"
)


def iemocap(raw: Path) -> Table:
    """The utterances of four emotions; sessions 1-3 train, 4 validate, 5 test.

    With ``my_train_iemo.txt`` and ``my_test_iemo.txt`` in ``raw`` these say the splits, the rest
    validates, and there are no groups: such lists share people between splits.
    """
    home = raw / "IEMOCAP_full_release"
    home = home if home.is_dir() else raw
    for number in PARTS:
        folder = home / f"Session{number}" / "dialog" / "EmoEvaluation"
        if not folder.is_dir():
            raise InputError(f"found no {folder}; RAW must hold {NEEDS}")
    bad: list[Bad] = []
    listed = _read_lists(raw, bad)
    seen = any((home / f"Session{n}" / "dialog" / "avi").is_dir() for n in PARTS)
    rows = []
    for number, part in PARTS.items():
        for row in _read_session(home / f"Session{number}", seen, bad):
            if listed is None:
                rows.append(Row(row.id, row.target, row.cells, part, f"session-{number}"))
            else:
                split = listed.get(row.id, "validation")
                rows.append(Row(row.id, row.target, row.cells, split))
    found: dict[str, Reader] = {
        "text": Text(),
        # Log mel power of 1,024 windows, [128, 1024]: the recipe of MLA (CVPR 2024).
        "audio": Audio(rate=16000, seconds=10.23, n_fft=512, hop=160, mels=128, power=2.0),
        # The picture in the middle; larger than the encoder's 224, so that it can crop.
        "visual": Video(frames=1, size=256),
    }
    if not seen:
        del found["visual"]
    names = tuple(dict.fromkeys(FOUR.values()))
    return Table("iemocap", rows, found, Classification(len(names), names), bad)


def _read_session(folder: Path, seen: bool, bad: list[Bad]) -> Iterator[Row]:
    for path in sorted((folder / "dialog" / "EmoEvaluation").glob("Ses*.txt")):
        dialog = path.stem
        said = _read_words(folder / "dialog" / "transcriptions" / path.name)
        film = folder / "dialog" / "avi" / "DivX" / f"{dialog}.avi"
        for place, line in enumerate(_read_lines(path), 1):
            if not line.startswith("["):
                continue  # the votes of each listener
            match = TURN.fullmatch(line)
            if not match:
                bad.append(Bad(f"{path.name}:{place}", "", f"cannot be read: {line:.80}"))
                continue
            start, end, name, code = match.groups()
            if code in UNUSED or (code in NINE and code not in FOUR):
                continue
            reason = ""
            if code not in FOUR:
                reason = str(unknown("emotion", code, (*NINE, *UNUSED)))
            elif not float(end) > float(start):
                reason = f"it lasts from {start} to {end} s"
            elif not said.get(name):
                reason = f"nothing is written of it in dialog/transcriptions/{path.name}"
            if reason:
                bad.append(Bad(name, "", reason))
                continue
            sound = folder / "sentences" / "wav" / dialog / f"{name}.wav"
            values: dict[str, Any] = {"text": said[name], "audio": str(sound)}
            if seen:
                values["visual"] = (str(film), float(start), float(end))
            yield Row(name, FOUR[code], values)


def _read_lines(path: Path) -> list[str]:
    text = read_bytes(path).decode(errors="replace")
    return [line.strip() for line in text.splitlines()]


def _read_words(path: Path) -> dict[str, str]:
    """Utterance -> what is said in it."""
    if not path.is_file():
        return {}
    return {m[1]: m[2] for line in _read_lines(path) if (m := SAID.fullmatch(line))}


def _read_lists(raw: Path, bad: list[Bad]) -> dict[str, str] | None:
    """Utterance -> split, by the lists of MLA's authors, if they are there."""
    there = [name for name in LISTS if (raw / name).is_file()]
    if not there:
        return None
    found: dict[str, str] = {}
    for name, split in LISTS.items():
        if name not in there:
            raise InputError(f"{raw / there[0]} needs {name} beside it; add that, or take it away")
        for line in _read_lines(raw / name):
            utterance = line.split(" ")[0].removesuffix(".mp4")
            if found.setdefault(utterance, split) != split:
                bad.append(Bad(f"{name}: {utterance}", "", "stands in both lists; it trains"))
    return found


def iemocap_features(raw: Path) -> Table:
    """Features by utterance, by stacked arrays or by a pickle of parts, whichever is there."""
    bad: list[Bad] = []
    if (raw / FEATURES["text"][0]).is_file():
        rows = list(_read_utterances(raw, bad))
    elif (raw / "X_train.npy").is_file():
        rows = list(_read_stacked(raw, bad))
    elif (raw / "iemocap_data.pkl").is_file():
        emotions = ("neutral", "happy", "sad", "angry")
        rows = list(_read_pickle(raw / "iemocap_data.pkl", emotions, bad))
        return Table("iemocap-features", rows, readers(), MultiLabel(4, emotions), bad)
    else:
        raise InputError(f"found no {raw / FEATURES['text'][0]}; RAW must hold {FEATURE_NEEDS}")
    task = Classification(len(NINE), tuple(NINE.values()))
    return Table("iemocap-features", rows, readers(), task, bad)


def _read_utterances(raw: Path, bad: list[Bad]) -> Iterator[Row]:
    features: dict[str, Mapping[str, Any]] = {}
    for modality, (name, _) in FEATURES.items():
        found = read_npy(raw / name)
        if not isinstance(found, Mapping):
            raise InputError(f"{raw / name} must hold a dict from utterances to arrays")
        features[modality] = found
    labels = _read_labels(raw / "df_iemocap.csv")
    for name in sorted(set().union(*features.values())):
        code = labels.get(name)
        if code in UNUSED:
            continue
        session = re.match(r"Ses0([1-5])", name)
        if session is None or code not in NINE:
            problem = "is no name like Ses01F_impro01_F000" if session is None else ""
            bad.append(Bad(name, "", problem or str(unknown("emotion", code, (*NINE, *UNUSED)))))
            continue
        given = {m: values[name] for m, values in features.items() if name in values}
        values = cells(given, name, bad)
        if values is not None:
            number = session[1]
            yield Row(name, NINE[code], values, PARTS[number], f"session-{number}")


def _read_labels(path: Path) -> dict[str, str]:
    if not path.is_file():
        raise InputError(f"found no {path}; RAW must hold {FEATURE_NEEDS}")
    check_file(path)
    with path.open(encoding="utf-8-sig", errors="replace", newline="") as file:
        rows = list(csv.DictReader(file))
    if not rows or not {"wav_file", "emotion"} <= set(rows[0]):
        raise InputError(f"{path} must have the columns wav_file and emotion")
    return {row["wav_file"]: row["emotion"] for row in rows}


def _read_stacked(raw: Path, bad: list[Bad]) -> Iterator[Row]:
    codes = [str(code) for code in np.ravel(read_npy(raw / "labels.npy"))]
    for part, split in (("train", "train"), ("val", "validation"), ("test", "test")):
        found = {k: read_npy(raw / f"{k}_{part}.npy") for k in ("X", "Y")}
        features, targets = columns(f"{raw}, {part}", found, ("X", "Y"))
        if features.ndim != 3 or features.shape[2] != 690:
            raise InputError(
                f"{raw / f'X_{part}.npy'} must hold [N, T, 690], found {list(features.shape)}"
            )
        for k, number in enumerate(targets):
            name, places = f"{split}-{k}", range(len(codes))
            code = codes[int(number)] if number in places else repr(float(number))
            if code not in NINE:
                bad.append(Bad(name, "", str(unknown("emotion", code, NINE))))
                continue
            values = cells({m: features[k, :, s] for m, (_, s) in FEATURES.items()}, name, bad)
            if values is not None:
                yield Row(name, NINE[code], values, split)


def _read_pickle(path: Path, emotions: tuple[str, ...], bad: list[Bad]) -> Iterator[Row]:
    """Utterances with any of four emotions, each of which has a pair of no and yes."""
    for split, where, part in parts_of(path):
        names = (*KEYS.values(), "labels")
        found = dict(zip(names, columns(where, part, names), strict=True))
        for k, pairs in enumerate(found["labels"]):
            name, table = f"{split}-{k}", np.asarray(pairs)
            if table.shape != (len(emotions), 2):
                bad.append(Bad(name, "", f"labels must be [4, 2], found {list(table.shape)}"))
                continue
            target = [e for e, pair in zip(emotions, table, strict=True) if pair[1] > pair[0]]
            values = cells({m: found[key][k] for m, key in KEYS.items()}, name, bad)
            if values is not None:
                yield Row(name, target, values, split)


class Iemocap(DatasetEntry):
    """IEMOCAP in the catalogue; :func:`iemocap` reads its files."""

    name = "iemocap"
    summary = "IEMOCAP: 5,531 utterances of ten actors in four emotions: words, voice, film"
    modalities = ("text", "audio", "visual")
    licence = "for research, on request to the owners (Busso et al., 2008)"
    source = "https://sail.usc.edu/iemocap/"
    size = "some 12 GB, as the owners' archive"
    raw = NEEDS

    def table(self, raw: Path) -> Table:
        return iemocap(raw)


class IemocapFeatures(DatasetEntry):
    """IEMOCAP as features in the catalogue; :func:`iemocap_features` reads its files."""

    name = "iemocap-features"
    summary = "IEMOCAP as features of words, voice and face, in nine emotions"
    modalities = Iemocap.modalities
    licence = Iemocap.licence
    source = Iemocap.source
    size = "some 1 to 8 GB, by file"
    raw = FEATURE_NEEDS

    def table(self, raw: Path) -> Table:
        return iemocap_features(raw)

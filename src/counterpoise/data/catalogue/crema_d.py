"""CREMA-D as its owners publish it: spoken sentences of 91 actors in six emotions."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from counterpoise.core.tasks import Classification
from counterpoise.data.preparation.table import Bad, Row, Table
from counterpoise.data.readers import Audio, Video
from counterpoise.errors import InputError

from .base import DatasetEntry
from .video_lists import check_pointer, read_list

EMOTIONS = {
    "ANG": "anger",
    "DIS": "disgust",
    "FEA": "fear",
    "HAP": "happy",
    "NEU": "neutral",
    "SAD": "sad",
}
FOLDERS = {"audio": ("AudioWAV", ".wav"), "visual": ("VideoFlash", ".flv")}
NAME = re.compile(r"(\d{4})_([A-Z]{3})_([A-Z]{3})_([A-Z]{1,2})")  # actor, sentence, emotion, level
NEEDS = (
    "AudioWAV/ (1001_DFA_ANG_XX.wav, ...) and VideoFlash/ (1001_DFA_ANG_XX.flv, ...); and, to use "
    "lists instead of splits by actor, train.csv and test.csv (optionally val.csv) with a file "
    "name and its emotion in each line"
)


def crema_d(raw: Path) -> Table:
    """The clips by file name; a clip is expected to have both files.

    Without lists, splits are drawn by actor. With ``train.csv`` and ``test.csv`` in ``raw`` these
    say the splits, and there are no groups: such lists share actors between splits.
    """
    clips = {
        path.stem
        for folder, suffix in FOLDERS.values()
        for path in (raw / folder).glob(f"*{suffix}")
    }
    if not clips:
        raise InputError(f"found no {raw / 'AudioWAV'} with sound; RAW must hold {NEEDS}")
    for folder, suffix in FOLDERS.values():
        if (first := raw / folder / f"{min(clips)}{suffix}").is_file():
            check_pointer(first)
    bad: list[Bad] = []
    rows = list(_listed(raw, clips, bad) if _has_lists(raw) else _by_actor(raw, clips, bad))
    return Table(
        "crema-d",
        rows,
        {
            # 3 s by repetition, log magnitude [257, 188]: the recipe of OGM-GE (CVPR 2022).
            "audio": Audio(
                rate=22050,
                seconds=3.0,
                n_fft=512,
                hop=353,
                mels=None,
                power=1.0,
                repeat=True,
                clip=True,
            ),
            # Larger than the encoder's 224, so that it can crop.
            "visual": Video(frames=3, size=256, fps=1.0),
        },
        Classification(len(EMOTIONS), names=tuple(EMOTIONS.values())),
        bad,
    )


def _cells(raw: Path, clip: str) -> dict[str, str]:
    """Where both files are to be, there or not: one that is not is listed as bad."""
    return {m: str(raw / folder / f"{clip}{suffix}") for m, (folder, suffix) in FOLDERS.items()}


def _by_actor(raw: Path, clips: set[str], bad: list[Bad]) -> Iterator[Row]:
    for clip in sorted(clips):
        if match := NAME.fullmatch(clip):
            code = match[3]
            yield Row(clip, EMOTIONS.get(code, code), _cells(raw, clip), group=match[1])
        else:
            bad.append(Bad(clip, "", "is not a name like 1001_DFA_ANG_XX"))


def _has_lists(raw: Path) -> bool:
    there = [(raw / name).is_file() for name in ("train.csv", "test.csv")]
    if any(there) and not all(there):
        found, lacking = ("train", "test") if there[0] else ("test", "train")
        raise InputError(
            f"{raw / found}.csv needs {lacking}.csv beside it; add that, or take both away to "
            "have splits drawn by actor"
        )
    return all(there)


def _listed(raw: Path, clips: set[str], bad: list[Bad]) -> Iterator[Row]:
    seen: dict[str, str] = {}
    # Training last: some published lists repeat the validation part in it.
    for name, split in (("test", "test"), ("val", "validation"), ("train", "train")):
        if not (path := raw / f"{name}.csv").is_file():
            continue
        for place, fields in read_list(path):
            clip = re.sub(r"\.(wav|flv|mp3)$", "", fields[0], flags=re.IGNORECASE)
            match = NAME.fullmatch(clip)
            if place == f"{path.name}:1" and not match:
                continue  # a header
            if not match or len(fields) < 2:
                bad.append(Bad(place, "", f"cannot be read: {','.join(fields)[:80]!r}"))
            elif seen.get(clip) == "validation" and split == "train":
                continue
            elif clip in seen:
                bad.append(Bad(place, "", f"{clip} is listed twice ({seen[clip]}, {split})"))
            else:
                seen[clip] = split
                label, real = _emotion(fields[1]), EMOTIONS.get(match[3], match[3])
                if clip not in clips:
                    bad.append(Bad(clip, "", f"no file of this name ({place})"))
                elif label in EMOTIONS.values() and label != real:
                    bad.append(Bad(clip, "", f"{place} says {label}, its name says {real}"))
                else:
                    yield Row(clip, label, _cells(raw, clip), split)
    if left := len(clips - set(seen)):
        bad.append(Bad("lists", "", f"{left} of {len(clips)} clips stand in no list"))


def _emotion(label: str) -> str:
    """``HAP``, ``Happy`` or ``happy`` as the name of a class; another label as it is."""
    return EMOTIONS.get(
        label.upper(), label.lower() if label.lower() in EMOTIONS.values() else label
    )


class CremaD(DatasetEntry):
    """CREMA-D in the catalogue; :func:`crema_d` reads its files."""

    name = "crema-d"
    summary = "7,442 clips of 91 actors who say 12 sentences in 6 emotions: sound and face"
    modalities = ("audio", "visual")
    licence = "Open Database License 1.0; contents: Database Contents License 1.0"
    source = "https://github.com/CheyneyComputerScience/CREMA-D"
    size = "7.6 GB as the whole repository with Git LFS"
    raw = NEEDS

    def table(self, raw: Path) -> Table:
        return crema_d(raw)

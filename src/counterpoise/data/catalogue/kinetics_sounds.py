"""Kinetics-Sounds: the classes of Kinetics-400 that can be heard, from its lists and clips."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from counterpoise.core.tasks import Classification
from counterpoise.data.preparation.table import Bad, Row, Table
from counterpoise.data.readers import Audio, Video
from counterpoise.errors import InputError

from .base import DatasetEntry
from .video_lists import clip_name, find_videos, read_list, without_leaks

# Of the 34 classes of Arandjelovic and Zisserman (ICCV 2017), named after an early version of
# Kinetics, those that Kinetics-400 has: typing, fingerpicking and patting have no counterpart.
CLASSES = (
    "blowing nose",
    "blowing out candles",
    "bowling",
    "chopping wood",
    "dribbling basketball",
    "laughing",
    "mowing lawn",
    "playing accordion",
    "playing bagpipes",
    "playing bass guitar",
    "playing clarinet",
    "playing drums",
    "playing guitar",
    "playing harmonica",
    "playing keyboard",
    "playing organ",
    "playing piano",
    "playing saxophone",
    "playing trombone",
    "playing trumpet",
    "playing violin",
    "playing xylophone",
    "ripping paper",
    "shoveling snow",
    "shuffling cards",
    "singing",
    "stomping grapes",
    "tap dancing",
    "tapping guitar",
    "tapping pen",
    "tickling",
)
COLUMNS = ("label", "youtube_id", "time_start", "time_end")
LISTS = {  # part of Kinetics -> what its list may be called
    "train": ("train", "kinetics-400_train"),
    "validation": ("validate", "val", "validation", "kinetics-400_val"),
    "test": ("test", "kinetics-400_test"),
}
NEEDS = (
    "the lists of Kinetics-400 (train.csv, validate.csv or val.csv, test.csv: label, youtube_id, "
    "time_start, time_end, split), themselves or in annotations/, and the clips anywhere below "
    "(train/tap dancing/abcdefghijk_000012_000022.mp4, or all in one folder)"
)


def kinetics_sounds(raw: Path) -> Table:
    """The clips of the 31 classes that are there, in the parts of Kinetics-400.

    The test part is Kinetics' own where its list has labels and some of its clips are there;
    otherwise it is Kinetics' validation part, and the validation part is drawn from training.

    How many clips of each list are there is told in ``Table.bad``, one line a list.
    """
    lists = {part: path for part in LISTS if (path := _list(raw, part))}
    if "train" not in lists or len(lists) < 2:
        raise InputError(f"found no lists in {raw}; RAW must hold {NEEDS}")
    videos = find_videos(raw)
    bad: list[Bad] = []
    parts: dict[str, list[Row]] = {}
    for part, path in lists.items():
        listed = dict(_clips(path, bad))
        there = {name: about for name, about in listed.items() if name in videos}
        if len(there) < len(listed):
            reason = (
                f"{len(there)} of its {len(listed)} clips of the 31 classes are there; the others "
                "are gone from the platform, or were not downloaded"
            )
            bad.append(Bad(path.name, "", reason))
        parts[part] = [
            Row(name, label, {"audio": videos[name], "visual": videos[name]}, part, video)
            for name, (label, video) in there.items()
        ]
    if not any(parts.values()):
        raise InputError(f"found no clip of the lists below {raw}; RAW must hold {NEEDS}")
    if not parts.get("test"):
        held = parts.pop("validation", [])
        parts["test"] = [Row(r.id, r.target, r.cells, "test", r.group) for r in held]
    return Table(
        "kinetics-sounds",
        without_leaks([row for rows in parts.values() for row in rows], bad),
        {
            # 128 mel bands every 10 ms over 10.24 s, as OGM-GE and MLA have them.
            "audio": Audio(rate=16000, seconds=10.24, n_fft=512, hop=160, mels=128, power=2.0),
            "visual": Video(frames=3, size=256, fps=1.0),
        },
        Classification(len(CLASSES), names=CLASSES),
        bad,
    )


def _list(raw: Path, part: str) -> Path | None:
    places = (f / f"{name}.csv" for f in (raw, raw / "annotations") for name in LISTS[part])
    return next((path for path in places if path.is_file()), None)


def _clips(path: Path, bad: list[Bad]) -> Iterator[tuple[str, tuple[str, str]]]:
    """File name, class and video of each clip of the 31 classes; a list without labels has none."""
    at: dict[str, int] = {}
    for place, fields in read_list(path):
        if not at:
            named = {name.lower().replace("-", "_"): k for k, name in enumerate(fields)}
            if "youtube_id" in named:
                at = named
                if "label" not in at:  # Kinetics' test part was first published without
                    return
                continue
            at = {name: k for k, name in enumerate(COLUMNS)}
        try:
            label, video, start, end = (fields[at[name]] for name in COLUMNS)
            name = clip_name(video, int(float(start)), int(float(end)))
        except (IndexError, KeyError, ValueError, OverflowError):
            bad.append(Bad(place, "", f"cannot be read: {','.join(fields)[:80]!r}"))
            continue
        label = label.lower().replace("_", " ")
        if not label or not video:
            bad.append(Bad(place, "", f"has no {'label' if video else 'youtube_id'}"))
        elif label in CLASSES:
            yield name, (label, video)


class KineticsSounds(DatasetEntry):
    """Kinetics-Sounds in the catalogue; :func:`kinetics_sounds` reads its files."""

    name = "kinetics-sounds"
    summary = "clips of 10 s of the 31 classes of Kinetics-400 that can be heard and seen"
    modalities = ("audio", "visual")
    licence = "lists: CC BY 4.0 (Google); the videos belong to those who put them on YouTube"
    source = "https://github.com/cvdfoundation/kinetics-dataset"
    size = "about 27,000 clips, 40 GB; all of Kinetics-400 is 440 GB"
    raw = NEEDS

    def table(self, raw: Path) -> Table:
        return kinetics_sounds(raw)

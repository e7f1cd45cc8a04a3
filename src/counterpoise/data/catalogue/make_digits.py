"""Make ``digits.npz``, the spoken half of the data set "digits", with espeak-ng.

Run ``python -m counterpoise.data.catalogue.make_digits [FILE]``. Every run of one espeak-ng
version gives the same arrays. Nobody needs to: the file is part of the package.
"""

from __future__ import annotations

import io
import shutil
import subprocess
import sys
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from counterpoise.data.readers.base import need
from counterpoise.data.readers.sound import RATE, WINDOW, Wave, add_babble, log_mel
from counterpoise.errors import InputError

from .digits import FILE, FORMS, WRITERS, form_of

ACCENTS = (
    "en-gb",
    "en-us",
    "en-gb-scotland",
    "en-gb-x-gbclan",
    "en-gb-x-rp",
    "en-gb-x-gbcwmd",
    "en-029",
    "en-us-nyc",
)
# Variants of a voice. Of those that sound alike, only one split has any (the Klatt family is in
# train; Diogo, who resembles Henrique, is left out).
VARIANTS = {
    "train": (
        *("m1", "m3", "m4", "m6", "m7", "f1", "f3", "f4", "croak", "klatt2", "klatt3", "klatt4"),
        *("edward2", "Alex", "Alicia", "Andy", "belinda", "boris", "david", "Denis", "ed", "Gene"),
        *("Gene2", "Mike", "linda", "marcelo", "pablo", "steph", "robert"),
    ),
    "validation": ("m2", "f2", "anika", "iven", "Jacky", "Marco", "shelby", "zac"),
    "test": (
        *("m8", "f5", "Andrea", "Annie", "Henrique", "john", "Lee", "michel", "norbert"),
        *("quincy", "travis"),
    ),
}
SPEEDS = (110, 240)  # words per minute, from and below
PITCHES = (20, 80)  # on espeak-ng's scale of 0 to 99, from and below
BABBLERS = 4
SNR = 4.0  # decibels
MELS, FRAMES, HOP = 32, 32, 160  # 32 frames of 25 ms every 20 ms: 0.65 s
LOWEST, HIGHEST = -11.5, 8.5  # of the logarithms, as bytes 0 and LEVELS
LEVELS = 63  # 6 bits: 0.3 a step, far below the noise, and half the file
SEED = 0


@dataclass(frozen=True)
class Utterance:
    """One spoken digit: what espeak-ng is asked for, and the rows that babble behind it."""

    digit: int
    accent: str
    variant: str
    speed: int
    pitch: int
    babble: tuple[int, ...]


def plan(labels: NDArray[np.int64]) -> list[Utterance]:
    """What is said for each of the 1,797 images, of classes ``labels``."""
    generator = np.random.default_rng(SEED)
    forms = form_of(np.arange(len(labels)))
    utterances: list[Utterance | None] = [None] * len(labels)
    for split, members in WRITERS.items():
        rows = np.flatnonzero(np.isin(forms, members))
        for row in rows:
            others = rows[labels[rows] != labels[row]]
            utterances[row] = Utterance(
                digit=int(labels[row]),
                accent=ACCENTS[generator.integers(len(ACCENTS))],
                variant=VARIANTS[split][generator.integers(len(VARIANTS[split]))],
                speed=int(generator.integers(*SPEEDS)),
                pitch=int(generator.integers(*PITCHES)),
                babble=tuple(int(o) for o in generator.choice(others, BABBLERS, replace=False)),
            )
    return [utterance for utterance in utterances if utterance is not None]


def espeak() -> str:
    """The path of espeak-ng."""
    path = shutil.which("espeak-ng")
    if path is None:
        raise InputError("making digits.npz needs espeak-ng, found none on PATH; install it")
    return path


def espeak_version() -> str:
    """Such as ``1.51``."""
    done = subprocess.run([espeak(), "--version"], capture_output=True, text=True, check=True)
    return done.stdout.split(":")[1].split()[0]


def check_variants() -> None:
    """Raise unless espeak-ng has every variant: it reads an unknown one in its plain voice."""
    command = [espeak(), "--voices=variant"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    known = {line.split("!v/")[1].split()[0] for line in done.stdout.splitlines() if "!v/" in line}
    if lacking := sorted(set().union(*VARIANTS.values()) - known):
        raise InputError(f"espeak-ng has no voice variants {', '.join(lacking)}; use version 1.51")


@cache
def speak(digit: int, accent: str, variant: str, speed: int, pitch: int) -> Wave:
    """One digit at 8 kHz, without the silence around it."""
    from scipy.signal import resample_poly

    soundfile = need("soundfile", "media")
    voice = f"{accent}+{variant}"
    command = [espeak(), "-v", voice, "-s", str(speed), "-p", str(pitch), "--stdout", str(digit)]
    done = subprocess.run(command, capture_output=True, check=True)
    if done.stderr:
        raise InputError(f"espeak-ng has no voice {voice!r}: {done.stderr.decode().strip()}")
    # Streamed WAV does not know its length: read the samples after the 44 bytes of the header.
    wave, rate = soundfile.read(
        io.BytesIO(done.stdout[44:]),
        format="RAW",
        samplerate=22050,
        channels=1,
        subtype="PCM_16",
        endian="LITTLE",
    )
    wave = resample_poly(wave, RATE, rate)
    loud = np.flatnonzero(np.abs(wave) > 0.01 * np.abs(wave).max())
    trimmed: Wave = wave[loud[0] : loud[-1] + 1]
    return trimmed


def features(utterances: list[Utterance], row: int) -> NDArray[np.uint8]:
    """[32, 32]: the log-mel power of one utterance in its babble, as bytes."""

    def say(u: Utterance) -> Wave:
        return speak(u.digit, u.accent, u.variant, u.speed, u.pitch)

    wave = say(utterances[row])
    others = [say(utterances[o]) for o in utterances[row].babble]
    noisy = add_babble(wave, others, SNR, (FRAMES - 1) * HOP + WINDOW)
    scaled = (log_mel(noisy, MELS, FRAMES, HOP) - LOWEST) / (HIGHEST - LOWEST) * LEVELS
    return np.clip(np.round(scaled), 0, LEVELS).astype(np.uint8)


def check_forms(labels: NDArray[np.int64]) -> None:
    """Raise unless ``FORMS`` cuts ``labels`` into copies of one form with few labels left out.

    All writers filled in one form of 130 digits, in one order, which the first form has in full.
    Every other one must be that order with some digits left out, or all of it with one other
    label (row 385 is labelled 3 where the form asks for 8).
    """
    form = labels[: FORMS[1]].tolist()
    for start, stop in zip(FORMS, (*FORMS[1:], len(labels)), strict=True):
        rest = labels[start:stop].tolist()
        unread = iter(form)
        left_out = all(any(label == asked for asked in unread) for label in rest)
        other = sum(label != asked for label, asked in zip(rest, form, strict=False))
        if not (left_out or (len(rest) == len(form) and other == 1)):
            raise InputError(f"rows {start} to {stop - 1} of the digits are not one writer's form")


def make(path: Path) -> None:
    """Write the file: ``audio`` [1797, 32, 32] and what says which voice spoke."""
    from sklearn.datasets import load_digits

    labels = load_digits().target.astype(np.int64)
    check_forms(labels)
    check_variants()
    utterances = plan(labels)
    audio = np.stack([features(utterances, row) for row in range(len(utterances))])
    np.savez_compressed(
        path,
        audio=audio,
        label=labels.astype(np.uint8),
        variant=np.array([u.variant for u in utterances]),
        accent=np.array([u.accent for u in utterances]),
        espeak=np.array(espeak_version()),
    )


def main(arguments: list[str]) -> int:
    """Make the file named by the first argument, or the package's own; 2 on an error."""
    path = Path(arguments[0]) if arguments else FILE
    try:
        make(path)
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print(f"wrote {path}, {path.stat().st_size / 1e6:.2f} MB")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

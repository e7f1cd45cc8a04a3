"""AV-MNIST: a written and a spoken digit of one class, both made hard to read."""

from __future__ import annotations

import gzip
import re
import zlib
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from numpy.typing import NDArray

from counterpoise.core.declared import Bounds
from counterpoise.core.files import check_file
from counterpoise.core.tasks import Classification
from counterpoise.data.arrays import ArrayData
from counterpoise.data.dataset import Dataset
from counterpoise.data.readers.base import need
from counterpoise.data.readers.sound import RATE, WINDOW, Wave, add_babble, log_mel
from counterpoise.errors import InputError

from .base import DatasetEntry
from .standardise import standardise

# Index of a recording -> split; each of 6 speakers said each of 10 digits 50 times.
INDICES = {"train": range(15, 50), "validation": range(10, 15), "test": range(10)}
KEPT = 0.25  # share of the images' energy that is left
SNR = 10.0  # decibels
VOICES = 4  # in the babble
MELS, FRAMES, HOP = 40, 48, 128  # 48 frames of 25 ms every 16 ms: 0.78 s


def av_mnist(data_dir: str | Path | None = None, seed: int = 0) -> ArrayData:
    """AV-MNIST after Vielzeuf et al. (2018): 3,000 pairs of a written and a spoken digit.

    Every recording of the Free Spoken Digit Dataset is used once: index 15-49 of each speaker and
    digit for training (2,100), 10-14 for validation (300), 0-9 for test (600). Each is paired with
    an image of its class from the MNIST test images; no image is used twice. ``seed`` draws the
    images and the babble.

    * ``image`` [28, 28]: 75 % of the energy removed by PCA: the leading principal components
      that together hold 75 % of the variance of the training images are taken out of every image
      (32 of 784 components; their mean too), which leaves the strokes' fine detail. Keeping
      leading components with 25 % instead would leave 4 numbers per image, from which the same
      network reads 61 %.
    * ``audio`` [40, 48]: log-mel power (40 filters from 60 Hz to 4 kHz, 48 frames of 25 ms every
      16 ms, padded or cropped) of the recording with babble behind it: the sum of four other
      recordings of the same split, of any digit and speaker, each at the same level and repeated
      to the full length, the sum 10 dB below the recording; the whole brought to a peak of 1.

    Both are standardised by one mean and one standard deviation over the training pairs.

    Args:
        data_dir: holds ``mnist`` and ``fsdd/recordings``; default COUNTERPOISE_DATA, then the
            user's cache.
        seed: same seed, same data.

    Raises:
        InputError: a file is not there or cannot be read.
    """
    mnist = "mnist/t10k-{}-ubyte.gz"
    images = read_idx(AvMnist.find(mnist.format("images-idx3"), data_dir), 3)
    labels = read_idx(AvMnist.find(mnist.format("labels-idx1"), data_dir), 1)
    recordings = AvMnist.find("fsdd/recordings", data_dir)
    if len(images) != len(labels) or images.shape[1:] != (28, 28):
        raise InputError(
            f"{recordings.parent.parent / 'mnist'} must hold one label per 28 x 28 image, "
            f"found images {list(images.shape)} and labels {list(labels.shape)}"
        )
    names = _list_recordings(recordings)
    part = np.array([_split_of(index) for _, _, index in names])
    digit = np.array([d for d, _, _ in names])
    generator = np.random.default_rng(seed)
    chosen = _pair(digit, labels, generator)
    waves = [_read_wave(recordings / f"{d}_{speaker}_{i}.wav") for d, speaker, i in names]
    audio = _in_babble(waves, part, generator)
    train = part == "train"
    image = fade(images[chosen].reshape(len(names), -1) / 255.0, train).reshape(-1, 28, 28)
    return ArrayData(
        {"image": standardise(image, train), "audio": standardise(audio, train)},
        digit,
        task=Classification(10),
        split=part,
        name="av-mnist" if seed == 0 else f"av-mnist:seed={seed}",
        scaled=True,
    )


def _in_babble(
    waves: list[Wave], part: NDArray[np.str_], generator: np.random.Generator
) -> NDArray[np.float32]:
    """[N, 40, 48]: every recording with others of its split, ``part`` [N], behind it."""
    audio = np.zeros((len(waves), MELS, FRAMES), dtype=np.float32)
    length = (FRAMES - 1) * HOP + WINDOW
    for split in INDICES:
        rows = np.flatnonzero(part == split)
        for position, row in enumerate(rows):
            others = generator.choice(len(rows) - 1, VOICES, replace=False)
            others += others >= position  # any but itself
            noisy = add_babble(waves[row], [waves[rows[o]] for o in others], SNR, length)
            audio[row] = log_mel(noisy, MELS, FRAMES, HOP)
    return audio


def fade(pixels: NDArray[Any], train: NDArray[np.bool_]) -> NDArray[np.float32]:
    """``pixels`` [N, P] without the leading principal components that hold 75 % of the variance.

    Mean and components come from the rows ``train``. Components are removed, the largest first,
    until those that remain hold at most 25 % of the variance. The mean is removed too.
    """
    known = pixels[train]
    mean = known.mean(0)
    variances, axes = np.linalg.eigh(np.cov(known - mean, rowvar=False))
    # Ascending: the components that stay are the first ones, up to a quarter of the sum.
    kept = axes[:, np.cumsum(variances) <= KEPT * variances.sum()]
    # One product with P x P, so that it does not matter which sign a component has.
    faded: NDArray[np.float32] = ((pixels - mean) @ (kept @ kept.T)).astype(np.float32)
    return faded


def read_idx(path: Path, dimensions: int) -> NDArray[np.uint8]:
    """The bytes of a gzipped IDX file, checked against the sizes in its header."""
    try:
        check_file(path)
        with gzip.open(path) as file:
            head = file.read(4 + 4 * dimensions)
            if head[:4] != bytes((0, 0, 8, dimensions)) or len(head) != 4 + 4 * dimensions:
                raise InputError(
                    f"{path} must be an IDX file of bytes in {dimensions} dimensions, "
                    f"found the header {head[:4].hex()}; fetch the file again"
                )
            shape = np.frombuffer(head[4:], dtype=">u4").astype(int)
            size = int(np.prod([int(n) for n in shape], dtype=object))
            if size > 1 << 28:  # refuse before reading: MNIST has 7.8 million bytes
                raise InputError(f"{path} claims {size} bytes; fetch the file again")
            body = file.read(size + 1)
    except (OSError, EOFError, zlib.error) as error:
        raise InputError(f"cannot read {path} ({error}); fetch the file again") from error
    if len(body) != size:
        raise InputError(
            f"{path} must hold {size} bytes after its header, "
            f"found {'more' if len(body) > size else len(body)}; fetch the file again"
        )
    return np.frombuffer(body, dtype=np.uint8).reshape(shape)


def _list_recordings(folder: Path) -> list[tuple[int, str, int]]:
    """(digit, speaker, index) of every recording, sorted."""
    pattern = re.compile(r"(\d)_([a-z]+)_(\d+)\.wav")
    matches = [match for path in folder.iterdir() if (match := pattern.fullmatch(path.name))]
    names = sorted((int(m[1]), m[2], int(m[3])) for m in matches)
    names = [name for name in names if name[2] < 50]
    if not names:
        raise InputError(f"found no file like 0_george_0.wav in {folder}")
    return names


def _split_of(index: int) -> str:
    return next(split for split, indices in INDICES.items() if index in indices)


def _read_wave(path: Path) -> Wave:
    soundfile = need("soundfile", "media")
    try:
        wave, rate = soundfile.read(path, dtype="float64", always_2d=True)
    except (OSError, RuntimeError) as error:
        raise InputError(f"cannot read {path} ({error}); fetch the file again") from error
    if rate != RATE or wave.shape[1] != 1 or len(wave) == 0:
        raise InputError(
            f"{path} must hold one channel at {RATE} Hz, found {wave.shape[1]} at {rate} Hz "
            f"and {len(wave)} samples; fetch the file again"
        )
    mono: Wave = wave[:, 0]
    return mono


def _pair(
    digits: NDArray[Any], labels: NDArray[np.uint8], generator: np.random.Generator
) -> NDArray[np.int64]:
    """For each recording the row of an image of its class, none twice."""
    chosen = np.zeros(len(digits), dtype=np.int64)
    for digit in range(10):
        rows = np.flatnonzero(digits == digit)
        images = np.flatnonzero(labels == digit)
        if len(images) < len(rows):
            raise InputError(
                f"mnist must hold an image for each recording of {digit}, "
                f"found {len(images)} for {len(rows)}"
            )
        chosen[rows] = generator.permutation(images)[: len(rows)]
    return chosen


class AvMnist(DatasetEntry):
    """AV-MNIST in the catalogue; :func:`av_mnist` makes it.

    Args:
        seed: draws the images and the babble.
    """

    name = "av-mnist"
    summary = "3,000 pairs of a faint written and a noisy spoken digit (MNIST and FSDD)"
    modalities = ("image", "audio")
    licence = "MNIST CC BY-SA 3.0; Free Spoken Digit Dataset CC BY-SA 4.0"
    needs = (
        "t10k-images-idx3-ubyte.gz and t10k-labels-idx1-ubyte.gz of MNIST by LeCun, Cortes and "
        "Burges in mnist/, and the 3,000 WAV files of the Free Spoken Digit Dataset by Jackson "
        "et al. (0_george_0.wav, ...) in fsdd/recordings/"
    )
    folders = ("mnist", "fsdd/recordings")

    def __init__(self, *, seed: Annotated[int, Bounds(0)] = 0) -> None:
        self.seed = seed

    def read(self, data_dir: str | Path | None, modalities: tuple[str, ...]) -> Dataset:
        return av_mnist(data_dir, self.seed).select(*modalities)

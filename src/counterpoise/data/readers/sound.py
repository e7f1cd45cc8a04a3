"""Log-mel features of short recordings, and babble noise, in plain NumPy."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Wave = NDArray[np.float64]

RATE = 8000  # samples per second
WINDOW = 200  # 25 ms
FFT = 256


def mel_filters(mels: int, rate: int = RATE, fft: int = FFT, lowest: float = 60.0) -> Wave:
    """[mels, fft // 2 + 1]: triangles evenly spaced in mel from ``lowest`` Hz to half the rate."""

    def to_mel(hertz: float) -> float:
        return 2595.0 * float(np.log10(1.0 + hertz / 700.0))

    points = np.linspace(to_mel(lowest), to_mel(rate / 2), mels + 2)
    hertz = 700.0 * (10.0 ** (points / 2595.0) - 1.0)
    bins = np.arange(fft // 2 + 1) * rate / fft
    left, centre, right = hertz[:-2, None], hertz[1:-1, None], hertz[2:, None]
    rising, falling = (bins - left) / (centre - left), (right - bins) / (right - centre)
    return np.maximum(0.0, np.minimum(rising, falling))


def log_mel(wave: Wave, mels: int, frames: int, hop: int) -> Wave:
    """[mels, frames]: natural logarithm of the mel power spectrum of ``wave`` at 8 kHz.

    Args:
        wave: [samples] in -1..1, padded with silence or cropped to ``frames`` frames.
        mels: filters from 60 Hz to 4 kHz.
        frames: of 25 ms, Hann window.
        hop: samples from frame to frame.
    """
    wave = fit(wave, (frames - 1) * hop + WINDOW)
    starts = np.arange(frames) * hop
    window = np.hanning(WINDOW + 1)[:-1]
    slices = wave[starts[:, None] + np.arange(WINDOW)] * window
    power = np.abs(np.fft.rfft(slices, FFT)) ** 2
    # 1e-5 is some 50 dB below speech at full scale: quieter is silence.
    logarithm: Wave = np.log(mel_filters(mels) @ power.T + 1e-5)
    return logarithm


def fit(wave: Wave, length: int) -> Wave:
    """``wave`` cropped or padded with zeros to ``length`` samples."""
    return np.pad(wave[:length], (0, max(0, length - len(wave))))


def level(wave: Wave) -> float:
    """Root mean square over the samples; 0 where there are none."""
    return float(np.sqrt(np.mean(np.square(wave)))) if len(wave) else 0.0


def add_babble(wave: Wave, others: Sequence[Wave], decibels: float, length: int) -> Wave:
    """``wave`` with the sum of ``others`` behind it, [length].

    Each of ``others`` is brought to the same level and repeated to ``length``, so that the babble
    goes on where ``wave`` is over; the sum lies ``decibels`` below ``wave``. Levels are root mean
    squares, that of ``wave`` over its own length. The whole is brought to a peak of 1, since
    recordings differ in loudness.
    """
    babble = np.zeros(length)
    for other in others:
        if (loudness := level(other)) > 0:
            babble += np.resize(other, length) / loudness
    loudness = level(babble)
    if loudness > 0:
        babble *= level(wave) / loudness * 10.0 ** (-decibels / 20.0)
    mixed: Wave = fit(wave, length) + babble
    peak = float(np.abs(mixed).max())
    return mixed / peak if peak > 0 else mixed

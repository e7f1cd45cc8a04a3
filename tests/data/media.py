"""Small real media files for tests: a tone, a film whose frames grow lighter, a plain picture."""

from fractions import Fraction
from pathlib import Path

import numpy as np

CODECS = {  # picture, sound, rate of the sound
    ".mp4": ("libx264", "aac", 44100),
    ".mkv": ("libx264", "aac", 44100),
    ".m4a": ("", "aac", 44100),
    ".avi": ("mpeg4", "libmp3lame", 44100),
    ".flv": ("flv", "libmp3lame", 44100),
}


def tone(seconds: float, rate: int, hertz: float) -> np.ndarray:
    """[samples] float32: a sine of half the full scale."""
    return 0.5 * np.sin(2 * np.pi * hertz * np.arange(round(seconds * rate)) / rate).astype("f4")


def wav(
    path: Path, seconds: float = 0.5, rate: int = 16000, hertz: float = 440.0, channels: int = 1
) -> Path:
    """A tone; soundfile tells the format by the suffix (.wav, .flac, .ogg, .mp3)."""
    import soundfile

    Path(path).parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, np.repeat(tone(seconds, rate, hertz)[:, None], channels, 1), rate)
    return Path(path)


def shades(frames: int) -> list[int]:
    """The grey level of each frame of :func:`video`, evenly from 20 to 235."""
    return [round(20 + 215 * i / max(1, frames - 1)) for i in range(frames)]


def video(
    path: Path,
    seconds: float = 1.0,
    fps: int = 10,
    size: tuple[int, int] = (64, 48),
    sound: bool = True,
    hertz: float = 440.0,
    picture: bool = True,
) -> Path:
    """A film of ``size`` (width, height) with a tone; its frames have the levels of ``shades``.

    The suffix tells the format: .mp4, .mkv, .avi, .flv, .m4a (sound only). A decoded level may be
    off by 3.
    """
    import av

    Path(path).parent.mkdir(parents=True, exist_ok=True)
    coder, voice, rate = CODECS[Path(path).suffix.lower()]
    with av.open(str(path), "w") as out:
        pictures = sounds = None
        if picture and coder:
            pictures = out.add_stream(coder, rate=fps)
            pictures.width, pictures.height = size
            pictures.pix_fmt = "yuv420p"
            pictures.gop_size = 4  # so that seeking has key frames to go to
        if sound:
            sounds = out.add_stream(voice, rate=rate)
            sounds.layout = "mono"
        if pictures is not None:
            for i, level in enumerate(shades(round(seconds * fps))):
                frame = av.VideoFrame.from_ndarray(
                    np.full((size[1], size[0], 3), level, dtype=np.uint8), format="rgb24"
                )
                frame.pts, frame.time_base = i, Fraction(1, fps)
                out.mux(pictures.encode(frame))
            out.mux(pictures.encode(None))
        if sounds is not None:
            wave = tone(seconds, rate, hertz)
            step = sounds.codec_context.frame_size or 1024
            for start in range(0, len(wave), step):
                part = av.AudioFrame.from_ndarray(
                    np.ascontiguousarray(wave[None, start : start + step]), "fltp", "mono"
                )
                part.sample_rate, part.pts = rate, start
                part.time_base = Fraction(1, rate)
                out.mux(sounds.encode(part))
            out.mux(sounds.encode(None))
    return Path(path)


def jpeg(
    path: Path, size: tuple[int, int] = (32, 24), colour: tuple[int, int, int] = (200, 60, 20)
) -> Path:
    """A plain picture of ``size`` (width, height); Pillow tells the format by the suffix."""
    from PIL import Image

    Path(path).parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, colour).save(path)
    return Path(path)

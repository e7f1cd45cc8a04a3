"""Sound to spectra and waves: lengths, recipes, segments, containers, damaged files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile
from media import tone, video, wav

from counterpoise import InputError
from counterpoise.data.readers import Audio, Waveform, build_reader
from counterpoise.data.readers.audio import decode

CREMA_D = Audio(
    rate=22050, seconds=3, hop=353, mels=None, power=1.0, repeat=True, clip=True, floor=1e-7
)


def peak(wave: np.ndarray, rate: int) -> float:
    """The loudest frequency in Hz."""
    return float(np.abs(np.fft.rfft(wave)).argmax() * rate / len(wave))


def shift(one: np.ndarray, other: np.ndarray, rate: int) -> float:
    """By how many seconds one lags behind the other."""
    lag = int(np.correlate(one, other, "full").argmax()) - len(other) + 1
    return lag / rate


def test_the_recipe_of_the_field(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    wave = rng.normal(0, 0.5, 22050 + 77).astype("f4")
    soundfile.write(tmp_path / "a.wav", wave, 22050, subtype="FLOAT")
    found = CREMA_D.read(tmp_path / "a.wav")
    assert found.shape == (257, 188) and found.dtype == np.float32
    # By hand: repeated, cut to -1..1, mirrored ends, Hann windows of 512 every 353 samples.
    whole = np.clip(np.tile(wave, 3)[: 3 * 22050], -1, 1)
    ends = np.pad(whole, 256, "reflect")
    window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(512) / 512)
    frames = np.stack([ends[k : k + 512] * window for k in range(0, len(ends) - 511, 353)])
    expected = np.log(np.abs(np.fft.rfft(frames)).T + 1e-7)
    assert found == pytest.approx(expected, abs=2e-4)
    assert build_reader(CREMA_D.settings()) == CREMA_D


def test_default_mel_bands_hear_the_pitch(tmp_path: Path) -> None:
    reader = Audio(seconds=0.5)
    low = reader.read(wav(tmp_path / "low.wav", 0.5, hertz=300))
    high = reader.read(wav(tmp_path / "high.wav", 0.5, hertz=3000))
    assert low.shape == high.shape == (64, 51)
    assert low[:, 25].argmax() + 10 < high[:, 25].argmax()
    assert Audio(seconds=0.5, power=1).read(tmp_path / "low.wav").max() == pytest.approx(
        float(low.max()) / 2, rel=0.3
    )
    assert Audio(seconds=0.5, center=False).read(tmp_path / "low.wav").shape == (64, 47)
    assert Audio(seconds=0.5, mels=None).read(tmp_path / "low.wav").shape == (257, 51)
    soundfile.write(tmp_path / "silent.wav", np.zeros(8000), 16000)
    assert reader.read(tmp_path / "silent.wav") == pytest.approx(np.log(1e-7))


def test_short_clips_are_filled_or_repeated_and_long_ones_cut(tmp_path: Path) -> None:
    path = tmp_path / "a.wav"
    wave = np.random.default_rng(0).uniform(-1, 1, 1000).astype("f4")
    soundfile.write(path, wave, 1000, subtype="FLOAT")
    filled = Waveform(rate=1000, seconds=2.5).read(path)
    assert filled.shape == (1, 2500) and filled.dtype == np.float32
    assert (filled[0, :1000] == wave).all() and not filled[0, 1000:].any()
    repeated = Waveform(rate=1000, seconds=2.5, repeat=True).read(path)
    assert (repeated[0] == np.concatenate([wave, wave, wave[:500]])).all()
    assert (Waveform(rate=1000, seconds=0.3).read(path)[0] == wave[:300]).all()
    segment = Waveform(rate=1000, seconds=0.3, repeat=True).read([str(path), 0.5, 0.7])
    assert (segment[0] == np.concatenate([wave[500:700], wave[500:600]])).all()
    assert (Waveform(rate=1000, seconds=0.3).read((path, 0.5, 9))[0] == wave[500:800]).all()


def test_the_training_clips_decide_the_length(tmp_path: Path) -> None:
    cells = [wav(tmp_path / f"{s}.wav", s, 8000) for s in (0.25, 0.71, 0.5)]
    assert Audio().fit(cells).seconds == 0.71
    assert Audio(seconds=0.3).fit(cells).seconds == 0.3
    (tmp_path / "bad.wav").write_bytes(b"nothing")
    mixed = [tmp_path / "none.wav", tmp_path / "bad.wav", *cells, (str(cells[1]), 0.1, 0.4)]
    assert Waveform().fit(mixed).seconds == 0.71
    assert Waveform().fit(mixed[-1:]).seconds == 0.3
    assert Waveform().fit([video(tmp_path / "a.mp4", 0.5)]).seconds == 0.5
    soundfile.write(tmp_path / "long.flac", np.zeros(11 * 500), 500)
    assert Audio().fit([tmp_path / "long.flac"]).seconds == 10
    with pytest.raises(InputError, match=r"none of 2 can be read; the first: .*none.wav is not"):
        Audio().fit(mixed[:2])
    with pytest.raises(InputError, match="has none"):
        Audio().fit([])
    with pytest.raises(InputError, match=r"seconds is not set; give it, or call fit"):
        Audio().read(cells[0])


@pytest.mark.parametrize("suffix", [".wav", ".flac", ".ogg", ".mp3"])
def test_recordings_are_resampled_and_averaged(tmp_path: Path, suffix: str) -> None:
    path = wav(tmp_path / f"a{suffix}", 0.5, 22050, hertz=500, channels=2)
    wave = Waveform(rate=16000, seconds=0.5).read(path)[0]
    assert wave.shape == (8000,) and wave.dtype == np.float32
    assert peak(wave, 16000) == pytest.approx(500, abs=4)
    assert np.abs(wave[2000:6000]).max() == pytest.approx(0.5, abs=0.05)


def test_channels_are_averaged(tmp_path: Path) -> None:
    wave = tone(0.1, 8000, 400)
    soundfile.write(tmp_path / "a.wav", np.stack([wave, wave / 2], 1), 8000, subtype="FLOAT")
    found = Waveform(rate=8000, seconds=0.1).read(tmp_path / "a.wav")[0]
    assert found == pytest.approx(wave * 0.75, abs=1e-6)


def test_what_lies_beyond_the_sample_does_not_change_it(tmp_path: Path) -> None:
    """Decoding stops early; the resampling filter must not notice."""
    wave = np.random.default_rng(0).uniform(-1, 1, 44100).astype("f4")
    soundfile.write(tmp_path / "a.wav", wave, 44100, subtype="FLOAT")
    whole = Waveform(rate=16000, seconds=1.0).read(tmp_path / "a.wav")[0]
    part = Waveform(rate=16000, seconds=0.25).read(tmp_path / "a.wav")[0]
    assert (part == whole[:4000]).all()


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".avi", ".flv", ".m4a"])
def test_sound_of_films(tmp_path: Path, suffix: str) -> None:
    path = video(tmp_path / f"a{suffix}", 1.0, hertz=700)
    wave = Waveform(rate=16000, seconds=1.0).read(path)[0]
    assert wave.shape == (16000,)
    assert peak(wave, 16000) == pytest.approx(700, abs=4)
    assert np.abs(wave[4000:12000]).max() == pytest.approx(0.5, abs=0.1)
    assert Audio(seconds=1).read(path).shape == (64, 101)


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".avi", ".flv", ".m4a", ".mp3", ".ogg"])
def test_segments_are_where_the_whole_has_them(tmp_path: Path, suffix: str) -> None:
    """A rising tone, so that a shift shows; timestamps of some containers are milliseconds."""
    rate = 44100
    seconds = np.arange(3 * rate) / rate
    chirp = 0.5 * np.sin(2 * np.pi * (200 * seconds + 300 * seconds**2))
    path = tmp_path / f"a{suffix}"
    if suffix in (".mp3", ".ogg"):
        soundfile.write(path, chirp, rate)
    else:
        film(path, chirp.astype("f4"), rate)
    whole, found = decode(path)
    assert found == rate and abs(len(whole) / rate - 3) < 0.1
    for start, end in ((0.0, 0.4), (0.3, 0.5), (1.7, 2.1), (2.5, 2.8)):
        part, _ = decode(path, start, end)
        expected = whole[round(start * rate) : round(end * rate)]
        assert len(part) == len(expected)
        assert abs(shift(part, expected, rate)) <= 0.0011
        assert np.std(part) == pytest.approx(np.std(expected), rel=0.05)


def film(path: Path, wave: np.ndarray, rate: int) -> None:
    from fractions import Fraction

    import av

    with av.open(str(path), "w") as out:
        codec = "libmp3lame" if path.suffix in (".avi", ".flv") else "aac"
        stream = out.add_stream(codec, rate=rate)
        stream.layout = "mono"
        frame = av.AudioFrame.from_ndarray(wave[None], "fltp", "mono")
        frame.sample_rate, frame.pts, frame.time_base = rate, 0, Fraction(1, rate)
        fifo = av.AudioFifo()
        fifo.write(frame)
        while piece := fifo.read(stream.codec_context.frame_size, partial=True):
            out.mux(stream.encode(piece))
        out.mux(stream.encode(None))


def test_a_file_without_a_known_suffix(tmp_path: Path) -> None:
    wav(tmp_path / "a.wav", 0.2).rename(tmp_path / "a.sound")
    video(tmp_path / "b.mp4", 0.5).rename(tmp_path / "b.film")
    reader = Waveform(seconds=0.2)
    assert reader.read(tmp_path / "a.sound").any() and reader.read(tmp_path / "b.film").any()


def test_what_is_wrong_is_said_in_short(tmp_path: Path) -> None:
    reader = Audio(seconds=0.5)
    cases = {
        "junk.wav": (b"nothing of the kind", "junk.wav is no sound or video file, or damaged"),
        "junk.mp4": (b"nothing of the kind" * 50, "junk.mp4 is no sound or video file, or dam"),
        "empty.wav": (b"", "empty.wav is empty"),
    }
    for name, (content, message) in cases.items():
        (tmp_path / name).write_bytes(content)
        with pytest.raises(InputError, match=message):
            reader.read(tmp_path / name)
    with pytest.raises(InputError, match=r"none\.wav is not there"):
        reader.read(tmp_path / "none.wav")
    soundfile.write(tmp_path / "zero.wav", np.zeros(0), 8000)
    with pytest.raises(InputError, match=r"zero\.wav holds no samples"):
        reader.read(tmp_path / "zero.wav")
    with pytest.raises(
        InputError, match=r"none of 1 can be read; the first: zero\.wav holds no sa"
    ):
        Audio().fit([tmp_path / "zero.wav"])
    soundfile.write(tmp_path / "nan.wav", np.array([0, np.nan]), 8000, subtype="FLOAT")
    with pytest.raises(InputError, match=r"nan\.wav holds samples that are no numbers"):
        reader.read(tmp_path / "nan.wav")
    mute = video(tmp_path / "mute.mp4", 0.4, sound=False)
    with pytest.raises(InputError, match=r"mute\.mp4 holds no sound"):
        reader.read(mute)
    with pytest.raises(InputError, match=r"mute\.mp4 holds no sound"):
        Audio().fit([mute])
    other = video(tmp_path / "other.mkv", 0.4)
    other.write_bytes(other.read_bytes().replace(b"A_AAC", b"A_ZZZ"))
    with pytest.raises(InputError, match=r"other.mkv holds sound of an unknown codec"):
        reader.read(other)
    for path in (wav(tmp_path / "a.wav"), video(tmp_path / "a.mp4", 0.5)):
        with pytest.raises(InputError, match=r"ends before 1.5 s"):
            reader.read((path, 1.5, 2))
    for cell, message in (
        ((path, 1), r"must be a path, or \(path, start, end\), found 2 values"),
        ((path, 2, 1), "start must be before end, found 2 and 1 s"),
        ((path, -1, 1), "start must be before end"),
        ((path, "a", 1), "start and end must be seconds, found 'a' and 1"),
        ((path, 0, float("nan")), "start must be before end"),
    ):
        with pytest.raises(InputError, match=message):
            reader.read(cell)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"rate": 0}, "rate must be a whole number from 100"),
        ({"seconds": -1}, "seconds must be a number from 0.001"),
        ({"mels": 300}, "mels must be a whole number from 1 to 256"),
        ({"mels": 200}, "mels must be less than 200 at n_fft 512"),
        ({"power": 1.5}, r"power must be 1 \(magnitude\) or 2"),
        ({"hop": 0}, "hop must be a whole number from 1"),
        ({"floor": 0.0}, "floor must be"),
        ({"seconds": 0.01}, "seconds must be at least 0.0160625 for n_fft 512"),
        ({"seconds": 0.03, "center": False}, "seconds must be at least 0.032"),
        ({"hops": 1}, "did you mean 'hop'"),
    ],
)
def test_options_are_checked(options: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        Audio().changed("sound", **options)

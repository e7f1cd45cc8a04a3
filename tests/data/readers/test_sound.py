import numpy as np
import pytest

from counterpoise.data.readers.sound import RATE, add_babble, fit, level, log_mel, mel_filters


def tone(hertz, seconds=0.5):
    return 0.5 * np.sin(2 * np.pi * hertz * np.arange(int(seconds * RATE)) / RATE)


def test_filters_are_triangles_in_order():
    filters = mel_filters(20)
    assert filters.shape == (20, 129)
    assert filters.min() == 0 and filters.max() <= 1
    peaks = filters.argmax(1)
    assert (np.diff(peaks) > 0).all()
    assert (filters.sum(1) > 0).all()


@pytest.mark.parametrize("hertz", [200, 700, 1500, 3000])
def test_a_tone_lights_the_filter_of_its_pitch(hertz):
    features = log_mel(tone(hertz), 20, 24, 160)
    assert features.shape == (20, 24)
    brightest = features[:, 5].argmax()
    assert mel_filters(20)[brightest, round(hertz / RATE * 256)] > 0.2


def test_silence_is_the_floor():
    features = log_mel(tone(500, 0.1), 20, 24, 160)
    assert features[:, -1] == pytest.approx(np.log(1e-5))


def test_fit_crops_and_pads():
    assert fit(np.arange(5.0), 3).tolist() == [0, 1, 2]
    assert fit(np.arange(2.0), 4).tolist() == [0, 1, 0, 0]


@pytest.mark.parametrize("decibels", [0, 10])
def test_babble_has_its_level(decibels):
    wave, others = tone(400), [tone(h, 0.3) for h in (700, 900, 1100, 1300)]
    mixed = add_babble(wave, others, decibels, 4000)
    assert np.abs(mixed).max() == pytest.approx(1)
    share = (mixed @ wave) / (wave @ wave)  # the tones are orthogonal, but for their ends
    noise = mixed - share * wave
    assert 20 * np.log10(level(share * wave) / level(noise)) == pytest.approx(decibels, abs=0.2)


def test_babble_fills_the_length():
    mixed = add_babble(tone(400, 0.1), [tone(900, 0.1)], 10, 4000)
    assert level(mixed[1000:]) > 0.1


def test_silent_recordings():
    assert not add_babble(np.zeros(10), [np.zeros(3)], 10, 20).any()
    assert level(np.zeros(0)) == 0

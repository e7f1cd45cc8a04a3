import shutil

import numpy as np
import pytest
from sklearn.datasets import load_digits

from counterpoise.data.catalogue.digits import FILE, read_file
from counterpoise.data.catalogue.make_digits import (
    VARIANTS,
    check_variants,
    espeak_version,
    features,
    main,
    plan,
    speak,
)
from counterpoise.data.readers.sound import log_mel


@pytest.fixture
def same_espeak():
    if shutil.which("espeak-ng") is None:
        pytest.skip("espeak-ng is not installed")
    made_with = str(read_file(FILE)["espeak"])
    if espeak_version() != made_with:
        pytest.skip(f"digits.npz was made with espeak-ng {made_with}, here is {espeak_version()}")


def test_made_again_it_is_the_same(same_espeak):
    stored = read_file(FILE)["audio"]
    utterances = plan(load_digits().target)
    for row in (0, 700, 1028, 1029, 1796):
        np.testing.assert_array_equal(features(utterances, row), stored[row])


def test_voices_of_different_splits_sound_different(same_espeak):
    check_variants()
    sound = {
        (split, variant): log_mel(speak(3, "en-us", variant, 160, 50), 32, 32, 160)
        for split, variants in VARIANTS.items()
        for variant in variants
    }
    for (split, variant), one in sound.items():
        for (other_split, other), two in sound.items():
            if split != other_split:
                # Twins, such as klatt and caleb, differ by less than 0.1.
                assert np.sqrt(np.square(one - two).mean()) > 0.5, (variant, other)


def test_unknown_variants_are_not_read_in_the_plain_voice(same_espeak, monkeypatch, capsys):
    monkeypatch.setitem(VARIANTS, "test", ("m5", "nobody"))
    assert main(["never-written.npz"]) == 2
    assert capsys.readouterr().err == (
        "error: espeak-ng has no voice variants nobody; use version 1.51\n"
    )


def test_without_espeak(monkeypatch, tmp_path, capsys):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert main([str(tmp_path / "out.npz")]) == 2
    assert capsys.readouterr().err == (
        "error: making digits.npz needs espeak-ng, found none on PATH; install it\n"
    )
    assert not (tmp_path / "out.npz").exists()

import subprocess
import sys

import pytest

from counterpoise import data
from counterpoise.data import DATASETS, load
from counterpoise.errors import InputError


def test_table():
    assert {"digits", "av-mnist", "utd-mhad"} <= set(DATASETS)
    assert {n for n, entry in DATASETS.items() if not entry.can_prepare()} == {"digits", "av-mnist"}
    for name, entry in DATASETS.items():
        assert entry.name == name
        assert entry.summary and entry.licence
        assert set(entry.default) <= set(entry.modalities)
        assert (entry.needs == "") == (name == "digits")


def test_public_names():
    assert all(hasattr(data, name) for name in data.__all__)


def test_load():
    assert load("digits").modalities == ("image", "audio")
    assert load("digits", modalities=["audio"]).modalities == ("audio",)
    assert load("digits", modalities=["audio", "image"]).modalities == ("image", "audio")


def test_load_from_a_folder(utd_tree, monkeypatch):
    assert load("utd-mhad", data_dir=utd_tree).modalities == DATASETS["utd-mhad"].default
    monkeypatch.setenv("COUNTERPOISE_DATA", str(utd_tree))
    chosen = load("utd-mhad", modalities=("depth", "inertial"))
    assert chosen.modalities == ("inertial", "depth")


def test_load_av_mnist(av_tree):
    assert load("av-mnist", data_dir=av_tree, modalities=["audio"]).modalities == ("audio",)


@pytest.mark.parametrize(
    ("name", "modalities", "message"),
    [
        ("digit", None, "unknown data set 'digit'; did you mean 'digits'? known: digits, "),
        ("digits", ["sound"], "unknown modality of digits 'sound'; known: image, audio"),
        ("digits", [], "modalities must name at least one of image, audio, found none"),
        ("digits", "audio", "modalities must be a list of names, found 'audio'"),
    ],
)
def test_errors(name, modalities, message):
    with pytest.raises(InputError) as raised:
        load(name, modalities=modalities)
    assert str(raised.value).startswith(message)


def test_importing_loads_no_reader():
    """The readers of files are imported when a data set is read."""
    code = "import sys, counterpoise.data; print('scipy.io' in sys.modules, 'soundfile' in "
    code += "sys.modules, 'sklearn.datasets' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False"] * 3

"""The command ``counterpoise pack``."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from toy import toy_data

import counterpoise as cp
from counterpoise.cli.main import main


def cli(*words: object) -> int:
    return main([str(word) for word in words])


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An ``own.npz``, and a run on it."""
    folder = tmp_path_factory.mktemp("pack")
    data = toy_data(2, samples=150)
    rows = {m: data.train.inputs[m].numpy() for m in data.modalities}
    np.savez(folder / "own.npz", target=data.train.target.numpy(), **rows)
    words = ("--method", "multi-loss", "--epochs", 2, "--width", 8, "--out", folder / "run")
    assert cli("train", folder / "own.npz", *words, "--quiet") == 0
    return folder


def test_a_run_becomes_a_pack(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    capsys.readouterr()
    out = tmp_path / "model"
    assert cli("pack", folder / "run", out, "--license", "mit", "--which", "best") == 0
    text = capsys.readouterr().out
    assert "accuracy to be expected, measured on test" in text and "a + b" in text
    found = cp.Predictor.load(out)
    assert found.facts["license"] == "mit" and found.facts["training"]["which"] == "best"
    assert found.facts["training"]["made_with"]["command"]
    assert cli("pack", out, tmp_path / "again", "--which", "best") == 0
    assert cli("pack", folder / "run", out) == 2
    assert "holds a pack already" in capsys.readouterr().err
    assert cli("pack", folder / "run", out, "--overwrite") == 0
    assert cp.Predictor.load(out).facts["training"]["which"] == "last"
    assert cli("pack", out, tmp_path / "best", "--which", "best") == 2
    assert "--which best must come with a run" in capsys.readouterr().err
    capsys.readouterr()
    assert cli("pack", out, "--card") == 0
    card = capsys.readouterr().out
    assert card == (out / "README.md").read_text()
    assert cli("pack", folder / "run", "--card", "--license", "apache-2.0") == 0
    assert "license: apache-2.0" in capsys.readouterr().out


def test_what_is_asked_wrongly_is_one_line(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    capsys.readouterr()
    run, out = folder / "run", tmp_path / "model"
    cases = {
        (run,): "OUT must name a folder for the pack",
        (tmp_path / "no", out): "holds neither config.json nor run.json",
        (run, out, "--thresholds", "digits"): "unknown modality",
        (run, folder / "own.npz"): "must be a folder, found a file",
        (run, folder): "is not empty and holds no pack",
    }
    for words, line in cases.items():
        assert cli("pack", *words) == 2
        error = capsys.readouterr().err
        assert line in error and error.count("\n") == 1
    assert not out.exists()


def test_another_set_may_set_thresholds(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arrays = dict(np.load(folder / "own.npz"))
    np.savez(tmp_path / "other.npz", **{k: v[::-1] for k, v in arrays.items()})
    words = ("--thresholds", tmp_path / "other.npz")
    assert cli("pack", folder / "run", tmp_path / "model", *words) == 0
    first = cp.Predictor.load(tmp_path / "model").confidence
    assert cli("pack", folder / "run", tmp_path / "other") == 0
    assert first.state() != cp.Predictor.load(tmp_path / "other").confidence.state()
    assert cli("pack", tmp_path / "model", tmp_path / "third", *words) == 2
    assert cli("pack", folder / "run", tmp_path / "x", "--thresholds", folder / "own.npz") == 2
    assert "must be other data than those that calibrate" in capsys.readouterr().err


def test_renamed_classes_are_another_version_of_the_data(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = toy_data(2, samples=150)
    rows = {m: data.train.inputs[m].numpy() for m in data.modalities}
    codes, file, run = data.train.target.numpy(), tmp_path / "own.npz", tmp_path / "run"
    np.savez(file, target=np.array(["ant", "bee", "cat"])[codes], **rows)
    assert cli("train", file, "--epochs", 1, "--width", 4, "--out", run, "--quiet") == 0
    np.savez(file, target=np.array(["bee", "cat", "dog"])[codes], **rows)
    capsys.readouterr()
    assert cli("pack", run, tmp_path / "model") == 2
    assert "trained on the classes ant, bee, cat, and own has bee, cat, dog now" in (
        capsys.readouterr().err
    )


def test_runs_of_python_are_opened(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = cp.load("digits")
    model = cp.build_model(data, fusion="film:conditioner=audio", width=4)
    run = cp.fit(model, data, out=tmp_path / "run", epochs=1)
    assert cli("pack", tmp_path / "run", tmp_path / "model") == 0
    rows = {"image": data.test.inputs["image"][:5]}
    found = cp.Predictor.load(tmp_path / "model").predict(rows)
    assert np.array_equal(found.probabilities, run.predictor().predict(rows).probabilities)

    toy = toy_data()
    cp.fit(cp.build_model(toy, width=4), toy, out=tmp_path / "toy", epochs=1)
    capsys.readouterr()
    assert cli("pack", tmp_path / "toy", tmp_path / "other") == 2
    assert "call run.save(PATH) where it is trained" in capsys.readouterr().err


@pytest.mark.filterwarnings("ignore:.*:UserWarning")
def test_many_modalities_are_summed_up(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rng = np.random.default_rng(0)
    rows = {f"m{k}": rng.normal(size=(60, 2)) for k in range(7)}
    np.savez(tmp_path / "own.npz", target=np.arange(60) % 2, **rows)
    words = ("--epochs", 1, "--width", 2, "--out", tmp_path / "run", "--quiet")
    assert cli("train", tmp_path / "own.npz", *words) == 0
    assert cli("pack", tmp_path / "run", tmp_path / "model") == 0
    text = capsys.readouterr().out
    assert "more subsets, which --card sums up" in text and text.count("\n") < 40

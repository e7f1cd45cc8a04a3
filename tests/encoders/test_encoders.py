"""Encoders by name: the table, labels with options, usual ones by shape, the command line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from counterpoise import ArrayData, InputError, MultimodalClassifier, build_model
from counterpoise.cli.main import main
from counterpoise.compare.recipe import Recipe
from counterpoise.core import storage
from counterpoise.encoders import (
    ENCODERS,
    MLP,
    CNN1d,
    CNN2d,
    ResNet18,
    Standardize,
    Steps,
    unstarted,
    usual_encoder,
)
from counterpoise.training.run import open_run
from counterpoise.training.settings import Settings

FAST = ["--epochs", "1", "--quiet", "--modalities", "image,audio"]
SAMPLES = {
    "vector": (5,),
    "sequence": (3, 20),
    "image": (3, 16, 18),
    "resnet18": (2, 3, 16, 18),
    "tokens": {"input_ids": (6,), "attention_mask": (6,)},
}


def arrays(shape: tuple[int, ...], **options: Any) -> ArrayData:
    x = np.random.default_rng(0).normal(3.0, 2.0, size=(40, *shape)).astype("float32")
    return ArrayData({"x": x}, np.arange(40) % 2, **options)


@pytest.mark.parametrize("name", ENCODERS)
def test_every_entry_of_the_table_is_complete(name: str) -> None:
    kind = ENCODERS[name]
    assert ENCODERS[kind.name] is kind and kind.__doc__
    assert kind.kind in ("", "vector", "sequence", "image")
    said = kind.__doc__
    for option in kind.options():
        assert f"        {option}: " in said, f"{option} has no word in the docstring"
    with pytest.raises(InputError, match="unknown option"):
        kind.build((3, 8), colour="red")


def test_small_encoders_have_their_bits() -> None:
    shapes = {"vector": (5,), "sequence": (3, 20), "image": (1, 8, 9)}
    for (name, shape), kind in zip(shapes.items(), (MLP, CNN1d, CNN2d), strict=True):
        new = ENCODERS[name].build(shape, 8)
        assert type(new) is kind and isinstance(new, nn.Sequential)
        assert next(iter(new.state_dict())) == "0.weight"


@pytest.mark.parametrize("name", SAMPLES)
def test_usual_encoders(name: str) -> None:
    assert usual_encoder(SAMPLES[name]) == name


def test_frames_get_a_resnet_and_are_not_standardised() -> None:
    model = build_model(arrays((2, 3, 16, 18)), width=8)
    assert isinstance(model.encoders["x"], ResNet18)
    assert model.fusion.widths == {"x": 512}


def test_pixels_get_a_small_network_behind_standardisation() -> None:
    data = arrays((3, 8, 8))
    for split in data.splits.values():
        split.inputs["x"] = (10 * split.inputs["x"] + 50).to(torch.uint8)
    model = build_model(data, width=8)
    first = model.encoders["x"][0]
    scaled = first(data.train.inputs["x"])
    assert isinstance(first, Standardize) and scaled.dtype == torch.float32
    torch.testing.assert_close(scaled.mean((0, 2, 3)), torch.zeros(3), atol=1e-4, rtol=0)
    floats = first(data.train.inputs["x"].float())
    assert torch.equal(floats, scaled)


def test_labels_choose_encoder_width_and_options() -> None:
    data = arrays((3, 20))
    model = build_model(data, encoders={"x": "lstm:width=6:bidirectional=true:layers=2"}, width=8)
    first, lstm = model.encoders["x"]
    assert isinstance(first, Standardize)
    assert model.fusion.widths == {"x": 12} and lstm.lstm.num_layers == 2
    scaled = build_model(arrays((3, 20), scaled=True), encoders={"x": "lstm"}, width=8)
    assert not isinstance(scaled.encoders["x"], nn.Sequential)
    raw = build_model(arrays((12, 20)), encoders={"x": "resnet18"})
    assert isinstance(raw.encoders["x"], ResNet18)


def test_statistics_that_come_with_the_data_are_used() -> None:
    data = arrays((3, 20))
    data.scales["x"] = (torch.full((3, 1), 7.0), torch.full((3, 1), 2.0))
    first = build_model(data, encoders={"x": "transformer"}, width=8).encoders["x"][0]
    x = torch.full((1, 3, 20), 9.0)
    x[:, :, 15:] = 0
    found = first(x)
    assert bool((found[:, :, :15] == 1).all()) and not found[:, :, 15:].any()


@pytest.mark.parametrize(
    ("label", "said"),
    [
        ("resnet", "unknown encoder 'resnet'; did you mean 'resnet18'?"),
        ("lstm:layer=2", "unknown option of lstm 'layer'; did you mean 'layers'?.*width"),
        ("resnet18:width=3", "unknown option of resnet18 'width'"),
        ("lstm:layers", "an option must read key=value"),
        ("transformer:heads=3", "encoder of 'x': heads must divide the width"),
        ("transformer:padding=1", "padding of transformer must be true or false, found 1"),
        ("lstm:width=0", "width must be a whole number from 1 to 65536, found 0"),
        ("lstm:width=wide", "width must be a whole number from 1 to 65536, found 'wide'"),
        ("resnet18:crop=a", "crop must be a whole number"),
        ("resnet18:weights=none.safetensors", "none.safetensors is not there"),
        ("mlp", r"encoder of 'x': samples of shape \[3, 20\] are no vector"),
        ("tokens", "encoder of 'x': tokens are input_ids"),
        ("lstm:steps=true", "must give features"),
    ],
)
def test_what_is_refused(label: str, said: str) -> None:
    with pytest.raises(InputError, match=said):
        build_model(arrays((3, 20)), encoders={"x": label}, width=8)


def test_a_label_is_read_as_a_methods() -> None:
    label = "resnet18:crop=224:weights=a/b.safetensors:white=1e0:flip=false"
    kind, options = ENCODERS.resolve(label)
    assert kind is ResNet18
    assert options == {"crop": 224, "weights": "a/b.safetensors", "white": 1.0, "flip": False}
    assert unstarted("resnet18:weights=a:crop=3") == "resnet18:crop=3"
    assert ENCODERS.resolve("steps") == (Steps, {})


def test_the_estimator_takes_labels() -> None:
    rng = np.random.default_rng(0)
    y = np.arange(40) % 2
    x = {"pose": rng.normal(size=(40, 3, 12)) + y[:, None, None], "x": rng.normal(size=(40, 4))}
    model = MultimodalClassifier(encoders={"pose": "lstm:width=6"}, epochs=1, width=8).fit(x, y)
    assert model.model_.fusion.widths == {"pose": 6, "x": 8}
    assert model.predict({"pose": x["pose"][:3]}).shape == (3,)


def train(*words: object) -> int:
    return main(["train", "digits", *FAST, *map(str, words)])


def test_the_command_line_trains_and_rebuilds_the_same_model(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "run"
    assert train("--out", out, "--encoder", "image=cnn2d:width=6", "--width", "8") == 0
    notes = storage.read_json(out / "run.json")["identity"]["notes"]
    assert notes["encoders"] == {"image": "cnn2d:width=6"}
    run, data = open_run(out)
    assert run.model.fusion.widths == {"image": 6, "audio": 8}
    assert main(["evaluate", str(out), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)["subsets"]
    assert found == {"+".join(sorted(s)): m for s, m in run.evaluate(data).metrics.items()}
    assert train("--out", out, "--encoder", "image=cnn2d:width=8", "--width", "8", "--resume") == 2
    assert "other settings" in capsys.readouterr().err


def test_a_configuration_names_encoders_and_flags_win(tmp_path: Path) -> None:
    config = tmp_path / "c.yaml"
    config.write_text("encoder: {image: 'cnn2d:width=6', audio: 'cnn2d:width=4'}\nwidth: 8\n")
    words = ["--config", config, "--encoder", "audio=cnn2d:width=5"]
    assert train("--out", tmp_path / "run", *words) == 0
    notes = storage.read_json(tmp_path / "run" / "run.json")["identity"]["notes"]
    assert notes["encoders"] == {"audio": "cnn2d:width=5", "image": "cnn2d:width=6"}


@pytest.mark.parametrize(
    ("word", "said"),
    [
        ("image", "must read MODALITY=NAME, found 'image'"),
        ("=cnn2d", "must read MODALITY=NAME"),
        ("sound=cnn2d", "unknown modality in encoders 'sound'"),
        ("image=cnn", "unknown encoder 'cnn'; did you mean 'cnn"),
    ],
)
def test_wrong_encoders_on_the_command_line(
    word: str, said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for command in ("train", "compare"):
        words = [command, "digits", *FAST, "--encoder", word, "--out", str(tmp_path / "x")]
        assert main(words) == 2
        assert said in capsys.readouterr().err


def test_old_folders_know_nothing_of_encoders() -> None:
    plain = Recipe("digits", settings=Settings())
    assert "encoders" not in plain.identity() and plain.chosen() == {}
    chosen = Recipe("digits", encoders={"image": "cnn2d", "audio": "resnet18"})
    assert list(chosen.identity()["encoders"]) == ["audio", "image"]


def test_a_comparison_holds_on_to_its_encoders(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["compare", "digits", *FAST, "--width", "8", "--seeds", "1", "--methods", "joint"]
    out = ["--out", str(tmp_path / "c")]
    encoder = ["--encoder", "image=cnn2d:width=6"]
    assert main([*words, *out, *encoder]) == 0
    identity = storage.read_json(tmp_path / "c" / "compare.json")["identity"]
    assert identity["encoders"] == {"image": "cnn2d:width=6"}
    assert main([*words, *out, *encoder]) == 0
    assert main([*words, *out]) == 2
    assert "other settings: encoders" in capsys.readouterr().err


def test_a_run_is_opened_without_the_weights_that_it_started_from(tmp_path: Path) -> None:
    out = tmp_path / "run"
    assert train("--out", out, "--encoder", "image=cnn2d:width=6", "--width", "8") == 0
    record, _ = storage.read_record(out / "run.json")
    record["identity"]["notes"]["encoders"]["image"] += ":weights=gone.safetensors"
    storage.write_record(out / "run.json", record)
    for file in out.glob("*.safetensors"):  # which are of the run as it was
        file.unlink()
    assert open_run(out)[0].model.fusion.widths["image"] == 6

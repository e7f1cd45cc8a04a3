"""Fusions by labels with options, in runs and in errors; what encoders must give them."""

import json

import pytest
import torch
from test_sequence_fusions import model_of
from torch import nn
from toy import Steps, same, toy_batch, toy_data, weights

from counterpoise import (
    FUSIONS,
    Bottleneck,
    InputError,
    MultimodalModel,
    Settings,
    Shared,
    build_method,
    build_model,
)
from counterpoise.compare.recipe import Recipe
from counterpoise.core import storage
from counterpoise.training.run import open_run


def test_labels():
    kind, options = FUSIONS.resolve("bottleneck:layers=4:dropout=1e-1:width=null")
    assert kind is Bottleneck and options == {"layers": 4, "dropout": 0.1, "width": None}
    assert FUSIONS.resolve("memory-fusion:hidden.a=3")[1] == {"hidden": {"a": 3}}
    assert FUSIONS.resolve("concat") == (FUSIONS["concat"], {})
    data = toy_data(2, sequences=True)
    fusion = model_of(data, "bottleneck:layers=3:tokens=2:heads=2").fusion
    assert fusion.tokens.shape == (2, 4) and len(fusion.branches["a"].layers) == 3


@pytest.mark.parametrize("name", FUSIONS)
def test_the_name_of_a_fusion(name):
    kind = FUSIONS[name]
    assert FUSIONS.name_of(kind({"a": 4, "b": 4}, 3, kind.policies[0])) == name
    assert not {"widths", "outputs", "unimodal", "self"} & set(kind.options())


@pytest.mark.parametrize(
    ("label", "message"),
    [
        ("bottelneck:layers=2", "unknown fusion 'bottelneck'; did you mean 'bottleneck'"),
        ("bottleneck:layer=2", "unknown option of bottleneck 'layer'; did you mean 'layers'"),
        ("concat:layers=2", "unknown option of concat 'layers'; known: none"),
        ("bottleneck:layers", "an option must read key=value, found 'layers'"),
        ("bottleneck:layers=two", "layers must be a whole number from 1 to 1024, found 'two'"),
    ],
)
def test_labels_that_are_refused(label, message):
    with pytest.raises(InputError, match=message):
        model_of(toy_data(2, sequences=True), label)


def test_a_run_is_opened_with_the_fusion_of_its_label(tmp_path):
    recipe = Recipe("digits", fusion="film:conditioner=image", width=8, settings=Settings(epochs=1))
    run = recipe.train(recipe.load(), build_method("joint"), 0, out=tmp_path)
    record = json.loads((tmp_path / "run.json").read_text())["identity"]
    assert record["model"]["fusion"] == "film" and record["notes"]["fusion"] == recipe.fusion
    opened = open_run(tmp_path)[0].model
    assert opened.fusion.conditioner == "image"
    assert same(weights(opened), weights(run.model))
    # As older versions wrote it where no fusion was asked for: the name alone.
    plain = Recipe("digits", width=8, settings=Settings(epochs=1))
    plain.train(plain.load(), build_method("mla"), 0, out=tmp_path / "old")
    record, _ = storage.read_record(tmp_path / "old" / "run.json")
    identity = record["identity"]
    assert identity["model"]["fusion"] == "shared" and identity["notes"]["fusion"] is None
    del identity["notes"]["fusion"]
    storage.write_record(tmp_path / "old" / "run.json", record)
    for file in (tmp_path / "old").glob("*.safetensors"):  # which are of the run as it was
        file.unlink()
    assert isinstance(open_run(tmp_path / "old")[0].model.fusion, Shared)


def test_weights_from_before_a_buffer_was_renamed_are_read():
    fusion = FUSIONS["mmtm"]({"a": 4, "b": 4}, 3)
    fusion.track("b", torch.ones(4), torch.ones(4))
    old = {n.replace("tracked", "steps"): x for n, x in fusion.state_dict().items()}
    assert "steps" in old
    other = FUSIONS["mmtm"]({"a": 4, "b": 4}, 3)
    other.load_state_dict(old)
    assert other.tracked.tolist() == [0, 1]
    whole = nn.ModuleDict({"fusion": FUSIONS["mmtm"]({"a": 4, "b": 4}, 3)})
    whole.load_state_dict({f"fusion.{n}": x for n, x in old.items()})
    assert whole["fusion"].tracked.tolist() == [0, 1]


def test_vectors_for_a_fusion_of_sequences_and_the_other_way_round():
    data = toy_data(2, sequences=True)
    with pytest.raises(
        InputError, match=r"'a' must give features \[B, T, D\], found \[1, 8\]; use "
    ):
        build_model(data, fusion="early-lstm", width=8)
    with pytest.raises(InputError, match="use lstm:steps=true or fusion=concat"):
        build_model(data, fusion="bottleneck", width=8)
    with pytest.raises(InputError, match=r"\[B, D\], found \[1, 6, 4\]; use .*fusion=bottleneck"):
        model_of(data, "concat")


def test_a_model_refuses_what_its_fusion_cannot_read():
    data = toy_data(2, sequences=True)
    batch = toy_batch(data)
    encoders = {m: nn.Flatten() for m in data.modalities}
    with pytest.raises(InputError, match=r"'a' must give features \[B, T, 24\], found \[16, 24\]"):
        MultimodalModel(encoders, Bottleneck({"a": 24, "b": 26}, 3))(batch)
    wide = {m: Steps(5) for m in data.modalities}
    with pytest.raises(InputError, match=r"\[B, T, 4\], found \[16, 6, 5\]"):
        MultimodalModel(wide, Bottleneck({"a": 4, "b": 4}, 3))(batch)

"""UME: the ensemble of unimodal models."""

import pytest
import torch
from toy import same, toy_batch, toy_data, toy_model, weights

from counterpoise import MultimodalModel, build_method, fit
from counterpoise.fusion import Late
from counterpoise.methods import UME

SETTINGS = {"epochs": 2, "batch_size": 16, "lr": 0.05}


@pytest.mark.parametrize(("modalities", "missing"), [(2, 0.0), (3, 0.4)])
def test_it_is_unimodal_training_and_the_mean_of_the_logits(modalities, missing):
    data = toy_data(modalities, missing=missing)
    model, other = toy_model(data, "ume"), toy_model(data, "unimodal")
    fit(model, data, "ume", **SETTINGS)
    fit(other, data, "unimodal", **SETTINGS)
    assert same(weights(model), weights(other))
    batch = toy_batch(data, 60)
    found = build_method("ume").predict(model, batch)
    for i in range(len(batch)):
        said = [
            model.fusion.heads[m](model.encoders[m](batch.inputs[m][i : i + 1]))[0]
            for m in data.modalities
            if batch.present[m][i]
        ]
        torch.testing.assert_close(found[i], torch.stack(said).mean(0))


class OnlyA(UME):
    def transform(self, batch, ctx):
        return batch.only("a")


def test_each_part_is_what_training_it_alone_gives():
    data = toy_data(samples=80)
    model = toy_model(data, "ume")
    alone = MultimodalModel(dict(toy_model(data, "ume").encoders), Late({"a": 8, "b": 8}, 3))
    alone.load_state_dict(model.state_dict())
    fit(alone, data, OnlyA(), **SETTINGS)
    fit(model, data, "ume", **SETTINGS)
    assert same(weights(model.encoders["a"]), weights(alone.encoders["a"]))
    assert not same(weights(model.encoders["b"]), weights(alone.encoders["b"]))

"""MMCosine: joint training of the cosine head, with the method's scale."""

import pytest
import torch
from torch.nn import functional as F
from toy import linear_encoders, same, toy_batch, toy_context, toy_data, toy_model, weights

from counterpoise import Cosine, InputError, MultimodalModel, build_method, fit


@pytest.mark.parametrize("missing", [0.0, 0.4])
@pytest.mark.parametrize("modalities", [2, 3])
def test_the_loss_is_of_the_summed_cosines(modalities, missing):
    data = toy_data(modalities, missing=missing)
    method = build_method("mmcosine", scale=4)
    ctx, batch = toy_context(data, method=method), toy_batch(data)
    method.setup(ctx)
    model, out = ctx.model, ctx.model(batch)
    total = torch.zeros(len(batch), 3)
    for name, mask in batch.present.items():
        z = F.normalize(out.features[name], dim=1)
        rows = F.normalize(model.fusion.heads[name].weight, dim=1)
        total += 4 * (z @ rows.T) * mask[:, None]
    wanted = total * modalities / batch.counts()[:, None]
    losses = method.losses(out, batch, ctx)
    assert list(losses) == ["fused"]
    torch.testing.assert_close(losses["fused"], F.cross_entropy(wanted, batch.target))
    torch.testing.assert_close(method.predict(model, batch), wanted)


def test_it_is_joint_training_of_the_cosine_head():
    data = toy_data(3, missing=0.3)
    settings = {"epochs": 2, "batch_size": 16, "lr": 0.05, "momentum": 0.9}
    mine = toy_model(data, "mmcosine")
    joint = toy_model(data, "joint", fusion="cosine", unimodal="slice")
    assert same(weights(mine), weights(joint))
    fit(mine, data, "mmcosine", **settings)
    fit(joint, data, "joint", **settings)
    assert same(weights(mine), weights(joint))


def test_the_scale_travels_with_the_weights():
    data = toy_data()
    run = fit(toy_model(data, "mmcosine"), data, build_method("mmcosine", scale=15), epochs=1)
    assert float(run.model.fusion.scale) == 15
    other = toy_model(data, "mmcosine")
    other.load_state_dict(run.best_weights[0])
    assert float(other.fusion.scale) == 15
    assert build_method("mmcosine").scale == 10


def test_what_is_refused():
    for scale in (0, -1, "x"):
        with pytest.raises(InputError, match="scale must be a number from"):
            build_method("mmcosine", scale=scale)
    data = toy_data()
    method = build_method("mmcosine")
    with pytest.raises(InputError, match="trains a Cosine fusion, found Concat"):
        method.check(toy_model(data), data.task)
    numbers = toy_data(regression=True)
    with pytest.raises(InputError, match="meaning for classification or multilabel only"):
        method.check(toy_model(numbers, "mmcosine"), numbers.task)
    encoders = linear_encoders(data)
    aux = MultimodalModel(encoders, Cosine(dict.fromkeys(encoders, 6), 3, "aux"))
    with pytest.raises(InputError, match="needs a fusion with unimodal=slice or ablate"):
        method.check(aux, data.task)

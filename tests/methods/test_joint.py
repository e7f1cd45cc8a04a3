"""Joint training: one loss on the logits of all present modalities."""

import pytest
import torch
from torch.nn import functional as F
from toy import toy_batch, toy_context, toy_data, toy_model

from counterpoise import Concat, MultimodalModel, build_method


@pytest.mark.parametrize("fusion", ["concat", "sum", "late", "shared"])
@pytest.mark.parametrize("missing", [0.0, 0.4])
def test_the_loss_is_the_mean_cross_entropy_of_the_logits(fusion, missing):
    data = toy_data(3, missing=missing)
    ctx, batch = toy_context(data, toy_model(data, fusion=fusion)), toy_batch(data)
    out = ctx.model(batch)
    losses = build_method("joint").losses(out, batch, ctx)
    assert list(losses) == ["fused"]
    torch.testing.assert_close(losses["fused"], F.cross_entropy(out.logits, batch.target))


def test_prediction_is_the_logits():
    data = toy_data(3, missing=0.4)
    model, batch = toy_model(data), toy_batch(data)
    assert torch.equal(build_method("joint").predict(model, batch), model(batch).logits)


@pytest.mark.parametrize("name", ["a", "b"])
def test_with_one_modality_present_gradients_are_those_of_the_model_of_it_alone(name):
    """Other features 0 and the head's bias shared: joint training is then unimodal training."""
    data = toy_data()
    model = toy_model(data)
    ctx, batch = toy_context(data, model), toy_batch(data)
    alone = MultimodalModel({name: toy_model(data).encoders[name]}, Concat({name: 8}, 3))
    columns = slice(0, 8) if name == "a" else slice(8, 16)
    with torch.no_grad():
        alone.fusion.head.weight.copy_(model.fusion.head.weight[:, columns])
        alone.fusion.head.bias.copy_(model.fusion.head.bias)
    for each, samples in ((model, batch.only(name)), (alone, batch)):
        ctx.loss(each(samples).logits, batch).backward()
    wanted, found = alone.fusion.head, model.fusion.head
    torch.testing.assert_close(found.weight.grad[:, columns], wanted.weight.grad)
    torch.testing.assert_close(found.bias.grad, wanted.bias.grad)
    pairs = zip(model.encoders[name].parameters(), alone.encoders[name].parameters(), strict=True)
    for p, q in pairs:
        assert float(q.grad.abs().max()) > 0
        torch.testing.assert_close(p.grad, q.grad)
    other = "b" if name == "a" else "a"
    assert all(p.grad is None for p in model.encoders[other].parameters())

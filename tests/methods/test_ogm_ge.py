"""OGM-GE: as OGM, with noise as large as the gradient."""

import pytest
import torch
from toy import gradients, same, toy_batch, toy_context, toy_data, toy_model, weights

from counterpoise import build_method, fit
from counterpoise.methods.ogm_ge import noise_like


def steps(name, batches, epoch=0, seed=0, **options):
    """The gradients after ``modulate``, for some numbers of the same batch."""
    data = toy_data(3)
    method, ctx, batch = build_method(name, **options), toy_context(data, seed=seed), None
    batch, found = toy_batch(data), []
    ctx.epoch = epoch
    for ctx.batch in batches:
        out = ctx.model(batch)
        method.backward(method.losses(out, batch, ctx), ctx)
        method.modulate(out, batch, ctx)
        found.append(gradients(ctx.model))
        ctx.optimizer.zero_grad()
    return found


@pytest.mark.parametrize("alpha", [0.0, 0.8])
def test_the_noise_has_the_deviation_of_the_unscaled_gradient(alpha):
    plain, scaled = steps("joint", [0])[0], steps("ogm", [0], alpha=alpha)[0]
    noisy = steps("ogm-ge", range(300), alpha=alpha)
    for name, gradient in plain.items():
        noise = torch.stack([each[name] - scaled[name] for each in noisy])
        if name.startswith("fusion"):
            assert not noise.any()
            continue
        spread = gradient.std()
        assert noise.std() == pytest.approx(spread.item(), rel=0.1)
        assert noise.mean().abs() < 4 * spread / noise.numel() ** 0.5
        # every entry, and not one draw for a tensor
        assert (noise.std(0) > spread / 2).all()


def test_the_noise_depends_on_seed_epoch_and_batch_and_on_nothing_else():
    first = steps("ogm-ge", [4], epoch=1)[0]
    torch.manual_seed(7)
    assert same(steps("ogm-ge", [0, 4], epoch=1)[1], first)
    for other in (
        steps("ogm-ge", [5], epoch=1),
        steps("ogm-ge", [4], epoch=0),
        steps("ogm-ge", [4], epoch=1, seed=1),
    ):
        assert not same(other[0], first)


def test_two_tensors_of_one_shape_get_different_noise():
    one = steps("ogm-ge", [0], alpha=0.0)[0]
    plain = steps("joint", [0])[0]
    noise = {k: (one[k] - plain[k]) / plain[k].std() for k in one if k.startswith("encoders")}
    biases = [n for n in noise.values() if n.dim() == 1]
    assert len(biases) > 1
    assert not torch.allclose(biases[0], biases[1], atol=1e-3)


def test_a_tensor_with_one_entry_gets_none():
    assert noise_like(torch.ones(1, 1), torch.Generator()).tolist() == [[0.0]]


def test_an_encoder_that_took_no_part_gets_none():
    data = toy_data()
    ctx, batch = toy_context(data), toy_batch(data).only("a")
    method, out = build_method("ogm-ge"), ctx.model(batch)
    method.backward(method.losses(out, batch, ctx), ctx)
    method.modulate(out, batch, ctx)
    assert all(p.grad is None for p in ctx.model.encoder_parameters("b"))


def test_outside_of_its_epochs_and_scope_it_is_joint_training():
    data, finals = toy_data(missing=0.3), []
    for method in (
        "joint",
        build_method("ogm-ge", start=2, end=9),
        build_method("ogm-ge", start=1, end=1),
    ):
        model = toy_model(data)
        fit(model, data, method, epochs=2, batch_size=16, lr=0.05)
        finals.append(weights(model))
    assert same(finals[0], finals[1])
    assert not same(finals[0], finals[2])
    noisy, plain = steps("ogm-ge", [0], scope="matrices")[0], steps("joint", [0])[0]
    changed = {k for k in noisy if not torch.equal(noisy[k], plain[k])}
    assert changed == {k for k in noisy if k.startswith("encoders") and noisy[k].dim() > 1}

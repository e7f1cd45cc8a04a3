"""``joint`` through ``fit`` against a bare PyTorch loop: the same weights."""

import copy

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from toy import linear_encoders, same, toy_data, weights

from counterpoise import Concat, Loader, MultimodalModel, fit

SETTINGS = {"epochs": 4, "batch_size": 16, "lr": 0.05, "momentum": 0.9, "weight_decay": 1e-2}


def start(data, norm):
    torch.manual_seed(0)
    encoders = linear_encoders(data, norm=norm)
    return MultimodalModel(encoders, Concat(dict.fromkeys(encoders, 6), 3))


def bare_loop(model, data, optimizer):
    """What anyone would write: two encoders, cat, Linear, cross_entropy, SGD."""
    first, second = model.encoders["a"], model.encoders["b"]
    head = model.fusion.head
    a, b, y = data.train.inputs["a"], data.train.inputs["b"], data.train.target
    for epoch in range(SETTINGS["epochs"]):
        model.train()
        for rows in Loader(data.train, 16, seed=0, shuffle=True).order(epoch).split(16):
            optimizer.zero_grad()
            logits = head(torch.cat([first(a[rows]), second(b[rows])], 1))
            F.cross_entropy(logits, y[rows]).backward()
            optimizer.step()


OPTIMIZERS = {
    "sgd": lambda p: torch.optim.SGD(p, 0.05, momentum=0.9, weight_decay=1e-2),
    "adam": lambda p: torch.optim.Adam(p, 0.05, weight_decay=1e-2),
    "adamw": lambda p: torch.optim.AdamW(p, 0.05, weight_decay=1e-2),
}


@pytest.mark.parametrize("norm", [False, True])
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_joint_training_is_a_bare_loop_to_the_bit(name, norm):
    data = toy_data(samples=130)  # the last batch of an epoch is smaller, and no power of 2
    bare = start(data, norm)
    initial, model = weights(bare), copy.deepcopy(bare)
    run = fit(model, data, "joint", optimizer=name, **SETTINGS)
    bare_loop(bare, data, OPTIMIZERS[name](bare.parameters()))
    assert same(weights(run.model), weights(bare))
    # ... and it did train:
    for key, value in weights(bare).items():
        if value.is_floating_point():
            assert not torch.allclose(value, initial[key], atol=1e-3), key
    assert run.history[-1]["loss"]["fused"] < run.history[0]["loss"]["fused"]


def test_the_bare_loop_notices_another_order_of_batches():
    data = toy_data(samples=130)
    bare = start(data, False)
    run = fit(copy.deepcopy(bare), data, "joint", **SETTINGS, seed=1)
    bare_loop(bare, data, OPTIMIZERS["sgd"](bare.parameters()))
    assert not same(weights(run.model), weights(bare))


def test_fit_leaves_the_global_random_state_alone():
    data, before = toy_data(), torch.get_rng_state()
    model = start(data, False)
    torch.set_rng_state(before)
    fit(model, data, epochs=1)
    assert torch.equal(before, torch.get_rng_state())


@pytest.mark.parametrize("seed", [0, 1])
def test_fit_with_dropout_is_reproducible_and_depends_on_the_seed(seed):
    data = toy_data()
    model = start(data, False)
    model.encoders["a"] = nn.Sequential(model.encoders["a"], nn.Dropout(0.5))
    runs = []
    for noise in (5, 6):
        torch.manual_seed(noise)
        runs.append(fit(copy.deepcopy(model), data, epochs=2, seed=seed))
    assert same(weights(runs[0].model), weights(runs[1].model))
    other = fit(copy.deepcopy(model), data, epochs=2, seed=seed + 1)
    assert not same(weights(runs[0].model), weights(other.model))

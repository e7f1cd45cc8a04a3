"""Optimisers by label, and what each is given of the settings."""

from __future__ import annotations

import pytest
import torch
from toy import toy_context, toy_data, toy_model

from counterpoise import InputError, Settings
from counterpoise.training.optimizers import OPTIMIZERS, build_optimizer, optimizer_options


def made(label: str, **settings: float) -> torch.optim.Optimizer:
    return Settings(optimizer=label, **settings).build_optimizer(
        [torch.nn.Parameter(torch.ones(2))]
    )


def test_the_settings_reach_those_that_use_them() -> None:
    sgd = made("sgd", lr=0.2, momentum=0.7, weight_decay=0.3)
    assert type(sgd) is torch.optim.SGD
    assert {k: sgd.defaults[k] for k in ("lr", "momentum", "weight_decay", "nesterov")} == {
        "lr": 0.2, "momentum": 0.7, "weight_decay": 0.3, "nesterov": False,
    }  # fmt: skip
    for label, kind in (("adam", torch.optim.Adam), ("adamw", torch.optim.AdamW)):
        adam = made(label, lr=0.2, momentum=0.7, weight_decay=0.3)
        assert type(adam) is kind and "momentum" not in adam.defaults
        assert (adam.defaults["lr"], adam.defaults["weight_decay"]) == (0.2, 0.3)


def test_options_are_those_of_the_class() -> None:
    assert made("sgd:nesterov=true").defaults["nesterov"] is True
    assert made("adamw:betas=[0.9,0.98]:eps=1e-6").defaults["betas"] == (0.9, 0.98)
    assert made("adamw:betas=[0.9,0.98]:eps=1e-6").defaults["eps"] == 1e-6
    for name in OPTIMIZERS:
        options = optimizer_options(OPTIMIZERS[name])
        assert not {"params", "lr", "momentum", "weight_decay"} & set(options)


def test_a_model_beside_has_the_same_options() -> None:
    ctx = toy_context(optimizer="adamw:betas=[0.8,0.9]")
    assert ctx.branch(toy_model(toy_data())).optimizer.defaults["betas"] == (0.8, 0.9)


def test_an_optimiser_without_weight_decay_is_not_given_any(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Bare(torch.optim.SGD):
        def __init__(self, params, lr, *, nesterov=False):  # type: ignore[no-untyped-def]
            super().__init__(params, lr)

    monkeypatch.setitem(OPTIMIZERS._found, "adam", Bare)
    assert isinstance(made("adam", weight_decay=0.3), Bare)


@pytest.mark.parametrize(
    ("label", "said"),
    [
        ("adan", "unknown optimizer 'adan'; did you mean 'adam'?"),
        ("sgd:nestorov=true", "unknown option of sgd 'nestorov'; did you mean 'nesterov'?"),
        ("sgd:lr=3", "unknown option of sgd 'lr'"),
        ("sgd:momentum=0.3", "unknown option of sgd 'momentum'"),
        ("adam:betas=[2,3]", "betas[0] must be a number from 0 and below 1, found 2"),
        ("adam:betas=3", "betas must be a list of 2 numbers from 0 and below 1, found 3"),
    ],
)
def test_optimisers_that_are_refused(label: str, said: str) -> None:
    with pytest.raises(InputError) as error:
        build_optimizer(label, [torch.nn.Parameter(torch.ones(2))], lr=0.1, momentum=0.9)
    assert said in str(error.value) and "\n" not in str(error.value)

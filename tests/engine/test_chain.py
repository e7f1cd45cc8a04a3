"""Chains: several methods in one run, and what cannot be combined."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from toy import same, toy_data, toy_model, weights

from counterpoise import Chain, Classification, Concat, InputError, Late, Method, build_method, fit
from counterpoise.cli.main import main
from counterpoise.methods import MLA, DiagnoseRelearn, Joint, ModalityDropout, MultiLoss, Unimodal
from counterpoise.training.run import open_run

SETTINGS = {"epochs": 2, "batch_size": 16, "lr": 0.05}


class Halve(Method):
    """Halves the inputs of a batch, and doubles its gradients."""

    name = "halve"

    def transform(self, batch, ctx):
        return replace(batch, inputs={m: x / 2 for m, x in batch.inputs.items()})

    def modulate(self, out, batch, ctx):
        for p in ctx.model.parameters():
            p.grad.mul_(2)


class Shift(Halve):
    """Adds one."""

    name = "shift"

    def transform(self, batch, ctx):
        return replace(batch, inputs={m: x + 1 for m, x in batch.inputs.items()})

    def modulate(self, out, batch, ctx):
        for p in ctx.model.parameters():
            p.grad.add_(1)


def trained(method, data=None, **model):
    data = data or toy_data()
    model = toy_model(data, method, **model)
    fit(model, data, method, **SETTINGS)
    return weights(model)


def test_hooks_run_in_the_order_given():
    class Both(Method):
        name = "both"

        def __init__(self, *order):
            super().__init__()
            self.order = order

        def transform(self, batch, ctx):
            for one in self.order:
                batch = one.transform(self, batch, ctx)
            return batch

        def modulate(self, out, batch, ctx):
            for one in self.order:
                one.modulate(self, out, batch, ctx)

    there, back = trained(Chain(Halve(), Shift())), trained(Chain(Shift(), Halve()))
    assert same(there, trained(Both(Halve, Shift)))
    assert same(back, trained(Both(Shift, Halve)))
    assert not same(there, back)


def test_a_chain_with_joint_is_the_other_method():
    for method in (MultiLoss(), MLA(), ModalityDropout(rates=0.5), DiagnoseRelearn(every=1)):
        alone = trained(type(method)(**method.settings()))
        assert same(trained(Chain(Joint(), method)), alone), method.name
        method = type(method)(**method.settings())
        assert same(trained(Chain(method, Joint())), alone), method.name


def test_a_transform_comes_before_a_step_of_another():
    data, halved = toy_data(missing=0.3), toy_data(missing=0.3)
    for part in halved.splits.values():
        part.inputs = {m: x / 2 for m, x in part.inputs.items()}

    class Plain(Halve):
        modulate = Method.modulate

    # The default encoders standardise by the data; give both the same.
    models = [toy_model(data, "mla") for _ in range(2)]
    fit(models[0], data, Chain(Plain(), MLA()), **SETTINGS)
    fit(models[1], halved, MLA(), **SETTINGS)
    assert same(weights(models[0]), weights(models[1]))


def test_ends_of_epochs_and_state_of_all():
    data = toy_data(samples=200)
    chain = Chain(ModalityDropout(rates=0.5), DiagnoseRelearn(every=1))
    fit(toy_model(data, chain), data, chain, epochs=3, batch_size=16)
    assert int(chain.methods[1].done) == 1
    assert "methods.1.done" in chain.state_dict()


def test_a_step_s_own_transform_and_losses_are_its_own():
    class Stepper(Shift):
        name = "stepper"
        modulate = Method.modulate

        def step(self, batch, ctx):
            return Method.step(self, batch, ctx)

        def losses(self, out, batch, ctx):
            return {"fused": 2 * ctx.loss(out.logits, batch)}

    assert same(trained(Chain(Joint(), Stepper())), trained(Stepper()))


def test_at_most_one_owner_of_a_hook():
    with pytest.raises(InputError, match=r"'multi-loss' and 'unimodal'.*their own losses"):
        Chain(MultiLoss(), Joint(), Unimodal())
    with pytest.raises(InputError, match=r"'mla' and 'multi-loss' cannot.*their own predict"):
        Chain(MLA(), MultiLoss())
    with pytest.raises(InputError, match="'mla' replaces the whole step, so modulate of 'halve'"):
        Chain(Halve(), MLA())
    with pytest.raises(InputError, match=r"must differ, found joint \+ joint"):
        Chain(Joint(), Joint())
    with pytest.raises(InputError, match="at least two"):
        Chain(Joint())


def test_dropout_leaves_prediction_to_another_in_the_paper_s_form_only():
    Chain(ModalityDropout(), MultiLoss())
    with pytest.raises(InputError, match="their own predict"):
        Chain(ModalityDropout(mode="released"), MultiLoss())


def test_what_suits_all_of_them():
    chain = Chain(ModalityDropout(), DiagnoseRelearn(), Unimodal())
    assert chain.fusions[0] is Late
    assert chain.tasks == (Classification,)
    assert set(chain.policies) == {"slice", "ablate"}
    assert type(toy_model(toy_data(), chain).fusion) is Late
    assert Chain(ModalityDropout(), MultiLoss()).unimodal == "aux"
    assert type(toy_model(toy_data(), Chain(Joint(), MultiLoss())).fusion) is Concat
    regression = toy_data(regression=True)
    with pytest.raises(InputError, match="classification only, found regression"):
        fit(toy_model(regression, "joint"), regression, Chain(Joint(), DiagnoseRelearn()))

    class OnlyConcat(Method):
        name, fusions = "only-concat", (Concat,)

    with pytest.raises(InputError, match=r"'mla' and 'only-concat' cannot.*no fusion suits both"):
        Chain(MLA(), OnlyConcat())


def test_names_and_options():
    chain = build_method("modality-dropout:rates=0.5:granularity=sample+diagnose-relearn:every=1")
    assert chain.label() == "modality-dropout+diagnose-relearn"
    assert chain.settings()["modality-dropout"]["granularity"] == "sample"
    again = build_method(chain.label(), **chain.settings())
    assert again.settings() == chain.settings()
    assert build_method("modality-dropout:rates=1e+0").rates == 1.0
    with pytest.raises(InputError, match="unknown method 'modality-drop'"):
        build_method("joint+modality-drop")
    with pytest.raises(InputError, match="unknown method in the options of a chain"):
        build_method("joint+mla", **{"multi-loss": {}})


def test_from_the_command_line(tmp_path: Path, capsys):
    words = ["train", "digits", "--method", "modality-dropout,diagnose-relearn", "--epochs", "2"]
    out = tmp_path / "run"
    options = ["--set", "modality-dropout.rates.audio=0.4", "--set", "diagnose-relearn.every=1"]
    assert main([*words, *options, "--out", str(out)]) == 0
    run, _ = open_run(out)
    settings = run.method.settings()
    assert settings["modality-dropout"]["rates"] == {"audio": 0.4}
    assert settings["diagnose-relearn"]["every"] == 1
    assert main(["evaluate", str(out)]) == 0
    assert "modality-dropout+diagnose-relearn" in capsys.readouterr().out
    assert main(["train", "digits", "--method", "mla,multi-loss"]) == 2
    assert "cannot be combined" in capsys.readouterr().err
    assert main([*words, "--set", "rates=0.4"]) == 2
    assert "METHOD.KEY=VALUE" in capsys.readouterr().err
    words = ["compare", "digits", "--methods", "joint,modality-dropout+multi-loss"]
    words += ["--set", "modality-dropout.rates=0.4", "--epochs", "1", "--seeds", "1"]
    assert main([*words, "--quiet", "--out", str(tmp_path / "c")]) == 0
    assert "modality-dropout:rates=0.4+multi-loss" in (tmp_path / "c" / "summary.csv").read_text()


def test_prediction_is_the_owner_s():
    data = toy_data(3, missing=0.4)
    chain = Chain(ModalityDropout(), MultiLoss())
    model = toy_model(data, chain)
    batch = data.test[torch.arange(10)]
    assert torch.equal(chain.predict(model, batch), MultiLoss().predict(model, batch))

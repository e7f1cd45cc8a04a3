"""The model: encoders see present rows only."""

from dataclasses import replace

import pytest
import torch
from folded import check_each
from torch import nn
from toy import Calls, Steps, linear_encoders, same, toy_batch, toy_data, toy_model, weights

from counterpoise import Concat, InputError, Late, MultimodalModel, build_model
from counterpoise.fusion import FUSIONS

ODD_NAMES = ("keys", "type", "training", "to.half", "name")


def model_of(data, **options):
    encoders = linear_encoders(data, **options)
    return MultimodalModel(encoders, Concat(dict.fromkeys(encoders, 6), 3))


def spoilt(batch):
    """The same batch with NaN in every absent row."""
    inputs = {
        m: torch.where(batch.present[m][:, None], x, torch.nan) for m, x in batch.inputs.items()
    }
    return replace(batch, inputs=inputs)


@pytest.mark.parametrize("training", [True, False])
def test_an_encoder_sees_exactly_the_present_rows(training):
    data = toy_data(3, missing=0.4)
    model, batch = model_of(data).train(training), toy_batch(data)
    calls = {m: Calls(model.encoders[m]) for m in data.modalities}
    model(batch)
    assert {m: c.rows for m, c in calls.items()} == {
        m: [int(mask.sum())] for m, mask in batch.present.items()
    }


def test_what_absent_rows_hold_changes_nothing():
    data = toy_data(3, missing=0.4)
    model, batch = model_of(data, norm=True), toy_batch(data)
    clean, dirty = model(batch), model(spoilt(batch))
    assert torch.equal(clean.logits, dirty.logits)
    dirty.logits.sum().backward()
    assert all(bool(p.grad.isfinite().all()) for p in model.parameters())


def test_features_are_the_encoders_where_present_and_zero_where_absent():
    data = toy_data(2, missing=0.4)
    model, batch = model_of(data).eval(), toy_batch(data)
    for name, features in model(batch).features.items():
        mask = batch.present[name]
        torch.testing.assert_close(features[mask], model.encoders[name](batch.inputs[name][mask]))
        assert bool((features[~mask] == 0).all())


def test_a_modality_that_no_sample_has_is_not_encoded():
    data = toy_data(2)
    model, batch = model_of(data), toy_batch(data)
    calls = Calls(model.encoders["b"])
    out = model(batch.only("a"))
    out.logits.sum().backward()
    assert not calls
    assert all(p.grad is None for p in model.encoders["b"].parameters())
    assert out.features["b"].shape == (16, 6)


def test_statistics_of_batchnorm_are_of_the_present_rows():
    data = toy_data(2, missing=0.4)
    model, batch = model_of(data, norm=True).train(), toy_batch(data)
    model(batch)
    for name, mask in batch.present.items():
        linear, norm, _ = model.encoders[name]
        inner = linear(batch.inputs[name][mask])
        torch.testing.assert_close(norm.running_mean, 0.1 * inner.mean(0))
        torch.testing.assert_close(norm.running_var, 0.9 + 0.1 * inner.var(0))


def test_running_statistics_stay_when_the_modality_is_absent():
    data = toy_data(2)
    model, batch = model_of(data, norm=True).train(), toy_batch(data)
    before = weights(model.encoders["b"])
    model(batch.only("a"))
    assert same(before, weights(model.encoders["b"]))


def test_one_present_row_is_normalised_by_running_statistics():
    data = toy_data(2)
    model, batch = model_of(data, norm=True), toy_batch(data)
    model.train()(batch)
    one = torch.zeros(16, dtype=torch.bool)
    one[5] = True
    batch = replace(batch, present={**batch.present, "b": one})
    wanted = model.eval().encode(batch)["b"]
    before = weights(model.encoders["b"])
    found = model.train().encode(batch)["b"]
    assert torch.equal(found, wanted)
    assert same(before, weights(model.encoders["b"]))
    assert all(m.training for m in model.modules())  # the mode is put back


def test_one_row_keeps_a_frozen_batchnorm_frozen():
    data = toy_data(2)
    model = model_of(data, norm=True).train()
    model.encoders["a"][1].eval()
    model(toy_batch(data, 1))
    assert not model.encoders["a"][1].training


def test_bfloat16_encoders_come_close_and_heads_stay_in_float32():
    data = toy_data(2, missing=0.3)
    batch = toy_batch(data)
    full, half = toy_model(data), toy_model(data, precision="bf16")
    assert same(weights(full), weights(half))
    seen = []
    half.encoders["a"].register_forward_hook(lambda *call: seen.append(call[2].dtype))
    wanted, found = full(batch), half(batch)
    assert seen == [torch.bfloat16]
    assert found.logits.dtype == found.features["a"].dtype == torch.float32
    assert not torch.equal(found.logits, wanted.logits)
    torch.testing.assert_close(found.logits, wanted.logits, rtol=0.05, atol=0.05)
    found.logits.sum().backward()
    assert all(p.grad.dtype == torch.float32 for p in half.parameters())


def test_given_features_are_read_instead_of_inputs():
    data = toy_data(3, missing=0.3)
    model, batch = model_of(data).eval(), toy_batch(data)
    known = replace(batch, features=model.encode(batch), inputs={})
    calls = [Calls(encoder) for encoder in model.encoders.values()]
    for names in (("a", "b", "c"), ("a", "c"), ("b",)):
        found = model(known.only(*names)).logits
        assert not any(calls)
        torch.testing.assert_close(found, model(batch.only(*names)).logits)
        for call in calls:
            call.rows.clear()


def test_an_input_may_be_a_dict_of_tensors():
    class Bag(nn.Module):
        def __init__(self):
            super().__init__()
            self.table = nn.Embedding(10, 6)

        def forward(self, tokens):
            mask = tokens["mask"][..., None].float()
            return (self.table(tokens["ids"]) * mask).sum(1)

    data = toy_data(2, missing=0.4)
    batch = toy_batch(data)
    ids = torch.arange(64).view(16, 4) % 10
    batch = replace(batch, inputs={**batch.inputs, "b": {"ids": ids, "mask": ids > 2}})
    encoders = {"a": linear_encoders(data)["a"], "b": Bag()}
    model = MultimodalModel(encoders, Concat({"a": 6, "b": 6}, 3))
    wanted = encoders["b"]({"ids": ids, "mask": ids > 2}) * batch.present["b"][:, None]
    assert torch.equal(model(batch).features["b"], wanted)


def test_own_parameters_are_the_encoder_and_its_parts_of_the_head():
    encoders = linear_encoders(toy_data(2))
    model = MultimodalModel(encoders, Late({"a": 6, "b": 6}, 3))
    own = {id(p) for p in model.own_parameters("a")}
    parts = (model.encoders["a"], model.fusion.heads["a"])
    assert own == {id(p) for part in parts for p in part.parameters()}


def test_shared_encoder_parameters_are_refused():
    layer = nn.Linear(4, 6)
    model = MultimodalModel({"a": layer, "b": layer}, Concat({"a": 6, "b": 6}, 3))
    with pytest.raises(InputError, match="encoders 'a' and 'b' share parameters"):
        model.own_parameters("a")


def test_only_is_a_mask():
    batch = toy_batch(toy_data(3, missing=0.3))
    part = batch.only("b")
    assert torch.equal(part.present["b"], batch.present["b"])
    assert not part.present["a"].any() and not part.present["c"].any()
    assert torch.equal(part.counts(), batch.present["b"].long())
    assert part.inputs is batch.inputs
    with pytest.raises(InputError, match="unknown modality 'x'; known: a, b, c"):
        batch.only("x")


def test_encoders_and_fusion_must_agree():
    encoders = linear_encoders(toy_data(2))
    with pytest.raises(InputError, match=r"same order, found \['a', 'b'\] and \['b', 'a'\]"):
        MultimodalModel(encoders, Concat({"b": 6, "a": 6}, 3))


@pytest.mark.parametrize("name", ["", "a+b", "a:b", "a\nb"])
def test_names_that_records_cannot_have_are_refused(name):
    with pytest.raises(InputError, match="widths must name modalities by a text without"):
        MultimodalModel({name: nn.Linear(4, 6)}, Concat({name: 6}, 3))


def test_any_other_name_will_do_in_every_fusion():
    """Plain names keep the keys that older runs have; the others get keys of their own."""
    names = (*ODD_NAMES, "x", "a b", "ünï", "_x", "a/b")

    def check(label):
        data = toy_data(len(names), names=names, sequences=True, samples=len(names) * 6)
        policy = FUSIONS[label].policies[0]
        steps = FUSIONS[label].steps
        encoders = {m: Steps() if steps else "cnn1d" for m in names}
        model = build_model(data, encoders=encoders, fusion=label, unimodal=policy, width=4)
        assert model.modalities == tuple(model.fusion.widths) == names
        keys = {key.split(".")[1] for key in model.state_dict() if key.startswith("encoders.")}
        assert {"x", "a b", "ünï", "_x", "a/b"} < keys and "name:type" in keys
        assert len(keys) == len(names)
        out = model(toy_batch(data, 6))
        assert out.logits.shape[0] == 6 and tuple(out.unimodal) == names
        for policy in FUSIONS[label].policies:  # with all that different widths bring
            fusion = FUSIONS[label]({m: 4 + k for k, m in enumerate(names)}, 3, policy)
            assert all(fusion.own(m) is None or len(fusion.own(m)) for m in names)

    check_each(FUSIONS, check)


def test_a_wrong_feature_width_is_named():
    data = toy_data(2)
    encoders = {**linear_encoders(data), "b": nn.Linear(5, 7)}
    model = MultimodalModel(encoders, Concat({"a": 6, "b": 6}, 3))
    with pytest.raises(
        InputError, match=r"encoder 'b' must give features \[B, 6\], found \[16, 7\]"
    ):
        model(toy_batch(data))


def test_build_model_is_reproducible_and_leaves_the_random_state_alone():
    data, before = toy_data(), torch.get_rng_state()
    first, again, other = (build_model(data, seed=s) for s in (0, 0, 1))
    assert torch.equal(before, torch.get_rng_state())
    assert same(weights(first), weights(again))
    assert not same(weights(first), weights(other))


def test_build_model_errors():
    data = toy_data()
    with pytest.raises(InputError, match="unknown modality in encoders 'x'; known: a, b"):
        build_model(data, encoders={"x": "vector"})
    with pytest.raises(InputError, match="unknown fusion 'conkat'; did you mean 'concat'"):
        build_model(data, fusion="conkat")
    with pytest.raises(InputError, match="unknown precision 'fp64'"):
        build_model(data, precision="fp64")
    with pytest.raises(InputError, match="encoder of 'a' does not take samples of shape"):
        build_model(data, encoders={"a": nn.Linear(99, 6)})
    with pytest.raises(InputError, match=r"must give features \[B, D\], found \[1, 2, 2\]"):
        build_model(data, encoders={"a": nn.Unflatten(1, (2, 2))})


def test_what_only_leaves_out_is_counted_and_filled_once(monkeypatch):
    data = toy_data(3)
    model, batch = model_of(data), toy_batch(data)
    filled, zeros = [], torch.zeros
    monkeypatch.setattr(torch, "zeros", lambda *size, **o: filled.append(size) or zeros(*size, **o))
    features = model.encode(batch.only(data.modalities[0]))
    assert len(filled) == 1
    assert list(features) == list(data.modalities)
    for name in data.modalities[1:]:
        assert torch.equal(features[name], zeros(len(batch), 6))


def test_the_columns_of_one_modality_are_those_of_the_slices():
    fusion = Concat({"a": 2, "b": 5, "c": 3}, 4)
    for name, columns in fusion.slices().items():
        assert torch.equal(fusion.columns(name), columns)

"""FiLM and gates against their formulas, complete and with modalities missing."""

import pytest
import torch
from test_fusion import WIDTHS, B, K, build, features
from torch.nn import functional as F
from toy import toy_data, toy_model

from counterpoise import FiLM, Gated, InputError, fit

PAIR = {"a": 3, "b": 5}


def linear(layer, row):
    return layer.weight @ row + layer.bias


@pytest.mark.parametrize("conditioner", [None, "b"])
def test_film_of_two_is_the_released_form(conditioner):
    z, present = features(PAIR)
    fusion = build(FiLM, PAIR, conditioner=conditioner)
    q, k = ("b", "a") if conditioner else ("a", "b")
    both = fusion.maps[q](z[q])
    assert both.shape == (B, 2 * PAIR[k])  # split by what is emitted, not by what comes in
    gamma, beta = both[:, : PAIR[k]], both[:, PAIR[k] :]
    out = fusion(z, present)
    torch.testing.assert_close(out.logits, fusion.head(gamma * z[k] + beta), rtol=0, atol=1e-14)
    assert list(fusion.maps) == [q] and torch.equal(out.features[k], z[k])


@pytest.mark.parametrize("conditioner", ["a", "b", "c"])
@pytest.mark.parametrize("missing", [False, True])
def test_film_of_three_modulates_the_mean_of_the_present(missing, conditioner):
    z, present = features(missing=missing)
    fusion = build(FiLM, conditioner=conditioner)
    others = [m for m in WIDTHS if m != conditioner]
    width = max(WIDTHS[m] for m in others)
    found, kinds = fusion(z, present).logits, set()
    for i in range(B):
        here = [m for m in others if present[m][i]]
        h = torch.zeros(width, dtype=torch.double)
        for m in here:
            h = h + linear(fusion.maps[m], z[m][i]) / len(here)
        if present[conditioner][i]:
            gamma, beta = linear(fusion.maps[conditioner], z[conditioner][i]).chunk(2)
            h = gamma * h + beta
        kinds.add((bool(present[conditioner][i]), len(here)))
        torch.testing.assert_close(found[i], linear(fusion.head, h), rtol=0, atol=1e-14)
    assert len(kinds) >= 3 if missing else kinds == {(True, 2)}


def test_film_alone():
    z, present = features(PAIR)
    fusion = build(FiLM, PAIR)
    out = fusion(z, present)
    beta = fusion.maps["a"](z["a"])[:, 5:]
    torch.testing.assert_close(out.unimodal["a"], fusion.head(beta), rtol=0, atol=1e-14)
    torch.testing.assert_close(out.unimodal["b"], fusion.head(z["b"]), rtol=0, atol=1e-14)


@pytest.mark.parametrize("gate", [None, "b"])
@pytest.mark.parametrize("missing", [False, True])
def test_gate_of_two(missing, gate):
    z, present = features(PAIR, missing)
    fusion = build(Gated, PAIR, gate=gate)
    q, k = ("b", "a") if gate else ("a", "b")
    found, kinds = fusion(z, present).logits, set()
    for i in range(B):
        opened = linear(fusion.maps[q], z[q][i]).sigmoid() if present[q][i] else 0.5
        value = linear(fusion.maps[k], z[k][i]) if present[k][i] else 1.0
        kinds.add((bool(present[q][i]), bool(present[k][i])))
        wanted = linear(fusion.head, opened * value)
        torch.testing.assert_close(found[i], wanted, rtol=0, atol=1e-14)
    assert len(kinds) == (3 if missing else 1)


def test_gate_of_two_alone():
    z, present = features(PAIR)
    fusion = build(Gated, PAIR)
    out = fusion(z, present).unimodal
    gate, half = fusion.maps["a"](z["a"]).sigmoid(), 0.5 * fusion.maps["b"](z["b"])
    torch.testing.assert_close(out["a"], fusion.head(gate), rtol=0, atol=1e-14)
    torch.testing.assert_close(out["b"], fusion.head(half), rtol=0, atol=1e-14)


@pytest.mark.parametrize("missing", [False, True])
def test_gates_of_three_are_a_softmax_over_the_present(missing):
    z, present = features(missing=missing)
    fusion = build(Gated)
    found = fusion(z, present).logits
    for i in range(B):
        here = [m for m in WIDTHS if present[m][i]]
        scores = linear(fusion.gates, torch.cat([z[m][i] for m in WIDTHS]))
        scores = dict(zip(WIDTHS, scores.split(5), strict=True))
        gates = torch.stack([scores[m] for m in here]).softmax(0)
        values = torch.stack([linear(fusion.maps[m], z[m][i]).tanh() for m in here])
        wanted = linear(fusion.head, (gates * values).sum(0))
        torch.testing.assert_close(found[i], wanted, rtol=0, atol=1e-14)


@pytest.mark.parametrize("widths", [PAIR, WIDTHS])
@pytest.mark.parametrize("kind", [FiLM, Gated])
@pytest.mark.parametrize("gone", ["a", "b"])
def test_a_modality_that_no_sample_has_gets_no_gradient(kind, widths, gone):
    z, present = features(widths)
    z = {m: x.requires_grad_() for m, x in z.items()} | {gone: torch.zeros_like(z[gone])}
    present[gone] = torch.zeros_like(present[gone])
    fusion = build(kind, widths)
    fusion(z, present).logits.square().sum().backward()
    own = [] if fusion.own(gone) is None else list(fusion.own(gone).parameters())
    assert all(p.grad is None for p in own)
    rest = [p for p in fusion.parameters() if not any(p is q for q in own)]
    assert all(p.grad is not None and bool(p.grad.isfinite().all()) for p in rest)
    assert all(x.grad is not None for m, x in z.items() if m != gone)


@pytest.mark.parametrize("widths", [PAIR, WIDTHS])
@pytest.mark.parametrize("kind", [FiLM, Gated])
def test_every_subset_is_finite_with_its_gradients(kind, widths):
    for bits in range(2 ** len(widths)):
        z, present = features(widths)
        here = {m: bool(bits >> j & 1) for j, m in enumerate(widths)}
        present = {m: torch.full_like(mask, here[m]) for m, mask in present.items()}
        z = {m: (x * here[m]).requires_grad_() for m, x in z.items()}
        fusion = build(kind, widths)
        out = fusion(z, present)
        F.cross_entropy(out.logits, torch.arange(B) % K).backward()
        grads = [p.grad for p in (*fusion.parameters(), *z.values()) if p.grad is not None]
        assert grads and all(bool(g.isfinite().all()) for g in grads)
        assert bool(out.logits.isfinite().all())


def test_a_sample_without_any_modality_leaves_the_others_alone():
    z, present = features()
    for m in WIDTHS:
        z[m][3], present[m][3] = 0, False
    fusion = build(Gated)
    logits = fusion(z, present).logits
    assert torch.equal(logits[3], fusion.head.bias)
    logits.square().sum().backward()
    assert all(bool(p.grad.isfinite().all()) for p in fusion.parameters())


def test_own_parts():
    assert build(FiLM, PAIR).own("b") is None
    fusion = build(FiLM, WIDTHS, unimodal="aux", conditioner="b")
    assert list(fusion.own("b")) == [fusion.maps["b"], fusion.aux["b"]]
    assert list(fusion.own("c")) == [fusion.maps["c"], fusion.aux["c"]]
    gated = build(Gated, PAIR)
    assert list(gated.own("a")) == [gated.maps["a"]]


@pytest.mark.parametrize("kind", [FiLM, Gated])
def test_there_is_no_share(kind):
    z, _ = features()
    fusion = build(kind)
    with pytest.raises(InputError, match=f"{kind.__name__} has no share for each modality"):
        fusion.share("a", z, torch.ones(B))


def test_what_is_refused():
    for kind in (FiLM, Gated):
        with pytest.raises(InputError, match=r"needs at least two modalities, found \['a'\]"):
            kind({"a": 3}, K)
    with pytest.raises(InputError, match="unknown modality in conditioner 'd'"):
        FiLM(WIDTHS, K, conditioner="d")
    with pytest.raises(InputError, match="unknown modality in gate 'd'"):
        Gated(PAIR, K, gate="d")
    with pytest.raises(InputError, match="gate is for two modalities, found 3"):
        Gated(WIDTHS, K, gate="a")


@pytest.mark.parametrize("name", ["film", "gated"])
@pytest.mark.parametrize("modalities", [2, 3])
def test_joint_training_learns_with_it(name, modalities):
    data = toy_data(modalities, missing=0.3)
    run = fit(
        toy_model(data, fusion=name), data, "joint", epochs=8, batch_size=16, lr=0.1, momentum=0.9
    )
    first, last = (run.history[k]["loss"]["fused"] for k in (0, -1))
    assert last < 0.9 * first

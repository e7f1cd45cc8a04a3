"""The cosine head: directions only, finite at zero."""

import pytest
import torch
from test_fusion import WIDTHS, B, K, build, features

from counterpoise import Cosine


@pytest.mark.parametrize("missing", [False, True])
def test_logits_are_the_scaled_cosines(missing):
    z, present = features(missing=missing)
    fusion = build(Cosine, scale=7)
    out = fusion(z, present)
    for i in range(B):
        here = [m for m in WIDTHS if present[m][i]]
        total = torch.zeros(K, dtype=torch.double)
        for m in here:
            w, x = fusion.heads[m].weight, z[m][i]
            u = 7 * (w @ x) / (w.square().sum(1).sqrt() * x.square().sum().sqrt())
            torch.testing.assert_close(out.unimodal[m][i], u, rtol=0, atol=1e-13)
            total = total + u
        torch.testing.assert_close(out.logits[i], total * 3 / len(here), rtol=0, atol=1e-12)


def test_lengths_do_not_matter():
    z, present = features()
    fusion = build(Cosine)
    before = fusion(z, present).logits
    with torch.no_grad():
        fusion.heads["b"].weight[1] *= 50
        fusion.heads["c"].weight *= 0.01
    longer = {m: x * (1 + torch.arange(B))[:, None] for m, x in z.items()}
    torch.testing.assert_close(fusion(longer, present).logits, before, rtol=0, atol=1e-12)


def test_shares_lie_within_the_scale_and_reach_it():
    z, present = features()
    fusion = build(Cosine)
    assert float(fusion.scale) == 10 and "scale" in fusion.state_dict()
    assert all(bool((u.abs() <= 10 + 1e-12).all()) for u in fusion(z, present).unimodal.values())
    z["a"] = 3 * fusion.heads["a"].weight[:1].detach().expand(B, -1)
    torch.testing.assert_close(
        fusion(z, present).unimodal["a"][:, 0], torch.full((B,), 10.0, dtype=torch.double)
    )


def test_gradients_are_orthogonal_to_features_and_rows():
    z, present = features()
    z = {m: x.requires_grad_() for m, x in z.items()}
    fusion = build(Cosine)
    fusion(z, present).logits.square().sum().backward()
    for m, x in z.items():
        w = fusion.heads[m].weight
        for value in (x, w):
            torch.testing.assert_close(
                (value * value.grad).sum(1), torch.zeros(len(value), dtype=torch.double)
            )
            assert float(value.grad.norm()) > 0.1


def test_features_of_zero_give_zero_and_no_gradient():
    z, present = features()
    z["a"][3] = 0
    z = {m: x.clone().requires_grad_() for m, x in z.items()}
    fusion = build(Cosine)
    out = fusion(z, present)
    assert torch.equal(out.unimodal["a"][3], torch.zeros(K, dtype=torch.double))
    (out.logits * torch.arange(K)).sum().backward()
    assert bool((z["a"].grad[3] == 0).all()) and bool((z["a"].grad[2] != 0).any())
    assert all(bool(p.grad.isfinite().all()) for p in fusion.parameters())


def test_a_modality_that_no_sample_has_gets_no_gradient():
    z, present = features()
    z["b"], present["b"] = torch.zeros_like(z["b"]), torch.zeros_like(present["b"])
    fusion = build(Cosine)
    out = fusion(z, present)
    torch.testing.assert_close(out.logits, 1.5 * (out.unimodal["a"] + out.unimodal["c"]))
    out.logits.square().sum().backward()
    assert fusion.heads["b"].weight.grad is None
    assert all(bool((fusion.heads[m].weight.grad != 0).any()) for m in "ac")


def test_own_part_is_the_rows_of_the_modality():
    fusion = build(Cosine, unimodal="aux")
    assert list(fusion.own("a")) == [fusion.heads["a"], fusion.aux["a"]]
    assert fusion.heads["a"].bias is None

"""Fusions: what each modality says alone adds up to what they say together."""

import pytest
import torch

from counterpoise import FUSIONS, Concat, Cosine, FiLM, Gated, InputError, Late, Shared, Sum

WIDTHS = {"a": 3, "b": 5, "c": 2}
B, K = 12, 4
VECTORS = [kind for kind in FUSIONS.values() if not kind.steps]  # the others: sequence fusions


def features(widths=WIDTHS, missing=False, seed=0):
    """Double features with zero rows where absent, and masks; every sample has a modality."""
    g = torch.Generator().manual_seed(seed)
    present = {m: torch.ones(B, dtype=torch.bool) for m in widths}
    if missing:
        present = {m: torch.rand(B, generator=g) > 0.4 for m in widths}
        first = next(iter(widths))
        present[first] |= ~torch.stack(list(present.values())).any(0)
    z = {m: torch.randn(B, w, generator=g, dtype=torch.double) for m, w in widths.items()}
    return {m: z[m] * present[m][:, None] for m in widths}, present


def build(kind, widths=WIDTHS, **options):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        return kind(widths, K, **options).double()


def total(out, present):
    return sum(u * present[m][:, None] for m, u in out.unimodal.items())


@pytest.mark.parametrize("missing", [False, True])
@pytest.mark.parametrize("modalities", [1, 2, 3])
@pytest.mark.parametrize("kind", [Concat, Sum])
def test_shares_of_the_present_modalities_sum_to_the_logits(kind, modalities, missing):
    widths = dict(list(WIDTHS.items())[:modalities])
    z, present = features(widths, missing)
    out = build(kind, widths)(z, present)
    torch.testing.assert_close(total(out, present), out.logits, rtol=0, atol=1e-14)


@pytest.mark.parametrize("missing", [False, True])
@pytest.mark.parametrize("kind", [Late, Shared])
def test_the_mean_over_the_present_modalities_is_the_logits(kind, missing):
    z, present = features(missing=missing)
    out = build(kind)(z, present)
    counts = torch.stack(list(present.values())).sum(0)[:, None]
    torch.testing.assert_close(total(out, present) / counts, out.logits, rtol=0, atol=1e-14)


@pytest.mark.parametrize("missing", [False, True])
def test_concat_is_one_linear_layer_on_all_features(missing):
    z, present = features(missing=missing)
    fusion = build(Concat)
    out = fusion(z, present)
    assert torch.equal(out.logits, fusion.head(torch.cat(list(z.values()), 1)))


def test_concat_with_block_weights_equals_sum():
    z, present = features()
    joined, apart = build(Concat), build(Sum)
    with torch.no_grad():
        joined.head.weight.copy_(torch.cat([h.weight for h in apart.heads.values()], 1))
        joined.head.bias.copy_(sum(h.bias for h in apart.heads.values()))
    torch.testing.assert_close(
        joined(z, present).logits, apart(z, present).logits, rtol=0, atol=1e-14
    )


@pytest.mark.parametrize("name", WIDTHS)
def test_zeroing_a_feature_changes_concat_logits_by_its_share_less_its_bias(name):
    z, present = features()
    fusion = build(Concat)
    before = fusion(z, present)
    after = fusion({**z, name: torch.zeros_like(z[name])}, present)
    share = before.unimodal[name] - fusion.head.bias / len(WIDTHS)
    torch.testing.assert_close(before.logits - after.logits, share, rtol=0, atol=1e-14)


@pytest.mark.parametrize("name", WIDTHS)
def test_dropping_a_modality_changes_concat_logits_by_its_share_less_its_bias(name):
    z, present = features()
    fusion = build(Concat)
    before = fusion(z, present)
    gone = {**present, name: torch.zeros(B, dtype=torch.bool)}
    after = fusion({**z, name: torch.zeros_like(z[name])}, gone)
    share = before.unimodal[name] - fusion.head.bias / len(WIDTHS)
    torch.testing.assert_close(before.logits - after.logits, share, rtol=0, atol=1e-14)


@pytest.mark.parametrize("kind", VECTORS)
def test_ablate_is_the_logits_with_only_that_modality(kind):
    z, present = features(missing=True)
    fusion = build(kind, unimodal="ablate")
    out = fusion(z, present)
    for name in WIDTHS:
        alone = {m: x if m == name else torch.zeros_like(x) for m, x in z.items()}
        masks = {m: x if m == name else torch.zeros_like(x) for m, x in present.items()}
        wanted = fusion(alone, masks).logits
        rows = present[name]
        assert torch.equal(out.unimodal[name][rows], wanted[rows])


def test_ablate_keeps_the_whole_bias_of_concat():
    z, present = features()
    fusion = build(Concat, unimodal="ablate")
    sliced = build(Concat)(z, present).unimodal
    for name, logits in fusion(z, present).unimodal.items():
        bias = fusion.head.bias * (1 - 1 / len(WIDTHS))
        torch.testing.assert_close(logits, sliced[name] + bias, rtol=0, atol=1e-14)


@pytest.mark.parametrize("kind", [Concat, Sum, Late, FiLM, Gated, Cosine])
def test_aux_is_a_linear_head_of_its_own(kind):
    z, present = features(missing=True)
    fusion = build(kind, unimodal="aux")
    out = fusion(z, present)
    for name in WIDTHS:
        assert torch.equal(out.unimodal[name], fusion.aux[name](z[name]))
        assert fusion.aux[name].weight.shape == (K, WIDTHS[name])
    aux = list(fusion.aux.parameters())
    assert all(g is None for g in torch.autograd.grad(out.logits.sum(), aux, allow_unused=True))


def test_shared_maps_uneven_widths_and_only_those():
    assert len(build(Shared, {"a": 4, "b": 4}).maps) == 0
    fusion = build(Shared)
    assert fusion.width == 5 and fusion.head.weight.shape == (K, 5)
    z, present = features()
    out = fusion(z, present)
    for name in WIDTHS:
        assert torch.equal(out.features[name], fusion.maps[name](z[name]))
        assert torch.equal(out.unimodal[name], fusion.head(out.features[name]))


@pytest.mark.parametrize("kind", VECTORS)
def test_features_of_the_output_are_zero_where_absent(kind):
    z, present = features(missing=True)
    out = build(kind)(z, present)
    for name, mask in present.items():
        assert bool((out.features[name][~mask] == 0).all())
        assert bool((out.features[name][mask] != 0).any())


@pytest.mark.parametrize(("kind", "policy"), [(kind, p) for kind in VECTORS for p in kind.policies])
def test_a_sample_is_fused_alike_in_any_company(kind, policy):
    z, present = features(missing=True)
    fusion = build(kind, unimodal=policy)
    whole = fusion(z, present)
    for i in range(B):
        alone = fusion(
            {m: x[i : i + 1] for m, x in z.items()}, {m: x[i : i + 1] for m, x in present.items()}
        )
        torch.testing.assert_close(alone.logits[0], whole.logits[i], rtol=0, atol=1e-14)
        for name in (m for m in WIDTHS if present[m][i]):
            torch.testing.assert_close(
                alone.unimodal[name][0], whole.unimodal[name][i], rtol=0, atol=1e-14
            )


@pytest.mark.parametrize("kind", VECTORS)
def test_a_sample_without_any_modality_gets_finite_logits(kind):
    z, present = features()
    nothing = {m: torch.zeros_like(mask) for m, mask in present.items()}
    out = build(kind)({m: torch.zeros_like(x) for m, x in z.items()}, nothing)
    assert bool(out.logits.isfinite().all())


@pytest.mark.parametrize("kind", [Late, Sum, Shared, FiLM, Gated, Cosine])
def test_own_parts_serve_one_modality(kind):
    z, present = features()
    fusion = build(kind)
    out = fusion(z, present)
    for name in WIDTHS:
        own = list(fusion.own(name).parameters())
        assert own
        for other in WIDTHS:
            used = torch.autograd.grad(
                out.unimodal[other].sum(), own, allow_unused=True, retain_graph=True
            )
            assert all((g is None) == (other != name) for g in used)


def test_concat_has_no_own_part():
    assert build(Concat).own("a") is None


def test_unimodal_logits_are_computed_when_asked_for():
    z, present = features()
    fusion = build(Concat, unimodal="aux")
    calls = []
    fusion.aux["b"].register_forward_hook(lambda *_: calls.append(1))
    out = fusion(z, present)
    assert not calls
    assert out.unimodal["b"] is out.unimodal["b"]
    assert len(calls) == 1


@pytest.mark.parametrize("kind", VECTORS)
def test_errors(kind):
    hint = "did you mean 'slice'" if "slice" in kind.policies else "known: ablate, aux"
    with pytest.raises(InputError, match=f"unknown value for unimodal 'slize'; {hint}"):
        kind(WIDTHS, K, "slize")
    with pytest.raises(InputError, match="widths must name at least one modality"):
        kind({}, K)

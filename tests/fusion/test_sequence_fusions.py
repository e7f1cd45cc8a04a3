"""What holds for every fusion of sequences, in any company and order, complete or not."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from toy import Steps, toy_batch, toy_context, toy_data

from counterpoise import Bottleneck, EarlyLSTM, MemoryFusion, build_model, evaluate, fit

WIDTHS = {"a": 3, "b": 5, "c": 2}
B, T, K = 8, 5, 4
SMALL = {
    Bottleneck: {"heads": 2, "length": 16},
    EarlyLSTM: {"hidden": 4},
    MemoryFusion: {"memory": 3, "head": 5},
}
KINDS = list(SMALL)
every_kind = pytest.mark.parametrize("kind", KINDS)


def features(widths=WIDTHS, missing=False, seed=0, steps=T):
    """Double sequences, zero where absent, and masks; every sample has a modality."""
    g = torch.Generator().manual_seed(seed)
    present = {m: torch.ones(B, dtype=torch.bool) for m in widths}
    if missing:
        present = {m: torch.rand(B, generator=g) > 0.4 for m in widths}
        first = next(iter(widths))
        present[first] |= ~torch.stack(list(present.values())).any(0)
    z = {m: torch.randn(B, steps, w, generator=g, dtype=torch.double) for m, w in widths.items()}
    return {m: z[m] * present[m][:, None, None] for m in widths}, present


def build(kind, widths=WIDTHS, **options):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        small = dict(SMALL[kind])
        if kind is MemoryFusion:  # by width, so that other names get the same
            small["hidden"] = {m: {3: 3, 5: 4, 2: 2}[w] for m, w in widths.items()}
        return kind(widths, K, **{**small, **options}).double().eval()


def without(z, present, *gone):
    """As the model gives them: one step of zeros for what no sample has."""
    blank = {m: x[:, :1] * 0 if m in gone else x for m, x in z.items()}
    return blank, {m: p & (m not in gone) for m, p in present.items()}


def close(left, right):
    torch.testing.assert_close(left, right, rtol=0, atol=1e-12)


def model_of(data, fusion, method="joint", length=6):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        encoders = {m: Steps(length=length) for m in data.modalities}
    return build_model(data, method, encoders=encoders, fusion=fusion)


SEQUENCES = {
    "bottleneck": "bottleneck:heads=2",
    "early-lstm": "early-lstm:hidden=8:dropout=0",
    "memory-fusion": "memory-fusion:hidden=8:memory=8",
}
every_label = pytest.mark.parametrize("label", SEQUENCES.values(), ids=SEQUENCES)


# The contract.


@every_kind
@pytest.mark.parametrize("policy", ["ablate", "aux"])
def test_a_sample_is_fused_alike_in_any_company(kind, policy):
    z, present = features(missing=True)
    fusion = build(kind, unimodal=policy)
    whole = fusion(z, present)
    for i in range(B):
        one = ({m: x[i : i + 1] for m, x in d.items()} for d in (z, present))
        alone = fusion(*one)
        close(alone.logits[0], whole.logits[i])
        for name in (m for m in WIDTHS if present[m][i]):
            close(alone.unimodal[name][0], whole.unimodal[name][i])


@every_kind
def test_the_order_of_samples_is_of_no_account(kind):
    z, present = features(missing=True)
    fusion, order = build(kind), torch.randperm(B, generator=torch.Generator().manual_seed(3))
    turned = fusion({m: x[order] for m, x in z.items()}, {m: p[order] for m, p in present.items()})
    close(turned.logits, fusion(z, present).logits[order])


@every_kind
def test_names_are_of_no_account(kind):
    z, present = features(missing=True)
    names = dict(zip(WIDTHS, ("zulu", "audio", "mike"), strict=True))
    renamed = build(kind, {names[m]: w for m, w in WIDTHS.items()})
    found = renamed({names[m]: x for m, x in z.items()}, {names[m]: p for m, p in present.items()})
    assert torch.equal(found.logits, build(kind)(z, present).logits)


def test_the_order_of_modalities_is_of_no_account_to_the_bottleneck():
    z, present = features(missing=True)
    fusion = build(Bottleneck)
    turned = build(Bottleneck, dict(reversed(WIDTHS.items())))
    turned.load_state_dict(fusion.state_dict())
    close(turned(z, present).logits, fusion(z, present).logits)


def smaller(fusion, kind, names):
    """A fusion of fewer modalities with the weights that the larger one has for them."""
    found = build(kind, {m: WIDTHS[m] for m in names})
    state = {n: x for n, x in fusion.state_dict().items() if n in found.state_dict()}
    if kind is EarlyLSTM:
        columns = torch.cat(
            [torch.full((w,), m in names) for m, w in WIDTHS.items()]
        )  # of the inputs
        for suffix in ("", "_reverse"):
            state[f"lstm.weight_ih_l0{suffix}"] = fusion.lstm.get_parameter(
                f"weight_ih_l0{suffix}"
            )[:, columns]
    if kind is MemoryFusion:
        half = torch.cat([torch.full((h,), m in names) for m, h in fusion.hidden.items()])
        memory = torch.ones(fusion.memory, dtype=torch.bool)
        both, kept = torch.cat([half, half]), {}
        for name, rows, columns in (
            ("attention.0", None, both),
            ("attention.3", both, None),
            ("proposal.0", None, both),
            ("gates", None, torch.cat([both, memory])),
            ("head.0", None, torch.cat([half, memory])),
        ):
            layer = fusion.get_submodule(name)
            weight, bias = layer.weight, layer.bias
            weight = weight if columns is None else weight[:, columns]
            kept[f"{name}.weight"] = weight if rows is None else weight[rows]
            kept[f"{name}.bias"] = bias if rows is None else bias[rows]
        state |= kept
    found.load_state_dict(state)
    return found


@every_kind
@pytest.mark.parametrize("names", ["ab", "bc", "b"])
def test_a_modality_that_is_absent_might_as_well_not_exist(kind, names):
    z, present = features()
    fusion = build(kind)
    out = fusion(*without(z, present, *(m for m in WIDTHS if m not in names)))
    small = smaller(fusion, kind, names)
    close(out.logits, small({m: z[m] for m in names}, {m: present[m] for m in names}).logits)


@every_kind
def test_one_step_of_zeros_or_many_stand_for_a_modality_that_no_sample_has(kind):
    z, present = features()
    fusion = build(kind)
    shorter, masks = without(z, present, "b")
    longer = {**shorter, "b": torch.zeros_like(z["b"])}
    assert torch.equal(fusion(shorter, masks).logits, fusion(longer, masks).logits)


@every_kind
def test_ablate_is_the_logits_with_only_that_modality(kind):
    z, present = features(missing=True)
    fusion = build(kind)
    out = fusion(z, present)
    for name in WIDTHS:
        wanted = fusion(*without(z, present, *(m for m in WIDTHS if m != name))).logits
        rows = present[name]
        close(out.unimodal[name][rows], wanted[rows])


@every_kind
def test_aux_is_a_linear_head_on_the_mean_of_the_steps(kind):
    z, present = features(missing=True)
    fusion = build(kind, unimodal="aux")
    out = fusion(z, present)
    for name in WIDTHS:
        close(out.features[name], z[name].mean(1))
        close(out.unimodal[name], fusion.aux[name](z[name].mean(1)))
    padded = {m: F.pad(x, (0, 0, 2, 0)) for m, x in z.items()}
    for name, mean in fusion.pooled(padded).items():  # padding does not count
        close(mean, out.features[name])


@every_kind
def test_what_is_absent_gets_no_gradient(kind):
    z, present = features(missing=True)
    present["c"] = torch.zeros_like(present["c"])
    z, present = without(z, present, "c")
    z = {m: x.requires_grad_() for m, x in z.items()}
    fusion = build(kind)
    fusion(z, present).logits.square().sum().backward()
    own = list(fusion.own("c").parameters()) if fusion.own("c") else []
    assert all(p.grad is None for p in own)
    for name in "ab":
        assert all(p.grad is not None for p in (fusion.own(name) or nn.Module()).parameters())
    assert all(bool(p.grad.isfinite().all()) for p in fusion.parameters() if p.grad is not None)
    for name in "ab":
        moved = z[name].grad.abs().sum((1, 2)) > 0
        assert torch.equal(moved, present[name]) or kind is EarlyLSTM
        assert bool(moved[present[name]].all())


@every_kind
def test_every_subset_is_finite_with_its_gradients(kind):
    for bits in range(2 ** len(WIDTHS)):
        gone = [m for j, m in enumerate(WIDTHS) if not bits >> j & 1]
        z, present = without(*features(), *gone)
        z = {m: x.requires_grad_() for m, x in z.items()}
        fusion = build(kind)
        out = fusion(z, present)
        F.cross_entropy(out.logits, torch.arange(B) % K).backward()
        grads = [p.grad for p in (*fusion.parameters(), *z.values()) if p.grad is not None]
        assert grads and all(bool(g.isfinite().all()) for g in grads)
        assert out.logits.shape == (B, K) and bool(out.logits.isfinite().all())


@every_kind
def test_a_sample_without_any_modality_leaves_the_others_alone(kind):
    z, present = features()
    fusion = build(kind)
    before = fusion(z, present).logits
    for m in WIDTHS:
        z[m][3], present[m][3] = 0, False
    logits = fusion(z, present).logits
    others = torch.arange(B) != 3
    close(logits[others], before[others])
    assert bool(logits.isfinite().all())


@every_label
def test_the_inputs_of_absent_rows_are_never_read(label):
    data = toy_data(3, missing=0.4, sequences=True)
    model, batch = model_of(data, label).eval(), toy_batch(data)
    before = model(batch)
    for m, mask in batch.present.items():
        batch.inputs[m][~mask] = torch.nan
    after = model(batch)
    assert torch.equal(before.logits, after.logits)
    assert all(torch.equal(before.features[m], after.features[m]) for m in data.modalities)


@every_label
def test_a_modality_that_a_batch_lacks_is_one_step_of_zeros_and_its_encoder_rests(label):
    data = toy_data(3, sequences=True)
    model, batch = model_of(data, label), toy_batch(data).only("a", "b")
    encoded = model.encode(batch)
    assert {m: list(z.shape) for m, z in encoded.items()} == {
        "a": [16, 6, 4],
        "b": [16, 6, 4],
        "c": [16, 1, 4],
    }
    assert not bool(encoded["c"].any())
    out = model(batch)
    assert all(list(z.shape) == [16, 4] for z in out.features.values())
    out.logits.square().sum().backward()
    grads = {m: [p.grad is not None for p in e.parameters()] for m, e in model.encoders.items()}
    assert grads == {"a": [True] * 2, "b": [True] * 2, "c": [False] * 2}


@every_label
def test_evaluation_encodes_once_and_sees_the_same(label):
    data = toy_data(3, missing=0.3, sequences=True)
    model = model_of(data, label).eval()
    found = evaluate(model, data)
    batch = data.test[torch.arange(len(data.test))]
    for subset in found.logits:
        with torch.no_grad():
            logits = model(batch.only(*subset)).logits
        close(found.logits[subset], logits[found.rows[subset]])


@every_label
def test_three_modalities_with_missing_ones_are_learnt(label):
    data = toy_data(3, missing=0.3, sequences=True)
    run = fit(
        model_of(data, label), data, epochs=12, batch_size=16, optimizer="adam", lr=0.01, seed=1
    )
    first, last = (run.history[k]["loss"]["fused"] for k in (0, -1))
    assert last < 0.8 * first


def test_features_of_a_split_are_pooled():
    data = toy_data(2, missing=0.3, sequences=True)
    model = model_of(data, "bottleneck:heads=2")
    found = toy_context(data, model).features("validation")
    for name, (z, target) in found.items():
        rows = data.validation.present[name]
        with torch.no_grad():
            wanted = model.encoders[name](data.validation.inputs[name][rows]).mean(1)
        close(z, wanted)
        assert len(target) == len(z)

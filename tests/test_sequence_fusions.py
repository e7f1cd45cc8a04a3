"""Fusions of sequences: against plain implementations, and alike in any company or order."""

import json

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from toy import same, toy_batch, toy_context, toy_data, weights

from counterpoise import (
    FUSIONS,
    Bottleneck,
    EarlyLSTM,
    InputError,
    MemoryFusion,
    MultimodalModel,
    Settings,
    Shared,
    build_method,
    build_model,
    evaluate,
    fit,
)
from counterpoise.experiment import Recipe, open_run
from counterpoise.fusion import find_fusion, fusion_name

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


class Steps(nn.Module):
    """[B, C, T] -> [B, length, width], a linear map of the last steps."""

    def __init__(self, width=4, length=6):
        super().__init__()
        self.map, self.length = nn.Linear(2, width), length

    def forward(self, x):
        return self.map(x[:, :, -self.length :].mT)


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
        model_of(data, label), data, epochs=8, batch_size=16, optimizer="adam", lr=0.01, seed=1
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


# Bottleneck.


def layers_of(branch, x, padding, numbers):
    for k in numbers:
        x = branch.layers[k](x, src_key_padding_mask=padding)
    return x


def test_without_an_exchange_the_bottleneck_is_late_fusion():
    z, present = features(missing=True)
    for fuse_at, equal in ((2, True), (1, True), (0, False)):
        out = build(Bottleneck, fuse_at=fuse_at)(z, present)
        count = torch.stack(list(present.values())).sum(0)[:, None]
        mean = sum(out.unimodal[m] * present[m][:, None] for m in WIDTHS) / count
        rows = count[:, 0] > 1
        assert torch.allclose(mean[rows], out.logits[rows], atol=1e-12) == equal
        close(mean[~rows], out.logits[~rows])
    assert len(rows.unique()) == 2


def test_the_bottleneck_layer_by_layer():
    z, present = features(missing=True)
    fusion = build(Bottleneck, layers=3, fuse_at=1, tokens=3)
    found = fusion(z, present).logits
    for i in range(B):
        here = [m for m in WIDTHS if present[m][i]]
        x, shared = {}, fusion.tokens
        for m in here:
            branch = fusion.branches[m]
            x[m] = torch.cat([branch.token[None], branch.map(z[m][i]) + branch.positions[:T]])
            x[m] = branch.layers[0](x[m][None])[0]
        for k in (1, 2):
            both = {m: fusion.branches[m].layers[k](torch.cat([x[m], shared])[None])[0] for m in x}
            x = {m: y[:-3] for m, y in both.items()}
            shared = torch.stack([y[-3:] for y in both.values()]).mean(0)
        said = [fusion.head(fusion.branches[m].norm(x[m][0])) for m in here]
        close(found[i], torch.stack(said).mean(0))


def test_modalities_hear_of_each_other_through_the_tokens_only():
    z, present = features()
    fusion = build(Bottleneck)
    moved = {**z, "a": z["a"] + 1}
    close(fusion(z, present).unimodal["b"], fusion(moved, present).unimodal["b"])
    ours, theirs = fusion.branches["b"], {}
    for name, values in (("before", z), ("after", moved)):
        seen = []
        hook = ours.norm.register_forward_pre_hook(lambda _, x, seen=seen: seen.append(x[0]))
        fusion(values, present)
        hook.remove()
        theirs[name] = seen[0].detach()
    assert float((theirs["before"] - theirs["after"]).abs().max()) > 1e-6


def test_padding_is_not_attended_and_lengths_may_differ():
    z, present = features(missing=True)
    fusion = build(Bottleneck)
    longer = {m: F.pad(x, (0, 0, 0, k)) for k, (m, x) in enumerate(z.items())}
    assert len({x.shape[1] for x in longer.values()}) == 3
    close(fusion(longer, present).logits, fusion(z, present).logits)


def test_training_and_prediction_compute_the_same():
    z, present = features(missing=True)
    fusion = build(Bottleneck)
    with torch.no_grad():
        fast = fusion(z, present).logits
    close(fusion.train()(z, present).logits, fast)


def test_the_width_of_a_bottleneck():
    assert build(Bottleneck).width == 6  # the widest, 5, up to a multiple of 2 heads
    assert build(Bottleneck, width=8).width == 8
    assert build(Bottleneck, layers=3).branches["a"].layers[2].linear1.out_features == 24


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"width": 7}, "width must be a multiple of heads=2, found 7"),
        ({"fuse_at": 3}, "fuse_at must be a whole number from 0 to 2, found 3"),
        ({"tokens": 0}, "tokens must be a whole number from 1"),
        ({"dropout": 2}, "dropout must be a number from 0 to 1"),
    ],
)
def test_what_a_bottleneck_refuses(options, message):
    with pytest.raises(InputError, match=message):
        build(Bottleneck, **options)


def test_a_sequence_that_is_too_long_says_what_to_do():
    with pytest.raises(InputError, match="5 steps is longer than length=4; use bottleneck:length"):
        build(Bottleneck, length=4)(*features())


# Early LSTM.


def test_early_lstm_is_an_lstm_on_the_concatenation():
    z, present = features(missing=True)
    fusion = build(EarlyLSTM, layers=3)
    plain = nn.LSTM(10, 4, 3, batch_first=True, bidirectional=True).double()
    plain.load_state_dict(fusion.lstm.state_dict())
    outputs = plain(torch.cat(list(z.values()), 2))[0]
    ends = torch.cat([outputs[:, -1, :4], outputs[:, 0, 4:]], 1)
    close(fusion(z, present).logits, fusion.head(ends))


def test_the_defaults_are_those_of_the_paper():
    lstm = EarlyLSTM(WIDTHS, K).lstm
    assert (lstm.hidden_size, lstm.num_layers, lstm.dropout) == (128, 2, 0.5)
    assert lstm.bidirectional and EarlyLSTM(WIDTHS, K, layers=1).lstm.dropout == 0
    memory = MemoryFusion({"text": 300, "audio": 5, "video": 20}, 1)
    assert memory.hidden == {"text": 128, "audio": 32, "video": 32}
    shapes = [
        list(layer.weight.shape) for layer in memory.modules() if isinstance(layer, nn.Linear)
    ]
    assert shapes == [
        *([128, 384], [384, 128], [64, 384], [128, 64], [320, 512], [128, 256], [128, 64]),
        *([64, 320], [1, 64]),
    ]


@pytest.mark.parametrize("kind", [EarlyLSTM, MemoryFusion])
def test_sequences_of_different_lengths_are_refused(kind):
    z, present = features()
    z["b"] = z["b"][:, :3]
    message = rf"{kind.__name__} reads all .* found \{{'a': 5, 'b': 3, 'c': 5\}} steps; resample"
    with pytest.raises(InputError, match=message):
        build(kind)(z, present)
    assert bool(build(kind)(*without(z, present, "b")).logits.isfinite().all())


# Memory fusion.


def step_by_step(fusion, z, i, here):
    """The logits [K] of one sample, as the paper writes them down."""
    h = {m: torch.zeros(1, n, dtype=torch.double) for m, n in fusion.hidden.items()}
    c, u = dict(h), torch.zeros(1, fusion.memory, dtype=torch.double)
    alive = [m for m in WIDTHS for _ in range(fusion.hidden[m])]
    alive = torch.tensor([m in here for m in alive] * 2)
    for t in range(T):
        before = torch.cat(list(c.values()), 1)
        for m in here:
            h[m], c[m] = fusion.cells[m](z[m][i : i + 1, t], (h[m], c[m]))
        q = torch.cat([before, torch.cat(list(c.values()), 1)], 1)
        a = torch.zeros_like(q)
        a[:, alive] = fusion.attention(q)[:, alive].softmax(1) * q[:, alive]
        hidden = fusion.gates(torch.cat([a, u], 1)).relu()
        old, new = hidden.split(fusion.split, 1)
        proposed = fusion.proposal(a).tanh()
        u = fusion.retain(old).sigmoid() * u + fusion.update(new).sigmoid() * proposed
    return fusion.head(torch.cat([*h.values(), u], 1))[0]


@pytest.mark.parametrize("missing", [False, True])
def test_memory_fusion_step_by_step(missing):
    z, present = features(missing=missing)
    fusion = build(MemoryFusion)
    found, kinds = fusion(z, present).logits, set()
    for i in range(B):
        here = [m for m in WIDTHS if present[m][i]]
        kinds.add(len(here))
        close(found[i], step_by_step(fusion, z, i, here))
    assert kinds == ({1, 2, 3} if missing else {3})


def test_memory_fusion_that_never_writes_reads_the_lstms():
    z, present = features()
    fusion = build(MemoryFusion)
    with torch.no_grad():
        fusion.update[1].bias.fill_(-1e9)
    plain = {}
    for m, cell in fusion.cells.items():
        lstm = nn.LSTM(WIDTHS[m], fusion.hidden[m], batch_first=True).double()
        lstm.load_state_dict({f"{n}_l0": x for n, x in cell.state_dict().items()})
        plain[m] = lstm(z[m])[1][0][0]
    blank = torch.zeros(B, fusion.memory, dtype=torch.double)
    close(fusion(z, present).logits, fusion.head(torch.cat([*plain.values(), blank], 1)))


@pytest.mark.parametrize(
    ("hidden", "message"),
    [
        ({"d": 3}, "unknown modality in hidden 'd'"),
        (0, "hidden must be a whole number from 1, found 0"),
    ],
)
def test_what_memory_fusion_refuses(hidden, message):
    with pytest.raises(InputError, match=message):
        MemoryFusion(WIDTHS, K, hidden=hidden)


def test_the_width_of_one_modality_can_be_given():
    assert MemoryFusion(WIDTHS, K, hidden={"a": 7}).hidden == {"a": 7, "b": 128, "c": 32}
    assert MemoryFusion(WIDTHS, K, hidden=7).hidden == {"a": 7, "b": 7, "c": 7}


# By label, and what encoders must give.


def test_labels():
    kind, options = find_fusion("bottleneck:layers=4:dropout=1e-1:width=null")
    assert kind is Bottleneck and options == {"layers": 4, "dropout": 0.1, "width": None}
    assert find_fusion("memory-fusion:hidden.a=3")[1] == {"hidden": {"a": 3}}
    assert find_fusion("concat") == (FUSIONS["concat"], {})
    data = toy_data(2, sequences=True)
    fusion = model_of(data, "bottleneck:layers=3:tokens=2:heads=2").fusion
    assert fusion.tokens.shape == (2, 4) and len(fusion.branches["a"].layers) == 3


@pytest.mark.parametrize("name", FUSIONS)
def test_the_name_of_a_fusion(name):
    kind = FUSIONS[name]
    assert fusion_name(kind({"a": 4, "b": 4}, 3, kind.policies[0])) == name
    assert not {"widths", "outputs", "unimodal", "self"} & set(kind.options())


@pytest.mark.parametrize(
    ("label", "message"),
    [
        ("bottelneck:layers=2", "unknown fusion 'bottelneck'; did you mean 'bottleneck'"),
        ("bottleneck:layer=2", "unknown option of bottleneck 'layer'; did you mean 'layers'"),
        ("concat:layers=2", "unknown option of concat 'layers'; known: none"),
        ("bottleneck:layers", "an option must read key=value, found 'layers'"),
        ("bottleneck:layers=two", "layers must be a whole number from 1, found 'two'"),
    ],
)
def test_labels_that_are_refused(label, message):
    with pytest.raises(InputError, match=message):
        model_of(toy_data(2, sequences=True), label)


def test_a_run_is_opened_with_the_fusion_of_its_label(tmp_path):
    recipe = Recipe("digits", fusion="film:conditioner=image", width=8, settings=Settings(epochs=1))
    run = recipe.train(recipe.load(), build_method("joint"), 0, out=tmp_path)
    record = json.loads((tmp_path / "run.json").read_text())
    assert record["model"]["fusion"] == "film" and record["notes"]["fusion"] == recipe.fusion
    opened = open_run(tmp_path)[0].model
    assert opened.fusion.conditioner == "image"
    assert same(weights(opened), weights(run.model))
    # As older versions wrote it where no fusion was asked for: the name alone.
    plain = Recipe("digits", width=8, settings=Settings(epochs=1))
    plain.train(plain.load(), build_method("mla"), 0, out=tmp_path / "old")
    record = json.loads((tmp_path / "old" / "run.json").read_text())
    assert record["model"]["fusion"] == "shared" and record["notes"]["fusion"] is None
    del record["notes"]["fusion"]
    (tmp_path / "old" / "run.json").write_text(json.dumps(record))
    assert isinstance(open_run(tmp_path / "old")[0].model.fusion, Shared)


def test_weights_from_before_a_buffer_was_renamed_are_read():
    fusion = FUSIONS["mmtm"]({"a": 4, "b": 4}, 3)
    fusion.track("b", torch.ones(4), torch.ones(4))
    old = {n.replace("tracked", "steps"): x for n, x in fusion.state_dict().items()}
    assert "steps" in old
    other = FUSIONS["mmtm"]({"a": 4, "b": 4}, 3)
    other.load_state_dict(old)
    assert other.tracked.tolist() == [0, 1]
    whole = nn.ModuleDict({"fusion": FUSIONS["mmtm"]({"a": 4, "b": 4}, 3)})
    whole.load_state_dict({f"fusion.{n}": x for n, x in old.items()})
    assert whole["fusion"].tracked.tolist() == [0, 1]


def test_vectors_for_a_fusion_of_sequences_and_the_other_way_round():
    data = toy_data(2, sequences=True)
    with pytest.raises(
        InputError, match=r"'a' must give features \[B, T, D\], found \[1, 8\]; use "
    ):
        build_model(data, fusion="early-lstm", width=8)
    with pytest.raises(InputError, match="use lstm:steps=true or fusion=concat"):
        build_model(data, fusion="bottleneck", width=8)
    with pytest.raises(InputError, match=r"\[B, D\], found \[1, 6, 4\]; use .*fusion=bottleneck"):
        model_of(data, "concat")


def test_a_model_refuses_what_its_fusion_cannot_read():
    data = toy_data(2, sequences=True)
    batch = toy_batch(data)
    encoders = {m: nn.Flatten() for m in data.modalities}
    with pytest.raises(InputError, match=r"'a' must give features \[B, T, 24\], found \[16, 24\]"):
        MultimodalModel(encoders, Bottleneck({"a": 24, "b": 26}, 3))(batch)
    wide = {m: Steps(5) for m in data.modalities}
    with pytest.raises(InputError, match=r"\[B, T, 4\], found \[16, 6, 5\]"):
        MultimodalModel(wide, Bottleneck({"a": 4, "b": 4}, 3))(batch)

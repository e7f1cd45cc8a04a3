"""Fusions of sequences against plain implementations of their formulas."""

import pytest
import torch
from test_sequence_fusions import WIDTHS, B, K, T, build, close, features, without
from torch import nn
from torch.nn import functional as F

from counterpoise import Bottleneck, EarlyLSTM, InputError, MemoryFusion

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
        ({"dropout": 2}, "dropout must be a number from 0 and below 1"),
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
        (0, "hidden must be a whole number from 1 to 65536, found 0"),
    ],
)
def test_what_memory_fusion_refuses(hidden, message):
    with pytest.raises(InputError, match=message):
        MemoryFusion(WIDTHS, K, hidden=hidden)


def test_the_width_of_one_modality_can_be_given():
    assert MemoryFusion(WIDTHS, K, hidden={"a": 7}).hidden == {"a": 7, "b": 128, "c": 32}
    assert MemoryFusion(WIDTHS, K, hidden=7).hidden == {"a": 7, "b": 7, "c": 7}

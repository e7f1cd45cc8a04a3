"""AUG: boosted classifiers for the modalities that lag, trained in turn."""

import copy

import pytest
import torch
from torch.nn import functional as F
from toy import linear_encoders, same, toy_batch, toy_context, toy_data, toy_model, weights

from counterpoise import Boosted, InputError, MultimodalModel, build_method, fit
from counterpoise.methods.aug import behind


def aug(ctx=None, **options):
    method = build_method("aug", **options)
    if ctx is not None:
        method.setup(ctx)
    return method


def grown(data, **counts):
    """A small model in which some modalities have more classifiers."""
    encoders = linear_encoders(data)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        fusion = Boosted(dict.fromkeys(encoders, 6), 3, layers=4, hidden=5)
    for name, count in counts.items():
        for _ in range(count):
            assert fusion.grow(name)
    return MultimodalModel(encoders, fusion)


def parts(model, name, x):
    """What each classifier in use says of inputs, by hand."""
    fusion, z = model.fusion, model.encoders[name](x)
    layers = list(fusion.layers[name])[: 1 + int(fusion.grown[list(fusion.widths).index(name)])]
    return [fusion.head(F.relu(layer(z))) for layer in layers]


@pytest.mark.parametrize("missing", [0.0, 0.4])
def test_logits_are_sums_of_the_classifiers_in_use(missing):
    data = toy_data(3, missing=missing)
    model, batch = grown(data, b=1, c=3), toy_batch(data)
    assert model.fusion.grown.tolist() == [0, 1, 3]
    said = {m: sum(parts(model, m, batch.inputs[m])) for m in "abc"}
    out = model(batch)
    for m in "abc":
        here = batch.present[m]
        torch.testing.assert_close(out.unimodal[m][here], said[m][here])
    for i in range(len(batch)):
        here = torch.stack([said[m][i] for m in "abc" if batch.present[m][i]])
        torch.testing.assert_close(out.logits[i], here.mean(0))
    out.logits.sum().backward()
    for m, count in zip("abc", (0, 1, 3), strict=True):
        used = [layer.weight.grad is not None for layer in model.fusion.layers[m]]
        assert used == [k <= count for k in range(5)]


def test_a_fusion_that_has_grown():
    data, batch = toy_data(), toy_batch(toy_data())
    model = grown(data, b=2)
    other = grown(data)
    other.load_state_dict(model.state_dict())
    assert torch.equal(other(batch).logits, model(batch).logits)
    assert other.fusion.counts == {"a": 0, "b": 2} and len(other.fusion.added("b")) == 2
    later = copy.deepcopy(other)
    later.load_state_dict(grown(data, a=1).state_dict())
    assert later.fusion.counts == {"a": 1, "b": 0} and other.fusion.counts["b"] == 2
    assert [model.fusion.grow("b") for _ in range(3)] == [True, True, False]
    assert model.fusion.grown.tolist() == [0, 4]
    layers = toy_model(data, "aug").fusion.layers["a"]
    assert len(layers) == 11 and layers[10].weight.shape == (256, 8)
    assert not layers[10].bias.any() and layers[0].bias.all()
    assert layers[10].weight.std().item() == pytest.approx((2 / 264) ** 0.5, rel=0.1)
    own = model.fusion.own("b")
    assert list(own) == [model.fusion.layers["b"]]


def test_a_layer_that_begins_at_zero_adds_the_bias_only_and_learns():
    data, batch = toy_data(), toy_batch(toy_data())
    ctx = toy_context(data, grown(data, b=1))
    fusion, before = ctx.model.fusion, ctx.model(batch).unimodal["b"]
    fusion.grow("b", zero=True)
    torch.testing.assert_close(ctx.model(batch).unimodal["b"], before + fusion.head.bias)
    aug(ctx).step(batch, ctx)
    assert fusion.added("b")[-1].weight.any(1).all()


def loss_by_hand(model, name, batch, residual):
    mask = batch.present[name]
    y, said = batch.target[mask], parts(model, name, batch.inputs[name][mask])
    whole = F.cross_entropy(sum(said), y)
    if len(said) == 1:
        return whole, whole
    before, last = sum(said[:-1]), said[-1]
    soft = F.one_hot(y, 3) * before.detach().softmax(1)  # the published soft targets
    loss = whole + F.cross_entropy(before, y) + F.cross_entropy(last, y)
    return loss - residual * F.cross_entropy(last, soft), whole


@pytest.mark.parametrize("mode", ["paper", "released"])
@pytest.mark.parametrize("missing", [0.0, 0.4])
@pytest.mark.parametrize("counts", [{}, {"b": 1}, {"a": 1, "c": 3}])
def test_steps_of_each_modality_in_turn(counts, missing, mode):
    data = toy_data(3, missing=missing)
    ctx = toy_context(data, grown(data, **counts), weight_decay=0.01)
    bare, method = copy.deepcopy(ctx.model), aug(ctx, residual=0.7, mode=mode)
    own = {m: [*bare.encoders[m].parameters(), *bare.fusion.layers[m].parameters()] for m in "abc"}
    settings = {k: ctx.optimizer.defaults[k] for k in ("lr", "momentum", "weight_decay")}
    optimizers = {m: torch.optim.SGD(own[m], **settings) for m in "abc"}
    shared = torch.optim.SGD(bare.fusion.head.parameters(), **settings)
    sums, seen = torch.zeros(3, 3), torch.zeros(3, 3)
    for number in range(2):
        batch = data.train[torch.arange(16 * number, 16 * number + 16)]
        shown, scores = method.step(batch, ctx), []
        assert list(shown) == ["a", "b", "c"]
        for m in "abc":
            with torch.no_grad():
                said = sum(parts(bare, m, batch.inputs[m])).softmax(1)
            scores.append(said[torch.arange(16), batch.target])
            loss, whole = loss_by_hand(bare, m, batch, 0.7)
            torch.testing.assert_close(shown[m], whole.detach())
            loss.backward()
            if mode == "released":
                for layer in list(bare.fusion.layers[m])[1:]:
                    layer.zero_grad()
            for optimizer in (optimizers[m], shared):
                optimizer.step()
                optimizer.zero_grad()
        for i in range(16):
            here = [batch.present[m][i].item() for m in "abc"]
            for k, j in ((k, j) for k in range(3) for j in range(3) if here[k] and here[j]):
                sums[k, j] += scores[k][i]
                seen[k, j] += 1
    for key, value in weights(bare).items():
        torch.testing.assert_close(weights(ctx.model)[key], value, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(method.sums, sums)
    assert torch.equal(method.seen, seen)
    method.epoch_end(ctx)
    torch.testing.assert_close(method.ratios, behind(sums, seen))
    assert not method.sums.any() and not method.seen.any()


def test_how_far_a_modality_is_behind():
    full = torch.full((3, 3), 10.0)
    scores = torch.tensor([8.0, 6.0, 3.0])[:, None].expand(3, 3)
    torch.testing.assert_close(behind(scores, full), torch.tensor([1.0, 0.75, 0.375]))
    # "c" is better than "b" where both are, though worse by all of its samples
    seen = torch.tensor([[90.0, 50.0, 40.0], [50.0, 60.0, 10.0], [40.0, 10.0, 50.0]])
    sums = torch.tensor([[81.0, 45.0, 36.0], [40.0, 48.0, 4.0], [20.0, 5.0, 25.0]])
    wanted = torch.tensor([1.0, min(0.8 / 0.9, 0.4 / 0.5), 0.5 / 0.9])
    torch.testing.assert_close(behind(sums, seen), wanted)
    seen[1, 2] = seen[2, 1] = 7  # too few: .8 against .5 instead
    torch.testing.assert_close(behind(sums, seen), torch.tensor([1.0, 8 / 9, 5 / 9]))
    absent = behind(torch.tensor([[5.0, 0.0], [0.0, 0.0]]), torch.tensor([[9.0, 0], [0, 0]]))
    assert absent.tolist() == [1, 1]


@pytest.mark.parametrize(
    ("epochs", "options", "grows"),
    [
        (40, {}, range(4, 40, 4)),
        (5, {}, range(1, 5)),
        (19, {}, range(1, 19)),
        (8, {"every": 3}, (3, 6)),
    ],
)
def test_when_and_which_modalities_grow(epochs, options, grows):
    data = toy_data(3)
    ctx = toy_context(data, method="aug", epochs=epochs)
    method, counts = aug(ctx, **options), []
    for ctx.epoch in range(epochs):
        method.ratios.copy_(torch.tensor([1.0, 0.98, 0.991]))
        before = ctx.model.fusion.counts["b"]
        method.epoch_start(ctx)
        counts.append(ctx.model.fusion.counts["b"] - before)
    assert [e for e, count in enumerate(counts) if count] == list(grows)[:10]
    assert ctx.model.fusion.grown.tolist() == [0, min(len(grows), 10), 0]


def test_growth_by_threshold_and_at_zero():
    ctx = toy_context(toy_data(3), method="aug", epochs=5)
    ctx.epoch = 1
    method = aug(ctx, threshold=0.5, zero_init=True)
    method.ratios.copy_(torch.tensor([0.4, 0.6, 1.0]))
    method.epoch_start(ctx)
    assert ctx.model.fusion.grown.tolist() == [1, 0, 0]
    assert not ctx.model.fusion.added("a")[0].weight.any()


def test_equal_modalities_do_not_grow_and_weak_ones_do():
    data = toy_data(3, samples=60)
    settings = {"epochs": 3, "batch_size": 16, "lr": 0.05}
    model = toy_model(data, "aug")
    fit(model, data, "aug", **settings)
    strongest = list(model.fusion.counts.values())
    assert 0 in strongest and max(strongest) == 2
    for name in "bc":
        data.train.inputs[name] = data.train.inputs["a"].clone()
    encoders = {m: copy.deepcopy(linear_encoders(data)["a"]) for m in "abc"}
    model = MultimodalModel(encoders, Boosted(dict.fromkeys("abc", 6), 3))
    first = model.fusion.layers["a"].state_dict()
    for name in "bc":
        model.fusion.layers[name].load_state_dict(first)
    ctx = toy_context(data, model, lr=0.0)
    method = aug(ctx)
    method.step(toy_batch(data), ctx)
    method.epoch_end(ctx)
    assert method.ratios.tolist() == pytest.approx([1, 1, 1])


def test_a_modality_that_no_sample_has_stays():
    data = toy_data()
    ctx = toy_context(data, grown(data, b=1))
    before = weights(ctx.model.encoders["b"])
    assert list(aug(ctx).step(toy_batch(data).only("a"), ctx)) == ["a"]
    assert same(weights(ctx.model.encoders["b"]), before)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"threshold": -1}, "threshold must be a number from 0"),
        ({"residual": "x"}, "residual must be a number from 0"),
        ({"every": 0}, "every must be a whole number from 1"),
        ({"zero_init": 1}, "zero_init of aug must be true or false, found 1"),
        ({"mode": "code"}, "unknown value for mode 'code'"),
    ],
)
def test_errors(options, message):
    with pytest.raises(InputError, match=message):
        aug(**options)
    with pytest.raises(InputError, match="trains a Boosted fusion, found Concat"):
        fit(toy_model(toy_data()), toy_data(), "aug")
    with pytest.raises(InputError, match="layers must be a whole number from 0"):
        Boosted({"a": 3}, 2, layers=-1)

"""Pure functions: closed forms."""

import math

import pytest
import torch
from torch.nn import functional as F

from counterpoise.methods.measures import (
    cluster_purity,
    dominance,
    entropy,
    entropy_weights,
    info_nce,
    jensen_shannon,
    purity,
    rls_update,
)


def normal(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.double)


@pytest.mark.parametrize("classes", [2, 3, 10])
def test_entropy_of_equal_logits_is_log_of_the_classes(classes):
    torch.testing.assert_close(
        entropy(torch.full((4, classes), 7.0)), torch.full((4,), math.log(classes))
    )


def test_entropy_of_a_certain_prediction_is_zero_and_finite():
    assert torch.equal(entropy(torch.tensor([[1e4, 0.0, -1e4]])), torch.zeros(1))


def test_entropy_equals_its_definition():
    logits = normal(5, 4)
    p = logits.softmax(1)
    torch.testing.assert_close(entropy(logits), -(p * p.log()).sum(1))


@pytest.mark.parametrize("modalities", [1, 2, 3, 5])
def test_equal_entropies_give_equal_weights(modalities):
    logits = normal(1, 6, 4).expand(modalities, 6, 4)
    # The order of the classes changes nothing in an entropy.
    logits = torch.stack([x.roll(k, 1) for k, x in enumerate(logits)])
    weights = entropy_weights(logits, torch.ones(modalities, 6, dtype=torch.bool))
    torch.testing.assert_close(weights, torch.full_like(weights, 1 / modalities))


def test_entropy_weights_equal_the_papers_form_over_the_present():
    logits = 3 * normal(3, 8, 4)
    present = torch.rand(3, 8, generator=torch.Generator().manual_seed(1)) > 0.4
    present[0] |= ~present.any(0)
    weights = entropy_weights(logits, present)
    for i in range(8):
        here = present[:, i].nonzero().squeeze(1).tolist()
        p = logits[here, i].softmax(-1)
        e = -(p * p.log()).sum(-1)
        wanted = (e.max() - e).exp() / (e.max() - e).exp().sum()
        torch.testing.assert_close(weights[here, i], wanted)
    assert bool((weights[~present] == 0).all())
    torch.testing.assert_close(weights.sum(0), torch.ones(8, dtype=torch.double))


def test_the_more_certain_modality_weighs_more():
    logits = torch.stack([torch.tensor([[4.0, 0.0]]), torch.tensor([[1.0, 0.0]])])
    weights = entropy_weights(logits, torch.ones(2, 1, dtype=torch.bool))
    assert weights[0, 0] > weights[1, 0]


def test_entropy_weights_of_a_sample_ignore_the_others():
    logits, present = normal(2, 8, 4), torch.ones(2, 8, dtype=torch.bool)
    whole = entropy_weights(logits, present)
    for i in range(8):
        alone = entropy_weights(logits[:, i : i + 1], present[:, i : i + 1])
        torch.testing.assert_close(alone[:, 0], whole[:, i], rtol=0, atol=1e-15)


def test_entropy_weights_of_nothing_are_zero():
    weights = entropy_weights(normal(2, 3, 4), torch.zeros(2, 3, dtype=torch.bool))
    assert torch.equal(weights, torch.zeros(2, 3, dtype=torch.double))


@pytest.mark.parametrize("alpha", [1.0, 0.1, 0.01])
@pytest.mark.parametrize("steps", [1, 5, 40])
def test_recursive_least_squares_equals_its_closed_form(alpha, steps):
    width = 12
    means = normal(steps, width)
    projector = torch.eye(width, dtype=torch.double)
    for mean in means:
        projector = rls_update(projector, mean, alpha)
    closed = torch.linalg.inv(torch.eye(width, dtype=torch.double) + means.T @ means / alpha)
    torch.testing.assert_close(projector, closed, rtol=0, atol=1e-10)
    assert torch.equal(projector, projector.T)
    eigenvalues = torch.linalg.eigvalsh(projector)
    assert eigenvalues.min() > 0
    assert eigenvalues.max() <= 1 + 1e-12


@pytest.mark.parametrize("alpha", [1.0, 0.1, 1e-3, 1e-6])
def test_one_update_shrinks_its_direction_by_alpha_over_alpha_plus_square(alpha):
    r = normal(9)
    found = (rls_update(torch.eye(9, dtype=torch.double), r, alpha) @ r).norm()
    torch.testing.assert_close(found, r.norm() * alpha / (alpha + r @ r), rtol=1e-6, atol=0)


def test_an_update_leaves_orthogonal_directions_alone():
    r, other = normal(9), normal(9, seed=1)
    other = other - (other @ r) / (r @ r) * r
    projector = rls_update(torch.eye(9, dtype=torch.double), r, 0.01)
    torch.testing.assert_close(projector @ other, other, rtol=0, atol=1e-12)


def test_every_seen_direction_vanishes_with_alpha():
    means = normal(4, 9)
    left = []
    for alpha in (1e-2, 1e-4, 1e-6):
        projector = torch.eye(9, dtype=torch.double)
        for mean in means:
            projector = rls_update(projector, mean, alpha)
        left.append(float((means @ projector).norm(dim=1).max()))
    assert left[1] < left[0] / 50
    assert left[2] < left[1] / 50


def test_a_projector_in_float32_stays_between_zero_and_one():
    means = normal(2000, 16).float() * 3 + 2
    projector = torch.eye(16)
    for t, mean in enumerate(means):
        projector = rls_update(projector, mean, 0.1 ** (1 + (t % 100) / 100))
    eigenvalues = torch.linalg.eigvalsh(projector.double())
    assert eigenvalues.min() > -1e-6
    assert eigenvalues.max() <= 1 + 1e-6


def test_purity_counts_the_majority_of_each_cluster():
    clusters = torch.tensor([0, 0, 0, 1, 1, 2])
    target = torch.tensor([1, 1, 0, 2, 0, 2])
    assert purity(clusters, target) == pytest.approx((2 + 1 + 1) / 6)
    assert torch.equal(target, torch.tensor([1, 1, 0, 2, 0, 2]))  # left as it was


def test_purity_of_one_cluster_a_sample_is_one():
    assert purity(torch.arange(6), torch.tensor([1, 1, 0, 2, 0, 2])) == 1


@pytest.mark.parametrize("scale", [1.0, 1e-3, 1e4])
def test_clusters_of_one_hot_features_are_pure(scale):
    target = torch.arange(40) % 4
    assert cluster_purity(scale * torch.eye(4)[target], target, 4) == 1


def test_clusters_of_constant_features_have_the_purity_of_the_largest_class():
    target = torch.tensor([0] * 12 + [1] * 5 + [2] * 3)
    assert cluster_purity(torch.full((20, 6), 0.3), target, 3) == pytest.approx(12 / 20)


def test_cluster_purity_scales_each_dimension_of_the_split():
    # Classes differ in a narrow dimension; a wide one is noise.
    g = torch.Generator().manual_seed(0)
    target = torch.arange(60) % 2
    narrow = target * 1e-3 + 1e-5 * torch.rand(60, generator=g)
    wide = 100 * (torch.rand(60, generator=g) - 0.5)
    wide[0], wide[1] = 5000.0, -5000.0  # its scaled values crowd around the middle
    features = torch.stack([narrow, wide], 1)
    assert cluster_purity(features, target, 2) == 1
    shifted = features * torch.tensor([7.0, 0.01]) + torch.tensor([3.0, -2.0])
    assert cluster_purity(shifted, target, 2) == 1


def test_cluster_purity_is_deterministic():
    features, target = normal(60, 5), torch.arange(60) % 3
    assert cluster_purity(features, target, 3) == cluster_purity(features, target, 3)


def test_jensen_shannon_in_closed_form():
    p, q = torch.tensor([0.9, 0.1]), torch.tensor([0.1, 0.9])
    assert float(jensen_shannon(p.log(), p.log())) == pytest.approx(0, abs=1e-7)
    spread = -(0.9 * math.log(0.9) + 0.1 * math.log(0.1))
    assert float(jensen_shannon(p.log(), q.log())) == pytest.approx(math.log(2) - spread)
    swapped = -math.log(2) - (math.log(0.9) + math.log(0.1)) / 2
    assert float(jensen_shannon(p.log(), q.log(), swapped=True)) == pytest.approx(swapped)
    far = torch.tensor([40.0, -40.0]).log_softmax(0)
    assert float(jensen_shannon(far, far.flip(0))) == pytest.approx(math.log(2))
    assert float(jensen_shannon(far, far.flip(0), swapped=True)) > math.log(2)


def test_info_nce_compares_the_rows_that_take_part():
    a, b = normal(2, 6, 4)
    rows = torch.tensor([1, 1, 0, 1, 0, 1]) > 0
    a[2], b[4] = 0, 0  # features of absent samples
    a.requires_grad_(True)
    found = info_nce(a, b, rows, 0.2)
    x, y = (F.normalize(z[rows]) for z in (a, b))
    ways = [F.cross_entropy(c / 0.2, torch.arange(4)) for c in (x @ y.T, y @ x.T)]
    torch.testing.assert_close(found, sum(ways) / 2)
    (gradient,) = torch.autograd.grad(found, a)
    assert bool(gradient.isfinite().all())
    assert bool((gradient[~rows] == 0).all())


def test_dominance_of_two_is_the_ratio_of_their_scores():
    scores = torch.tensor([[0.6, 0.6], [0.3, 0.3]])
    torch.testing.assert_close(dominance(scores), torch.tensor([2.0, 0.5]))
    assert torch.equal(dominance(torch.full((3, 3), 0.4)), torch.ones(3))


def test_dominance_is_over_the_mean_of_the_others():
    own = torch.tensor([0.8, 0.2, 0.5])
    wanted = own / torch.tensor([(0.2 + 0.5) / 2, (0.8 + 0.5) / 2, (0.8 + 0.2) / 2])
    torch.testing.assert_close(dominance(own[:, None].expand(3, 3)), wanted)


def test_dominance_compares_a_pair_by_their_own_samples_and_leaves_out_who_is_absent():
    nan = math.nan
    scores = torch.tensor([[0.5, 0.8, nan], [0.2, 0.3, nan], [nan, nan, nan]])
    torch.testing.assert_close(dominance(scores), torch.tensor([4.0, 0.25, 1.0]))
    alone = torch.tensor([[0.5, nan], [nan, nan]])
    assert torch.equal(dominance(alone), torch.ones(2))

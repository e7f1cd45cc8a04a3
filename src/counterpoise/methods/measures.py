"""Pure functions that methods and evaluation share."""

from __future__ import annotations

import math
import warnings

import torch
from torch import Tensor

from counterpoise.core.tasks import entropy


def entropy_weights(logits: Tensor, present: Tensor) -> Tensor:
    """Fusion weights of each sample by its entropies: softmax over present modalities of ``-e``.

    Zhang et al. 2024 (MLA), per sample: ``exp(max e - e_m) / sum_k exp(max e - e_k)``, which is
    this softmax; the maximum only stabilises it.

    Args:
        logits: [M, B, K], unimodal logits.
        present: bool [M, B].

    Returns:
        [M, B], columns sum to 1 and are 0 where absent; all 0 for a sample with no modality.
    """
    scores = (-entropy(logits)).masked_fill(~present, -torch.inf)
    return scores.softmax(0).nan_to_num(0.0)


def dominance(scores: Tensor) -> Tensor:
    """[M, M] -> [M]: how far each modality is ahead, ``S_m / mean_{k != m} S_k``.

    With two modalities the ratio of the two scores (Peng et al. 2022, OGM). 1 where there is
    nothing to compare with.

    Args:
        scores: entry (m, k) is ``m``'s score on the samples shared with ``k``, NaN where ``m`` is
            absent (:meth:`counterpoise.Context.scores`).
    """
    count = len(scores)
    here = ~scores.diagonal().isnan()
    pairs = here[:, None] & here & ~torch.eye(count, dtype=torch.bool, device=scores.device)
    # S_k / S_m pair by pair, so that a pair is compared on the samples that have both.
    behind = torch.where(pairs, scores.T / scores, torch.zeros_like(scores)).sum(1)
    others = pairs.sum(1)
    return torch.where(others > 0, others / behind, torch.ones_like(behind))


def ogr_weights(
    train: tuple[Tensor, Tensor], held_out: tuple[Tensor, Tensor], eps: float = 1e-3
) -> Tensor:
    """Loss weights by the overfitting-to-generalisation ratio: ``G / O^2``, scaled to sum 1.

    Wang et al. 2020 (G-Blending): ``G = V_0 - V_n`` (what was gained on held-out data) and
    ``O = (V_n - T_n) - (V_0 - T_0)`` (by how much the gap to it grew). A loss that gained nothing,
    or that no held-out sample has (NaN), gets 0; if none gained, all get the same.

    Args:
        train: ``T_0`` and ``T_n``, [K] each: the mean loss of each task before and after.
        held_out: ``V_0`` and ``V_n``, [K] each.
        eps: the least ``|O|``, as a share of ``V_0``.

    Returns:
        [K].
    """
    gain = (held_out[0] - held_out[1]).clamp(min=0)
    overfit = ((held_out[1] - train[1]) - (held_out[0] - train[0])).abs()
    overfit = torch.maximum(overfit, eps * held_out[0].abs())
    # also 0 where the gain is NaN
    ratio = torch.where(gain > 0, gain / overfit.square(), torch.zeros_like(gain))
    total = ratio.sum()
    return torch.where(total > 0, ratio / total, torch.full_like(ratio, 1 / len(ratio)))


def jensen_shannon(log_p: Tensor, log_q: Tensor, swapped: bool = False) -> Tensor:
    """[..., K] x2 -> [...]: Jensen-Shannon divergence of log-probabilities, at most ``log 2``.

    ``(KL(p || m) + KL(q || m)) / 2`` with ``m`` the mean of the two; ``swapped`` takes
    ``KL(m || p)`` and ``KL(m || q)``, which have no upper bound.
    """
    log_m = torch.logaddexp(log_p, log_q) - math.log(2)
    if swapped:
        return (log_m.exp() * (log_m - (log_p + log_q) / 2)).sum(-1)
    parts = log_p.exp() * (log_p - log_m) + log_q.exp() * (log_q - log_m)
    return parts.sum(-1) / 2


def info_nce(first: Tensor, second: Tensor, rows: Tensor, temperature: float) -> Tensor:
    """[]: how badly the features of the same sample find each other among all (CLIP's loss).

    ``-log softmax_j(cos(a_i, b_j) / temperature)`` at ``j = i``, and the same the other way round,
    averaged over ``i`` and both ways.

    Args:
        first, second: [B, D].
        rows: bool [B], the samples that take part; at least one.
        temperature: > 0.
    """
    a, b = torch.nn.functional.normalize(first), torch.nn.functional.normalize(second)
    closeness = a @ b.T / temperature
    ways = [c.masked_fill(~rows, -torch.inf).log_softmax(1) for c in (closeness, closeness.T)]
    each = -(ways[0].diagonal() + ways[1].diagonal()) / 2
    return torch.where(rows, each, torch.zeros_like(each)).sum() / rows.sum()


def rls_update(projector: Tensor, mean: Tensor, alpha: float) -> Tensor:
    """One recursive-least-squares step: ``P - k k^T / (alpha + r^T k)`` with ``k = P r``.

    From ``P = I`` with constant ``alpha``, ``n`` steps give ``(I + sum_t r_t r_t^T / alpha)^-1``.

    Args:
        projector: [D, D], symmetric.
        mean: [D], the mean feature ``r``.
        alpha: > 0; the smaller, the more of the direction ``r`` is removed.
    """
    k = projector @ mean
    # r^T P r >= 0 in exact arithmetic; rounding must not turn the denominator around.
    return projector - torch.outer(k, k) / (alpha + (mean @ k).clamp(min=0))


def purity(clusters: Tensor, target: Tensor) -> float:
    """Share of samples that belong to the most frequent class of their cluster.

    Args:
        clusters: int64 [N], cluster of each sample.
        target: int64 [N], class of each sample.
    """
    table = torch.zeros(int(clusters.max()) + 1, int(target.max()) + 1, dtype=torch.int64)
    table.index_put_((clusters, target), torch.ones_like(target), accumulate=True)
    return float(table.max(1).values.sum()) / len(target)


def cluster_purity(features: Tensor, target: Tensor, clusters: int) -> float:
    """Purity of a k-means clustering of features scaled to [-1, 1] in each dimension.

    Wei et al. 2024 (Diagnosing & Re-learning): how well an encoder separates the classes.
    Deterministic (k-means++ from seed 0, best of 10 starts).

    Args:
        features: [N, D].
        target: int64 [N].
        clusters: number of clusters, usually of classes.
    """
    from sklearn.cluster import KMeans  # takes half a second, so only where it is used
    from sklearn.exceptions import ConvergenceWarning

    x = features.double().cpu()
    low, high = x.min(0).values, x.max(0).values
    width = (high - low).clamp(min=torch.finfo(torch.float32).tiny)
    scaled = torch.where(high > low, 2 * (x - low) / width - 1, torch.zeros_like(x))
    with warnings.catch_warnings():
        # With fewer distinct rows than clusters k-means warns, and its answer is still right.
        warnings.simplefilter("ignore", ConvergenceWarning)
        found = KMeans(clusters, n_init=10, random_state=0).fit_predict(scaled.numpy())
    return purity(torch.as_tensor(found, dtype=torch.int64), target.cpu())

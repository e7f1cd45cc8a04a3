"""Pure functions that methods and evaluation share."""

from __future__ import annotations

import math
import warnings

import torch
from torch import Tensor


def entropy(logits: Tensor) -> Tensor:
    """[..., K] -> [...]: Shannon entropy of the softmax, in nats."""
    log_p = logits.log_softmax(-1)
    return -(log_p.exp() * log_p).sum(-1)


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


def shapley(values: Tensor) -> Tensor:
    """[2^M, ...] -> [M, ...]: each player's mean contribution over all orders of joining.

    ``phi_m = sum_A |A|! (M - |A| - 1)! / M! (v(A + m) - v(A))`` over subsets ``A`` without ``m``;
    they sum to ``v(all) - v(none)``.

    Args:
        values: the value of each subset, subset ``A`` at the row ``sum_{m in A} 2^m``.
    """
    count = len(values).bit_length() - 1
    phi = []
    for m in range(count):
        without = [a for a in range(len(values)) if not a >> m & 1]
        sizes = [a.bit_count() for a in without]
        weights = [1 / (count * math.comb(count - 1, size)) for size in sizes]
        gains = values[[a | 1 << m for a in without]] - values[without]
        phi.append(torch.tensordot(gains.new_tensor(weights), gains, 1))
    return torch.stack(phi)


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
    from sklearn.cluster import KMeans  # half a second: only where it is used
    from sklearn.exceptions import ConvergenceWarning

    x = features.double().cpu()
    low, high = x.min(0).values, x.max(0).values
    width = (high - low).clamp(min=torch.finfo(torch.float32).tiny)
    scaled = torch.where(high > low, 2 * (x - low) / width - 1, torch.zeros_like(x))
    with warnings.catch_warnings():
        # Fewer distinct rows than clusters: k-means says so, and its answer is still right.
        warnings.simplefilter("ignore", ConvergenceWarning)
        found = KMeans(clusters, n_init=10, random_state=0).fit_predict(scaled.numpy())
    return purity(torch.as_tensor(found, dtype=torch.int64), target.cpu())

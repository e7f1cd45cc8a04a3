"""All that a method may touch while it trains."""

from __future__ import annotations

from collections.abc import Mapping
from zlib import crc32

import torch
from torch import Tensor, nn

from . import ranks
from .batch import Batch
from .loader import Loader, uniform
from .model import MultimodalModel
from .tasks import Task


class Context:
    """The surroundings of a step: model, optimiser, training and validation data, and where we are.

    There is no test data in it, by construction.

    Args:
        model: the model that is trained.
        optimizer: over its parameters and the method's.
        task: what is learnt.
        loaders: ``"train"`` and ``"validation"``.
        epochs: how many epochs the run has.
        seed: of every draw that a method makes.
        max_norm: if given, the global gradient norm is clipped to it before each update.

    Attributes:
        epoch: number of the current epoch, from 0.
        batch: number of the current batch in it, from 0.
    """

    def __init__(
        self,
        model: MultimodalModel,
        optimizer: torch.optim.Optimizer,
        task: Task,
        loaders: Mapping[str, Loader],
        *,
        epochs: int = 1,
        seed: int = 0,
        max_norm: float | None = None,
    ) -> None:
        self.model, self.optimizer, self.task, self.loaders = model, optimizer, task, dict(loaders)
        self.epochs, self.seed, self.max_norm = epochs, seed, max_norm
        self.epoch, self.batch = 0, 0

    @property
    def batches(self) -> int:
        """Number of batches in a training epoch."""
        return len(self.loaders["train"])

    def parameters(self) -> list[nn.Parameter]:
        """All parameters that the optimiser moves."""
        return [p for group in self.optimizer.param_groups for p in group["params"]]

    def mean(self, values: Tensor, mask: Tensor | None = None) -> Tensor:
        """Mean of ``values`` [B, ...] over the samples of the global batch that ``mask`` keeps.

        Scaled so that averaging gradients over ranks gives the gradient of the global mean. With
        no sample left, 0 (and zero gradients).
        """
        count = len(values) if mask is None else int(mask.sum())
        if count < len(values) and mask is not None:
            rows = mask.to(values.device, non_blocking=True).view(-1, *[1] * (values.dim() - 1))
            values = torch.where(rows, values, torch.zeros_like(values))
        if (world := ranks.world()) == 1:
            return values.sum(0) / max(count, 1)
        total = ranks.all_sum(torch.tensor(float(count), device=values.device))
        return values.sum(0) * world / total.clamp(min=1)

    def any(self, mask: Tensor) -> bool:
        """Whether the host mask [B] keeps any sample of the global batch; the same on every rank.

        A loss over no sample must be left out: its gradients are zero, not ``None``.
        """
        if ranks.world() == 1:
            return bool(mask.any())
        return bool(ranks.all_sum(mask.any().to(self.model.device, torch.float32)) > 0)

    def loss(self, logits: Tensor, batch: Batch, mask: Tensor | None = None) -> Tensor:
        """The task's loss []: mean over the samples of the global batch that ``mask`` keeps.

        Args:
            logits: [B, K].
            batch: where the targets come from.
            mask: bool [B] on the host; all samples by default.
        """
        return self.mean(self.task.loss(logits, batch.target), mask)

    def stat(self, values: Tensor, mask: Tensor | None = None) -> Tensor:
        """Detached mean of ``values`` [B, ...] over the global batch, the same on every rank."""
        with torch.no_grad():
            return ranks.all_sum(self.mean(values.detach(), mask)) / ranks.world()

    def sync_grads(self) -> None:
        """Average every ``.grad`` over the ranks: after backward, before gradients are read."""
        ranks.average_gradients(self.parameters())

    def update(self) -> None:
        """Clip, step, clear: the one place where weights move.

        Gradients are cleared to ``None``: a zero gradient would still let momentum and weight
        decay move the weights of a modality that took no part.
        """
        if self.max_norm is not None:
            nn.utils.clip_grad_norm_(self.parameters(), self.max_norm)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)

    def features(self, split: str) -> dict[str, tuple[Tensor, Tensor]]:
        """Modality -> (features [N_m, D], targets [N_m]) of a split's samples that have it.

        In evaluation mode, in the data set's order, the same on every rank.

        Args:
            split: ``"train"`` or ``"validation"``.
        """
        found: dict[str, list[tuple[Tensor, Tensor]]] = {m: [] for m in self.model.modalities}
        training = self.model.training
        self.model.eval()
        with torch.no_grad():
            for batch in self.loaders[split].whole():
                for name, features in self.model.encode(batch).items():
                    rows = batch.present[name].to(features.device)
                    found[name].append((features[rows], batch.target[rows]))
        self.model.train(training)
        return {
            m: (torch.cat([z for z, _ in parts]), torch.cat([y for _, y in parts]))
            for m, parts in found.items()
        }

    def uniform(self, index: Tensor, salt: str) -> Tensor:
        """float64 [B] in [0, 1), keyed by (seed, epoch, entry of ``index``, ``salt``).

        The same for a sample whatever batch, rank or order it comes in.

        Args:
            index: int64 [B], ``batch.index`` for draws per sample, the batch's number for draws
                per batch.
            salt: a word that keeps different draws apart.
        """
        return uniform(index, self.seed, self.epoch, crc32(salt.encode()))

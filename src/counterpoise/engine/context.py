"""The context of a training step: everything that a method may use."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any
from zlib import crc32

import torch
from torch import Tensor, nn

from counterpoise.core import ranks
from counterpoise.core.batch import Batch, Output
from counterpoise.core.device import check_float32
from counterpoise.core.loader import Loader, mix, uniform
from counterpoise.core.tasks import Task
from counterpoise.errors import InputError, check_number
from counterpoise.models.multimodal import MultimodalModel

from .epoch import iterate_own
from .features import collect_features
from .groups import check_encoder_lr, scale_groups
from .schedule import Rates
from .state import Loaders, Progress, Total, fit_task


class Context:
    """What surrounds a step: model, optimiser, training and validation data, epoch and batch.

    It never holds test data.

    Args:
        model: the model that is trained.
        optimizer: holds the parameters of the model and of the method.
        task: the task that is learnt; a regression takes mean and scale from the training targets
            here, unless it has them.
        loaders: ``"train"`` and ``"validation"``.
        epochs: number of epochs of the run.
        seed: seed of every draw that a method makes.
        max_norm: to which the global gradient norm is clipped before each update; by default that
            of the task, 0.3 for a regression whose target is standardised, none for others.
        note: called with a status line between steps, for a progress bar.
        rates: the schedule of the learning rate; without one, the rate stays as it is.
        encoder_lr: modality -> factor on the learning rate of its encoder.
        accumulate: in how many parts the encoders take a batch (:class:`MultimodalModel`).
        local_batch_norm: let BatchNorm take each rank's statistics over its own rows, which is
            faster, and trains other weights than one process would.

    Attributes:
        epoch: number of the current epoch, from 0.
        batch: number of the current batch in it, from 0.

    Raises:
        InputError: ``encoder_lr`` names no modality, or one whose encoder shares parameters.
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
        note: Callable[[str], None] | None = None,
        rates: Rates | None = None,
        encoder_lr: Mapping[str, float] | None = None,
        accumulate: int = 1,
        local_batch_norm: bool = False,
    ) -> None:
        check_float32()
        accumulate = check_number("accumulate", accumulate, 1, whole=True)
        self.model, self.optimizer, self.loaders = model, optimizer, Loaders(loaders)
        self.task = model.task = fit_task(task, loaders)  # evaluation reads it
        model.split_into(accumulate)
        model.local_batch_norm = local_batch_norm
        self._total = Total(check_number("epochs", epochs, 1, whole=True))
        self.seed = check_number("seed", seed, whole=True)
        self.max_norm: float | None = self.task.max_norm
        if max_norm is not None:
            self.max_norm = check_number("max_norm", max_norm, above=0)
        self.note: Callable[[str], None] = note or (lambda _: None)
        self.epoch, self.batch, self.progress = 0, 0, Progress()
        self.rates, self.encoder_lr = rates, dict(encoder_lr or {})
        check_encoder_lr(model, self.encoder_lr)
        self._scale_encoders()

    @property
    def epochs(self) -> int:
        """Number of epochs of the run, which cannot be lengthened once this was read."""
        self._total.read = True
        return self._total.epochs

    @epochs.setter
    def epochs(self, epochs: int) -> None:
        self._total.epochs = epochs

    @property
    def total_read(self) -> bool:
        """Whether schedule or method have read ``epochs``, so that the run depends on it."""
        return self._total.read

    @property
    def planned(self) -> int:
        """The number of epochs, for what does not depend on it."""
        return self._total.epochs

    @property
    def batches(self) -> int:
        """Number of batches in a training epoch."""
        return self.progress.batches or len(self.loaders["train"])

    def epoch_batches(self, epoch: int, batches: Iterable[Batch] | None = None) -> Iterator[Batch]:
        """The batches of one epoch, for a training loop of your own around ``method.step``.

        Sets epoch, batch and learning rate, puts model and method into training mode, and calls
        the method's ``epoch_start`` before the first batch and ``epoch_end`` after the last.
        Call ``method.setup(ctx)`` once before the first epoch. Seeds torch by ``seed`` and
        ``epoch``, so that a loop trains to the bit as :func:`counterpoise.fit` does.

        Args:
            epoch: from 0, below ``epochs``.
            batches: your own batches (:class:`counterpoise.Batch`), in this process's share; they
                are moved to the model's device. By default those that the method draws from
                ``loaders["train"]``.

        Raises:
            InputError: no method is set up; an epoch out of range; the last epoch was left before
                its end; batches for a method that draws its own.
        """
        return iterate_own(self, epoch, batches)

    def parameters(self) -> list[nn.Parameter]:
        """All parameters that the optimiser updates."""
        return [p for group in self.optimizer.param_groups for p in group["params"]]

    def mean(self, values: Tensor, mask: Tensor | None = None) -> Tensor:
        """Mean of ``values`` [B, ...] over the samples of the global batch that ``mask`` keeps.

        The same number on every rank. Averaging its gradient over the ranks gives the gradient
        of the global mean, also through everything computed from it. If no sample is left, the
        mean is 0, with zero gradients.
        """
        count = len(values) if mask is None else int(mask.sum())
        if count < len(values) and mask is not None:
            rows = mask.to(values.device, non_blocking=True).view(-1, *[1] * (values.dim() - 1))
            values = torch.where(rows, values, torch.zeros_like(values))
        share = values.sum(0)
        if (world := ranks.world()) == 1:
            return share / max(count, 1)
        number = share.detach().new_full((1,), count)
        sums = ranks.all_sum(torch.cat([share.detach().reshape(-1), number]))
        total = sums[-1].clamp(min=1)
        return sums[:-1].view(share.shape) / total + (share - share.detach()) * (world / total)

    def any(self, mask: Tensor) -> bool:
        """Whether the host mask [B] keeps any sample of the global batch; the same on every rank.

        A loss over no sample must be left out: its gradients are zero, not ``None``.
        """
        if ranks.world() == 1:
            return bool(mask.any())
        return bool(ranks.host_sum(mask.any().long().cpu()) > 0)

    def loss(self, logits: Tensor, batch: Batch, mask: Tensor | None = None) -> Tensor:
        """The task's loss []: mean over the samples of the global batch that ``mask`` keeps.

        Each sample counts with its weight, where samples have one. A method that takes the mean of
        ``task.loss`` itself weighs it by :meth:`weigh`.

        Args:
            logits: [B, K].
            batch: holds the targets.
            mask: bool [B] on the host; all samples by default.
        """
        return self.mean(self.weigh(self.task.loss(logits, batch.target), batch), mask)

    def weigh(self, values: Tensor, batch: Batch) -> Tensor:
        """[..., B] -> [..., B]: a loss of each sample times the sample's weight, if it has one."""
        return values if batch.weight is None else values * batch.weight

    def stat(self, values: Tensor, mask: Tensor | None = None) -> Tensor:
        """Detached mean of ``values`` [B, ...] over the global batch, the same on every rank."""
        return self.mean(values.detach(), mask)

    def gather(self, values: Tensor) -> Tensor:
        """The rows of the global batch [G, ...] from this rank's [B, ...], in their order.

        For methods that compare samples with each other. This rank's own rows keep their gradient,
        scaled so that averaging over the ranks gives the gradient of the whole.
        """
        if (world := ranks.world()) == 1:
            return values
        everything = ranks.gather(values)
        everything[ranks.rank() :: world] = 0
        own = torch.zeros_like(everything)
        own[ranks.rank() :: world] = values.detach() + (values - values.detach()) * world
        return everything + own

    def scores(self, out: Output, batch: Batch, least: int = 8) -> Tensor:
        """[M, M], detached: how sure each modality alone is of the truth, in the global batch.

        Entry (m, k) is the mean of the task's score (for classes: the probability of the true
        one) of ``m``'s unimodal logits over the samples that have both ``m`` and ``k``, so that
        (m, k) and (k, m) compare the same samples; where fewer than ``least`` have both, over all
        that have ``m``, as on the diagonal. NaN where no sample has ``m``.
        """
        names = self.model.modalities
        with torch.no_grad():
            score = torch.stack([self.task.score(out.unimodal[m], batch.target) for m in names])
            here = torch.stack([batch.present[m] for m in names])
            here = here.to(score.device, score.dtype, non_blocking=True)
            score = torch.where(here > 0, score, torch.zeros_like(score))
            sums, counts = ranks.all_sum(torch.stack([score @ here.T, here @ here.T]))
            own = (sums.diagonal() / counts.diagonal())[:, None].expand_as(sums)
            return torch.where(counts >= least, sums / counts, own)

    def sync_grads(self) -> None:
        """Average every ``.grad`` over the ranks: after backward, before gradients are read."""
        ranks.average_gradients(self.parameters())

    def gradients(self, loss: Tensor, retain_graph: bool = False) -> list[Tensor | None]:
        """The gradient of ``loss`` for each of :meth:`parameters`, averaged over the ranks.

        For methods that compare the gradients of several losses; ``.grad`` is left alone.
        """
        parameters = self.parameters()
        if not loss.requires_grad:  # nothing of it is on this rank, or all of it is frozen
            return ranks.average([None] * len(parameters), parameters)
        asked = [p for p in parameters if p.requires_grad]
        found = iter(torch.autograd.grad(loss, asked, retain_graph=retain_graph, allow_unused=True))
        every = [next(found) if p.requires_grad else None for p in parameters]
        return ranks.average(every, parameters)

    def update(self) -> None:
        """Clip, step, clear: the one place where weights move.

        Gradients are cleared to ``None``: a zero gradient would still let momentum and weight
        decay move the weights of a modality that took no part.
        """
        if self.max_norm is not None:
            nn.utils.clip_grad_norm_(self.parameters(), self.max_norm)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)

    def set_rate(self) -> None:
        """Give each parameter group the learning rate of the current batch, by the schedule."""
        if self.rates is not None:
            self.rates.apply(self)

    def adopt(self, module: nn.Module) -> None:
        """Train a method's own ``module``, made in ``setup``, with the model's optimiser."""
        self._check_setup("adopt")
        module.to(self.model.device)
        self.optimizer.add_param_group({"params": list(module.parameters())})

    def scale_lr(self, parameters: Iterable[nn.Parameter], factor: float) -> None:
        """Give some parameters ``factor`` times the learning rate; for ``setup``."""
        self._check_setup("scale_lr")
        scale_groups(self.optimizer, parameters, factor)

    def _check_setup(self, what: str) -> None:
        """Refuse to change parameter groups after the schedule has started."""
        if self.rates is not None and self.rates.started:
            raise InputError(f"ctx.{what} changes parameter groups; call it in setup")

    def _scale_encoders(self) -> None:
        for name, factor in self.encoder_lr.items():
            if factor != 1 and name in self.model.encoders:
                self.scale_lr(self.model.encoder_parameters(name), factor)

    def branch(self, model: MultimodalModel, epochs: int | None = None) -> Context:
        """A context to train another ``model`` on the same data, with a fresh optimiser.

        The optimiser is of the same kind and settings, with the same factors for encoders; data,
        task and seed are shared.

        Args:
            model: the model to train.
            epochs: number of epochs of a training of its own, over which the schedule runs from
                its start. By default the model is trained in parallel to the run: at each epoch
                and batch it has the learning rate of the run there.
        """
        kind = type(self.optimizer)
        known = inspect.signature(kind).parameters
        options = {k: v for k, v in self.optimizer.defaults.items() if k in known}
        made = copy.copy(self)
        made.model, model.task, made.progress = model, self.task, Progress()
        model.local_batch_norm = self.model.local_batch_norm
        made.optimizer = kind(model.trained_parameters(), **options)
        if epochs is not None:
            made._total, made.epoch, made.batch = Total(epochs), 0, 0
        if self.rates is not None:
            made.rates = self.rates.beside() if epochs is None else self.rates.anew()
        made._scale_encoders()
        return made

    def state_dict(self) -> dict[str, Any]:
        """The state for a checkpoint, without those of model and method."""
        return {
            "optimizer": self.optimizer.state_dict(),
            "schedule": {"values": [] if self.rates is None else list(self.rates.values)},
            "total_read": self.total_read,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from a checkpoint; call it after ``setup``, which makes the same groups.

        Checkpoints from before there were schedules hold the optimiser only: the rates of constant
        and step schedules follow from the number of the epoch.
        """
        if self.rates is not None:
            self.rates.start(self)  # from the initial rates, not those of the checkpoint
            self.rates.values = [float(v) for v in state.get("schedule", {}).get("values", [])]
        self.optimizer.load_state_dict(state["optimizer"])
        self._total.read |= bool(state.get("total_read", False))

    def features(self, split: str, share: float = 1.0) -> dict[str, tuple[Tensor, Tensor]]:
        """Modality -> (features [N_m, D], targets [N_m]) of a split's samples that have it.

        Computed in evaluation mode, the same on every rank; for sequences, the mean of the steps.

        Args:
            split: ``"train"`` or ``"validation"``.
            share: share of the split's batches, at least one batch. The whole split comes in its
                own order; a smaller share is taken from the epoch's shuffled order, so that each
                epoch has other samples.
        """
        return collect_features(self, split, share)

    def generator(self, device: torch.device | str = "cpu") -> torch.Generator:
        """A generator for the current batch: the same on every rank, and after a resume."""
        return torch.Generator(device).manual_seed(mix(self.seed, self.epoch, self.batch))

    def uniform(self, index: Tensor, salt: str) -> Tensor:
        """float64 [B] in [0, 1), keyed by (seed, epoch, entry of ``index``, ``salt``).

        A sample gets the same number in any batch, rank or order.

        Args:
            index: int64 [B], ``batch.index`` for draws per sample, the batch's number for draws
                per batch.
            salt: a word that keeps different draws apart.
        """
        return uniform(index, self.seed, self.epoch, crc32(salt.encode()))

"""The base of training methods: the hooks of a step, and the state."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping
from typing import Any

from torch import Tensor, nn

from counterpoise.core.batch import Batch, Output
from counterpoise.core.declared import Declared, read_rules
from counterpoise.core.mixture import Mixture, speaks_for
from counterpoise.core.registry import keyword_options
from counterpoise.core.tasks import Classification, MultiLabel, Regression, Task
from counterpoise.errors import InputError, plain
from counterpoise.fusion import FUSIONS, UNIMODAL, Fusion
from counterpoise.models.multimodal import MultimodalModel

from .context import Context
from .epoch import guard_setup, guard_step


class Method(Declared, nn.Module):
    """A training method: override the narrowest hook.

    Its buffers and parameters are its state: they follow the model to its device and into the
    checkpoint. Each option is a keyword-only argument of ``__init__``, kept under the same name.
    Its annotation declares what it may be (:class:`counterpoise.Bounds`), and is checked.

    Attributes:
        name: in ``METHODS`` and in records.
        summary: one line for tables.
        paper: the paper that it comes from.
        fusions: the fusions whose heads it can train; the first is the default.
        unimodal: the policy of unimodal logits that a default model gets (:class:`Fusion`).
        policies: the policies that it can train and predict with.
        tasks: the kinds of task for which it is defined.
        passes: forward and backward passes through the encoder of each present modality that a
            training step takes, at most. The docstring describes further costs (``Cost:``).
        further: models that it trains beside its own, or before it, in as many epochs of joint
            training; by which runs are sorted that are to train at a time.
        needs_whole: why it needs whole encoders on each rank, a clause such as "it copies them";
            empty where their weights and gradients may be split over the ranks (``fit(shard=)``).
        reads: the entries of its state, or the modules, that :meth:`predict` reads: what is kept
            of it where a trained model is shipped. ``None``: all, if it has its own ``predict``.

        for_encoders: whether all that it adds to joint or multi-loss training acts on how encoders
            learn, so that it is refused where all of them are frozen.
        stacks: whether one call of :meth:`predict` serves several subsets: each sample is predicted
            by itself, from its features.

    The docstring of a class is its card, the page in ``docs/methods``
    (:mod:`counterpoise.methods.cards`).
    """

    name: str = ""
    summary: str = ""
    paper: str = ""
    fusions: tuple[type[Fusion], ...] = (Fusion,)
    unimodal: str = "slice"
    policies: tuple[str, ...] = UNIMODAL
    tasks: tuple[type[Task], ...] = (Classification, MultiLabel, Regression)
    passes: tuple[int, int] = (1, 1)
    further: float = 0.0
    needs_whole: str = ""
    reads: tuple[str, ...] | None = None
    for_encoders: bool = False
    stacks: bool = True

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        for hook, guard in (("setup", guard_setup), ("step", guard_step)):
            if hook in vars(cls):
                setattr(cls, hook, guard(vars(cls)[hook]))

    @classmethod
    def options(cls) -> dict[str, Any]:
        """Option -> default: the keyword-only arguments of ``__init__``.

        Raises:
            InputError: an argument that is not keyword-only; it would be missing in records.
        """
        for parameter in inspect.signature(cls).parameters.values():
            if parameter.kind is parameter.POSITIONAL_OR_KEYWORD:
                raise InputError(
                    f"options of method {cls.__name__} must be keyword-only arguments; put *, "
                    f"before {parameter.name!r} in its __init__"
                )
        return keyword_options(cls)

    @classmethod
    def card(cls) -> dict[str, Any]:
        """The entries of tables and pages about the method, as plain values."""
        return {
            "name": cls.name,
            "summary": cls.summary,
            "paper": cls.paper,
            "options": cls.options(),
            "values": {o: str(rule) for o, rule in read_rules(cls).items() if rule.binding},
            "fusions": [FUSIONS.name_of(fusion) for fusion in cls.fusions],
            "tasks": [task.__name__.lower() for task in cls.tasks],
        }

    def overrides(self, hook: str) -> bool:
        """Whether it has its own version of a hook (:class:`counterpoise.Chain` asks)."""
        return getattr(type(self), hook) is not getattr(Method, hook)

    def label(self) -> str:
        """The name in messages and records."""
        return self.name or type(self).__name__

    def settings(self) -> dict[str, Any]:
        """Option -> value."""
        return {name: plain(getattr(self, name)) for name in self.options()}

    def check(self, model: MultimodalModel, task: Task) -> None:
        """Raise :class:`InputError` before training if model or task does not fit."""
        label = self.label()
        if not isinstance(model.fusion, self.fusions):
            known = " or ".join(fusion.__name__ for fusion in self.fusions)
            raise InputError(
                f"method {label!r} trains a {known} fusion, found {type(model.fusion).__name__}; "
                "build_model(data, method, encoders=...) makes one on the encoders you have"
            )
        if model.fusion.policy not in self.policies:
            raise InputError(
                f"method {label!r} needs a fusion with unimodal={' or '.join(self.policies)}, "
                f"found {model.fusion.policy}"
            )
        if self.for_encoders and model.frozen == model.modalities:
            raise InputError(
                f"method {label!r} changes nothing but how encoders learn, and all are frozen; "
                "leave one of them to be trained, or choose another method, such as multi-loss"
            )
        if model.fusion.outputs != task.outputs:
            raise InputError(
                f"the model must give {task.outputs} logits for this "
                f"{type(task).__name__.lower()}, found a head of {model.fusion.outputs}"
            )
        if not isinstance(task, self.tasks):
            known = " or ".join(kind.__name__.lower() for kind in self.tasks)
            raise InputError(
                f"method {label!r} has a meaning for {known} only, "
                f"found {type(task).__name__.lower()}"
            )

    def check_shards(self) -> None:
        """Raise :class:`InputError` before training if encoders must not be split over ranks."""
        if self.needs_whole:
            raise InputError(
                f"shard splits encoders over the ranks, and method {self.label()!r} needs whole "
                f"ones ({self.needs_whole}); leave shard out"
            )

    @guard_setup
    def setup(self, ctx: Context) -> None:
        """Register buffers; runs before training and before a checkpoint is loaded."""

    def epoch_start(self, ctx: Context) -> None:
        """Runs before the first batch of an epoch."""

    def batches(self, ctx: Context) -> Iterator[Batch]:
        """The batches of an epoch, this rank's share of each."""
        return ctx.loaders["train"].epoch(ctx.epoch)

    def transform(self, batch: Batch, ctx: Context) -> Batch:
        """The batch that is trained on."""
        return batch

    def losses(self, out: Output, batch: Batch, ctx: Context) -> dict[str, Tensor]:
        """Name -> loss []; their sum is minimised."""
        return {"fused": ctx.loss(out.logits, batch)}

    def backward(self, losses: dict[str, Tensor], ctx: Context) -> None:
        """Fill ``.grad``, averaged over the ranks."""
        sum(losses.values()).backward()  # type: ignore[union-attr]  # never empty
        ctx.sync_grads()

    def modulate(self, out: Output, batch: Batch, ctx: Context) -> None:
        """Read and change ``.grad`` in place."""

    @guard_step
    def step(self, batch: Batch, ctx: Context) -> dict[str, Tensor]:
        """Train on one batch; returns the losses, detached, as the progress bar shows them."""
        batch = self.transform(batch, ctx)
        out = ctx.model(batch)
        losses = self.losses(out, batch, ctx)
        self.backward(losses, ctx)
        self.modulate(out, batch, ctx)
        ctx.update()
        return {name: loss.detach() for name, loss in losses.items()}

    def epoch_end(self, ctx: Context) -> None:
        """Runs after the last batch of an epoch, before validation."""

    def predict(self, model: MultimodalModel, batch: Batch) -> Tensor:
        """Logits [B, K] for samples with any of their modalities."""
        out: Output = model(batch)
        return out.logits

    def mixture(self, model: MultimodalModel, batch: Batch) -> Mixture | None:
        """What :meth:`predict` says for every subset as arithmetic; ``None`` if it is not so.

        Args:
            model: in evaluation mode.
            batch: with ``features`` of all the modalities that it has.
        """
        return model.mixture(batch)

    def find_mixture(self, model: MultimodalModel, batch: Batch) -> Mixture | None:
        """:meth:`mixture` of what predicts, unless a derived class predicts in another way."""
        ruler = self.ruler()
        if ruler is None:
            return model.mixture(batch)
        known = speaks_for(type(ruler), "mixture", ("predict",))
        return ruler.mixture(model, batch) if known else None

    def ruler(self) -> Method | None:
        """The method whose own :meth:`predict` runs; ``None`` where the model's logits do."""
        return self if self.overrides("predict") else None

    def rule_state(self) -> dict[str, Tensor]:
        """The part of the state that :meth:`predict` reads."""
        state: dict[str, Tensor] = self.state_dict()
        if not self.overrides("predict"):
            return {}
        kinds = type(self).__mro__
        own = next(k for k, kind in enumerate(kinds) if "predict" in vars(kind))
        said = any("reads" in vars(kind) for kind in kinds[: own + 1])
        if self.reads is None or not said:  # a base says what its own predict reads
            return state
        return {key: value for key, value in state.items() if key.split(".")[0] in self.reads}

    def load_rule(self, state: Mapping[str, Tensor]) -> None:
        """Take what :meth:`rule_state` gave, so that it can predict without :meth:`setup`.

        A method whose ``predict`` reads modules that ``setup`` makes has to make them here.
        """
        for name, value in state.items():
            if "." not in name and name not in self.state_dict():
                self.register_buffer(name, value.clone())
        self.load_state_dict(state, strict=False)

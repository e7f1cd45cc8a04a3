"""Several methods in one run."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, cast

from torch import Tensor, nn

from counterpoise.core.batch import Batch, Output
from counterpoise.core.tasks import Task
from counterpoise.errors import InputError
from counterpoise.fusion import FUSIONS, Fusion
from counterpoise.models.multimodal import MultimodalModel

from .context import Context
from .method import Method

SINGLE = ("batches", "losses", "backward", "step", "predict")
WITHIN_STEP = ("losses", "backward", "modulate")


class Chain(Method):
    """Several methods together: each hook runs for each of them, in the order given.

    Any number of methods may transform the batch, modulate gradients or act at an epoch's start
    and end; at most one may have its own ``batches``, ``losses``, ``backward``, ``step`` or
    ``predict``. A method with its own ``step`` can be combined only with methods that work outside
    of it: on the batch beforehand, and at the start and end of an epoch.

    Args:
        methods: at least two, of different names.

    Raises:
        InputError: two methods claim the same hook, or share no fusion, policy or task; the
            message names both.
    """

    def __init__(self, *methods: Method) -> None:
        super().__init__()
        if len(methods) < 2:
            raise InputError(f"a chain needs at least two methods, found {len(methods)}")
        labels = [method.label() for method in methods]
        if len(set(labels)) < len(labels):
            raise InputError(f"a chain's methods must differ, found {' + '.join(labels)}")
        self.methods = nn.ModuleList(methods)
        self._owners = {hook: self._find_owner(hook) for hook in SINGLE}
        stepping = self._owners["step"]
        for other in self:
            inner = [hook for hook in WITHIN_STEP if other.overrides(hook)]
            if stepping is not None and other is not stepping and inner:
                raise InputError(
                    f"{stepping.label()!r} replaces the whole step, so {inner[0]} of "
                    f"{other.label()!r} would never run; combine others"
                )
        self.fusions = self._intersect_fusions()
        self.tasks = self._intersect("tasks")
        self.policies = self._intersect("policies")
        # The default model gets the policy that one of them asks for, if the others accept it.
        asked = [m.unimodal for m in self if m.unimodal != Method.unimodal]
        wished = [p for p in (*asked, *self.policies) if p in self.policies]
        self.unimodal = wished[0]
        self.name = "+".join(labels)
        self.summary = "; ".join(m.summary for m in self)
        self.passes = (
            max(m.passes[0] for m in self),
            max(m.passes[1] for m in self),
        )
        self.further = sum(m.further for m in self)

    def __iter__(self) -> Iterator[Method]:
        return (cast(Method, method) for method in self.methods)

    def overrides(self, hook: str) -> bool:
        return any(method.overrides(hook) for method in self)

    def _find_owner(self, hook: str) -> Method | None:
        found = [method for method in self if method.overrides(hook)]
        if len(found) > 1:
            raise InputError(
                f"{found[0].label()!r} and {found[1].label()!r} cannot be combined: both have "
                f"their own {hook}"
            )
        return found[0] if found else None

    def _intersect(self, what: str) -> tuple[Any, ...]:
        """The entries of a tuple attribute that all methods have."""
        first, *others = self
        both: tuple[Any, ...] = getattr(first, what)
        for method in others:
            kept = tuple(entry for entry in both if entry in getattr(method, what))
            if not kept:
                self._refuse(method, what)
            both = kept
        return both

    def _intersect_fusions(self) -> tuple[type[Fusion], ...]:
        """The fusions that all of them can train; those that one method names come first."""
        if all(method.fusions == (Fusion,) for method in self):
            return (Fusion,)
        named = [kind for m in self for kind in m.fusions if kind is not Fusion]
        every = dict.fromkeys([*named, *(FUSIONS[name] for name in FUSIONS.own)])
        both = tuple(k for k in every if all(issubclass(k, m.fusions) for m in self))
        if not both:
            self._refuse(list(self)[-1], "fusion")
        return both

    def _refuse(self, method: Method, what: str) -> None:
        others = " and ".join(repr(m.label()) for m in self if m is not method)
        raise InputError(
            f"{others} and {method.label()!r} cannot be combined: no {what} suits both"
        )

    def _choose(self, hook: str) -> Method:
        """The method whose ``hook`` runs: its owner, or else any, since all have the plain one."""
        return self._owners[hook] or next(iter(self))

    def settings(self) -> dict[str, Any]:
        return {method.label(): method.settings() for method in self}

    def check(self, model: MultimodalModel, task: Task) -> None:
        for method in self:
            method.check(model, task)

    def check_shards(self) -> None:
        for method in self:
            method.check_shards()

    def setup(self, ctx: Context) -> None:
        for method in self:
            method.setup(ctx)

    def epoch_start(self, ctx: Context) -> None:
        for method in self:
            method.epoch_start(ctx)

    def batches(self, ctx: Context) -> Iterator[Batch]:
        return self._choose("batches").batches(ctx)

    def transform(self, batch: Batch, ctx: Context) -> Batch:
        for method in self:
            batch = method.transform(batch, ctx)
        return batch

    def losses(self, out: Output, batch: Batch, ctx: Context) -> dict[str, Tensor]:
        return self._choose("losses").losses(out, batch, ctx)

    def backward(self, losses: dict[str, Tensor], ctx: Context) -> None:
        self._choose("backward").backward(losses, ctx)

    def modulate(self, out: Output, batch: Batch, ctx: Context) -> None:
        for method in self:
            method.modulate(out, batch, ctx)

    def step(self, batch: Batch, ctx: Context) -> dict[str, Tensor]:
        owner = self._owners["step"]
        if owner is None:
            return super().step(batch, ctx)
        for method in self:
            if method is not owner:  # the owner calls its own transform in its step
                batch = method.transform(batch, ctx)
        return owner.step(batch, ctx)

    def epoch_end(self, ctx: Context) -> None:
        for method in self:
            method.epoch_end(ctx)

    def predict(self, model: MultimodalModel, batch: Batch) -> Tensor:
        return self._choose("predict").predict(model, batch)

    def ruler(self) -> Method | None:
        return self._owners["predict"]

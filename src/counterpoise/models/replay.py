"""The forward of somebody's own model, replayed from the features of its encoders on."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any, NoReturn

from torch import Tensor, nn

from counterpoise.errors import InputError

Call = Callable[[nn.Module, dict[str, Tensor]], Any]
HOOKS = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")


class Replay:
    """Calls a model with its encoders answering by features that are given.

    No module itself, so that what it refers to is registered where it belongs, once.

    Args:
        model: whose forward is called, with the features in the place of its inputs.
        encoders: modality -> module.
        head: gives the logits; ``None`` where forward returns them.
        call: ``(model, inputs) -> anything`` instead of calling the model with its inputs.
        keywords: forward takes its inputs by name.
    """

    def __init__(
        self,
        model: nn.Module,
        encoders: Mapping[str, nn.Module],
        head: nn.Module | None,
        call: Call | None,
        keywords: bool,
    ) -> None:
        self.model, self.encoders, self.head = model, dict(encoders), head
        self.call, self.keywords = call, keywords

    @property
    def name(self) -> str:
        """What errors call it."""
        return "call=" if self.call else f"forward of {type(self.model).__name__}"

    def outside(self, *parts: nn.Module) -> Rest:
        """What of the model is in no encoder, nor in one of ``parts``."""
        inside = [m for part in (*self.encoders.values(), *parts) for m in part.modules()]
        return Rest(self.model, {id(m) for m in inside})

    def start(self, inputs: Mapping[str, Any]) -> Any:
        """What the model, called with ``inputs`` by modality, returns."""
        if self.call is not None:
            return self.call(self.model, dict(inputs))
        return self.model(**inputs) if self.keywords else self.model(*inputs.values())

    def logits(self, inputs: Mapping[str, Any]) -> tuple[Tensor | None, Tensor]:
        """The head's input, where it is a tensor, and the logits, when the model is called."""
        found: list[tuple[Any, Any]] = []
        with ExitStack() as stack:
            if self.head is not None:
                hook = self.head.register_forward_hook(lambda _, x, y: found.append((x, y)))
                stack.callback(hook.remove)
            returned = self.start(inputs)
        if self.head is None:
            found = [((), returned)]
        if len(found) != 1:
            raise InputError(
                f"head must be called once by {self.name}, found {len(found)} calls; name the "
                "module whose output is the logits"
            )
        (given, logits), where = found[0], "head" if self.head is not None else self.name
        if not isinstance(logits, Tensor) or logits.dim() != 2:
            raise InputError(
                f"{where} must give logits [B, K], found {describe(logits)}; name in head= the "
                "module whose output is the logits"
            )
        read = given[0] if len(given) == 1 and isinstance(given[0], Tensor) else None
        return read, logits

    def run(
        self, features: Mapping[str, Tensor], inputs: Mapping[str, Tensor], whole: bool = False
    ) -> tuple[Tensor | None, Tensor]:
        """The same, with the encoders answering by ``features``.

        Args:
            features: modality -> [B, D].
            inputs: what the model is called with; an encoder takes its own one only.
            whole: raise where an encoder is left out.
        """
        calls = dict.fromkeys(self.encoders, 0)
        # Copies, since a forward may change what it is given in place.
        inputs = {m: x.clone() for m, x in inputs.items()} if self.call else inputs

        def answer(name: str, *args: Any, **kwargs: Any) -> Tensor:
            values = [*args, *kwargs.values()]
            if len(values) != 1 or values[0] is not inputs[name]:
                self._refuse(name, values, inputs)
            calls[name] += 1
            if calls[name] > 1:
                raise InputError(
                    f"the encoder of {name!r} must be called once, {self.name} calls it again; "
                    "name the module that holds all that is done to the input"
                )
            return features[name].clone()

        with ExitStack() as stack:
            for name, encoder in self.encoders.items():
                stack.enter_context(
                    answering(encoder, lambda *a, _name=name, **k: answer(_name, *a, **k))
                )
            found = self.logits(inputs)
        missed = [name for name, count in calls.items() if not count]
        if whole and missed and self.call is None:
            raise InputError(
                f"the encoder of {missed[0]!r} is not called by {self.name}; name a module that "
                "is, or pass call=lambda model, features: what comes after the encoders"
            )
        return found

    def _refuse(self, name: str, values: list[Any], inputs: Mapping[str, Tensor]) -> NoReturn:
        """Say why an encoder cannot take these values."""
        others = [m for m, x in inputs.items() if len(values) == 1 and values[0] is x]
        if others:
            raise InputError(
                f"the encoder of {name!r} is called by {self.name} with the input of "
                f"{others[0]!r}; name the encoders in the order of forward's inputs, or pass call="
            )
        found = f"{len(values)} values" if len(values) != 1 else "something made of it"
        raise InputError(
            f"the encoder of {name!r} must be called with its input alone, {self.name} calls it "
            f"with {found}; put what comes before it into the encoder, and pass call="
        )


@contextmanager
def answering(module: nn.Module, answer: Callable[..., Tensor]) -> Iterator[None]:
    """While it lasts, calling ``module`` runs ``answer`` instead, and none of its hooks."""
    own, keys = vars(module), ("forward", "_compiled_call_impl", *HOOKS)
    held = {key: own[key] for key in keys if key in own}
    own.update(forward=answer, _compiled_call_impl=None, **{key: OrderedDict() for key in HOOKS})
    try:
        yield
    finally:
        for key in keys:
            own.pop(key, None)
        own.update(held)


def describe(value: object) -> str:
    """A value in few words: the shape of a tensor, the type of anything else."""
    return str(list(value.shape)) if isinstance(value, Tensor) else type(value).__name__


class Rest(nn.Module):
    """All of a module but some of its parts, as a module that shares everything with it.

    Its tables of parameters and buffers are the module's own, not copies: whatever puts another
    tensor into them (a device move, ``torch.func.functional_call``) reaches the module too. So
    does its training mode.

    Args:
        whole: the module.
        without: the ids of the modules that are left out.
    """

    def __init__(self, whole: nn.Module, without: set[int]) -> None:
        super().__init__()
        tables = ("_parameters", "_buffers", "_non_persistent_buffers_set")
        vars(self).update({key: vars(whole)[key] for key in tables})
        self._whole = (whole,)  # in a tuple it is not registered
        self.training = whole.training
        for name, child in whole.named_children():
            if id(child) in without:
                continue
            parted = any(id(m) in without for m in child.modules())
            self.add_module(name, Rest(child, without) if parted else child)

    def train(self, mode: bool = True) -> Rest:
        super().train(mode)
        self._whole[0].train(mode)  # its own, which may keep some parts in evaluation mode
        return self

"""From a module to a graph without anything that the outputs do not need."""

from __future__ import annotations

import io
import logging
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, redirect_stderr
from typing import Any

import torch
from torch import Tensor, nn
from torch.export.exported_program import ExportedProgram
from torch.export.graph_signature import InputKind

from counterpoise.core.presence import dense
from counterpoise.encoders.adapter import feed
from counterpoise.engine.method import Method
from counterpoise.errors import InputError

from .exported import Standalone, feed_all

ROWS = 3  # of the example; neither 0 nor 1, which PyTorch takes for constants
NEAR = 1e-4
LOUD = ("torch.onnx", "torch.fx.experimental.symbolic_shapes", "torch.export")


@contextmanager
def quiet() -> Iterator[None]:
    """Without what PyTorch's exporters warn of in their own code, and graphs that they print."""
    loggers = [logging.getLogger(name) for name in LOUD]
    before = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(), redirect_stderr(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, before, strict=True):
            logger.setLevel(level)


def trace(module: Standalone) -> ExportedProgram:
    """The graph of a module, for any number of rows.

    Raises:
        InputError: it cannot be traced, and which part of it; or the prediction for a row depends
            on the other rows.
    """
    check_rows(module)
    example = module.draw(ROWS)
    try:
        program = _export(module, example)
    except Exception as error:  # tracing can break anywhere in a user's code
        raise _blame(module, error) from None
    prune(program)
    return program


def _export(module: nn.Module, example: dict[str, Tensor]) -> ExportedProgram:
    size = torch.export.Dim("batch")
    shapes = ({name: {0: size} for name in example},)
    with quiet(), torch.no_grad(), dense():
        return torch.export.export(module, (example,), dynamic_shapes=shapes)


def check_rows(module: Standalone) -> None:
    """Raise :class:`InputError` unless the prediction for a row is its own."""
    inputs = module.draw(4)
    whole = feed_all(module, inputs)
    alone = torch.cat(
        [feed_all(module, {k: x[row, None] for k, x in inputs.items()}) for row in range(4)]
    )
    if distance(whole, alone) > NEAR:
        raise InputError(
            f"method {module.method.label()!r} predicts a row from the other rows of its batch, "
            "which no exported file can; choose a mode of it without that, or another method"
        )


def distance(found: Tensor, wanted: Tensor) -> float:
    """The largest difference, as a share of the largest number wanted where that is above 1.

    Infinite where one of them is NaN and the other is not.
    """
    if found.shape != wanted.shape or bool((found.isnan() != wanted.isnan()).any()):
        return float("inf")
    gap = (found.double() - wanted.double()).abs().nan_to_num(0.0)
    size = max(1.0, float(wanted.double().abs().nan_to_num(0.0).max())) if wanted.numel() else 1.0
    return float(gap.max()) / size if gap.numel() else 0.0


def prune(program: ExportedProgram) -> None:
    """Remove the parameters and buffers that no output needs, and what computes with them."""
    graph, specs = program.graph, program.graph_signature.input_specs
    graph.eliminate_dead_code()
    for node in graph.nodes:
        node.meta.pop("stack_trace", None)  # where each line of code lies on this machine
    nodes = [node for node in graph.nodes if node.op == "placeholder"]
    for node, spec in zip(nodes, list(specs), strict=True):
        if node.users or spec.kind is InputKind.USER_INPUT:
            continue
        graph.erase_node(node)
        specs.remove(spec)
        if spec.target is not None:
            program.state_dict.pop(spec.target, None)
            program.constants.pop(spec.target, None)
    program.graph_module.recompile()


class _Only(nn.Module):
    """One encoder, for finding out whether it is the one that cannot be traced."""

    def __init__(self, encoder: nn.Module, names: Sequence[tuple[str, str]]) -> None:
        super().__init__()
        self.encoder, self.names = encoder, tuple(names)

    def forward(self, inputs: dict[str, Tensor]) -> Any:
        tensors = {key: inputs[name] for key, name in self.names}
        return feed(self.encoder, tensors[""] if set(tensors) == {""} else tensors)


class _Plain(Method):
    """The model's own logits."""

    name = "plain"


def _blame(module: Standalone, error: Exception) -> InputError:
    """Which part cannot be traced, and what to do."""
    if isinstance(error, InputError):  # which says it
        return error
    reason = next((line for line in str(error).splitlines() if line.strip()), type(error).__name__)
    example = module.draw(ROWS)
    for name in module.subset:
        ports = [p for p in module.ports if p.modality == name and not p.mask]
        encoder = module.model.encoders[name]
        only = _Only(encoder, [(p.key, p.name) for p in ports])
        if not _traces(only, {p.name: example[p.name] for p in ports}):
            others = [m for m in module.subset if m != name]
            hint = f", or leave it out: --modalities {','.join(others)}" if others else ""
            return InputError(
                f"the encoder of {name!r} ({_name(encoder)}) cannot be exported ({reason:.200}); "
                f"take another encoder{hint}"
            )
    method, module.method = module.method, _Plain()
    plain = _traces(module, example)
    module.method = method
    if plain:
        return InputError(
            f"the prediction of method {method.label()!r} cannot be exported ({reason:.200}); "
            "its predict must not turn tensors into Python numbers"
        )
    return InputError(
        f"the fusion {type(module.model.fusion).__name__} cannot be exported ({reason:.200}); "
        "its forward must not turn tensors into Python numbers"
    )


def _traces(module: nn.Module, example: dict[str, Tensor]) -> bool:
    try:
        _export(module, example)
    except Exception:
        return False
    return True


def _name(encoder: nn.Module) -> str:
    """The class of an encoder, without what standardises before it."""
    parts = list(encoder.children()) if type(encoder) is nn.Sequential else [encoder]
    return type(parts[-1] if parts else encoder).__name__

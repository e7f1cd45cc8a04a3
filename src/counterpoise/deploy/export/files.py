"""The formats of exported files: how each is written, opened and run."""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.export.exported_program import ExportedProgram
from torch.export.graph_signature import InputKind

from counterpoise.core.names import module_key
from counterpoise.core.strict_json import to_json
from counterpoise.data.readers.base import need
from counterpoise.errors import InputError

from .exported import Standalone
from .trace import quiet

Array = NDArray[Any]
Run = Callable[[Mapping[str, Array]], Array]
FACTS = "counterpoise"  # the key of what a file says of itself
LEAST = 1024  # numbers that a tensor must hold for halving it to be worth a cast
LARGEST = 2**31 - 1  # bytes that one ONNX file can have


@dataclass(frozen=True)
class Format:
    """How files of a format are made and run.

    Attributes:
        suffix: of its files.
        encode: the graph of a module, the module and what the file is to say of itself -> bytes.
        load: the path of a file -> a function that runs it on one thread.
        tensors: the path of a file -> the shape of each tensor that it stores, by name.
    """

    suffix: str
    encode: Callable[[ExportedProgram, Standalone, Mapping[str, Any]], bytes]
    load: Callable[[Path], Run]
    tensors: Callable[[Path], dict[str, tuple[int, ...]]]


def round_weights(module: nn.Module) -> None:
    """Round what :func:`is_half` may halve to float16, in place.

    That is matrices and kernels, not what is added or standardises, whose range may be any.
    """
    for parameter in module.parameters():
        halved = parameter.data.half()
        if parameter.dim() > 1 and bool(halved.isfinite().all()):
            parameter.data.copy_(halved)


def is_half(tensor: Tensor) -> bool:
    """Whether a tensor of float32 is large, and float16 holds it to the bit."""
    large = tensor.dtype == torch.float32 and tensor.dim() > 1 and tensor.numel() >= LEAST
    return large and torch.equal(tensor.half().float(), tensor)


def _encode_onnx(program: ExportedProgram, module: Standalone, facts: Mapping[str, Any]) -> bytes:
    need("onnx", "export")
    need("onnxscript", "export")
    names = [port.name for port in module.ports]
    # Layers of normalisation stay apart from weights that are to be halved.
    more: dict[str, Any] = {
        "optimize": not facts["half"],
        "input_names": names,
        "output_names": [module.output],
    }
    try:
        with quiet():
            found = torch.onnx.export(program, dynamo=True, verbose=False, **more)
    except Exception as error:  # an operation that ONNX lacks can break it anywhere
        raise _explain(program, module, error) from None
    assert found is not None  # with dynamo=True
    model = found.model_proto
    for part in (*model.graph.node, *model.graph.value_info, *model.graph.initializer, model.graph):
        del part.metadata_props[:]  # where each line of code lies on this machine
        part.doc_string = ""
    if facts["half"]:
        _halve_onnx(model)
    entry = model.metadata_props.add()
    entry.key, entry.value = FACTS, to_json(facts)
    if model.ByteSize() > LARGEST:
        raise InputError(
            f"the model has {model.ByteSize()} bytes, and an ONNX file at most {LARGEST}; use "
            "--half, --modalities or --format torch"
        )
    return bytes(model.SerializeToString())


def _explain(program: ExportedProgram, module: Standalone, error: Exception) -> InputError:
    """Which operation ONNX lacks, and where it is used."""
    known = re.search(r"op='([\w.:]+)', overload='(\w+)'", str(error))
    what = ".".join(known.groups()) if known else type(error).__name__
    paths = [
        path
        for node in program.graph.nodes
        if known and str(node.target).startswith(known[1])
        for path, _ in node.meta.get("nn_module_stack", {}).values()
    ]
    names = [m for m in module.subset if any(f"encoders.{module_key(m)}" in p for p in paths)]
    part = f"the encoder of {names[0]!r}" if names else "the model"
    return InputError(
        f"{part} cannot be written as ONNX ({what} has no translation); use --format torch "
        "(format='torch'), or another encoder or fusion"
    )


def _halve_onnx(model: Any) -> None:
    """Store in float16 what :func:`is_half`, and cast it where it is used."""
    onnx = need("onnx", "export")
    casts = []
    for tensor in model.graph.initializer:
        values = onnx.numpy_helper.to_array(tensor)
        if values.dtype != np.float32 or not is_half(torch.from_numpy(values.copy())):
            continue
        name, stored = tensor.name, f"{tensor.name}.half"
        tensor.CopyFrom(onnx.numpy_helper.from_array(values.astype(np.float16), stored))
        casts.append(onnx.helper.make_node("Cast", [stored], [name], to=onnx.TensorProto.FLOAT))
    nodes = list(model.graph.node)
    del model.graph.node[:]
    model.graph.node.extend([*casts, *nodes])


def _load_onnx(path: Path) -> Run:
    ort = need("onnxruntime", "export")
    options = ort.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3
    session = ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    return lambda inputs: np.asarray(session.run(None, dict(inputs))[0])


def _list_onnx(path: Path) -> dict[str, tuple[int, ...]]:
    model = need("onnx", "export").load(path)
    return {tensor.name: tuple(tensor.dims) for tensor in model.graph.initializer}


def _encode_torch(program: ExportedProgram, module: Standalone, facts: Mapping[str, Any]) -> bytes:
    if facts["half"]:
        _halve_torch(program)
    buffer = io.BytesIO()
    with quiet():
        torch.export.save(program, buffer, extra_files={FACTS: to_json(facts)})
    return buffer.getvalue()


def _halve_torch(program: ExportedProgram) -> None:
    """As :func:`_halve_onnx`."""
    graph, specs = program.graph, program.graph_signature.input_specs
    nodes = [node for node in graph.nodes if node.op == "placeholder"]
    after = nodes[-1].next
    for node, spec in zip(nodes, specs, strict=True):
        weight = program.state_dict.get(spec.target or "")
        if spec.kind is not InputKind.PARAMETER or weight is None or not is_half(weight):
            continue
        program.state_dict[str(spec.target)] = nn.Parameter(weight.half(), requires_grad=False)
        whole = node.meta["val"]
        with graph.inserting_before(after):
            cast = graph.call_function(torch.ops.aten.to.dtype, (node, torch.float32))
        node.replace_all_uses_with(cast, delete_user_cb=lambda user, cast=cast: user is not cast)
        node.meta["val"], cast.meta["val"] = whole.half(), whole
    program.graph_module.recompile()


def _load_torch(path: Path) -> Run:
    with quiet():
        module = torch.export.load(path).module()

    def run(inputs: Mapping[str, Array]) -> Array:
        with torch.no_grad():
            found: Array = module({k: torch.from_numpy(x) for k, x in inputs.items()}).numpy()
        return found

    return run


def _list_torch(path: Path) -> dict[str, tuple[int, ...]]:
    with quiet():
        program = torch.export.load(path)
    stored = {**program.state_dict, **program.constants}
    return {name: tuple(tensor.shape) for name, tensor in stored.items()}


FORMATS = {
    "onnx": Format(".onnx", _encode_onnx, _load_onnx, _list_onnx),
    "torch": Format(".pt2", _encode_torch, _load_torch, _list_torch),
}


def to_arrays(inputs: Mapping[str, Tensor]) -> dict[str, Array]:
    return {name: tensor.contiguous().numpy() for name, tensor in inputs.items()}

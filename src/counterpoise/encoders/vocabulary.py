"""Whether a model of the transformers library knows the tokens that a data set holds."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import nn

from counterpoise.data.readers import Text
from counterpoise.errors import InputError

from .text import IDS, find_range

if TYPE_CHECKING:
    from counterpoise.data.dataset import Dataset

SPARE = 32  # a model may have one row in so many that no token uses: tables are filled up
POSITIONS = ("position_embeddings", "position_embedding", "embed_positions", "wpe")


def check_tokens(
    model: nn.Module, data: Dataset, name: str, source: str = "", tokenizer: Path | None = None
) -> None:
    """Raise :class:`InputError` unless a modality's token numbers are those of a model.

    The two tokenizers are compared where both are known, else the sizes of the two vocabularies,
    and where no text reader made the numbers, their range.

    Args:
        model: its first layer looks tokens up.
        data: the data set.
        name: of the modality.
        source: where the model comes from; empty if unknown.
        tokenizer: the ``tokenizer.json`` beside the model, if there is one.
    """
    _check_vocabulary(model, data, name, source, tokenizer)  # with another one the length changes
    spec = data.specs[name]
    length = spec.get(IDS, spec.get("", ("", (0,))))[1][0]
    most, kind = count_positions(model), type(model).__name__
    if most is not None and length > most:
        own = getattr(data.readers.get(name), "tokenizer", None)
        also = f" --set {name}.tokenizer={own}" if own else ""
        raise InputError(
            f"{kind} reads at most {most} tokens, found {length}; prepare the data with{also} "
            f"--set {name}.length={most}"
        )


def _check_vocabulary(
    model: nn.Module, data: Dataset, name: str, source: str, tokenizer: Path | None
) -> None:
    rows, kind = count_rows(model), type(model).__name__
    reader = data.readers.get(name)
    if rows is None:
        return
    if not isinstance(reader, Text):
        _check_range(data, name, rows, kind)
        return
    size = reader.vocabulary_size
    found = f"{kind} has a vocabulary of {rows} tokens, and {name!r} holds those of "
    found += f"{reader.tokenizer} ({size})" if reader.tokenizer else f"its own ({size})"
    remedy = f"prepare the data with --set {name}.tokenizer={source or 'that of the model'}"
    if tokenizer is not None:
        ours, theirs = reader.known_tokens, Text(tokenizer=str(tokenizer)).fit([]).known_tokens
        other = next((t for t, number in ours.items() if theirs.get(t) != number), None)
        if other is not None:
            number = f"{ours[other]} and not {theirs.get(other, 'known')}"
            raise InputError(f"{found}, where {other!r} is {number}; {remedy}")
        spare = rows
    else:
        spare = rows // SPARE if reader.tokenizer else 0
    if reader.largest >= rows or rows - size > spare:
        hint = "" if source else f", or make the model with vocab_size={size}"
        raise InputError(f"{found}; {remedy}{hint}")


def _check_range(data: Dataset, name: str, rows: int, kind: str) -> None:
    for part in data.splits:
        if part != "train" and data.splits[part].column(name).stored:
            continue  # a pass over files
        lowest, largest = find_range(data, name, part)
        if lowest < 0 or largest >= rows:
            raise InputError(
                f"{kind} knows the token numbers 0 to {rows - 1}, found {lowest} to {largest} in "
                f"the {part} rows of {name!r}; pass numbers of the model's own tokenizer"
            )


def count_rows(model: Any) -> int | None:
    """How many tokens a model knows, if it says so."""
    try:
        table = model.get_input_embeddings()
    except (AttributeError, NotImplementedError):
        table = None
    rows = getattr(table, "num_embeddings", getattr(model.config, "vocab_size", None))
    return int(rows) if rows else None


def count_positions(model: nn.Module) -> int | None:
    """How many tokens a model reads, where it has a vector for each place."""
    for name, module in model.named_modules():
        if name.rpartition(".")[2] in POSITIONS and isinstance(module, nn.Embedding):
            skipped = 0 if module.padding_idx is None else module.padding_idx + 1
            return module.num_embeddings - skipped - int(getattr(module, "offset", 0))
    return None

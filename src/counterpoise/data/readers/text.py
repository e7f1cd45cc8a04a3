"""Text as tokens, by Hugging Face tokenizers."""

from __future__ import annotations

import functools
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from counterpoise.core.paths import expand
from counterpoise.errors import InputError, check_number

from .base import Array, Reader, existing, need

if TYPE_CHECKING:
    from typing_extensions import Self

LONGEST = 256  # tokens, unless a length is given
SHARE = 0.95  # of the training texts that fit then


@dataclass(frozen=True)
class Text(Reader):
    """A text as token ids and which of them are there: int64 [L] each.

    Args:
        length: ``L``, at least 2; None takes that of 95 % of the training texts, 256 at most.
        tokenizer: a folder or file of a tokenizer (``tokenizer.json``), or the name of one in the
            local Hugging Face cache; nothing is fetched. None trains one
            (byte-pair encoding) on the training texts.
        vocabulary: the most tokens of the one that is trained, at least the 259 of all bytes.
        lower: whether it takes capitals for small letters.
        file: cells name text files, in UTF-8 or Latin-1.
        vocabulary_json: the tokenizer itself, once it is known.
    """

    name = "text"
    length: int | None = None
    tokenizer: str | None = None
    vocabulary: int = 8192
    lower: bool = True
    file: bool = False
    vocabulary_json: str = ""

    @property
    def vocabulary_size(self) -> int:
        """How many ids there are, the padding 0 (or the tokenizer's own) among them."""
        return int(_parse(self.vocabulary_json).get_vocab_size())

    def __post_init__(self) -> None:
        check_number("vocabulary", self.vocabulary, 259, whole=True)
        if self.length is not None:
            check_number("length", self.length, 2, whole=True)

    def fit(self, cells: Sequence[Any]) -> Self:
        texts = [text for cell in cells if (text := self._try(cell)) is not None]
        content = self.vocabulary_json or (
            _find_tokenizer(self.tokenizer) if self.tokenizer else _train(texts, self)
        )
        made = self.changed(self.name, vocabulary_json=content)
        if self.length is not None:
            return made
        counts = [len(_parse(content).encode(text).ids) for text in texts] or [1]
        length = int(np.ceil(np.quantile(counts, SHARE)))
        return made.changed(self.name, length=min(max(length, 2), LONGEST))

    def read(self, cell: Any) -> dict[str, Array]:
        length = self.length or LONGEST
        tokenizer = _parse(self.vocabulary_json, length)
        encoding = tokenizer.encode(self._text(cell))
        ids = np.full(length, _padding(self.vocabulary_json), dtype=np.int64)
        mask = np.zeros(length, dtype=np.int64)
        known = encoding.ids
        if not known:
            raise InputError("holds no token")
        ids[: len(known)], mask[: len(known)] = known, 1
        return {"input_ids": ids, "attention_mask": mask}

    def _text(self, cell: Any) -> str:
        if not self.file:
            text = str(cell)
        else:
            content = existing(cell).read_bytes()
            try:
                text = content.decode("utf-8-sig")
            except UnicodeDecodeError:
                text = content.decode("latin-1")
        if not text.strip():
            raise InputError("holds no text")
        return text

    def _try(self, cell: Any) -> str | None:
        try:
            return self._text(cell)
        except (InputError, OSError):
            return None


def _train(texts: Sequence[str], options: Text) -> str:
    """A tokenizer of these texts (byte-pair encoding), as JSON; the same for the same texts."""
    tokenizers = need("tokenizers", "text")
    steps = tokenizers.normalizers, tokenizers.pre_tokenizers, tokenizers.processors
    # Not WordPiece: the library trains that differently each time.
    made = tokenizers.Tokenizer(tokenizers.models.BPE())
    made.normalizer = steps[0].Sequence(
        [steps[0].NFC(), *([steps[0].Lowercase()] if options.lower else [])]
    )
    made.pre_tokenizer = steps[1].ByteLevel(add_prefix_space=True)
    made.decoder = tokenizers.decoders.ByteLevel()
    trainer = tokenizers.trainers.BpeTrainer(
        vocab_size=options.vocabulary,
        special_tokens=["[PAD]", "[CLS]", "[SEP]"],
        initial_alphabet=steps[1].ByteLevel.alphabet(),  # every byte: no word is unknown
        show_progress=False,
    )
    made.train_from_iterator(sorted(texts), trainer)
    made.post_processor = steps[2].TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 1), ("[SEP]", 2)]
    )
    return str(made.to_str())


def _find_tokenizer(name: str) -> str:
    """The JSON of a tokenizer on this machine."""
    path = expand(name)
    if path.is_dir():
        path = path / "tokenizer.json"
    if path.is_file():
        return path.read_text(encoding="utf-8")
    if path.suffix == ".json" or expand(name).is_dir():
        raise InputError(f"tokenizer {path} is not there")
    hub = need("huggingface_hub", "text")
    try:
        found = hub.try_to_load_from_cache(name, "tokenizer.json")
    except ValueError:  # no name of that library's form
        found = None
    if not isinstance(found, str):
        raise InputError(
            f"tokenizer {name!r} is neither a folder nor in the local Hugging Face cache; nothing "
            f"is fetched here, so run `hf download {name} tokenizer.json` first, or name a folder"
        )
    return Path(found).read_text(encoding="utf-8")


@functools.lru_cache(maxsize=8)
def _parse(content: str, length: int | None = None) -> Any:
    """The tokenizer of a JSON text, without padding; truncating to ``length`` if it is given."""
    if not content:
        raise InputError("the text reader has no tokenizer yet; call fit() with the training cells")
    try:
        tokenizer = need("tokenizers", "text").Tokenizer.from_str(content)
    except Exception as error:  # the library raises bare exceptions
        raise InputError(f"the tokenizer cannot be read ({error})") from None
    tokenizer.no_padding()
    tokenizer.no_truncation()
    if length is not None:  # so that the token that ends a text stays
        tokenizer.enable_truncation(length)
    return tokenizer


@functools.lru_cache(maxsize=8)
def _padding(content: str) -> int:
    """The id of padding: what the tokenizer says, or the usual names, or 0."""
    padding = json.loads(content).get("padding")
    if padding:
        return int(padding["pad_id"])
    for name in ("[PAD]", "<pad>", "<|padding|>"):
        if (found := _parse(content).token_to_id(name)) is not None:
            return int(found)
    return 0

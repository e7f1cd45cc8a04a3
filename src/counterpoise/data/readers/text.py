"""Text as tokens, by Hugging Face tokenizers."""

from __future__ import annotations

import codecs
import functools
import itertools
import json
import multiprocessing
import os
from collections.abc import Iterator, Mapping, Sequence, Set
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

import numpy as np

from counterpoise.core.declared import Bounds
from counterpoise.core.files import read_bytes
from counterpoise.core.paths import expand
from counterpoise.errors import InputError

from .base import Array, Reader, Unmeasured, Value, existing, need, some

if TYPE_CHECKING:
    from typing_extensions import Self

LONGEST = 256  # tokens, unless a length is given
SHARE = 0.95  # of the training texts that fit then
MOST = 100_000  # training texts from which a vocabulary and a length are taken
ENOUGH = 100_000  # characters, of which the first tokens of a text can be told
TOGETHER = 1000  # texts that are encoded at once
SEVERAL = (bytes, bytearray, memoryview, Mapping, Set, list, tuple, np.ndarray)
MARKS = {  # UTF-32 first, whose mark begins like that of UTF-16
    codecs.BOM_UTF8: "utf-8-sig",
    codecs.BOM_UTF32_LE: "utf-32",
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}


@dataclass(frozen=True)
class Text(Reader):
    """A text as token ids and which of them are there: int64 [L] each.

    Each run of white space (blanks, tabs, ends of lines, no-break spaces) becomes one blank and is
    left out at both ends, since what somebody deleted from a text leaves such runs behind, and
    tokenizers have tokens for them. Characters of no width are no white space. A number is read as
    it is written; bytes, lists and mappings are refused; half a surrogate pair becomes U+FFFD.

    Args:
        length: ``L``, at least 2; None takes that of 95 % of the training texts, 256 at most.
        tokenizer: a folder or file of a tokenizer (``tokenizer.json``), or the name of one in the
            local Hugging Face cache; nothing is fetched. None trains one (byte-pair encoding) on
            the training texts, of which 100,000 are looked at, evenly chosen.
        vocabulary: the most tokens of the one that is trained, at least the 259 of all bytes.
        lower: whether it takes capitals for small letters.
        file: cells name text files, in the encoding that their byte-order mark says; without one,
            in UTF-8, or else Latin-1.
        vocabulary_json: the tokenizer itself, once it is known.
        keep_spaces: leave white space as it is.
    """

    name = "text"
    extra = "text"
    young: ClassVar[Mapping[str, Any]] = {"keep_spaces": True}
    length: Annotated[int | None, Bounds(2, LONGEST)] = None
    tokenizer: str | None = None
    vocabulary: Annotated[int, Bounds(259, 2**24)] = 8192
    lower: bool = True
    file: bool = False
    vocabulary_json: str = ""
    keep_spaces: bool = False

    @property
    def vocabulary_size(self) -> int:
        """How many ids there are, the padding 0 (or the tokenizer's own) among them."""
        return int(_parse(self.vocabulary_json).get_vocab_size())

    @property
    def known_tokens(self) -> dict[str, int]:
        """Token -> its id."""
        return dict(_parse(self.vocabulary_json).get_vocab())

    @property
    def largest(self) -> int:
        """The largest id in a sample, which is more than the size says where ids are left out."""
        return max(_padding(self.vocabulary_json), *self.known_tokens.values())

    def fit(self, cells: Sequence[Any]) -> Self:
        content = self.vocabulary_json or (
            _find_tokenizer(self.tokenizer) if self.tokenizer else ""
        )
        if content and self.length is not None:
            return self.changed(self.name, vocabulary_json=content)
        texts = [text for cell in some(cells, MOST) if (text := self._try(cell)) is not None]
        content = content or _train(texts, self)
        made = self.changed(self.name, vocabulary_json=content)
        if self.length is not None:
            return made
        tokenizer = _parse(content)
        counts = [
            len(encoding.ids)
            for part in _split(texts)
            for encoding in tokenizer.encode_batch_fast(part)
        ]
        length = int(np.ceil(np.quantile(counts or [1], SHARE)))
        return made.changed(self.name, length=min(max(length, 2), LONGEST))

    def lacks(self, cell: Any) -> bool:
        return isinstance(cell, float) and cell != cell

    def read(self, cell: Any) -> dict[str, Array]:
        length = self.length or LONGEST
        known = _parse(self.vocabulary_json, length).encode(self._text(cell)).ids
        if not known:
            raise InputError("holds no token")
        ids = np.full(length, _padding(self.vocabulary_json), dtype=np.int64)
        mask = np.zeros(length, dtype=np.int64)
        ids[: len(known)], mask[: len(known)] = known, 1
        return {"input_ids": ids, "attention_mask": mask}

    def read_many(self, cells: Sequence[Any]) -> list[Value | Exception]:
        values: list[Value | Exception] = []
        for part in _split(cells):
            texts = [self._attempt_text(cell) for cell in part]
            known = iter(self._encode([text for text in texts if isinstance(text, str)]))
            values += [next(known) if isinstance(text, str) else text for text in texts]
        return values

    def _encode(self, texts: list[str]) -> list[Value | Exception]:
        """The sample of each text, or the error of one without a token."""
        length = self.length or LONGEST
        tokenizer = _parse(self.vocabulary_json, length)
        found = [encoding.ids for encoding in tokenizer.encode_batch_fast(texts)]
        counts = np.fromiter(map(len, found), dtype=np.int64, count=len(found))
        mask = np.arange(length) < counts[:, None]
        ids = np.full(mask.shape, _padding(self.vocabulary_json), dtype=np.int64)
        flat = itertools.chain.from_iterable(found)
        ids[mask] = np.fromiter(flat, dtype=np.int64, count=int(counts.sum()))
        masks = mask.astype(np.int64)
        return [
            {"input_ids": ids[row], "attention_mask": masks[row]}
            if count
            else InputError("holds no token")
            for row, count in enumerate(counts.tolist())
        ]

    def _text(self, cell: Any) -> str:
        if self.file:
            text = _decode(existing(cell).read_bytes())
        elif isinstance(cell, str):
            text = cell
        elif self.lacks(cell):
            raise Unmeasured("holds no text")
        elif cell is None or isinstance(cell, SEVERAL):
            raise InputError(f"is a {type(cell).__name__}, where a text or a number is wanted")
        else:
            text = str(cell)
        if not text.isascii():
            text = _join_surrogates(text)
        if not self.keep_spaces:
            text = _cut(" ".join(text.split()), self.length or LONGEST)
        if not text or text.isspace():
            raise InputError("holds no text")
        return text

    def _attempt_text(self, cell: Any) -> str | Exception:
        try:
            return self._text(cell)
        except Exception as error:  # as of read()
            return error

    def _try(self, cell: Any) -> str | None:
        text = self._attempt_text(cell)
        return text if isinstance(text, str) else None


def _split(cells: Sequence[Any]) -> Iterator[Sequence[Any]]:
    """Parts of a sequence that are encoded at once."""
    return (cells[start : start + TOGETHER] for start in range(0, len(cells), TOGETHER))


def _decode(content: bytes) -> str:
    """The text of a file: by its byte-order mark; else UTF-8, or Latin-1."""
    encoding = next((name for mark, name in MARKS.items() if content.startswith(mark)), None)
    if encoding is not None:
        try:
            return content.decode(encoding)
        except UnicodeDecodeError as error:
            raise InputError(
                f"has the byte-order mark of {encoding[:6].strip('-')} and is no such text at byte "
                f"{error.start}; save it in UTF-8"
            ) from None
    if b"\0" in content:
        raise InputError(
            "holds NUL bytes and no byte-order mark, so that it is no text in UTF-8 or Latin-1; "
            "save it in UTF-8"
        )
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError:
        return content.decode("latin-1")


def _join_surrogates(text: str) -> str:
    """The same text with each surrogate pair as its character, and U+FFFD for half of one."""
    try:
        text.encode()
    except UnicodeEncodeError:  # from JSON that was cut, or a file name that is no UTF-8
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return text


def _cut(text: str, words: int) -> str:
    """A long text without what comes after its first tokens, which a film's whole script is.

    At a blank, and only where at least so many words are left.
    """
    if len(text) <= ENOUGH or text.count(" ", 0, ENOUGH) < words:
        return text
    return text[: text.rindex(" ", 0, ENOUGH)]


def _tokenizers() -> ModuleType:
    """The library, which takes every core: only one in a process that works beside others."""
    alone = multiprocessing.parent_process() is None and os.environ.get("OMP_NUM_THREADS") != "1"
    if not alone:
        os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    return need("tokenizers", "text")


def _train(texts: Sequence[str], options: Text) -> str:
    """A tokenizer of these texts (byte-pair encoding), as JSON; the same for the same texts."""
    tokenizers = _tokenizers()
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
    if path.exists():
        return _read_tokenizer(path)
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
    return _read_tokenizer(Path(found))


def _read_tokenizer(path: Path) -> str:
    """The text of a file."""
    try:
        return read_bytes(path).decode()
    except UnicodeDecodeError as error:
        raise InputError(f"tokenizer {path} is damaged ({error})") from None


@functools.lru_cache(maxsize=8)
def _parse(content: str, length: Annotated[int | None, Bounds(2, LONGEST)] = None) -> Any:
    """The tokenizer of a JSON text, without padding; truncating to ``length`` if it is given."""
    if not content:
        raise InputError("the text reader has no tokenizer yet; call fit() with the training cells")
    try:
        tokenizer = _tokenizers().Tokenizer.from_str(content)
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
    _parse(content)  # refuses what is no tokenizer
    padding = json.loads(content).get("padding")
    if padding:
        return int(padding["pad_id"])
    for name in ("[PAD]", "<pad>", "<|padding|>"):
        if (found := _parse(content).token_to_id(name)) is not None:
            return int(found)
    return 0

"""A model that knows other tokens than the data hold is refused."""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from folded import check_each
from torch import Tensor, nn

from counterpoise import ArrayData, InputError, build_model, fit
from counterpoise.cli.main import main
from counterpoise.data.readers import Text
from counterpoise.encoders import Adapter, HuggingFace
from counterpoise.encoders.adapter import feed, takes_names
from counterpoise.encoders.vocabulary import count_positions

TEXTS = [f"The cat number {k} sat on the mat and slept {'very ' * (k % 3)}well" for k in range(60)]
SMALL = {
    "hidden_size": 16,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "intermediate_size": 16,
}
OWN = Text(vocabulary=300, length=20).fit(TEXTS)
OTHER = Text(vocabulary=300, length=20, lower=False).fit([text[::-1] for text in TEXTS])


def save(reader: Text, folder: Path) -> str:
    """The tokenizer of a reader, as it lies beside a model."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "tokenizer.json").write_text(reader.vocabulary_json)
    return str(folder)


def bert(words: int, **options: Any) -> Any:
    torch.manual_seed(0)
    return transformers.BertModel(transformers.BertConfig(vocab_size=words, **SMALL, **options))


def data_of(reader: Text | None = OWN, ids: Any = None) -> ArrayData:
    if ids is None:
        read = [OWN if reader is None else reader][0].read_many(TEXTS)
        text: Any = {k: np.stack([row[k] for row in read]) for k in read[0]}  # type: ignore[call-overload,index]
    else:
        text = {"input_ids": ids, "attention_mask": np.ones_like(ids)}
    data = ArrayData({"text": text}, np.arange(60) % 2)
    if reader is not None:
        data.readers["text"] = reader
    return data


def test_ids_of_another_vocabulary_are_refused(tmp_path: Path) -> None:
    size, given = OWN.vocabulary_size, Text(tokenizer=save(OWN, tmp_path / "t"), length=20).fit([])
    assert given.vocabulary_size == size
    bare, known, wrong, wide = (tmp_path / name for name in ("bare", "known", "wrong", "wide"))
    for folder, words in ((bare, 400), (known, size), (wrong, size), (wide, 400)):
        bert(words).save_pretrained(folder)
    save(OWN, known), save(OTHER, wrong), save(OWN, wide)

    def refuse(model: Any, reader: Text, said: str) -> None:
        for encoder in (HuggingFace(model), nn.Sequential(HuggingFace(model))):
            with pytest.raises(InputError, match=said) as error:
                build_model(data_of(reader), encoders={"text": encoder})
            assert "\n" not in str(error.value)
        if isinstance(model, Path):
            with pytest.raises(InputError, match=said):
                build_model(data_of(reader), encoders={"text": f"hugging-face:model={model}"})

    named = r"encoder of 'text': BertModel has a vocabulary of 400 tokens, and 'text' holds those "
    named += rf"of its own \({size}\); prepare the data with --set text.tokenizer="
    check_each(
        [
            (bert(400), OWN, named + "that of the model, or make the model with vocab_size="),
            (bare, OWN, named + str(bare)),
            (bert(size + 8), OWN, "has a vocabulary of"),
            (bert(size - 5), OWN, "has a vocabulary of"),
            (bert(size - 5), given, rf"holds those of {tmp_path}/t \({size}\)"),
            (bert(400), given, "has a vocabulary of 400"),
            (wrong, OWN, r"where '.*' is \d+ and not .*; prepare the data with --set text.token"),
            (wrong, given, r"where '.*' is \d+ and not "),
            (transformers.BertModel.from_pretrained(wrong), given, "where '.*' is"),
        ],
        refuse,
    )
    for model, reader in (
        (bert(size), OWN),  # trained from the beginning, on these tokens
        (bert(size + 8), given),  # tables are filled up to round sizes
        (known, OWN),
        (known, given),
        (wide, given),
        (transformers.BertModel.from_pretrained(wide), OWN),
    ):
        built = build_model(data_of(reader), encoders={"text": HuggingFace(model)})
        assert np.isfinite(fit(built, data_of(reader), epochs=1).history[0]["loss"]["fused"])


def test_numbers_of_no_reader_must_be_in_the_vocabulary() -> None:
    ids = np.random.default_rng(0).integers(1, 30, (60, 7))
    build_model(data_of(None, ids), encoders={"text": HuggingFace(bert(30))})
    for row, number, part in ((0, 30, "train"), (0, -1, "train"), (59, 30, "test")):
        odd = ids.copy()
        odd[row, 2] = number
        data = data_of(None, odd)
        split = np.array(["train"] * 40 + ["validation"] * 10 + ["test"] * 10)
        data = ArrayData({"text": {"input_ids": odd}}, np.arange(60) % 2, split=split)
        lowest, largest = min(0, number), max(29, number)
        said = f"knows the token numbers 0 to 29, found {lowest} to {largest} in the {part} rows"
        with pytest.raises(InputError, match=said):
            build_model(data, encoders={"text": HuggingFace(bert(30))})


def test_texts_longer_than_a_model_reads() -> None:
    ids = np.random.default_rng(0).integers(2, 30, (60, 9))
    config = {"vocab_size": 30, "max_position_embeddings": 8, **SMALL}
    roberta = transformers.RobertaModel(transformers.RobertaConfig(**config, pad_token_id=1))
    for model, most in ((bert(30, max_position_embeddings=8), 8), (roberta, 6)):
        assert count_positions(model) == most
        said = f"reads at most {most} tokens, found 9; prepare the data with --set text.length="
        with pytest.raises(InputError, match=said):
            build_model(data_of(None, ids), encoders={"text": HuggingFace(model)})
        fits = data_of(None, ids[:, :most])
        build_model(fits, encoders={"text": HuggingFace(model)})
    relative = transformers.T5Config(
        vocab_size=30, d_model=16, d_kv=8, d_ff=16, num_layers=1, num_heads=2
    )
    assert count_positions(transformers.T5Model(relative)) is None


def test_the_padding_of_numbers_alone_is_the_models() -> None:
    config = transformers.RobertaConfig(vocab_size=30, **SMALL, pad_token_id=1)
    torch.manual_seed(0)
    encoder = HuggingFace(transformers.RobertaModel(config), pool="mean").eval()
    ids = torch.tensor([[0, 5, 6, 2]])
    padded = torch.tensor([[0, 5, 6, 2, 1, 1]])
    mask = torch.tensor([[1, 1, 1, 1, 0, 0]])
    with torch.no_grad():
        wanted = encoder({"input_ids": padded, "attention_mask": mask})
        torch.testing.assert_close(encoder(padded), wanted)
        torch.testing.assert_close(encoder(ids), wanted)


class Named(nn.Module):
    """Takes its inputs by name, as most models of text do."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(30, 8)

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        return (self.embed(input_ids) * attention_mask[:, :, None]).sum(1)


class Bare(Named):
    def forward(self, inputs: Any) -> Tensor:  # type: ignore[override]
        return super().forward(inputs["input_ids"], inputs["attention_mask"])


class Keywords(Named):
    def forward(self, *, input_ids: Tensor, **other: Tensor) -> Tensor:  # type: ignore[override]
        return super().forward(input_ids, other["attention_mask"])


class Spare(Named):
    def forward(  # type: ignore[override]
        self, attention_mask: Tensor, input_ids: Tensor, token_type_ids: Tensor | None = None
    ) -> Tensor:
        return super().forward(input_ids, attention_mask)


class Lacks(Named):
    def forward(self, input_ids: Tensor) -> Tensor:  # type: ignore[override]
        return self.embed(input_ids).sum(1)


class Needs(Named):
    def forward(self, input_ids: Tensor, attention_mask: Tensor, labels: Tensor) -> Tensor:  # type: ignore[override]
        return super().forward(input_ids, attention_mask)


def test_modules_get_what_they_name() -> None:
    ids = np.random.default_rng(0).integers(1, 30, (60, 7))
    data = data_of(None, ids)
    ids_, mask = (data.train.inputs["text"][k] for k in ("input_ids", "attention_mask"))  # type: ignore[index,call-overload]

    def check(kind: type[Named]) -> None:
        torch.manual_seed(0)
        module = kind()
        model = build_model(data, encoders={"text": module})
        assert model.encoders["text"] is module
        wanted = Named.forward(module, ids_, mask)
        torch.testing.assert_close(model.encode(data.train[torch.arange(42)])["text"], wanted)
        torch.testing.assert_close(
            Adapter(module)({"input_ids": ids_, "attention_mask": mask}), wanted
        )
        fit(model, data, epochs=1, accumulate=2)

    check_each([Named, Bare, Keywords, Spare], check)

    def refuse(kind: type[Named]) -> None:
        with pytest.raises(InputError, match="encoder of 'text' does not take samples") as error:
            build_model(data, encoders={"text": kind()})
        assert "\n" not in str(error.value)
        assert "input_ids, attention_mask" in str(error.value)

    check_each([Lacks, Needs], refuse)
    assert feed(nn.Identity(), ids_) is ids_
    both = {"input_ids": ids_, "attention_mask": mask}
    found = {
        kind.__name__
        for kind in (Named, Bare, Keywords, Spare, Lacks, Needs)
        if takes_names(kind(), both)
    }
    assert found == {"Named", "Keywords", "Spare"}
    assert takes_names(bert(30), both) and not takes_names(nn.Sequential(Named()), both)


def test_an_adapter_of_a_model_of_transformers_pools_no_padding() -> None:
    model = bert(30).eval()
    ids = torch.randint(1, 30, (2, 6), generator=torch.Generator().manual_seed(0))
    mask = torch.tensor([[1] * 6, [1] * 3 + [0] * 3])
    inputs = {"input_ids": ids, "attention_mask": mask}
    with torch.no_grad():
        for how in ("mean", "max", "last"):
            adapter = Adapter(model, pick="last_hidden_state", pool=how)
            short = {k: x[1:, :3] for k, x in inputs.items()}
            torch.testing.assert_close(adapter(inputs)[1:], adapter(short))
        steps = Adapter(model, pick="last_hidden_state", pool="steps")(inputs)
    assert not steps[1, 3:].any() and bool(steps[1, :3].any())
    data = data_of(None, np.random.default_rng(0).integers(1, 30, (60, 7)))
    with pytest.raises(InputError, match=r"found .*BaseModelOutput.*; .*Adapter\(module, pick="):
        build_model(data, encoders={"text": model})


def test_a_run_that_was_trained_all_the_same_is_evaluated_with_a_warning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = [json.dumps({"text": t, "target": "ab"[k % 2]}) for k, t in enumerate(TEXTS)]
    (tmp_path / "t.jsonl").write_text("\n".join(lines))
    data, run = str(tmp_path / "data"), str(tmp_path / "run")
    words = ["--set", "text.vocabulary=300", "--modalities", "text", "--quiet"]
    assert main(["prepare", str(tmp_path / "t.jsonl"), data, *words]) == 0
    bert(900).save_pretrained(tmp_path / "model")
    encoder = f"text=hugging-face:model={tmp_path / 'model'}"
    train = ["train", data, "--encoder", encoder, "--epochs", "1", "--out", run, "--quiet"]
    assert main(train) == 2
    with monkeypatch.context() as patch:  # as older versions did
        patch.setattr("counterpoise.training.build.check_encoders", lambda *_: None)
        assert main(train) == 0
    capsys.readouterr()
    with warnings.catch_warnings():  # which the command line prints
        warnings.simplefilter("always")
        assert main(["evaluate", run]) == 0
    assert "was trained so: the encoder of 'text': BertModel has" in capsys.readouterr().err

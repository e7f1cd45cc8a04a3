"""Models of the transformers library: tiny random ones, from instances and from folders."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from counterpoise import ArrayData, InputError, build_model, fit
from counterpoise.encoders import HuggingFace
from counterpoise.encoders.pretrained import Preparation, parse_size

SMALL = {
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 16,
}
WORDS = {**SMALL, "vocab_size": 40, "bos_token_id": 0, "eos_token_id": 1}
PATCHES = {**SMALL, "image_size": 32, "patch_size": 16}
FILM = {**PATCHES, "num_frames": 2}
WAVES = {
    **SMALL,
    "conv_dim": [8, 8],
    "conv_stride": [5, 2],
    "conv_kernel": [10, 3],
    "num_feat_extract_layers": 2,
    "num_conv_pos_embeddings": 4,
    "num_conv_pos_embedding_groups": 2,
    "vocab_size": 10,
}
BERT_LIKE = {"vocab_size": 40, "dim": 16, "n_layers": 2, "n_heads": 2, "hidden_dim": 16}
T5 = {"vocab_size": 40, "d_model": 16, "d_kv": 8, "d_ff": 16, "num_layers": 2, "num_heads": 2}
STAGES = {
    "hidden_sizes": [8, 16],
    "depths": [1, 1],
    "embedding_size": 8,
    "layer_type": "basic",
}
BANDS = {
    **SMALL,
    "max_length": 32,
    "num_mel_bins": 16,
    "patch_size": 8,
    "frequency_stride": 8,
    "time_stride": 8,
}


def text() -> dict[str, Tensor]:
    ids = torch.randint(2, 40, (3, 7), generator=torch.Generator().manual_seed(0))
    return {"input_ids": ids, "attention_mask": torch.tensor([[1] * 7, [1] * 4 + [0] * 3, [0] * 7])}


def pixels(*shape: int) -> Tensor:
    source = torch.Generator().manual_seed(0)
    return torch.randint(0, 256, (3, *shape), dtype=torch.uint8, generator=source)


def sound(*shape: int) -> Tensor:
    return torch.randn(3, *shape, generator=torch.Generator().manual_seed(0))


# name -> configuration, its values, samples, steps of the last hidden states
MODELS: dict[str, tuple[str, dict[str, Any], Callable[[], Any], int]] = {
    "bert": ("Bert", WORDS, text, 7),
    "distilbert": ("DistilBert", BERT_LIKE, text, 7),
    "t5": ("T5", T5, text, 7),
    "clip-text": ("CLIPText", WORDS, text, 7),
    "clip-vision": ("CLIPVision", PATCHES, lambda: pixels(3, 40, 36), 5),
    "vit": ("ViT", PATCHES, lambda: pixels(3, 40, 36), 5),
    "vit-frames": ("ViT", PATCHES, lambda: pixels(2, 3, 40, 36), 10),
    "vit-grey": ("ViT", PATCHES, lambda: sound(40, 36), 5),
    "resnet": ("ResNet", STAGES, lambda: pixels(3, 32, 64), 32),
    "videomae": ("VideoMAE", FILM, lambda: pixels(2, 3, 40, 36), 4),
    "timesformer": ("Timesformer", FILM, lambda: pixels(2, 3, 40, 36), 9),
    "wav2vec2": ("Wav2Vec2", WAVES, lambda: sound(1, 400), 39),
    "ast": ("AST", BANDS, lambda: sound(16, 32), 10),
}


def model_of(name: str, **changes: Any) -> Any:
    import transformers

    kind, values, _, _ = MODELS[name]
    torch.manual_seed(0)
    config = getattr(transformers, f"{kind}Config")(**{**values, **changes})
    return getattr(transformers, f"{kind}Model")(config)


def saved(name: str, folder: Path, said: dict[str, Any] | None = None) -> Path:
    model_of(name).save_pretrained(folder)
    if said is not None:
        (folder / "preprocessor_config.json").write_text(json.dumps(said))
    return folder


@pytest.mark.parametrize("name", MODELS)
def test_a_model_from_a_folder_is_the_instance(name: str, tmp_path: Path) -> None:
    samples = MODELS[name][2]()
    folder = saved(name, tmp_path / "model")
    encoder = HuggingFace(folder).eval()
    instance = HuggingFace(model_of(name)).eval()
    with torch.no_grad():
        features = encoder(samples)
        torch.testing.assert_close(features, instance(samples))
        steps = HuggingFace(folder, steps=True).eval()(samples)
    assert features.shape == (3, 16) and bool(features.isfinite().all())
    assert steps.shape == (3, MODELS[name][3], 16)
    assert all(p.dtype == torch.float32 for p in encoder.parameters())


@pytest.mark.parametrize("name", MODELS)
def test_a_model_is_made_again_from_its_recipe(name: str, tmp_path: Path) -> None:
    said = {"do_normalize": True, "image_mean": [0.1, 0.2, 0.3], "image_std": [0.4, 0.5, 0.6]}
    folder = saved(name, tmp_path / "model", said if MODELS[name][2] is pixels else None)
    first = HuggingFace(folder, freeze=True, white=200).eval()
    recipe = json.loads(json.dumps(first.recipe()))
    again = HuggingFace.remake(recipe).eval()
    again.load_state_dict(first.state_dict())
    samples = MODELS[name][2]()
    with torch.no_grad():
        assert torch.equal(first(samples), again(samples))
    assert again.prepared == first.prepared and not any(p.requires_grad for p in again.parameters())


def test_a_recipe_names_a_class_of_transformers_only() -> None:
    recipe = HuggingFace(model_of("bert")).recipe()
    with pytest.raises(InputError, match="must be one of transformers, found os:system"):
        HuggingFace.remake({**recipe, "model": "os:system"})
    with pytest.raises(InputError, match="is no Module of transformers"):
        HuggingFace.remake({**recipe, "model": "transformers.utils:logging"})


@pytest.mark.parametrize("name", MODELS)
def test_training_draws_from_pytorchs_generator_only(name: str) -> None:
    encoder, samples = HuggingFace(model_of(name)).train(), MODELS[name][2]()
    state = np.random.get_state()[1].copy()  # type: ignore[union-attr,index]
    torch.manual_seed(3)
    first = encoder(samples)
    first.square().sum().backward()
    torch.manual_seed(3)
    if name != "resnet":  # BatchNorm keeps a running mean, which training does not read
        torch.testing.assert_close(encoder(samples), first)
    assert np.array_equal(state, np.random.get_state()[1])  # type: ignore[index]
    assert any(p.grad is not None and bool(p.grad.any()) for p in encoder.parameters())


@pytest.mark.parametrize("name", ["bert", "vit", "vit-frames", "resnet", "wav2vec2", "t5"])
def test_a_sample_does_not_depend_on_its_batch(name: str) -> None:
    encoder, samples = HuggingFace(model_of(name)).eval(), MODELS[name][2]()
    one = {k: x[1:2] for k, x in samples.items()} if isinstance(samples, dict) else samples[1:2]
    with torch.no_grad():
        torch.testing.assert_close(encoder(one), encoder(samples)[1:2], rtol=1e-4, atol=1e-5)


def test_text_is_passed_by_keyword_and_pooled_without_padding() -> None:
    model = model_of("bert").eval()
    words = text()
    with torch.no_grad():
        output = model(input_ids=words["input_ids"][1:2, :4])
        pooler = HuggingFace(model).eval()(words)[1:2]
        mean = HuggingFace(model, pool="mean").eval()(words)[1:2]
        first = HuggingFace(model, pool="first").eval()(words)[1:2]
        steps = HuggingFace(model, steps=True).eval()(words)
        bare = HuggingFace(model, pool="mean").eval()(words["input_ids"] * words["attention_mask"])
        typed = words | {"token_type_ids": torch.ones_like(words["input_ids"])}
        other = HuggingFace(model, pool="mean").eval()(typed)[1:2]
    torch.testing.assert_close(pooler, output.pooler_output)
    torch.testing.assert_close(mean, output.last_hidden_state.mean(1))
    torch.testing.assert_close(first, output.last_hidden_state[:, 0])
    torch.testing.assert_close(bare[1:2], mean)
    assert not torch.allclose(other, mean, atol=1e-4)
    assert not steps[1, 4:].any() and bool(steps[1, :4].any(1).all())


def test_pictures_are_resized_and_normalised_as_the_folder_says(tmp_path: Path) -> None:
    said = {"image_mean": [0.1, 0.2, 0.3], "image_std": [0.5, 0.25, 0.2]}
    told = HuggingFace(saved("vit", tmp_path / "told", said)).eval()
    plain = HuggingFace(saved("vit", tmp_path / "plain")).eval()
    pictures = pixels(3, 32, 32)
    share = pictures.float() / 255
    mean, std = (torch.tensor(said[f"image_{k}"]).view(3, 1, 1) for k in ("mean", "std"))
    with torch.no_grad():
        wanted = plain.model((share - mean) / std).pooler_output
        torch.testing.assert_close(told(pictures), wanted)
        usual = plain.model((share - 0.5) / 0.5).pooler_output
        torch.testing.assert_close(plain(pictures), usual)
        assert not torch.allclose(usual, wanted, atol=1e-4)
        torch.testing.assert_close(plain(share), plain.model(share).pooler_output)
        white = HuggingFace(tmp_path / "told", white=255).eval()
        torch.testing.assert_close(white(pictures.float()), wanted)
        resized = torch.nn.functional.interpolate(
            (pixels(3, 50, 44).float() / 255 - mean) / std,
            (32, 32),
            mode="bilinear",
            antialias=True,
        )
        wanted = told.model(resized).pooler_output
        torch.testing.assert_close(told(pixels(3, 50, 44)), wanted, rtol=1e-4, atol=1e-5)


def test_a_convolutional_network_takes_the_size_of_its_folder(tmp_path: Path) -> None:
    said = {"size": {"shortest_edge": 64}, "do_normalize": False}
    encoder = HuggingFace(saved("resnet", tmp_path, said), steps=True)
    assert encoder.size == (64, 64)
    assert encoder(pixels(3, 30, 40)).shape == (3, 64, 16)
    assert encoder.pictures.mean.flatten().tolist() == [0.5] * 3


def test_frames_go_one_by_one_to_an_image_model_and_whole_to_a_video_model() -> None:
    frames = pixels(2, 3, 32, 32)
    image = HuggingFace(model_of("vit")).eval()
    video = HuggingFace(model_of("videomae")).eval()
    with torch.no_grad():
        each = torch.stack([image(frames[:, 0]), image(frames[:, 1])], 1)
        torch.testing.assert_close(image(frames), each.mean(1))
        scaled = (frames.float() / 255 - 0.5) / 0.5
        wanted = video.model(scaled).last_hidden_state.mean(1)
        torch.testing.assert_close(video(frames), wanted)
    with pytest.raises(InputError, match="VideoMAEModel takes 2 frames, found 3"):
        video(pixels(3, 3, 32, 32))
    with pytest.raises(InputError, match="takes 2 frames, found 1"):
        video(pixels(3, 32, 32))


def heard(encoder: HuggingFace, samples: Tensor) -> Tensor:
    """What the model is given."""
    found = []
    hook = encoder.model.register_forward_pre_hook(
        lambda _, __, values: found.append(values["input_values"]), with_kwargs=True
    )
    encoder(samples)
    hook.remove()
    return found[0]


def test_sound_is_normalised_as_the_folder_says(tmp_path: Path) -> None:
    said: dict[str, Any] = {"feature_extractor_type": "Wav2Vec2FeatureExtractor"}
    told = HuggingFace(saved("wav2vec2", tmp_path / "waves", {**said, "do_normalize": True}))
    plain = HuggingFace(saved("wav2vec2", tmp_path / "plain", {**said, "do_normalize": False}))
    waves = 7 * sound(1, 400) + 3
    centred = (waves - waves.mean(2, keepdim=True)) / waves.std(2, correction=0, keepdim=True)
    torch.testing.assert_close(heard(told, waves), centred[:, 0])
    assert torch.equal(heard(plain, waves), waves[:, 0])
    assert torch.equal(heard(plain, waves[:, 0]), waves[:, 0])
    said = {"feature_extractor_type": "ASTFeatureExtractor", "mean": -4.0, "std": 3.0}
    bands = HuggingFace(saved("ast", tmp_path / "bands", said))
    spectrograms = sound(16, 32)
    torch.testing.assert_close(heard(bands, spectrograms), (spectrograms.transpose(1, 2) + 4) / 6)
    bare = HuggingFace(model_of("ast"))
    assert torch.equal(heard(bare, spectrograms), spectrograms.transpose(1, 2))


def test_a_model_of_two_towers(tmp_path: Path) -> None:
    import transformers

    config = transformers.CLIPConfig(text_config=WORDS, vision_config=PATCHES)
    transformers.CLIPModel(config).save_pretrained(tmp_path)
    folder = str(tmp_path)
    both = {"input_ids": (7,), "attention_mask": (7,)}
    words = HuggingFace.build(both, model=folder).eval()
    pictures = HuggingFace.build((3, 32, 32), model=folder).eval()
    assert words(text()).shape == pictures(pixels(3, 32, 32)).shape == (3, 16)
    assert HuggingFace(folder, tower="text").wants == "input_ids"
    with pytest.raises(InputError, match="tower=text or tower=vision"):
        HuggingFace(folder)
    with pytest.raises(InputError, match="unknown value for tower 'audio'"):
        HuggingFace(folder, tower="audio")


def test_frozen_models_stay_as_they_are() -> None:
    model = model_of("bert", hidden_dropout_prob=0.5)
    encoder = HuggingFace(model, freeze=True).train()
    words = text()
    assert encoder.training and not model.training
    torch.testing.assert_close(encoder(words), encoder(words))
    assert not encoder(words).requires_grad
    assert not any(p.requires_grad for p in encoder.parameters())
    rng = np.random.default_rng(0)
    inputs = {"text": {k: v.repeat(14, 1) for k, v in words.items()}, "x": rng.normal(size=(42, 3))}
    data = ArrayData(inputs, np.arange(42) % 2)
    before = {k: v.clone() for k, v in encoder.state_dict().items()}
    built = build_model(data, "ogm-ge", encoders={"text": encoder}, width=8)
    fit(built, data, "ogm-ge", epochs=1)
    assert all(torch.equal(v, before[k]) for k, v in encoder.state_dict().items())


def test_a_label_builds_and_trains_one(tmp_path: Path) -> None:
    folder = saved("vit", tmp_path / "vit")
    rng = np.random.default_rng(0)
    inputs = {"image": rng.integers(0, 256, (40, 3, 20, 20)), "x": rng.normal(size=(40, 3))}
    inputs["image"] = inputs["image"].astype("uint8")
    data = ArrayData(inputs, np.arange(40) % 2)
    label = f"hugging-face:model={folder}:white=255:pool=mean"
    model = build_model(data, encoders={"image": label}, width=8)
    assert model.fusion.widths == {"image": 16, "x": 8}
    run = fit(model, data, epochs=1)
    assert np.isfinite(run.history[0]["loss"]["fused"])
    with pytest.raises(InputError, match="hugging-face needs a model: hugging-face:model=FOLDER"):
        build_model(data, encoders={"image": "hugging-face"})


def test_a_name_is_read_from_the_local_cache_and_never_fetched_unasked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import huggingface_hub.constants
    import transformers.utils.hub

    with pytest.raises(InputError) as error:
        HuggingFace("nobody/has-this")
    assert str(error.value) == (
        "the model 'nobody/has-this' is neither a folder nor in the local cache; fetch=true "
        "downloads it"
    )
    cache = tmp_path / "hub"
    held = cache / "models--someone--vit"
    saved("vit", held / "snapshots" / ("a" * 40), {"image_mean": [0.1] * 3, "image_std": [0.2] * 3})
    (held / "refs").mkdir()
    (held / "refs" / "main").write_text("a" * 40)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(cache))
    for name in ("TRANSFORMERS_CACHE", "HF_HUB_CACHE"):
        monkeypatch.setattr(transformers.utils.hub, name, str(cache), raising=False)
    encoder = HuggingFace("someone/vit")
    assert encoder(pixels(3, 32, 32)).shape == (3, 16)
    assert encoder.pictures.mean.flatten().tolist() == pytest.approx([0.1] * 3)
    with pytest.raises(InputError, match="neither a folder nor in the local cache"):
        HuggingFace("someone/vit", revision="other")
    with pytest.raises(InputError, match="'nobody/has-this' cannot be fetched"):
        HuggingFace("nobody/has-this", fetch=True)  # offline, as these tests are


def test_only_safetensors_are_read_and_code_is_never_run(tmp_path: Path) -> None:
    folder = saved("vit", tmp_path / "pickled")
    state = model_of("vit").state_dict()
    (folder / "model.safetensors").unlink()
    torch.save(state, folder / "pytorch_model.bin")
    with pytest.raises(InputError, match=r"cannot be read: .*model.safetensors"):
        HuggingFace(folder)
    code = tmp_path / "code"
    code.mkdir()
    auto = {"AutoConfig": "own.Config", "AutoModel": "own.Model"}
    (code / "config.json").write_text(json.dumps({"model_type": "own", "auto_map": auto}))
    trap = "from pathlib import Path\nPath(__file__).with_name('ran').touch()\n"
    (code / "own.py").write_text(trap)
    with pytest.raises(InputError, match="cannot be read"):
        HuggingFace(code)
    assert not list(tmp_path.rglob("ran"))


def test_what_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="must be one of transformers, found Linear"):
        HuggingFace(torch.nn.Linear(2, 2))
    with pytest.raises(InputError, match="unknown value for pool 'sum'"):
        HuggingFace(model_of("vit"), pool="sum")
    with pytest.raises(InputError, match="DistilBertModel has no pooler_output; use pool=mean"):
        HuggingFace(model_of("distilbert"), pool="pooler")(text())
    with pytest.raises(InputError, match="ViTModel takes pixel_values, found token numbers"):
        HuggingFace(model_of("vit"))(text())
    folder = saved("vit", tmp_path)
    (folder / "preprocessor_config.json").write_text("{")
    with pytest.raises(InputError, match=r"preprocessor_config.json cannot be used"):
        HuggingFace(folder)
    data = ArrayData({"x": np.zeros((40, 5))}, np.arange(40) % 2)
    with pytest.raises(InputError, match="encoder of 'x' does not take samples of shape"):
        build_model(data, encoders={"x": HuggingFace(model_of("wav2vec2"))})


@pytest.mark.parametrize(
    ("said", "size"),
    [
        (224, (224, 224)),
        ([224, 200], (224, 200)),
        ({"height": 24, "width": 20}, (24, 20)),
        ({"shortest_edge": 256}, (256, 256)),
        (None, None),
        ({"longest_edge": 3}, None),
    ],
)
def test_sizes(said: Any, size: tuple[int, int] | None) -> None:
    assert parse_size(said) == size


def test_a_centre_crop_is_what_the_model_sees() -> None:
    said = {"do_center_crop": True, "crop_size": 224, "size": {"shortest_edge": 256}}
    assert Preparation.read(said).size == (224, 224)
    assert Preparation.read({**said, "do_center_crop": False}).size == (256, 256)

"""ResNet-18: its size, its weights and names, what it takes, and how it is told apart."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from counterpoise import InputError
from counterpoise.encoders import ResNet18


@pytest.fixture(scope="module")
def encoder() -> ResNet18:
    torch.manual_seed(0)
    found = ResNet18(3)
    for module in found.modules():  # statistics of its own, so that evaluation uses them
        if isinstance(module, torch.nn.BatchNorm2d):
            torch.nn.init.uniform_(module.running_mean, -0.1, 0.1)
            torch.nn.init.uniform_(module.running_var, 0.5, 1.5)
    return found.eval()


def test_its_size_and_its_names(encoder: ResNet18) -> None:
    assert sum(p.numel() for p in encoder.parameters()) == 11_176_512
    names = set(encoder.state_dict())
    assert {"conv1.weight", "bn1.running_mean", "layer1.0.conv1.weight"} <= names
    assert {"layer2.0.downsample.0.weight", "layer4.0.downsample.1.bias"} <= names
    assert "layer1.0.downsample.0.weight" not in names
    assert len(names) == 120  # as in the published state dicts, without fc.weight and fc.bias


def test_initial_weights_are_those_of_the_lineage() -> None:
    torch.manual_seed(0)
    fresh = ResNet18(1)
    for name, module in fresh.named_modules():
        if isinstance(module, torch.nn.Conv2d):
            fan = module.out_channels * module.kernel_size[0] ** 2
            assert float(module.weight.detach().std()) == pytest.approx(
                (2 / fan) ** 0.5, rel=0.1
            ), name
            assert module.bias is None
        if isinstance(module, torch.nn.BatchNorm2d):
            assert bool((module.weight == 1).all() and (module.bias == 0).all())


def test_it_computes_what_another_implementation_does(encoder: ResNet18) -> None:
    from transformers import ResNetConfig, ResNetModel

    config = ResNetConfig(
        embedding_size=64, hidden_sizes=[64, 128, 256, 512], depths=[2] * 4, layer_type="basic"
    )
    other = ResNetModel(config).eval()
    ours = encoder.state_dict()

    def named(name: str) -> str:
        name = name.replace("embedder.embedder.convolution", "conv1")
        name = name.replace("embedder.embedder.normalization", "bn1")
        name = re.sub(r"encoder\.stages\.(\d)\.layers", lambda m: f"layer{int(m[1]) + 1}", name)
        name = name.replace("shortcut.convolution", "downsample.0")
        name = name.replace("shortcut.normalization", "downsample.1")
        name = re.sub(r"layer\.(\d)\.convolution", lambda m: f"conv{int(m[1]) + 1}", name)
        return re.sub(r"layer\.(\d)\.normalization", lambda m: f"bn{int(m[1]) + 1}", name)

    other.load_state_dict({name: ours[named(name)] for name in other.state_dict()})
    pictures = torch.randn(2, 3, 64, 48)
    with torch.no_grad():
        wanted = other(pictures).pooler_output.flatten(1)
        torch.testing.assert_close(encoder(pictures), wanted, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("shape", "places"),
    [((33, 40), 4), ((1, 33, 40), 4), ((3, 32, 32), 1), ((4, 32, 32), 1), ((2, 3, 32, 64), 4)],
)
def test_what_it_takes(shape: tuple[int, ...], places: int) -> None:
    torch.manual_seed(0)
    encoder = ResNet18.build(shape).eval()
    samples = torch.randn(3, *shape, requires_grad=True)
    features = encoder(samples)
    assert features.shape == (3, 512)
    features.sum().backward()
    assert samples.grad is not None and bool(samples.grad.abs().flatten(1).sum(1).gt(0).all())
    encoder.steps = True
    steps = encoder(samples)
    assert steps.shape == (3, places, 512)
    torch.testing.assert_close(steps.mean(1), features)


def test_frames_are_encoded_one_by_one(encoder: ResNet18) -> None:
    frames = torch.randint(0, 256, (2, 3, 3, 40, 32), dtype=torch.uint8)
    with torch.no_grad():
        each = torch.stack([encoder(frames[:, t]) for t in range(3)], 1)
        torch.testing.assert_close(encoder(frames), each.mean(1))


def test_bytes_equal_normalised_floats(encoder: ResNet18) -> None:
    pictures = torch.randint(0, 256, (2, 3, 32, 32), dtype=torch.uint8)
    mean = torch.tensor([0.485, 0.456, 0.406]).view(3, 1, 1)
    std = torch.tensor([0.229, 0.224, 0.225]).view(3, 1, 1)
    with torch.no_grad():
        wanted = encoder((pictures.float() / 255 - mean) / std)
        torch.testing.assert_close(encoder(pictures), wanted)


def test_a_sample_does_not_depend_on_its_batch(encoder: ResNet18) -> None:
    pictures = torch.randint(0, 256, (4, 3, 40, 36), dtype=torch.uint8)
    with torch.no_grad():
        whole = encoder(pictures)
        torch.testing.assert_close(encoder(pictures[2:3]), whole[2:3], rtol=1e-4, atol=1e-5)


def published(encoder: ResNet18) -> dict[str, Tensor]:
    """A state dict as they are published: with a classifier."""
    weights = {k: v.clone() for k, v in encoder.state_dict().items()}
    return weights | {"fc.weight": torch.zeros(1000, 512), "fc.bias": torch.zeros(1000)}


def test_published_weights_are_taken(encoder: ResNet18, tmp_path: Path) -> None:
    path = tmp_path / "resnet18.safetensors"
    save_file(published(encoder), path)
    found = ResNet18(3, weights=path)
    assert all(torch.equal(v, encoder.state_dict()[k]) for k, v in found.state_dict().items())
    one = ResNet18.build((20, 30), weights=str(path)).conv1.weight
    assert one.shape == (64, 1, 7, 7)
    torch.testing.assert_close(one[:, 0], encoder.conv1.weight.mean(1))
    flow = ResNet18(4, weights=path).conv1.weight
    torch.testing.assert_close(flow[:, 3], encoder.conv1.weight.mean(1))


def test_other_weights_are_refused(encoder: ResNet18, tmp_path: Path) -> None:
    weights = published(encoder)
    del weights["layer1.0.conv1.weight"]
    save_file(weights, tmp_path / "part.safetensors")
    with pytest.raises(InputError, match=r"not those of a ResNet-18: Missing key.*layer1.0.conv1"):
        ResNet18(3, weights=tmp_path / "part.safetensors")
    save_file(published(encoder) | {"more": torch.zeros(1)}, tmp_path / "more.safetensors")
    with pytest.raises(InputError, match=r'Unexpected key.*"more"'):
        ResNet18(3, weights=tmp_path / "more.safetensors")
    with pytest.raises(InputError, match=r"none.safetensors is not there"):
        ResNet18(3, weights=tmp_path / "none.safetensors")
    (tmp_path / "bad.safetensors").write_bytes(b"abc")
    with pytest.raises(InputError, match="is damaged"):
        ResNet18(3, weights=tmp_path / "bad.safetensors")


def test_vectors_are_no_pictures() -> None:
    with pytest.raises(InputError, match=r"samples of shape \[5\] are no picture"):
        ResNet18.build((5,))

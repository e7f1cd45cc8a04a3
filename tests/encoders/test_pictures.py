"""Pictures before an encoder: scaling of bytes, crops, flips, one size in evaluation."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from toy import callback, same, weights

from counterpoise import ArrayData, InputError, build_model, fit
from counterpoise.encoders import CNN2d
from counterpoise.encoders.pictures import Pictures, crop_and_flip, draw_boxes, resize


def bytes_of(*shape: int) -> Tensor:
    return torch.randint(0, 256, shape, dtype=torch.uint8, generator=torch.Generator())


def drawn(seed: int, module: nn.Module, pictures: Tensor) -> Tensor:
    torch.manual_seed(seed)
    found: Tensor = module(pictures)
    return found


@pytest.mark.parametrize("channels", [1, 3, 6])
def test_bytes_are_scaled_and_normalised_and_floats_taken_as_they_are(channels: int) -> None:
    pictures = bytes_of(2, channels, 5, 6)
    found = Pictures(channels)(pictures)
    mean = [0.485, 0.456, 0.406] if channels == 3 else [0.5] * channels
    std = [0.229, 0.224, 0.225] if channels == 3 else [0.5] * channels
    share = pictures.float() / 255
    for c in range(channels):
        torch.testing.assert_close(found[:, c], (share[:, c] - mean[c]) / std[c])
    assert Pictures(channels)(share) is share
    assert torch.equal(Pictures(channels, white=255)(pictures.float()), found)
    torch.testing.assert_close(Pictures(channels, white=1)(share), found)
    assert not Pictures(channels).state_dict()  # published weights have no word of it


def test_evaluation_sees_the_whole_picture_in_one_size() -> None:
    ramp = torch.linspace(0, 1, 64).expand(1, 3, 64, 64)
    found = Pictures(3, crop=8).eval()(ramp)
    assert found.shape == (1, 3, 8, 8)
    torch.testing.assert_close(found.mean(), torch.tensor(0.5))
    assert found[0, 0, 0, 0] < 0.1 and found[0, 0, 0, -1] > 0.9
    # What is finer than the result's pixels averages out.
    board = (torch.arange(64)[:, None] + torch.arange(64)) % 2
    grey = Pictures(1, crop=8).eval()(board.float().expand(1, 1, 64, 64))
    torch.testing.assert_close(grey, torch.full_like(grey, 0.5), atol=0.02, rtol=0)
    assert resize(ramp, (64, 64)) is ramp


def test_crops_follow_the_seed_and_differ_between_samples() -> None:
    crop = Pictures(3, crop=8)
    pictures = bytes_of(1, 3, 20, 24).expand(6, -1, -1, -1)
    first, again, other = (drawn(s, crop, pictures) for s in (0, 0, 1))
    assert first.shape == (6, 3, 8, 8)
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert all(not torch.equal(first[0], first[k]) for k in range(1, 6))


def test_all_frames_of_a_sample_share_a_crop() -> None:
    crop = Pictures(3, crop=8)
    frames = bytes_of(4, 1, 3, 20, 24).expand(-1, 5, -1, -1, -1)
    found = drawn(0, crop, frames)
    assert found.shape == (4, 5, 3, 8, 8)
    assert all(torch.equal(found[:, 0], found[:, t]) for t in range(1, 5))
    torch.testing.assert_close(found[:, 0], drawn(0, crop, frames[:, 0]))


def test_a_crop_is_a_part_of_the_picture(monkeypatch: pytest.MonkeyPatch) -> None:
    """Values say where they come from: a ramp in each direction."""
    box = torch.tensor([[0.25, 0.5, 0.5, 0.25]])  # left, top, width, height
    monkeypatch.setattr(
        "counterpoise.encoders.pictures.draw_boxes", lambda count, *_: box.expand(count, -1)
    )
    across = (torch.arange(64) + 0.5) / 64
    pictures = torch.stack([across.expand(64, 64), across[:, None].expand(64, 64)])[None]
    found = crop_and_flip(pictures, (32, 32), flip=False)[0]
    wanted = (torch.arange(32) + 0.5) / 32
    torch.testing.assert_close(found[0], (0.25 + 0.5 * wanted).expand(32, 32))
    torch.testing.assert_close(found[1], (0.5 + 0.25 * wanted)[:, None].expand(32, 32))
    torch.manual_seed(0)
    both = crop_and_flip(pictures.expand(20, -1, -1, -1), (32, 32))
    mirrored = torch.isclose(both[:, 0], found[0].flip(1)).flatten(1).all(1)
    plain = torch.isclose(both[:, 0], found[0]).flatten(1).all(1)
    assert bool((mirrored ^ plain).all()) and 2 < int(mirrored.sum()) < 18


def test_large_pictures_do_not_alias() -> None:
    board = ((torch.arange(256)[:, None] + torch.arange(256)) % 2).float()
    grey = drawn(0, Pictures(1, crop=8), board.expand(8, 1, 256, 256))
    assert float((grey - 0.5).abs().max()) < 0.05


def test_boxes_have_the_areas_and_ratios_of_the_usual_augmentation() -> None:
    torch.manual_seed(0)
    left, top, wide, high = draw_boxes(4000, 160, 160, torch.device("cpu")).unbind(1)
    area, ratio = wide * high, wide / high
    assert bool(((left >= 0) & (top >= 0)).all())
    assert bool(((left + wide <= 1 + 1e-6) & (top + high <= 1 + 1e-6)).all())
    assert 0.08 <= float(area.min()) < 0.09 and float(area.max()) > 0.95
    assert float(ratio.min()) >= 0.749 and float(ratio.max()) <= 1.334
    assert abs(float(ratio.log().mean())) < 0.02
    wide, high = draw_boxes(500, 80, 160, torch.device("cpu")).unbind(1)[2:]
    assert float((wide * 2 / high).min()) >= 0.749 and float((wide * 2 / high).max()) <= 1.334
    # No box of the allowed ratios fits far into a long strip: it is cut, not dropped.
    strip = draw_boxes(50, 10, 1000, torch.device("cpu"))
    assert bool((strip[:, 2:] > 0).all() and (strip <= 1).all())


def test_flips_are_for_colour_pictures_with_a_crop_unless_asked_for() -> None:
    assert [Pictures(c, crop=8).flip for c in (1, 2, 3)] == [False, False, True]
    assert not Pictures(3).flip and not Pictures(3, crop=8, flip=False).flip
    pictures = torch.arange(4.0).expand(30, 1, 4, 4)
    found = drawn(0, Pictures(1, flip=True), pictures)
    kept = torch.isclose(found, pictures).flatten(1).all(1)
    turned = torch.isclose(found, pictures.flip(3)).flatten(1).all(1)
    assert bool((kept ^ turned).all()) and 5 < int(kept.sum()) < 25
    assert Pictures(1, flip=True).eval()(pictures) is pictures


def test_gradients_reach_the_picture() -> None:
    pictures = torch.rand(2, 3, 20, 20, requires_grad=True)
    drawn(0, Pictures(3, crop=8), pictures).sum().backward()
    assert pictures.grad is not None and float(pictures.grad.abs().sum()) > 0


def test_a_resumed_run_draws_the_same_crops(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    goal = np.arange(40) % 2
    x = {"image": rng.normal(size=(40, 3, 12, 12)) + goal[:, None, None, None]}
    data = ArrayData(x | {"other": rng.normal(size=(40, 4))}, goal)

    def train(out: str, epochs: int = 3, **options: Any) -> Any:
        torch.manual_seed(0)
        own = nn.Sequential(Pictures(3, crop=8), CNN2d(3, 8))
        model = build_model(data, encoders={"image": own})
        return fit(model, data, out=tmp_path / out, epochs=epochs, batch_size=8, **options)

    def stop(entry: dict[str, Any]) -> None:
        raise KeyboardInterrupt

    whole = train("whole")
    with pytest.raises(KeyboardInterrupt):
        train("stopped", callbacks=[callback(on_epoch=stop)])
    resumed = train("stopped", resume=True)
    assert same(weights(whole.model), weights(resumed.model))
    assert not same(weights(whole.model), weights(train("other", seed=1).model))


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"crop": 0}, "crop must be a whole number from 1"),
        ({"crop": "big"}, "crop must be a whole number"),
        ({"white": 0}, "white must be a number above 0"),
        ({"flip": "no"}, "flip must be true or false, found 'no'"),
    ],
)
def test_what_is_refused(options: dict[str, Any], said: str) -> None:
    with pytest.raises(InputError, match=said):
        Pictures(3, **options)


def test_interpolation_agrees_with_the_library() -> None:
    pictures = torch.rand(1, 2, 9, 7)
    wanted = F.interpolate(pictures, (4, 4), mode="bilinear", antialias=True)
    torch.testing.assert_close(Pictures(2, crop=4).eval()(pictures), wanted)

import gzip
import re

import numpy as np
import pytest
import soundfile
import torch

from counterpoise.data.catalogue.av_mnist import _pair, av_mnist, fade, read_idx
from counterpoise.errors import InputError


def images_of(tree):
    return tree / "mnist" / "t10k-images-idx3-ubyte.gz"


def labels_of(tree):
    return tree / "mnist" / "t10k-labels-idx1-ubyte.gz"


def test_shapes_splits_and_scale(av_tree):
    data = av_mnist(av_tree)
    assert data.shapes == {"image": (28, 28), "audio": (40, 48)}
    assert {p: len(s) for p, s in data.splits.items()} == {
        "train": 40,
        "validation": 20,
        "test": 20,
    }
    for split in data.splits.values():
        assert split.target.bincount().unique().numel() == 1
    for value in data.train.inputs.values():
        assert value.mean() == pytest.approx(0, abs=1e-4)
        assert value.std() == pytest.approx(1, abs=1e-3)


def test_seed_decides_pairs_and_babble(av_tree):
    one, same, other = av_mnist(av_tree), av_mnist(av_tree), av_mnist(av_tree, seed=1)
    assert one.fingerprint() == same.fingerprint()
    for modality in one.modalities:
        assert not torch.equal(one.train.inputs[modality], other.train.inputs[modality])


def test_other_splits_do_not_sound_in_training(av_tree):
    before = av_mnist(av_tree).train.inputs["audio"]
    for path in (av_tree / "fsdd" / "recordings").glob("*_0.wav"):
        wave = np.random.default_rng(5).normal(size=3000) * 0.2
        soundfile.write(path, wave, 8000)
    assert torch.equal(av_mnist(av_tree).train.inputs["audio"], before)


def test_pairs_are_of_one_class_and_no_image_is_used_twice():
    digits = np.repeat(np.arange(10), 30)
    labels = np.random.default_rng(0).permutation(np.repeat(np.arange(10), 40)).astype(np.uint8)
    chosen = _pair(digits, labels, np.random.default_rng(1))
    assert np.array_equal(labels[chosen], digits)
    assert len(set(chosen)) == len(chosen)
    with pytest.raises(InputError) as raised:
        _pair(digits, labels[:200], np.random.default_rng(1))
    assert str(raised.value).startswith("mnist must hold an image for each recording of 0, found ")


def test_fade_leaves_a_quarter_of_the_energy():
    generator = np.random.default_rng(0)
    pixels = generator.normal(size=(300, 40)) @ generator.normal(size=(40, 40))
    train = np.arange(300) < 200
    faded = fade(pixels, train)
    left = faded[train].var(0).sum() / pixels[train].var(0).sum()
    assert 0.15 < left <= 0.25
    # What is gone are the strongest directions: the next one would not fit in.
    strongest = np.linalg.svd(pixels[train] - pixels[train].mean(0))[2][0]
    assert np.abs(faded[train] @ strongest).max() < 1e-4
    changed = pixels.copy()
    changed[200:] *= 5
    assert np.array_equal(fade(changed, train)[:200], faded[:200])


def test_idx(tmp_path, write_idx):
    path = tmp_path / "a.gz"
    array = np.arange(24).reshape(2, 3, 4)
    write_idx(path, array)
    assert np.array_equal(read_idx(path, 3), array)


def idx(*shape, body=0, magic=b"\0\0\x08\x03"):
    return magic + np.array(shape, dtype=">u4").tobytes() + bytes(body)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (
            idx(2, 2, 2, body=7),
            "{} must hold 8 bytes after its header, found 7; fetch the file again",
        ),
        (
            idx(2, 2, 2, body=9),
            "{} must hold 8 bytes after its header, found more; fetch the file again",
        ),
        (
            idx(2, 2, 2, magic=b"\0\0\x0d\x03"),
            "{} must be an IDX file of bytes in 3 dimensions, found the header 00000d03; "
            "fetch the file again",
        ),
        (
            b"",
            "{} must be an IDX file of bytes in 3 dimensions, found the header ; "
            "fetch the file again",
        ),
        (
            idx(2**31, 2**31, 4),
            "{} claims 18446744073709551616 bytes; fetch the file again",
        ),
    ],
)
def test_bad_idx(content, message, tmp_path):
    path = tmp_path / "a.gz"
    path.write_bytes(gzip.compress(content))
    with pytest.raises(InputError) as raised:
        read_idx(path, 3)
    assert str(raised.value) == message.format(path)


@pytest.mark.parametrize(
    "content", [b"not gzip", gzip.compress(idx(2, 2, 2, body=8), mtime=0)[:-9]], ids=["none", "cut"]
)
def test_damaged_gzip(content, tmp_path):
    path = tmp_path / "a.gz"
    path.write_bytes(content)
    with pytest.raises(InputError, match=f"^cannot read {path} .*; fetch the file again$"):
        read_idx(path, 3)


def test_labels_must_fit_the_images(av_tree, write_idx):
    write_idx(labels_of(av_tree), np.arange(10))
    with pytest.raises(InputError, match=r"must hold one label per 28 x 28 image, found images "):
        av_mnist(av_tree)


def test_missing_files(av_tree):
    labels_of(av_tree).unlink()
    message = f"^data set 'av-mnist' is not complete: found no {re.escape(str(labels_of(av_tree)))}"
    with pytest.raises(InputError, match=message):
        av_mnist(av_tree)


def test_bad_recordings(av_tree):
    path = av_tree / "fsdd" / "recordings" / "0_ann_0.wav"
    path.write_bytes(path.read_bytes()[:20])
    with pytest.raises(InputError, match=f"^cannot read {path} "):
        av_mnist(av_tree)
    soundfile.write(path, np.zeros((100, 2)), 8000)
    with pytest.raises(InputError) as raised:
        av_mnist(av_tree)
    assert str(raised.value) == (
        f"{path} must hold one channel at 8000 Hz, found 2 at 8000 Hz and 100 samples; "
        "fetch the file again"
    )
    for path in (av_tree / "fsdd" / "recordings").iterdir():
        path.unlink()
    with pytest.raises(InputError, match=r"^found no file like 0_george_0\.wav in "):
        av_mnist(av_tree)


@pytest.mark.data
def test_real(real_data):
    data = av_mnist(real_data)
    assert {p: len(s) for p, s in data.splits.items()} == {
        "train": 2100,
        "validation": 300,
        "test": 600,
    }
    images = torch.cat([s.inputs["image"].flatten(1) for s in data.splits.values()])
    assert len(images.unique(dim=0)) == 3000

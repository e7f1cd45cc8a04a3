"""Pictures before they are encoded: normalised, cropped in training, resized in evaluation."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Annotated

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from counterpoise.core.declared import Bounds, Declared

# Mean and deviation of ImageNet's pixels, with which published weights were trained.
IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
AREA = (0.08, 1.0)  # of the picture that a crop takes
RATIO = (3 / 4, 4 / 3)  # of its width to its height
TRIES = 10


class Pictures(Declared, nn.Module):
    """[B, (T,) C, H, W] of bytes or floats -> floats, cropped.

    Bytes are scaled to 0 .. 1, then standardised by mean and deviation. Floats are used as they
    are, unless ``white`` is given.

    Args:
        channels: ``C``.
        crop: side of the result. In training a random part of the picture (8 to 100 % of its
            area, sides 3:4 to 4:3; Szegedy et al. 2015) is resized to it, the same part for all
            frames of a sample; in evaluation the whole picture is.
        flip: mirror half of the samples in training; by default if there is a crop and 3
            channels (a mirrored flow would also need other signs).
        white: the value of white in floats: they are divided by it and normalised like bytes.
        mean: mean of each channel of the scaled bytes; by default ImageNet's for 3 channels,
            else 0.5.
        std: standard deviation of each channel, with the same defaults.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self,
        channels: int,
        *,
        crop: Annotated[int | None, Bounds(1, 8192)] = None,
        flip: bool | None = None,
        white: Annotated[float | None, Bounds(above=0)] = None,
        mean: Sequence[float] | None = None,
        std: Sequence[float] | None = None,
    ) -> None:
        super().__init__()
        self.crop, self.white = crop, white
        self.flip = crop is not None and channels == 3 if flip is None else flip
        usual = IMAGENET if channels == 3 else ((0.5,) * channels, (0.5,) * channels)
        for key, values, known in (("mean", mean, usual[0]), ("std", std, usual[1])):
            tensor = torch.tensor(known if values is None else list(values), dtype=torch.float32)
            self.register_buffer(key, tensor.view(-1, 1, 1), persistent=False)

    def forward(self, pictures: Tensor) -> Tensor:
        if not pictures.is_floating_point():
            pictures = (pictures.float() / 255 - self.mean) / self.std
        elif self.white is not None:
            pictures = (pictures / self.white - self.mean) / self.std
        if self.crop is None and not (self.training and self.flip):
            return pictures
        # The frames of a sample as channels of one picture: they share one draw.
        flat = pictures.flatten(1, -3)
        size = (self.crop, self.crop) if self.crop else (flat.shape[2], flat.shape[3])
        if self.training:
            flat = crop_and_flip(flat, size, crop=self.crop is not None, flip=self.flip)
        else:
            flat = resize(flat, size)
        return flat.view(*pictures.shape[:-2], *size)


def resize(pictures: Tensor, size: tuple[int, int]) -> Tensor:
    """[B, C, H, W] -> [B, C, *size], bilinear, without aliasing."""
    if tuple(pictures.shape[2:]) == size:
        return pictures
    return F.interpolate(pictures, size, mode="bilinear", antialias=True, align_corners=False)


def crop_and_flip(
    pictures: Tensor, size: tuple[int, int], *, crop: bool = True, flip: bool = True
) -> Tensor:
    """A random part of each picture [B, C, H, W], mirrored or not, resized to [B, C, *size].

    The draws, one per sample, come from PyTorch's global generator of the device.
    """
    count, _, height, width = pictures.shape
    device = pictures.device
    boxes = torch.ones(count, 4, device=device) * torch.tensor([0.0, 0.0, 1.0, 1.0], device=device)
    if crop:
        # Bilinear sampling reads four pixels, so what is larger than twice the crop is resized.
        small = min(height, 2 * size[0]), min(width, 2 * size[1])
        boxes = draw_boxes(count, height, width, device)
        pictures = resize(pictures, small)
    left, top, wide, high = boxes.unbind(1)
    sign = torch.ones_like(wide)
    if flip:
        sign = torch.where(torch.rand(count, device=device) < 0.5, -sign, sign)
    zero = torch.zeros_like(wide)
    # From places in the result to places in the picture, both from -1 to 1.
    theta = torch.stack(
        [sign * wide, zero, 2 * left + wide - 1, zero, high, 2 * top + high - 1], 1
    ).view(count, 2, 3)
    grid = F.affine_grid(theta, [count, 1, *size], align_corners=False).to(pictures.dtype)
    return F.grid_sample(pictures, grid, padding_mode="border", align_corners=False)


def draw_boxes(count: int, height: int, width: int, device: torch.device) -> Tensor:
    """[count, 4]: left, top, width and height of random parts, as shares of the picture.

    Area and logarithm of the ratio are uniform. The first of ten draws that fits is used; if none
    does, one is cut to fit.
    """
    draws = torch.rand(count, 2 * TRIES + 2, device=device)
    area = (AREA[0] + (AREA[1] - AREA[0]) * draws[:, :TRIES]) * (height * width)
    low, high = math.log(RATIO[0]), math.log(RATIO[1])
    ratio = torch.exp(low + (high - low) * draws[:, TRIES : 2 * TRIES])
    wide, tall = (area * ratio).sqrt() / width, (area / ratio).sqrt() / height
    first = ((wide <= 1) & (tall <= 1)).int().argmax(1, keepdim=True)
    sides = torch.cat([wide.gather(1, first), tall.gather(1, first)], 1).clamp(max=1)
    return torch.cat([draws[:, -2:] * (1 - sides), sides], 1)

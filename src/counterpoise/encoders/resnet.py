"""ResNet-18, the encoder of most papers on balanced multimodal learning."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from torch import Tensor, nn
from torch.nn import functional as F

from counterpoise.core.declared import Bounds
from counterpoise.core.paths import expand
from counterpoise.core.storage import read_weights
from counterpoise.errors import InputError

from .base import Encoder, Shapes, shape_of
from .pictures import Pictures

FEATURES = 512


class Block(nn.Module):
    """Two 3 x 3 convolutions and a shortcut around them.

    Args:
        inputs: number of input channels.
        outputs: number of output channels.
        stride: stride of the first convolution, and of the 1 x 1 convolution in the shortcut.
    """

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.downsample: nn.Module | None = None
        if stride > 1 or inputs != outputs:
            beside = nn.Conv2d(inputs, outputs, 1, stride, bias=False)
            self.downsample = nn.Sequential(beside, nn.BatchNorm2d(outputs))

    def forward(self, maps: Tensor) -> Tensor:
        beside = maps if self.downsample is None else self.downsample(maps)
        inner = F.relu(self.bn1(self.conv1(maps)))
        return F.relu(self.bn2(self.conv2(inner)) + beside)


class ResNet18(Encoder):
    """ResNet-18 without its classifier (He et al. 2016): pictures -> [B, 512].

    Takes spectrograms [B, F, T], pictures [B, C, H, W] (an optical flow of L frames has C = 2L),
    and frames [B, T, C, H, W], each of which is encoded; the mean over time and place is taken.
    Bytes are scaled to 0 .. 1 and normalised, floats are taken as they are (:class:`Pictures`).
    Parameters are named as in the widely published state dicts.

    Args:
        channels: ``C``.
        crop: side of random crops in training, to which evaluation resizes the whole picture.
        flip: mirror half of the samples in training; by default with a crop of 3 channels.
        weights: a safetensors file to start from. A classifier in it (``fc``) is left out; if it
            has 3 channels and ``C`` is not 3, its first layer is averaged over them.
        white: the value of white in float pictures, such as 255 or 1: they are divided by it and
            then normalised like bytes.
        steps: return the last map as a sequence, [B, (T *) h * w, 512].
    """

    name = "resnet18"
    sized = False

    def __init__(
        self,
        channels: int = 3,
        *,
        crop: Annotated[int | None, Bounds(1, 8192)] = None,
        flip: bool | None = None,
        weights: str | Path | None = None,
        white: Annotated[float | None, Bounds(above=0)] = None,
        steps: bool = False,
    ) -> None:
        super().__init__()
        self.pictures = Pictures(channels, crop=crop, flip=flip, white=white)
        self.steps = steps
        self.conv1 = nn.Conv2d(channels, 64, 7, 2, padding=3, bias=False)
        self.bn1 = nn.BatchNorm2d(64)
        self.layer1 = nn.Sequential(Block(64, 64, 1), Block(64, 64, 1))
        self.layer2 = nn.Sequential(Block(64, 128, 2), Block(128, 128, 1))
        self.layer3 = nn.Sequential(Block(128, 256, 2), Block(256, 256, 1))
        self.layer4 = nn.Sequential(Block(256, FEATURES, 2), Block(FEATURES, FEATURES, 1))
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
        if weights is not None:
            self._start_from(expand(weights))
            self.pretrained = True

    @classmethod
    def arguments(cls, shape: Shapes, width: int) -> tuple[Any, ...]:
        found = shape_of(shape, "picture", 2, 3, 4)
        return (1 if len(found) == 2 else found[-3],)

    def forward(self, pictures: Tensor) -> Tensor:
        if pictures.dim() == 3:
            pictures = pictures[:, None]
        pictures = self.pictures(pictures)
        count, frames = pictures.shape[0], pictures.dim() == 5
        maps = F.relu(self.bn1(self.conv1(pictures.flatten(0, 1) if frames else pictures)))
        maps = F.max_pool2d(maps, 3, 2, padding=1)
        for layer in (self.layer1, self.layer2, self.layer3, self.layer4):
            maps = layer(maps)
        places = maps.flatten(2).transpose(1, 2).reshape(count, -1, FEATURES)
        return places if self.steps else places.mean(1)

    def _start_from(self, path: Path) -> None:
        found = {k: v for k, v in read_weights(path).items() if not k.startswith("fc.")}
        first, own = found.get("conv1.weight"), self.conv1.weight
        if first is not None and first.dim() == 4 and first.shape[1] == 3 != own.shape[1]:
            found["conv1.weight"] = first.mean(1, keepdim=True).expand(-1, own.shape[1], -1, -1)
        try:
            self.load_state_dict(found)
        except RuntimeError as error:
            lines = [line.strip() for line in str(error).splitlines()]
            reason = lines[1] if len(lines) > 1 else lines[0]
            if len(reason) > 200:
                reason = f"{reason[:200]} ..."
            raise InputError(f"weights {path} are not those of a ResNet-18: {reason}") from None

"""What is raced: training by the library, and the same work in bare PyTorch.

Both are endless iterators. Each ``next`` is one step, from the indexing of the data to the moved
weights; it gives the modalities whose encoders ran, if counted.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import count

import torch
from torch import Tensor, nn
from torch.nn import functional as F

import counterpoise as cp
from counterpoise.encoders import CNN1d, CNN2d
from counterpoise.engine.epoch import iterate

CLASSES = 10
Ran = tuple[str, ...]


@dataclass(frozen=True)
class Setting:
    """Data and encoders that the contestants of a race share."""

    name: str
    shapes: Mapping[str, tuple[int, ...]]  # modality -> shape of a sample
    encoder: Callable[[tuple[int, ...]], nn.Module]  # shape -> encoder, [B, *shape] -> [B, width]
    width: int
    batch_size: int  # of training steps
    train: int  # samples; a multiple of batch_size, so that every step is a full one
    test: int  # samples
    rounds: int  # steps of each contestant
    passes: int  # evaluations by each contestant
    device: torch.device  # of the models; data stay on the host, as they do for a user

    def data(self) -> cp.ArrayData:
        """Standard normal inputs; targets that have nothing to do with them."""
        parts = {"train": self.train, "validation": CLASSES, "test": self.test}
        total = sum(parts.values())
        inputs = {m: torch.randn(total, *shape) for m, shape in self.shapes.items()}
        rows = torch.arange(total)
        split = dict(zip(parts, rows.split(list(parts.values())), strict=True))
        return cp.ArrayData(inputs, rows % CLASSES, split=split)

    def encoders(self) -> dict[str, nn.Module]:
        """New encoders, with the same weights at each call."""
        torch.manual_seed(0)
        return {m: self.encoder(shape) for m, shape in self.shapes.items()}


def small_encoder(shape: tuple[int, ...]) -> nn.Module:
    """The library's own: CNN2d for pictures [H, H], CNN1d for sequences [C, T]."""
    return CNN2d(None) if shape[0] == shape[1] else CNN1d(shape[0])


def convolution(inputs: int, outputs: int, size: int, stride: int) -> nn.Module:
    layer = nn.Conv2d(inputs, outputs, size, stride, size // 2, bias=False)
    return nn.Sequential(layer, nn.BatchNorm2d(outputs))


class Block(nn.Module):
    """Two 3 x 3 convolutions beside a shortcut."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.first = convolution(inputs, outputs, 3, stride)
        self.second = convolution(outputs, outputs, 3, 1)
        wider = inputs != outputs
        self.shortcut = convolution(inputs, outputs, 1, stride) if wider else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        inner = self.second(F.relu(self.first(x), inplace=True))
        return F.relu(inner + self.shortcut(x), inplace=True)


def resnet18(shape: tuple[int, ...]) -> nn.Module:
    """ResNet-18 without its classifier, 11.2 M parameters: [B, C, H, W] -> [B, 512]."""
    layers = [convolution(shape[0], 64, 7, 2), nn.ReLU(inplace=True), nn.MaxPool2d(3, 2, 1)]
    for inputs, outputs in ((64, 64), (64, 128), (128, 256), (256, 512)):
        layers += [Block(inputs, outputs, outputs // inputs), Block(outputs, outputs, 1)]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten())


def bare_training(
    setting: Setting, data: cp.Dataset, only: str | None = None, bf16: bool = False
) -> Iterator[Ran]:
    """The loop that one writes without the library, over all modalities or one."""
    device = setting.device
    encoders = {m: e for m, e in setting.encoders().items() if only in (None, m)}
    head = nn.Linear(len(encoders) * setting.width, CLASSES)
    model = nn.ModuleList([*encoders.values(), head]).to(device)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9, weight_decay=1e-4)
    inputs, target = data.train.inputs, data.train.target
    while True:
        for rows in torch.randperm(len(target)).split(setting.batch_size):
            x = {m: inputs[m][rows].to(device) for m in encoders}
            y = target[rows].to(device)
            with torch.autocast(device.type, torch.bfloat16, enabled=bf16):
                features = torch.cat([encoder(x[m]) for m, encoder in encoders.items()], 1)
                loss = F.cross_entropy(head(features), y)
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()
            yield ()


def library_training(
    setting: Setting,
    data: cp.Dataset,
    method: cp.Method,
    bf16: bool = False,
    model: cp.MultimodalModel | None = None,
    accumulate: int = 1,
) -> Iterator[Ran]:
    """What ``fit`` does in an epoch: Loader -> method.step(batch, ctx).

    Each step gives the passes that it took: ``image`` for a forward pass of that encoder, and
    ``image back`` for a backward one.
    """
    precision = "bf16" if bf16 else "fp32"
    if model is None:
        model = cp.build_model(data, method, encoders=setting.encoders(), precision=precision)
    model.to(setting.device).train()
    optimizer = cp.Settings().build_optimizer([*model.parameters(), *method.parameters()])
    loaders = {
        "train": cp.Loader(data.train, setting.batch_size, shuffle=True, device=setting.device),
        "validation": cp.Loader(data.validation, setting.batch_size, device=setting.device),
    }
    ctx = cp.Context(model, optimizer, data.task, loaders, accumulate=accumulate)
    torch.manual_seed(0)
    ran: list[str] = []
    for name, encoder in model.encoders.items():  # before setup: copies made there count as well
        encoder.register_forward_hook(_counter(ran, name))
    method.setup(ctx)
    for epoch in count():
        for batch in iterate(method, ctx, epoch):
            ran.clear()
            method.step(batch, ctx)
            yield tuple(ran)


def _counter(ran: list[str], name: str) -> Callable[..., None]:
    def hook(module: nn.Module, inputs: object, features: Tensor) -> None:
        ran.append(name)
        if features.requires_grad:
            features.register_hook(lambda _: ran.append(f"{name} back"))

    return hook


def accuracy(model: cp.MultimodalModel, data: cp.Dataset, batch_size: int) -> float:
    """With all modalities, in one plain pass: what a user writes without ``evaluate``."""
    inputs, target, hits = data.test.inputs, data.test.target, 0
    model.eval()
    with torch.no_grad():
        for rows in torch.arange(len(target)).split(batch_size):
            present = dict.fromkeys(inputs, torch.ones(len(rows), dtype=torch.bool))
            features = {m: e(inputs[m][rows].to(model.device)) for m, e in model.encoders.items()}
            guess = model.fuse(features, present).logits.argmax(1).cpu()
            hits += int((guess == target[rows]).sum())
    return hits / len(target)

"""Time and memory of a step of every method, against joint training of the same model."""

from __future__ import annotations

import argparse
import gc
import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import contestants as race
import numpy as np
import torch
from bench import WARM_UP, machine, peak_mib, settings, timed
from contestants import Ran, Setting
from rich import box
from rich.console import Console
from rich.table import Table

import counterpoise as cp

# What side work a method has between epochs is not a step; kept short here.
OPTIONS: dict[str, dict[str, Any]] = {"modality-dropout": {"rates": 0.5}}
TOLERANCE = 1.1


@dataclass(frozen=True)
class Cost:
    """A method's step beside joint training of the same model."""

    encoders: str
    method: str
    fusion: str
    forwards: float  # passes a step, all modalities, over those of joint training
    backwards: float
    work: float  # the time these passes alone would take, in steps of joint training
    measured: float
    quartiles: tuple[float, float]
    step_mib: float  # the most a step holds beyond what was held before it
    held_mib: float  # weights and state of model and method

    @property
    def above(self) -> float:
        """How far above its work a step is: 0.1 is 10 %."""
        return self.measured / self.work - 1


def passes(setting: Setting, data: cp.Dataset, rounds: int) -> dict[str, float]:
    """Median seconds of each encoder's forward and backward pass, by ``m`` and ``m back``."""
    encoders = {m: e.to(setting.device) for m, e in setting.encoders().items()}
    batch = data.train[torch.arange(setting.batch_size)].to(setting.device)
    found: dict[str, list[float]] = {}

    def forward(name: str) -> Iterator[Ran]:
        while True:
            features[name] = encoders[name](batch.inputs[name])
            yield ()

    def backward(name: str) -> Iterator[Ran]:
        while True:
            features[name].sum().backward()
            for p in encoders[name].parameters():
                p.grad = None
            yield ()

    features: dict[str, torch.Tensor] = {}
    runners = {m: (forward(m), backward(m)) for m in encoders}
    for number in range(WARM_UP + rounds):
        for name, (ahead, back) in runners.items():
            for key, runner in ((name, ahead), (f"{name} back", back)):
                seconds = timed(runner, setting.device)[0]
                if number >= WARM_UP:
                    found.setdefault(key, []).append(seconds)
    return {key: float(np.median(values)) for key, values in found.items()}


def contestant(setting: Setting, data: cp.Dataset, method: cp.Method, like: cp.Method) -> Any:
    """A method training a model that is built for ``like``; and what both hold, in MiB."""
    model = cp.build_model(data, like, encoders=setting.encoders())
    runner = race.library_training(setting, data, method, model=model)
    next(runner)  # the first step makes optimiser state, and trains what it needs beforehand
    tensors = {t.data_ptr(): t for o in (model, method) for t in o.state_dict().values()}
    return runner, sum(t.numel() * t.element_size() for t in tensors.values()) / 2**20


def costs(setting: Setting, names: list[str], rounds: int) -> list[Cost]:
    """Each method raced against joint training of its own kind of model, one after the other."""
    data = setting.data()
    alone = passes(setting, data, rounds)
    found = []
    with Console(stderr=True).status(setting.name) as status:
        for name in names:
            status.update(f"{setting.name}: {name}")
            method = cp.build_method(name, **OPTIONS.get(name, {}))
            mine, held = contestant(setting, data, method, method)
            joint, _ = contestant(setting, data, cp.build_method("joint"), method)
            ratios: list[float] = []
            seconds: list[float] = []
            ran: Counter[str] = Counter()
            for number in range(WARM_UP + rounds):
                pair = [(mine, "mine"), (joint, "joint")]
                took = {}
                for runner, who in pair if number % 2 else pair[::-1]:
                    took[who], events = timed(runner, setting.device)
                    if who == "mine" and number >= WARM_UP:
                        ran.update(events)
                if number >= WARM_UP:
                    ratios.append(took["mine"] / took["joint"])
                    seconds.append(took["joint"])
            counted = {key: ran[key] / rounds for key in alone}
            # A joint step and the passes that differ from its own, at what each takes alone.
            extra = sum(s * (counted[key] - 1) for key, s in alone.items())
            low, middle, high = np.quantile(ratios, (0.25, 0.5, 0.75)).tolist()
            # Steps that differ from each other (what was dropped, whose turn it is) need a mean.
            uneven = len({round(n, 6) for n in counted.values()} - {0.0, 1.0, 2.0}) > 0
            ahead = [n for key, n in counted.items() if not key.endswith("back")]
            back = [n for key, n in counted.items() if key.endswith("back")]
            fusion = cp.build_model(data, method, encoders=setting.encoders()).fusion
            found.append(
                Cost(
                    setting.name,
                    name,
                    type(fusion).__name__.lower(),
                    float(np.mean(ahead)),
                    float(np.mean(back)),
                    1 + extra / float(np.median(seconds)),
                    float(np.mean(ratios)) if uneven else middle,
                    (low, high),
                    peak_mib(mine, setting.device),
                    held,
                )
            )
            del mine, joint
            gc.collect()
    return found


def show(found: list[Cost], markdown: bool) -> None:
    heads = ("encoders", "method", "fusion", "passes", "work", "time", "quartiles", "above")
    table = Table(*heads, "step MiB", "held MiB", box=box.MARKDOWN if markdown else box.SIMPLE)
    for c in found:
        table.add_row(
            c.encoders,
            c.method,
            c.fusion,
            f"{c.forwards:.2f} + {c.backwards:.2f}",
            f"{c.work:.2f}",
            f"{c.measured:.2f}",
            "{:.2f} - {:.2f}".format(*c.quartiles),
            f"{100 * c.above:+.0f} %" + (" *" if c.measured > TOLERANCE * c.work else ""),
            f"{c.step_mib:.1f}",
            f"{c.held_mib:.1f}",
        )
    Console(width=160 if markdown else None).print(table)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    out = Path(__file__).with_name("methods.json")
    parser.add_argument("--methods", type=lambda text: text.split(","), default=list(cp.METHODS))
    parser.add_argument("--out", type=Path, default=out, help="where the JSON goes")
    parser.add_argument("--quick", action="store_true", help="only shows that everything runs")
    parser.add_argument("--markdown", action="store_true", help="print a table for documents")
    options = parser.parse_args()
    torch.set_num_threads(1)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    small, large, _ = settings(options.quick, device)
    found = costs(small, options.methods, 5 if options.quick else 40)
    found += costs(large, options.methods, 2 if options.quick else 5)
    record = {"machine": machine(device), "quick": options.quick, "costs": list(map(asdict, found))}
    options.out.write_text(json.dumps(record, indent=2) + "\n")
    show(found, options.markdown)


if __name__ == "__main__":
    main()

"""Time and memory of training and evaluation, against the same work in bare PyTorch."""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import contestants as race
import numpy as np
import torch
from contestants import Ran, Setting
from rich import box
from rich.console import Console
from rich.table import Table
from torch.profiler import ProfilerActivity, profile

from counterpoise import build_method, build_model, evaluate

Costs = dict[str, tuple[float, float]]
WARM_UP = 3
RATES = {"dropout 0.5": 0.5, "dropout 0.8": 0.8}


@dataclass(frozen=True)
class Result:
    """A measured ratio, the most it should be, and the quartiles over the rounds."""

    encoders: str
    ratio: str
    measured: float
    target: float
    quartiles: tuple[float, float] | None  # memory is counted once, and has none
    note: str = ""

    @property
    def met(self) -> bool:
        return self.measured <= self.target


class Race:
    """All contestants step in turn, so that what slows the machine down slows all of them."""

    def __init__(self, setting: Setting, contestants: Mapping[str, Any], rounds: int) -> None:
        self.setting, names = setting, list(contestants)
        steps: dict[str, list[tuple[float, Ran]]] = {name: [] for name in names}
        for number in range(WARM_UP + rounds):
            first = number % len(names)  # takes turns as well
            for name in names[first:] + names[:first]:
                steps[name].append(timed(contestants[name], setting.device))
        self.seconds = {n: np.array([s for s, _ in steps[n][WARM_UP:]]) for n in names}
        self.ran = {n: [ran for _, ran in steps[n][WARM_UP:]] for n in names}

    def result(self, name: str, reference: str, target: float, note: str = "") -> Result:
        """The median of the rounds' ratios."""
        values = self.seconds[name] / self.seconds[reference]
        low, middle, high = np.quantile(values, (0.25, 0.5, 0.75)).tolist()
        quartiles, what = (low, high), f"{name} / {reference}"
        return Result(self.setting.name, what, middle, target, quartiles, note)

    def dropout(self, name: str, rate: float) -> Result:
        """Against joint; should cost what bare steps over the modalities it kept cost.

        Means, not medians: steps differ by what they drop.
        """
        names = tuple(self.setting.shapes)
        bare, values = self.seconds["bare"], self.seconds[name] / self.seconds["joint"]
        encoded = [tuple(p for p in ran if p in names) for ran in self.ran[name]]
        kept = ["bare" if ran == names else f"bare {ran[0]}" for ran in encoded]
        work = np.mean([self.seconds[k][i] / bare[i] for i, k in enumerate(kept)])
        # Of two, a modality stays by its own draw, or as the nearer one when both were dropped.
        expected = 1 - rate + rate**2 / 2
        counted = np.mean([len(ran) for ran in encoded]) / len(names)
        note = f"encoder calls {expected:.3f} expected, {counted:.3f} counted; work {work:.3f}"
        usual = self.result(name, "joint", float(1.05 * work), note)
        return replace(usual, measured=float(values.mean()))


def timed(contestant: Iterator[Ran], device: torch.device) -> tuple[float, Ran]:
    """Seconds of one step, and which encoders ran in it."""
    wait = torch.cuda.synchronize if device.type == "cuda" else lambda: None
    # One thread's own processor time leaves out what it waited for other processes.
    alone = device.type == "cpu" and torch.get_num_threads() == 1
    clock = time.process_time if alone else time.perf_counter
    wait()
    begun = clock()
    ran = next(contestant)
    wait()
    return clock() - begun, ran


def peak_mib(contestant: Iterator[Ran], device: torch.device) -> float:
    """What the allocator holds at the fullest moment of a step, beyond what it held before."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        next(contestant)
        return (torch.cuda.max_memory_allocated() - before) / 2**20
    os.environ["KINETO_LOG_LEVEL"] = "99"  # the profiler reports each start and stop otherwise
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiler:
        next(contestant)
    with tempfile.TemporaryDirectory() as folder:
        trace = Path(folder) / "trace.json"
        profiler.export_chrome_trace(str(trace))
        events = json.loads(trace.read_text())["traceEvents"]
    changes = sorted((e for e in events if e.get("name") == "[memory]"), key=lambda e: e["ts"])
    return float(np.cumsum([e["args"]["Bytes"] for e in changes]).max()) / 2**20


def training(setting: Setting, bf16: bool) -> tuple[list[Result], Costs]:
    """The methods against the bare loop; and each contestant's seconds and MiB a step."""
    data, joint = setting.data(), build_method("joint")
    contestants = {
        "bare": race.bare_training(setting, data),
        "joint": race.library_training(setting, data, joint),
        "mla": race.library_training(setting, data, build_method("mla")),
    }
    contestants |= {f"bare {m}": race.bare_training(setting, data, only=m) for m in setting.shapes}
    for name, rate in RATES.items():
        method = build_method("modality-dropout", rates=rate, granularity="batch")
        contestants[name] = race.library_training(setting, data, method)
    if bf16:
        contestants["bare bf16"] = race.bare_training(setting, data, bf16=True)
        contestants["in 4 parts"] = race.library_training(setting, data, joint, accumulate=4)
        contestants["joint bf16"] = race.library_training(setting, data, joint, bf16=True)
    found = Race(setting, contestants, setting.rounds)
    peak = {name: peak_mib(one, setting.device) for name, one in contestants.items()}
    results = [found.result("joint", "bare", 1.05), found.result("mla", "joint", 1.0)]
    results += [found.dropout(name, rate) for name, rate in RATES.items()]
    if bf16:
        faster = "1.4 x as fast, or more"
        results.append(found.result("joint bf16", "joint", 1 / 1.4, faster))
        results.append(found.result("in 4 parts", "joint", 1.45, "accumulate=4: a second forward"))
        results.append(found.result("bare bf16", "bare", 1 / 1.4, "what autocast alone gives"))
    alone = [peak[f"bare {m}"] for m in setting.shapes]
    note = f"the sum over modalities would be {sum(alone) / max(alone):.3f}"
    rivals = [("joint", "bare", peak["bare"]), ("mla", "largest", max(alone))]
    rivals += [("in 4 parts", "joint", peak["joint"])] if bf16 else []
    for name, reference, most in rivals:
        what, ratio = f"memory, {name} / {reference}", peak[name] / most
        results.append(Result(setting.name, what, ratio, 1.05, None, note * (name == "mla")))
    return results, {n: (float(np.median(found.seconds[n])), peak[n]) for n in contestants}


def evaluation(setting: Setting) -> Result:
    """All subsets against one plain pass."""
    data = setting.data()
    model = build_model(data, encoders=setting.encoders()).to(setting.device)
    contestants = {  # called without end, as neither ever gives None
        "all subsets": iter(partial(evaluate, model, data, batch_size=256), None),
        "one pass": iter(partial(race.accuracy, model, data, 256), None),
    }
    note = f"{len(setting.shapes)} modalities, {setting.test} samples"
    return Race(setting, contestants, setting.passes).result("all subsets", "one pass", 1.2, note)


def settings(quick: bool, device: torch.device) -> tuple[Setting, Setting, Setting]:
    """Two small encoders, two large ones, and three small ones for evaluation."""
    pair = {"image": (28, 28), "audio": (40, 48)}
    triple = pair | {"inertial": (6, 100)}
    large = {"audio": (1, 128, 128), "video": (3, 96, 96)}
    few, many = ((512, 15, 3), (16, 3, 3)) if quick else ((2048, 150, 25), (64, 12, 7))
    if quick:
        large = {"audio": (1, 64, 64), "video": (3, 48, 48)}
    return (
        Setting("small", pair, race.small_encoder, 128, 32, 512, *few, device),
        Setting("ResNet-18", large, race.resnet18, 512, 4 if quick else 8, 64, *many, device),
        Setting("small", triple, race.small_encoder, 128, 32, 512, *few, device),
    )


def machine(device: torch.device) -> dict[str, Any]:
    """What the figures depend on."""
    info = Path("/proc/cpuinfo")
    model = re.search(r"model name\s*: (.*)", info.read_text() if info.exists() else "")
    cpu = model[1] if model else platform.machine()
    return {
        "device": torch.cuda.get_device_name() if device.type == "cuda" else cpu,
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "python": platform.python_version(),
    }


def show(results: list[Result], costs: dict[str, Costs], markdown: bool) -> None:
    style = box.MARKDOWN if markdown else box.SIMPLE
    heads = ("encoders", "ratio", "measured", "quartiles", "target", "met", "note")
    ratios, steps = Table(*heads, box=style), Table("encoders", "step", "ms", "MiB", box=style)
    for r in results:
        spread = "{:.2f} - {:.2f}".format(*r.quartiles) if r.quartiles else ""
        figures = (f"{r.measured:.3f}", spread, f"<= {r.target:.3f}", "yes" if r.met else "no")
        ratios.add_row(r.encoders, r.ratio, *figures, r.note)
    for encoders, found in costs.items():
        for name, (seconds, mib) in found.items():
            steps.add_row(encoders, name, f"{1000 * seconds:.1f}", f"{mib:.1f}")
    Console(width=160 if markdown else None).print(ratios, steps)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    out = Path(__file__).with_name("results.json")
    parser.add_argument("--out", type=Path, default=out, help="where the JSON goes")
    parser.add_argument("--quick", action="store_true", help="only shows that everything runs")
    parser.add_argument("--markdown", action="store_true", help="print tables for documents")
    parser.add_argument("--threads", type=int, default=1, help="of PyTorch on the CPU")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    small, large, three = settings(options.quick, device)
    with Console(stderr=True).status("small encoders") as status:
        results, steps = training(small, bf16=False)
        status.update("ResNet-18")
        more, more_steps = training(large, bf16=True)
        status.update("evaluation")
        results += [*more, *map(evaluation, (small, three, large))]
    costs = {small.name: steps, large.name: more_steps}
    record = {
        "machine": machine(device),
        "quick": options.quick,
        "ratios": [asdict(result) | {"met": result.met} for result in results],
        "seconds and MiB a step": costs,
    }
    options.out.write_text(json.dumps(record, indent=2) + "\n")
    show(results, costs, options.markdown)


if __name__ == "__main__":
    main()

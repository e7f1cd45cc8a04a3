"""The settings with which every method runs through the tests that are for all of them.

A method is in these tests from the day it stands in ``METHODS``; it needs a line here only where
its defaults would not act within a short run.
"""

from __future__ import annotations

from typing import Any

from counterpoise import METHODS, Method, build_method

OPTIONS: dict[str, dict[str, Any]] = {
    "arl": {"start": 0},
    "diagnose-relearn": {"every": 1},
    "modality-dropout": {"rates": 0.5},
    "modality-valuation": {"warm_up": 1, "most": 2},
    "reconboost": {"boost_epochs": 1, "rectify_epochs": 2},
}

# Beside the defaults: other ways through a method that the properties must hold for too.
VARIANTS: dict[str, tuple[str, dict[str, Any]]] = {
    "dropout by sample": ("modality-dropout", {"rates": 0.5, "granularity": "sample"}),
    "dropout shared": ("modality-dropout", {"rates": {"b": 0.6}, "coupling": "shared"}),
    "mla shuffled, before": ("mla", {"order": "shuffle", "update_order": "before"}),
    "mla normalised": ("mla", {"projector": "normalised", "reset_every": "epoch"}),
    "relearn reset": (
        "diagnose-relearn",
        {"every": 1, "moments": "reset", "batch_norm": "interpolate"},
    ),
    "g-blending online": ("g-blending", {"when": "online", "super_epoch": 1}),
    "mmpareto released": ("mmpareto", {"mode": "released"}),
    "lfm released": ("lfm", {"mode": "released", "alpha": 0.5}),
    "lfm js": ("lfm", {"alignment": "js", "alpha": 0.5}),
    "greedy random": ("greedy", {"choice": "random"}),
    "valuation of modalities": ("modality-valuation", {"warm_up": 1, "level": "modality"}),
    "amco of three": ("amco", {"threshold": 0.35}),
    "qmf released": ("qmf", {"mode": "released"}),
    "aug released": ("aug", {"mode": "released"}),
    "opm per modality": ("opm", {"q_base": 0.9, "rescale": "per_modality"}),
    "agm, moving average": ("agm", {"momentum": 0.9, "cap": None}),
    "dropout + ogm-ge": ("modality-dropout+ogm-ge", {"modality-dropout": {"rates": 0.4}}),
    "relearn + mla": ("diagnose-relearn+mla", {"diagnose-relearn": {"every": 1}}),
}

CASES: dict[str, tuple[str, dict[str, Any]]] = {
    **{name: (name, OPTIONS.get(name, {})) for name in METHODS},
    **VARIANTS,
}


def build(case: str, names: dict[str, str] | None = None) -> Method:
    """The method of a case; ``names`` renames the modalities in its options."""
    name, options = CASES[case]
    rates = options.get("rates")
    if names and isinstance(rates, dict):
        options = options | {"rates": {names[m]: rate for m, rate in rates.items()}}
    return build_method(name, **options)

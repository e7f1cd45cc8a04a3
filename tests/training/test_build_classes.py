"""Models of classes and instances of one's own, by name, in runs and in errors."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from toy import same, toy_data, weights

from counterpoise import (
    METHODS,
    Chain,
    Concat,
    Fusion,
    InputError,
    Method,
    MultimodalClassifier,
    Settings,
    build_method,
    build_model,
    evaluate,
    fit,
)
from counterpoise.compare.recipe import Recipe
from counterpoise.encoders import LSTM, Encoder
from counterpoise.training.run import load_run, open_run


class Largest(Fusion):
    """The largest of what each modality says."""

    def __init__(
        self, widths: Any, outputs: int, unimodal: str = "ablate", *, scale: float = 1.0
    ) -> None:
        super().__init__(widths, outputs, unimodal)
        self.heads = nn.ModuleDict({m: nn.Linear(w, outputs) for m, w in widths.items()})
        self.scale = scale

    def logits(self, features: Any, present: Any, shares: Any) -> Tensor:
        said = [self.heads[m](z) for m, z in features.items()]
        return self.scale * torch.stack(said).amax(0)

    def share(self, name: str, features: Any, counts: Tensor) -> Tensor:
        return self.scale * self.heads[name](features[name])


class Deaf(Largest):
    """Asks for no policy of unimodal logits, but has another option."""

    def __init__(self, widths: Any, outputs: int, scale: str = "wide") -> None:
        super().__init__(widths, outputs, "ablate")
        self.kept = scale


class Unfinished(Fusion):
    """Has no logits."""


class Means(Encoder):
    """A linear layer on the means of each channel."""

    def __init__(self, channels: int, width: int, *, bias: bool = True) -> None:
        super().__init__()
        self.layer = nn.Linear(channels, width, bias=bias)

    @classmethod
    def arguments(cls, shape: Any, width: int) -> tuple[int, ...]:
        return shape[0], width

    def forward(self, inputs: Tensor) -> Tensor:
        return self.layer(inputs.flatten(2).mean(2) if inputs.dim() > 2 else inputs)


class Thirsty(Means):
    """Does not say what its arguments are."""

    @classmethod
    def arguments(cls, shape: Any, width: int) -> tuple[int, ...]:
        return ()


class Louder(Method):
    """Joint training with a louder loss."""

    def __init__(self, *, by: float = 2.0) -> None:
        super().__init__()
        self.by = by

    def losses(self, out: Any, batch: Any, ctx: Any) -> dict[str, Tensor]:
        return {"fused": self.by * ctx.loss(out.logits, batch)}


class Forgetful(Method):
    """Its option would be in no record."""

    def __init__(self, by: float = 2.0) -> None:
        super().__init__()
        self.by = by


DATA = toy_data(2)


def test_a_fusion_by_class_and_by_instance_trains() -> None:
    by_class = build_model(DATA, fusion=Largest, width=8)
    assert type(by_class.fusion) is Largest and by_class.fusion.policy == "slice"
    assert build_model(DATA, fusion=Largest, width=8, unimodal="aux").fusion.policy == "aux"
    made = Largest(by_class.fusion.widths, DATA.task.outputs, scale=2.0)
    model = build_model(DATA, fusion=made, width=8)
    assert model.fusion is made
    run = fit(model, DATA, "joint", epochs=1)
    assert evaluate(run.model, DATA).metrics


def test_the_library_s_classes_make_what_their_names_make() -> None:
    by_name = build_model(DATA, fusion="concat", encoders={"a": "mlp"}, width=8, seed=3)
    by_class = build_model(DATA, fusion=Concat, width=8, seed=3)
    assert same(weights(by_name), weights(by_class))


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (
            {"fusion": Deaf},
            r"fusion Deaf is made by Deaf\(widths, outputs, unimodal='slice'\), which its "
            r"__init__ does not take: .*'unimodal'",
        ),
        ({"fusion": Unfinished}, "fusion Unfinished must define logits"),
        ({"fusion": Fusion}, "fusion Fusion must define logits"),
        ({"fusion": nn.Linear}, "fusion must be a subclass of Fusion, found <class"),
        ({"fusion": nn.Linear(2, 2)}, "must be a name, a Fusion or a subclass of it, found Linear"),
        ({"fusion": Concat({"a": 3, "b": 8}, 3)}, r"built for features of widths \{'a': 3, 'b"),
        (
            {"fusion": Concat({"a": 8, "b": 8}, 3), "unimodal": "aux"},
            "unimodal is 'aux', and the fusion is built with 'slice'",
        ),
        ({"encoders": {"a": Thirsty}}, r"the encoder of 'a': encoder Thirsty is made by .*chann"),
        ({"encoders": {"a": nn.Linear}}, "the encoder of 'a': encoder must be a subclass of Enc"),
        ({"encoders": {"a": LSTM}}, r"the encoder of 'a': samples of shape \[\d+\] are no seq"),
        ({"encoders": {"a": 3}}, "the encoder of 'a': encoder must be a name, an? Encoder"),
        ({"method": Concat}, "method must be a subclass of Method, found <class"),
        ({"method": Forgetful}, "method Forgetful must be keyword-only arguments; put .* 'by'"),
    ],
)
def test_what_does_not_fit_is_refused_by_name(options: dict[str, Any], said: str) -> None:
    with pytest.raises(InputError, match=said) as error:
        build_model(DATA, width=8, **options)
    assert "\n" not in str(error.value)


def test_an_encoder_by_class_is_built_for_its_modality() -> None:
    model = build_model(DATA, encoders={"a": Means, "b": nn.Identity()}, width=6)
    assert isinstance(model.encoders["a"], Means) and model.fusion.widths["a"] == 6
    assert isinstance(model.encoders["b"], nn.Identity)
    with pytest.raises(InputError, match="unknown option of Means 'bia'"):
        Means.build((4,), 6, bia=False)
    with pytest.raises(InputError, match="bias of Means must be true or false"):
        Means.build((4,), 6, bias="no")


def test_methods_by_label_class_and_instance() -> None:
    method = build_method("modality-dropout:rates=0.5:granularity=sample", coupling="shared")
    assert method.settings() | {"mode": ""} == {
        "rates": 0.5,
        "granularity": "sample",
        "coupling": "shared",
        "mode": "",
    }
    assert build_method("modality-dropout:rates.a=0.2").settings()["rates"] == {"a": 0.2}
    assert build_method(Louder, by=3.0).settings() == {"by": 3.0}
    made = Louder()
    assert build_method(made) is made
    chain = build_method(
        "modality-dropout:rates=0.5+ogm-ge:alpha=1e+0", **{"ogm-ge": {"mode": "released"}}
    )
    assert isinstance(chain, Chain)
    found = chain.settings()
    assert found["modality-dropout"]["rates"] == 0.5
    assert found["ogm-ge"]["alpha"] == 1.0 and found["ogm-ge"]["mode"] == "released"
    with pytest.raises(InputError, match="unknown method in the options of a chain 'ogm-g'"):
        build_method("joint+ogm-ge", **{"ogm-g": {}})
    with pytest.raises(InputError, match="unknown option of ogm-ge 'alfa'"):
        build_method("modality-dropout+ogm-ge:alfa=1")


@pytest.mark.parametrize("name", METHODS)
def test_every_method_says_each_option_by_keyword(name: str) -> None:
    kind = METHODS[name]
    assert kind().settings() == kind.options()
    label = ":".join([name, *(f"{o}={json.dumps(v)}" for o, v in kind.options().items())])
    assert build_method(label).settings() == kind.options()


def test_a_run_with_a_class_of_one_s_own_says_what_opening_it_needs(tmp_path: Path) -> None:
    settings = Settings(epochs=1)
    recipe = Recipe("digits", ("image", "audio"), fusion=Largest, width=8, settings=settings)
    run = recipe.train(recipe.load(), build_method("joint"), 0, out=tmp_path / "fusion")
    record = json.loads((tmp_path / "fusion" / "run.json").read_text())["identity"]
    assert record["model"]["fusion"] == record["notes"]["fusion"] == "largest"
    with pytest.raises(InputError, match=r"trained with fusion 'largest'.*its class and call load"):
        open_run(tmp_path / "fusion")
    data = recipe.load()
    model = build_model(data, fusion=Largest, width=8, seed=9)
    again = load_run(tmp_path / "fusion", model, data, build_method("joint"))
    assert same(weights(again.model), weights(run.model))
    recipe = Recipe(
        "digits", ("image", "audio"), encoders={"image": Means}, width=8, settings=settings
    )
    assert recipe.identity()["encoders"] == {"image": "means"}
    recipe.train(data, build_method("joint"), 0, out=tmp_path / "encoder")
    with pytest.raises(InputError, match="trained with encoder 'means', which is no name here"):
        open_run(tmp_path / "encoder")
    recipe = Recipe("digits", ("image", "audio"), width=8, settings=settings)
    recipe.train(data, Louder(), 0, out=tmp_path / "method")
    with pytest.raises(InputError, match="trained with method 'Louder'"):
        open_run(tmp_path / "method")


def test_the_estimator_takes_a_class() -> None:
    rng = torch.Generator().manual_seed(0)
    x = {"a": torch.randn(40, 3, generator=rng).numpy(), "b": torch.randn(40, 2).numpy()}
    model = MultimodalClassifier(fusion=Largest, width=4, epochs=1).fit(x, [0, 1] * 20)
    assert isinstance(model.model_.fusion, Largest)
    made = Concat({"a": 4, "b": 4}, 2)
    start = weights(made)
    model = MultimodalClassifier(fusion=made, width=4, epochs=1).fit(x, [0, 1] * 20)
    assert same(weights(made), start), "what is given is not trained in place"
    assert isinstance(model.model_.fusion, Concat)

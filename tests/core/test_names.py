"""Names of modalities: what they may be, and what they are called in a module."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from counterpoise import InputError
from counterpoise.core.names import PREFIX, ByModality, check_name, module_key

CLASHING = (
    *("type", "values", "keys", "items", "half", "float", "train", "to", "forward", "parameters"),
    *("training", "T_destination", "__class__", "_modules", "a.b", ".", "name:x", "name:a.b", ""),
)
PLAIN = ("x", "a/b", "a b", "ünï", "_x", "%2E", "a=b", "temp[/C]", "target", "id", "x" * 300, "$y$")


def test_only_names_that_pytorch_refuses_are_prefixed() -> None:
    refused = [n for n in (*CLASHING, *PLAIN) if _is_refused(n)]
    assert set(refused) == set(CLASHING) - {"name:x"}  # which must differ from a prefixed x
    assert [n for n in (*CLASHING, *PLAIN) if module_key(n) != n] == list(CLASHING)
    assert all(module_key(n).startswith(PREFIX) for n in CLASHING)


def _is_refused(name: str) -> bool:
    try:
        nn.ModuleDict({name: nn.Identity()})
    except (KeyError, TypeError):
        return True
    return False


def test_no_two_names_share_a_key() -> None:
    names = (*CLASHING, *PLAIN, "name:a%2Eb", "name:type", "a%2Eb", "name:%2E", "name:%252E")
    assert len({module_key(n) for n in names}) == len(names)


def test_a_dict_of_modules_knows_them_by_name() -> None:
    names = [*CLASHING, *PLAIN]
    found = ByModality({n: nn.Linear(1, 1) for n in names})
    assert list(found) == list(found.keys()) == [n for n, _ in found.items()] == names
    assert all(n in found and found[n] is found.get_submodule(module_key(n)) for n in names)
    assert "name:type" not in found and 3 not in found and len(found) == len(names)
    again = copy.deepcopy(found)
    again.load_state_dict(found.state_dict())
    assert list(again) == names
    last = found["type"]
    assert found.pop("type") is last and "type" not in found
    found["type"] = nn.Linear(2, 2)
    assert found["type"].in_features == 2 and list(found)[-1] == "type"


def test_plain_names_keep_the_keys_of_older_runs() -> None:
    old = nn.ModuleDict({n: nn.Linear(2, 1) for n in PLAIN})
    new = ByModality({n: nn.Linear(2, 1) for n in PLAIN})
    new.load_state_dict(old.state_dict())
    assert all(torch.equal(new[n].weight, old[n].weight) for n in PLAIN)


@pytest.mark.parametrize(
    "name", ["", " ", "a+b", "a,b", "a:b", "a\nb", "a\0", "\x85", "\ud800", "\uffff", 3]
)
def test_what_cannot_be_a_name_is_refused_in_one_line(name: object) -> None:
    with pytest.raises(InputError, match="must name modalities by a text without any of") as found:
        check_name(name)
    assert "\n" not in str(found.value)


def test_all_others_may() -> None:
    for name in (*CLASHING[:-1], *PLAIN):
        if ":" not in name:
            check_name(name)

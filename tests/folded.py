"""One test over many cases, where each case repeats one assertion."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import pytest


def check_each(cases: Iterable[Any], check: Callable[..., object]) -> None:
    """Run ``check`` on every case, and fail once, with the name and the reason of each failure.

    Args:
        cases: a tuple is spread over the arguments of ``check``; anything else is its only one.
    """
    count, failed = 0, {}
    for case in cases:
        count += 1
        try:
            check(*case) if isinstance(case, tuple) else check(case)
        except (Exception, pytest.fail.Exception) as error:
            failed[str(case)] = error
    assert count, "there is no case to check"
    if failed:
        lines = [f"{case}: {type(e).__name__}: {e}" for case, e in failed.items()]
        text = f"{len(failed)} of {count} cases failed:\n" + "\n".join(lines)
        raise AssertionError(text) from next(iter(failed.values()))

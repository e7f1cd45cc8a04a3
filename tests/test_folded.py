"""A folded test names every case that failed, and never passes without a case."""

from __future__ import annotations

import pytest
from folded import check_each


def test_every_failure_is_named() -> None:
    def check(number: int, limit: int = 2) -> None:
        assert number < limit, f"{number} is not below {limit}"

    check_each([0, 1, (4, 5)], check)
    with pytest.raises(AssertionError) as raised:
        check_each([1, 2, (7, 5)], check)
    text = str(raised.value)
    assert text.startswith("2 of 3 cases failed:\n2: AssertionError: 2 is not below 2")
    assert "\n(7, 5): AssertionError: 7 is not below 5" in text
    assert isinstance(raised.value.__cause__, AssertionError)


def test_an_error_that_was_expected_and_did_not_come_counts() -> None:
    def check(number: int) -> None:
        with pytest.raises(ZeroDivisionError):
            _ = 1 / number

    check_each([0], check)
    with pytest.raises(AssertionError, match="1 of 2 cases failed"):
        check_each([0, 1], check)


def test_no_case_is_a_failure() -> None:
    with pytest.raises(AssertionError, match="no case"):
        check_each([], print)

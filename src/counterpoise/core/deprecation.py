"""How something goes: announced for a release, and gone in the one that was named."""

from __future__ import annotations

import warnings


def deprecated(name: str, instead: str, *, goes: str) -> None:
    """Warn the user's line that ``name`` goes in a release; call it in the body of ``name``.

    A test fails as soon as the version reaches ``goes`` while the call is still there.

    Args:
        name: what is used, as the user wrote it.
        instead: what to use from now on.
        goes: the release without it, such as ``"0.3"``.
    """
    text = f"{name} goes in counterpoise {goes}; use {instead}"
    warnings.warn(text, FutureWarning, stacklevel=3)

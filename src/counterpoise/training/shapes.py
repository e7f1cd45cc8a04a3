"""What ``run.json`` must hold, in the shape of this format."""

from __future__ import annotations

from typing import Any

from msgspec import field

from counterpoise.core.schema import Shape


class DataOfRun(Shape):
    """What a run says of its data; the rest is the state of the task, which the task checks."""

    name: str
    modalities: list[str]
    fingerprint: str
    task: str
    outputs: int


class MethodOfRun(Shape):
    """What a run says of its method, which checks the options."""

    name: str
    options: dict[str, Any]


class ModelOfRun(Shape):
    """What a run says of its model."""

    fusion: str
    unimodal: str
    precision: str
    parameters: int
    shapes: str
    frozen: list[str] = field(default_factory=list)


class IdentityOfRun(Shape):
    """What makes a run this run; the settings have checks of their own, notes are the user's."""

    data: DataOfRun
    method: MethodOfRun
    model: ModelOfRun
    settings: dict[str, Any]
    notes: dict[str, Any]


class RecordOfRun(Shape):
    """``run.json``."""

    identity: IdentityOfRun
    epochs: int
    parts: dict[str, Any] | None = None
    classes: list[str] | None = None
    source: str | None = None
    read_as: str | None = None


class NotesOfCommand(Shape):
    """The notes of a run of the command line."""

    width: int
    fusion: str | None = None
    encoders: dict[str, str] = field(default_factory=dict)

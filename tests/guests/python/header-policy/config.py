"""From configuration text to settings, with errors that say where."""

import json
from dataclasses import dataclass, field
from typing import Any

FIELDS = {"require": list, "remove": list, "set": dict, "denyAgents": list}


@dataclass
class Fault:
    """What is wrong, and where (JSON pointer, RFC 6901)."""

    pointer: str
    message: str


class Wrong(Exception):
    """A configuration with all that is wrong with it."""

    def __init__(self, *faults: Fault) -> None:
        super().__init__("the configuration is wrong")
        self.faults = list(faults)


@dataclass
class Settings:
    """A configuration that was checked."""

    require: list[str] = field(default_factory=list)
    remove: list[str] = field(default_factory=list)
    set: dict[str, str] = field(default_factory=dict)
    denyAgents: list[str] = field(default_factory=list)


def parse(text: str) -> Settings:
    """Reads a configuration; raises `Wrong`."""
    try:
        config = json.loads(text)
    except ValueError as error:
        raise Wrong(Fault("", f"no JSON: {error}")) from error
    if not isinstance(config, dict):
        raise Wrong(Fault("", "expected an object"))
    faults = [fault for name, value in config.items() for fault in _faults(name, value)]
    if faults:
        raise Wrong(*faults)
    return Settings(**config)


def _faults(name: str, value: Any) -> list[Fault]:
    place = "/" + _step(name)
    shape = FIELDS.get(name)
    if shape is None:
        return [Fault(place, f"unknown field `{name}`, expected require, remove, set or denyAgents")]
    if not isinstance(value, shape):
        kind = "a list" if shape is list else "an object"
        return [Fault(place, f"expected {kind} of texts")]
    items = value.items() if isinstance(value, dict) else enumerate(value)
    return [
        Fault(f"{place}/{_step(str(step))}", "expected a text")
        for step, item in items
        if not isinstance(item, str)
    ]


def _step(name: str) -> str:
    """One step of a JSON pointer."""
    return name.replace("~", "~0").replace("/", "~1")

"""Every script by the destination it serves, for the process `calls`: the services' from their folders, and those of the other kinds."""

from __future__ import annotations

import inspect
import typing
from collections.abc import Mapping
from importlib import import_module

import msgspec

from appliance.calls.api import Service
from appliance.config.folders import ROWS, BrokenFolder
from appliance.services.destinations import extension


def load(name: str) -> Service:
    """The service of a folder. What its script remembers is the struct that its `state` is annotated with. BrokenFolder."""
    module = import_module(f"appliance.services.{name}.script")
    script = getattr(module, "script", None)
    if not inspect.iscoroutinefunction(script) or len(inspect.signature(script).parameters) != 2:
        raise BrokenFolder(f"{module.__file__}: there is no `async def script(call, state)`.")
    state = typing.get_type_hints(script).get(list(inspect.signature(script).parameters)[1])
    if not (isinstance(state, type) and issubclass(state, msgspec.Struct)):
        raise BrokenFolder(f"{module.__file__}: `state` is not annotated with a msgspec.Struct.")
    return Service(name, script, state)


# By kind of destination: what has a number and is no service.
DESTINATIONS: Mapping[str, Service] = {"extension": Service("extension", extension.script)}
SERVICES: Mapping[str, Service] = {name: load(name) for name in ROWS}
SCRIPTS: Mapping[str, Service] = {**SERVICES, **DESTINATIONS}

"""Wrapping methods of vLLM's classes and functions of its modules, where they are those that were read."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from types import ModuleType
from typing import Any

Method = Callable[..., Any]


def wrap(
    owner: type | ModuleType,
    name: str,
    parameters: tuple[str, ...] | None,
    make: Callable[[Method], Method],
) -> bool:
    """Put `make(method)` in a method's place, once; False where it is missing or has other parameters."""
    if not takes(owner, name, parameters):
        return False
    method = getattr(owner, name)
    if not hasattr(method, "is_smoldiff"):
        wrapped: Any = functools.wraps(method)(make(method))
        wrapped.is_smoldiff = True
        setattr(owner, name, wrapped)
    return True


def takes(owner: type | ModuleType, name: str, parameters: tuple[str, ...] | None) -> bool:
    """Whether a class or module has a method whose parameters have these names; None takes any."""
    method = getattr(owner, name, None)
    if method is None:
        return False
    return parameters is None or tuple(inspect.signature(method).parameters) == parameters

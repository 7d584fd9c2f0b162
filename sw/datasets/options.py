"""Options that come from a recipe: known by name, of the right type, or refused in one sentence."""

import inspect
import types
import typing
from collections.abc import Mapping
from typing import Any

from sw.datasets.common import DataError

KINDS = {
    int: "a whole number",
    float: "a number",
    bool: "true or false",
    str: "text",
    tuple: "a list of two numbers",
}


def _fits(value: object, kind: Any) -> bool:
    """Whether a value from a recipe is of an annotated type: one of KINDS, or an alternative of them and None."""
    if typing.get_origin(kind) in (typing.Union, types.UnionType):
        return any(_fits(value, alternative) for alternative in typing.get_args(kind))
    if typing.get_origin(kind) is tuple:
        return (
            isinstance(value, list | tuple)
            and len(value) == len(typing.get_args(kind))
            and all(map(_fits, value, typing.get_args(kind)))
        )
    if kind is types.NoneType:
        return value is None
    if kind is float:
        return isinstance(value, int | float) and not isinstance(value, bool)
    return isinstance(value, kind) and (kind is bool or not isinstance(value, bool))


def check_options(
    owner: str, options: Mapping[str, Any], known: Mapping[str, inspect.Parameter]
) -> None:
    """Raises DataError for an option of `owner` that it does not know, that is of another type, or that is missing."""
    for name, value in options.items():
        if name not in known:
            raise DataError(f"{owner} has no option {name!r}; its options are {', '.join(known)}")
        kind = known[name].annotation
        if not _fits(value, kind):
            plain = next(k for k in (*typing.get_args(kind), kind) if k is not types.NoneType)
            if typing.get_origin(kind) is tuple:
                plain = tuple
            raise DataError(f"{name} of {owner} must be {KINDS[plain]}, not {value!r}")
    for name, parameter in known.items():
        if parameter.default is parameter.empty and name not in options:
            raise DataError(f"{owner} needs the option {name!r}")

"""What every part of the artefact checks of its own values."""

from typing import NoReturn

import numpy as np


class NetworkError(ValueError):
    """A network or its file breaks the contract; the message is one sentence with the value and the remedy."""


def check_integer(name: str, value: object, low: int, high: int) -> None:
    """Raise NetworkError unless `value` is an integer in low..high."""
    if isinstance(value, bool) or not isinstance(value, int | np.integer):
        raise NetworkError(f"{name} must be an integer, not {value!r}")
    if not low <= value <= high:
        raise NetworkError(f"{name} must be in {low}..{high}, not {value}")


def check_array(
    name: str, array: object, dtype: type, rank: int, length: int | None = None
) -> np.ndarray:
    """Raise NetworkError unless `array` is a non-empty array of this dtype and rank, with `length` channels."""
    if (
        not isinstance(array, np.ndarray)
        or array.dtype != dtype
        or array.ndim != rank
        or array.size == 0
    ):
        _reject(name, array, dtype, rank)
    if length is not None and len(array) != length:
        raise NetworkError(f"{name} has {len(array)} entries for {length} output channels")
    return array


def _reject(name: str, array: object, dtype: type, rank: int) -> NoReturn:
    found = (
        f"{array.dtype} of shape {array.shape}" if isinstance(array, np.ndarray) else repr(array)
    )
    raise NetworkError(
        f"{name} must be a non-empty {np.dtype(dtype)} array of rank {rank}, not {found}"
    )

"""Pickles of byte arrays, lists and text, as Python 2 wrote them, read without running what they name."""

import io
import pickle
from typing import Any

import numpy as np


class Kind:
    """Stands for `numpy.dtype` inside a pickle; only bytes are accepted."""

    def __init__(self, name: str, *_: object) -> None:
        if name != "u1":
            raise pickle.UnpicklingError(f"an array of {name!r} instead of bytes")

    def __setstate__(self, state: object) -> None:
        pass


class Array:
    """Stands for `numpy.ndarray` inside a pickle; numpy's own reconstruction never runs."""

    def __init__(self, *_: object) -> None:
        self.values = np.empty(0, np.uint8)

    def __setstate__(self, state: tuple[int, tuple[int, ...], Kind, bool, str]) -> None:
        _, shape, _, fortran, data = state
        flat = np.frombuffer(data.encode("latin-1"), np.uint8)
        self.values = flat.reshape(shape, order="F" if fortran else "C")


PICKLED_NAMES = {
    ("numpy.core.multiarray", "_reconstruct"): Array,
    ("numpy", "ndarray"): object,
    ("numpy", "dtype"): Kind,
}


class Unpickler(pickle.Unpickler):
    """Reads dictionaries of lists, text, numbers and byte arrays; any other name is refused, so no code runs."""

    def find_class(self, module: str, name: str) -> object:
        if (module, name) not in PICKLED_NAMES:
            raise pickle.UnpicklingError(f"it asks for {module}.{name}")
        return PICKLED_NAMES[module, name]


def read_pickle(content: bytes) -> Any:
    """The object of a pickle; every array in it is an `Array`.

    Raises pickle.UnpicklingError for what it refuses, and whatever the unpickler raises for damaged content.
    """
    # Latin-1 maps the strings of Python 2, text and bytes alike, to the code points of the same numbers.
    return Unpickler(io.BytesIO(content), encoding="latin-1").load()

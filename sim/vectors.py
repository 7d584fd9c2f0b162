"""Vectors for a bench: beats of any width in a file that the simulator's process reads with numpy alone."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

VARIABLE = "STAIRSPIKE_VECTORS"


def save(path: Path, vectors: Mapping[str, Sequence[int]]) -> Path:
    """Write lists of non-negative integers by name."""
    arrays = {
        name: np.array([f"{int(value):x}" for value in values], np.str_)
        for name, values in vectors.items()
    }
    with path.open("wb") as file:
        np.savez_compressed(file, allow_pickle=False, **arrays)
    return path


def load() -> dict[str, list[int]]:
    """The lists that the environment's file holds."""
    with np.load(Path(os.environ[VARIABLE]), allow_pickle=False) as file:
        return {name: [int(value, 16) for value in file[name].tolist()] for name in file.files}

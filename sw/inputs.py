"""What a network is run on: test images of its data set, or random codes if its weights are random."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from sw.datasets import load_described
from sw.datasets.common import DataError, TensorSplit
from sw.datasets.mnist import load_shipped
from sw.frames import frames_of
from sw.network import Network, NetworkError


@dataclass(frozen=True)
class Inputs:
    """frames: uint8 codes (batch, step, C, H, W); labels: int64 (batch,), None for random codes."""

    frames: np.ndarray
    labels: np.ndarray | None


def random_frames(network: Network, count: int, density: float, seed: int) -> np.ndarray:
    """Random input codes, uint8 (count, C, H, W); each is silent with probability 1 - density, else any level."""
    if not 0 <= density <= 1:
        raise NetworkError(f"density must be in 0..1, not {density}")
    rng = np.random.default_rng(seed)
    shape = (count, *network.input_shape)
    levels = rng.integers(1, network.input_coding.levels + 1, shape)
    return np.where(rng.random(shape) < density, levels, 0).astype(np.uint8)


def codes_of(network: Network, values: np.ndarray) -> np.ndarray:
    """The codes that stand for input values, uint8 of the same shape; they differ for one-hot inputs only.

    Raises NetworkError for a value that has no code.
    """
    if network.input_coding.kind == "multi-level":
        return values
    codes = np.searchsorted(network.input_coding.values, values).astype(np.uint8)
    known = network.input_coding.values[np.minimum(codes, network.input_coding.levels)]
    if (known != values).any():
        raise NetworkError(
            f"the input value {int(values[known != values][0])} is none of a one-hot coding of "
            f"{network.input_coding.levels} lanes; encode the recordings with as many lanes"
        )
    return codes


def load_test(provenance: Mapping[str, Any], folder: Path | None) -> TensorSplit:
    """The test images of the data set that a network was trained on.

    provenance: of the network; its "data" are name and options of the data set, MNIST if it does not say.
    folder: where the publisher's files lie; None takes the MNIST images shipped with the project.
    Raises DataError.
    """
    description = provenance.get("data", {"set": "mnist"})
    name = description["set"]
    if folder is None:
        if name != "mnist":
            raise DataError(
                f"the test images of {name} are not shipped; give their folder with --data"
            )
        return load_shipped()
    test = load_described(description, folder).test
    if not isinstance(test, TensorSplit):
        raise DataError(
            f"the test images of {name} do not fit into memory; they can only be trained on"
        )
    return test


def load_inputs(network: Network, folder: Path | None, count: int) -> Inputs:
    """The first `count` inputs for `network`.

    folder: where the publisher's files of the data set lie; None takes the test images shipped with the project.
    A network of `sw.synthetic` gets random codes of the density that it was made for.
    Raises sw.datasets.common.DataError, or NetworkError when the images do not fit the network.
    """
    if network.provenance.get("data_set") == "random":
        frames = random_frames(network, count, network.provenance["density"], seed=1)
        return Inputs(frames_of(network, frames), None)
    split = load_test(network.provenance, folder).first(count)
    return Inputs(frames_of(network, codes_of(network, split.images.numpy())), split.labels.numpy())

"""Data sets from their publishers' files: `load` reads any of them by its name."""

import inspect
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from sw.datasets.cifar import load_cifar10, load_cifar100
from sw.datasets.cifar10dvs import load_cifar10dvs
from sw.datasets.common import DataError, DataSet
from sw.datasets.gesture import load_gesture
from sw.datasets.imagenet import load_imagenet
from sw.datasets.mnist import load_mnist
from sw.datasets.nmnist import load_nmnist
from sw.datasets.options import check_options
from sw.datasets.recordings import Framing

LOADERS: dict[str, Callable[..., DataSet]] = {
    "mnist": load_mnist,
    "cifar10": load_cifar10,
    "cifar100": load_cifar100,
    "imagenet": load_imagenet,
    "nmnist": load_nmnist,
    "cifar10-dvs": load_cifar10dvs,
    "dvs128-gesture": load_gesture,
}


def load(
    name: str, folder: Path | None = None, *, validation: int | None = None, **options: Any
) -> DataSet:
    """The data set `name` (a key of LOADERS) from `folder`, or from ./data for None.

    validation: how many training images or recordings are set apart; None takes the data set's own number.
    options: of this data set's loader, see there.
    Raises DataError with one sentence.
    """
    if name not in LOADERS:
        raise DataError(f"{name!r} is not a known data set; known are {', '.join(LOADERS)}")
    if validation is not None:
        options["validation"] = validation
    known = dict(inspect.signature(LOADERS[name]).parameters)
    del known["folder"]
    if known.pop("framing", None):
        known.update(inspect.signature(Framing).parameters)
    check_options(name, options, known)
    return LOADERS[name](folder, **options)


def load_described(description: Mapping[str, Any], folder: Path | None = None) -> DataSet:
    """The data set of a recipe's [data]: its name as `set`, and options of `load`.  Raises DataError."""
    options = dict(description)
    return load(options.pop("set"), folder, **options)

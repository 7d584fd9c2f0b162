"""Reading the artefact: everything is checked again before anybody computes with it."""

import json
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from sw.network.checks import NetworkError
from sw.network.coding import Coding, Neuron
from sw.network.graph import FORMAT, VERSION, Network
from sw.network.layer import Layer

# What zipfile, zlib, numpy and json raise for damaged files.
_DAMAGE = (
    ArithmeticError, AttributeError, EOFError, LookupError, MemoryError, OSError, RuntimeError, SyntaxError,
    TypeError, ValueError, zipfile.BadZipFile, zlib.error,
)  # fmt: skip


def load(path: Path | str) -> Network:
    """Read an artefact; everything is checked again: structure, ranges, widths, digest.

    Raises NetworkError with one sentence when the file is missing, corrupt, foreign or of a newer format.
    """
    path = Path(path)
    if not path.is_file():
        raise NetworkError(f"{path} does not exist; make a network with python -m sw.export")
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
            arrays = {name: archive[name] for name in archive.files}
        header = json.loads(arrays.pop("header").tobytes().decode())
        known = header["format"] == FORMAT
        version = header["version"]
    except _DAMAGE:
        raise NetworkError(
            f"{path} is not a Stairspike network, or is damaged; export it again"
        ) from None
    if not known:
        raise NetworkError(
            f"{path} has the foreign format {header['format']!r}; expected {FORMAT!r}"
        )
    if version not in range(1, VERSION + 1):
        raise NetworkError(
            f"{path} has format version {version!r}, this program reads 1 to {VERSION}; update or export again"
        )
    try:
        network = _from_header(header, arrays)
    except (KeyError, TypeError, IndexError) as error:
        raise NetworkError(f"{path} has a damaged header ({error}); export it again") from None
    except NetworkError as error:
        raise NetworkError(f"{path}: {error}") from None
    stored = header.pop("digest")
    if network.header() != header:
        raise NetworkError(
            f"{path}: the stored accumulator widths or fields differ from the weights'; export it again"
        )
    if network.digest != stored:
        raise NetworkError(
            f"{path}: the content does not match its digest {stored[:12]}; the file was altered"
        )
    return network


def _from_header(header: Mapping[str, Any], arrays: dict[str, np.ndarray]) -> Network:
    layers = []
    for index, entry in enumerate(header["layers"]):
        entry = dict(entry)
        entry.pop("accumulator_width"), entry.pop("potential_width")
        neuron, inputs = entry.pop("neuron"), tuple(entry.pop("inputs", ()))
        for name in ("stride", "padding", "average", "pool"):
            entry[name] = tuple(entry[name])
        tensors: dict[str, Any] = {
            name: arrays.pop(f"{index}.{name}", None) for name in ("weights", "bias", "threshold")
        }
        scales = tuple(arrays.pop(f"{index}.scale{k}", None) for k in range(len(inputs)))
        layers.append(
            Layer(
                **entry,
                **tensors,
                inputs=inputs,
                scales=scales if any(scale is not None for scale in scales) else (),
                neuron=None if neuron is None else Neuron(**neuron),
            )
        )
    if arrays:
        raise NetworkError(f"unknown array {next(iter(arrays))!r}")
    return Network(
        timesteps=header["timesteps"],
        input_shape=tuple(header["input_shape"]),
        input_coding=Coding(**header["input_coding"]),
        layers=tuple(layers),
        provenance=header["provenance"],
    )

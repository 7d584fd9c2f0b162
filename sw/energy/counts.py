"""Counters of images: those that the golden model predicts, and those that a run of the hardware measured."""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from sw.folding import COUNTERS, Folding, beat_codes, beat_partners, check_foldings, pixel_codes
from sw.network import INPUT, Network

CHUNK = 100  # images that the golden model evaluates at a time

Means = list[dict[str, float]]


@dataclass(frozen=True, kw_only=True)
class Run:
    """What `python -m sim.run NETWORK --json FILE` wrote: the hardware's counters, each equal to the golden model's.

    Members
        foldings: of every layer; images: how many, the first of the data set
        counters: mean of an image by layer and name; seed, pause: of the simulation
    """

    foldings: tuple[Folding, ...]
    images: int
    counters: Means
    seed: int
    pause: float


def golden_counters(network: Network, frames: np.ndarray, foldings: tuple[Folding, ...]) -> Means:
    """Mean counters of the images `frames`, as the golden model predicts them, by layer and name."""
    return golden_figures(network, frames, foldings)[0]


def golden_figures(
    network: Network, frames: np.ndarray, foldings: tuple[Folding, ...]
) -> tuple[Means, np.ndarray]:
    """Mean counters as `golden_counters`, and the classes, int64 (images,), of one evaluation."""
    from sw import golden

    sums: list[dict[str, int]] = [dict.fromkeys(COUNTERS, 0) for _ in network.layers]
    classes = []
    for at in range(0, len(frames), CHUNK):
        trace = golden.run(network, frames[at : at + CHUNK], foldings, keep_codes=False)
        classes.append(trace.classes)
        for total, layer in zip(sums, trace.layers, strict=True):
            for name, values in layer.counters.items():
                total[name] += int(values.sum())
    means = [{name: value / len(frames) for name, value in total.items()} for total in sums]
    return means, np.concatenate(classes)


def read_run(path: Path, network: Network) -> Run:
    """Read the JSON file of `sim.run`.

    Raises ValueError with one sentence when it is none, or of another network.
    """
    again = "make one with python -m sim.run NETWORK --json FILE"
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ValueError(f"{path} does not exist; {again}") from None
    except (OSError, ValueError) as error:
        raise ValueError(f"{path} cannot be read ({error}); {again}") from None
    if not isinstance(content, dict) or content.get("format") != "stairspike-simulation":
        raise ValueError(f"{path} is no run of the hardware; {again}")
    if content.get("version") != 2:
        raise ValueError(f"{path} is of version {content.get('version')!r}, not 2; {again}")
    if content.get("network") != network.digest:
        raise ValueError(
            f"{path} is a run of the network {str(content.get('network'))[:12]}, not of {network.digest[:12]}; {again}"
        )
    try:
        run = _run_of(content)
        check_foldings(network, run.foldings)
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{path} is damaged ({error!r}); {again}") from None
    if len(run.counters) != len(network.layers):
        raise ValueError(f"{path} has counters of {len(run.counters)} layers; {again}")
    if content["mismatches"] != 0:
        raise ValueError(f"{path} is a run in which hardware and golden model differ; {again}")
    return run


def _run_of(content: Mapping[str, Any]) -> Run:
    return Run(
        foldings=tuple(Folding(**folding) for folding in content["foldings"]),
        images=int(content["images"]),
        counters=[
            {name: float(counts[name]) for name in COUNTERS} for counts in content["counters"]
        ],
        seed=int(content["seed"]),
        pause=float(content["pause"]),
    )


def check_equal(path: Path, run: Run, predicted: Means) -> None:
    """Raise ValueError when a counter of `run`, read from `path`, is not what the golden model predicts today."""
    for index, (measured, expected) in enumerate(zip(run.counters, predicted, strict=True)):
        for name in COUNTERS:
            if measured[name] != expected[name]:
                raise ValueError(
                    f"{path} counts {measured[name]:,g} {name} an image in layer {index}, the golden model "
                    f"{expected[name]:,g}; give the --data of that run, or run python -m sim.run again"
                )


def uniform_foldings(
    network: Network, lanes: int = 8, fire_units: int = 4, word_codes: int = 4
) -> tuple[Folding, ...]:
    """The same parallelism in every layer, as far as its channels and its neighbours allow."""
    units = [
        1 if network.is_readout(index) else math.gcd(fire_units, min(lanes, channels), channels)
        for index, (channels, _, _) in enumerate(network.shapes[1:])
    ]
    units = [
        1 if INPUT in partners else math.gcd(*(units[index] for index in partners))
        for partners in beat_partners(network)
    ]
    foldings: list[Folding] = []
    for index, layer in enumerate(network.layers):
        if not layer.is_weighted:
            foldings.append(
                Folding() if layer.is_pool else Folding(lanes=units[index], fire_units=units[index])
            )
            continue
        beat = beat_codes(network, tuple(foldings), index)
        channels = network.shapes[index + 1][0]
        word = min(-(-word_codes // beat), -(-pixel_codes(network, index) // beat)) * beat
        foldings.append(
            Folding(lanes=min(lanes, channels), fire_units=units[index], word_codes=word)
        )
    return tuple(foldings)

"""Energy of an inference: what was counted, times what each access costs, beside the papers' event-driven scatter.

The counts come from `sw.golden` or from the counters of the hardware; they are equal.  Costs are published ones.

Memory, per access of a word of b bits out of n (read = write), 45 nm: the line of the paper's own model through the
published points 10, 20 and 100 pJ for a 64-bit access of 8 kB, 32 kB and 1 MB::

    E_m(n, b) = 13.2 + 1.09e-5 * n * b   [pJ]      b <= 64: a narrower word costs as much (no gain from narrow words)
              = b / 64 * E_m(n, 64)                b > 64: banks of 64 bits side by side

7 nm: the line through 7.5, 8.5 and 14 pJ at the same sizes, 7.87 + 7.67e-7 * n * b.

Energy of the engine, per layer (counters in capitals)::

    weights       WEIGHT_READS * E_m(weight words, P * B)
    spikes        (SPIKE_READS + SPIKE_WRITES) * E_m(ring of rows, L codes and their place)
                  + census of non-empty words: one write a pixel, one read a column of every output row
    potentials    (POTENTIAL_READS + POTENTIAL_WRITES) * E_m(neurons / F, F * width)
    accumulators  SYNAPTIC_OPERATIONS * 1 pJ       assumption: one read-modify-write of a register
    adds          SYNAPTIC_OPERATIONS * E_add
    fire units    T * neurons * ((exponents + 1) * E_add + 1 pJ) + T * neurons / F * E_m(bias and threshold words)
    addresses     (ACCUMULATIONS + SPIKE_READS + SPIKE_WRITES) * E_add

Energy of the scatter on the same spikes, with the paper's formulas and 16-bit words (theta_i, theta_o spikes in and
out, N the largest value of a code, n = neurons)::

    weights       theta_i * C_out * k^2 * E_m(one filter, 16)
    spikes        (theta_i + theta_o) * E_m(1000, 16)
    potentials    2 * (theta_i * C_out * k^2 + T * n) * E_m(n, 16)
    bias          T * C_out * E_m(C_out, 16)
    operations    (theta_i * C_out * ceil(k / s)^2 * N + T * n + theta_o) * E_add
    addresses     theta_i * (2 * E_mac + k^2 * E_add)        dense: theta_i * n * E_add

A first layer on pixels is charged one multiply-accumulate instead of N additions a synapse, in the scatter only.
Leakage, clock, routing and control are in neither; a comparison of the two is meaningful, an absolute number is not.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from sw.energy.technology import Technology, technology
from sw.folding import Folding, beat_codes, check_foldings, is_flat, pixel_codes
from sw.network import Layer, Network

TERMS = ("weights", "spikes", "potentials", "accumulators", "adds", "fire units", "addresses")
SCATTER_TERMS = ("weights", "spikes", "potentials", "bias", "operations", "addresses")
SCATTER_WIDTH = 16
FIFO_DEPTH = 1000

Counters = Sequence[Mapping[str, Any]]


NM45 = technology("45 nm")
NM7 = technology("7 nm")


@dataclass(frozen=True)
class Energy:
    """Mean energy of an image in pJ by term, each float64 of shape (layers,)."""

    terms: Mapping[str, np.ndarray]

    @property
    def layers_pj(self) -> np.ndarray:
        return np.sum(list(self.terms.values()), axis=0)

    @property
    def total_pj(self) -> float:
        return float(self.layers_pj.sum())


def energy(
    network: Network,
    foldings: Sequence[Folding],
    counters: Counters,
    technology: Technology = NM45,
) -> Energy:
    """Energy of the engine.

    counters: for every layer a mapping from the names of `sw.folding.COUNTERS` to counts, scalars or one per image.
    """
    folding = tuple(foldings)
    check_foldings(network, folding)
    terms = {name: np.zeros(len(network.layers)) for name in TERMS}
    for index, layer in enumerate(network.layers):
        count = {name: float(np.mean(values)) for name, values in counters[index].items()}
        if layer.kind == "maxpool":
            parts = _pool_layer(network, folding, index, count, technology)
        else:
            parts = _engine_layer(network, folding[index], index, count, technology)
        for name, value in parts.items():
            terms[name][index] = value
    return Energy(terms)


def scatter(network: Network, counters: Counters, technology: Technology = NM45) -> Energy:
    """Energy of the papers' event-driven scatter on the spikes that `counters` counted; pooling is free there."""
    terms = {name: np.zeros(len(network.layers)) for name in SCATTER_TERMS}
    for index, layer in enumerate(network.layers):
        if layer.kind == "maxpool":
            continue
        received = float(np.mean(counters[index]["input_spikes"]))
        sent = float(np.mean(counters[index]["output_spikes"]))
        for name, value in _scatter_layer(network, index, received, sent, technology).items():
            terms[name][index] = value
    return Energy(terms)


# ------------------------------------------------------------------------------------------------- one layer


def _engine_layer(
    network: Network,
    folding: Folding,
    index: int,
    count: Mapping[str, float],
    technology: Technology,
) -> dict[str, float]:
    layer, bounds = network.layers[index], network.bounds(index)
    channels, out_h, out_w = network.shapes[index + 1]
    neurons, steps, units = channels * out_h * out_w, network.timesteps, folding.fire_units
    codes = pixel_codes(network, index)
    taps = 1 if is_flat(layer) else math.prod(layer.kernel)
    access = technology.access_pj

    height, width = (1, 1) if is_flat(layer) else network.shapes[index][1:]
    words = -(-codes // folding.word_codes)
    rows = _ring_rows(layer)
    code_bits = folding.word_codes * network.codings[index].code_width
    spike_pj = access(rows * width * words, code_bits + (words - 1).bit_length())
    census_pj = access(width, rows * words.bit_length())
    census = steps * (height * width + out_h * width)

    threshold_bits = 0 if layer.threshold is None else int(layer.threshold.max()).bit_length()
    constant_pj = access(channels // units, units * (threshold_bits + bounds.potential_width))
    exponents = 0 if layer.neuron is None else layer.neuron.coding.exponent_count
    add, accumulate = technology.add_pj, technology.accumulator_pj
    spike_accesses = count["spike_reads"] + count["spike_writes"]
    potential_pj = access(neurons // units, units * bounds.potential_width)
    return {
        "weights": count["weight_reads"]
        * access(folding.group_count(channels) * taps * codes, folding.lanes * layer.weight_width),
        "spikes": spike_accesses * spike_pj + census * census_pj,
        "potentials": (count["potential_reads"] + count["potential_writes"]) * potential_pj,
        "accumulators": count["synaptic_operations"] * accumulate,
        "adds": count["synaptic_operations"] * add,
        "fire units": steps * neurons * ((exponents + 1) * add + accumulate)
        + steps * neurons / units * constant_pj,
        "addresses": (count["accumulations"] + spike_accesses) * add,
    }


def _pool_layer(
    network: Network,
    foldings: tuple[Folding, ...],
    index: int,
    count: Mapping[str, float],
    technology: Technology,
) -> dict[str, float]:
    """A row of partial maxima, and one comparison a code."""
    beat = beat_codes(network, foldings, index)
    channels, _, out_w = network.shapes[index + 1]
    accesses = count["spike_reads"] + count["spike_writes"]
    word_pj = technology.access_pj(
        out_w * channels // beat, beat * network.codings[index].code_width
    )
    compared = network.timesteps * math.prod(network.shapes[index])
    return {
        "spikes": accesses * word_pj,
        "adds": compared * technology.add_pj,
        "addresses": accesses * technology.add_pj,
    }


def _scatter_layer(
    network: Network, index: int, received: float, sent: float, technology: Technology
) -> dict[str, float]:
    layer = network.layers[index]
    c_in, height, width = network.shapes[index]
    channels, out_h, out_w = network.shapes[index + 1]
    neurons, steps = channels * out_h * out_w, network.timesteps
    if layer.kind == "dense":
        fan_out, synapses, taps, filter_words = neurons, neurons, neurons, c_in * height * width
        address_mac = 0.0
    else:
        taps = math.prod(layer.kernel)
        fan_out = channels * taps
        strided = [-(-k // s) for k, s in zip(layer.kernel, layer.stride, strict=True)]
        synapses, filter_words, address_mac = channels * math.prod(strided), c_in * taps, 2.0

    def access(depth: int) -> float:
        return technology.access_pj(depth, SCATTER_WIDTH)

    coding, add = network.codings[index], technology.add_pj
    on_pixels = index == 0 and coding.levels > 15
    operation = technology.mac_pj if on_pixels else coding.max_value * add
    return {
        "weights": received * fan_out * access(filter_words),
        "spikes": (received + sent) * access(FIFO_DEPTH),
        "potentials": 2 * (received * fan_out + steps * neurons) * access(neurons),
        "bias": steps * channels * access(channels),
        "operations": received * synapses * operation + (steps * neurons + sent) * add,
        "addresses": received * (address_mac * technology.mac_pj + taps * add),
    }


def _ring_rows(layer: Layer) -> int:
    """Rows that the spike memory holds: a window, and the rows that arrive while it is scanned."""
    if is_flat(layer):
        return 2
    stride = layer.stride[0] * layer.average[0]
    return max(layer.kernel[0] * layer.average[0], stride) + stride


# ------------------------------------------------------------------------------------------------ command line


def uniform_foldings(
    network: Network, lanes: int = 8, fire_units: int = 4, word_codes: int = 4
) -> tuple[Folding, ...]:
    """The same parallelism in every layer, as far as its channels and its neighbours allow."""
    foldings: list[Folding] = []
    beat = 1
    for index, layer in enumerate(network.layers):
        if layer.kind == "maxpool":
            foldings.append(Folding())
            continue
        channels = network.shapes[index + 1][0]
        own_lanes = min(lanes, channels)
        units = 1 if layer.is_readout else math.gcd(fire_units, own_lanes, channels)
        word = min(-(-word_codes // beat), -(-pixel_codes(network, index) // beat)) * beat
        foldings.append(Folding(lanes=own_lanes, fire_units=units, word_codes=word))
        beat = units
    return tuple(foldings)


def summarise(network: Network, foldings: Sequence[Folding], counters: Counters) -> dict[str, Any]:
    """Both energies in every technology as a JSON object, pJ per image."""
    result: dict[str, Any] = {}
    for costs in (NM45, NM7):
        engine = energy(network, foldings, counters, costs)
        paper = scatter(network, counters, costs)
        result[costs.name] = {
            "engine": {name: values.tolist() for name, values in engine.terms.items()},
            "engine_total_pj": engine.total_pj,
            "scatter": {name: values.tolist() for name, values in paper.terms.items()},
            "scatter_total_pj": paper.total_pj,
            "ratio": engine.total_pj / paper.total_pj,
        }
    return result


def plot(
    network: Network, summary: Mapping[str, Any], path: Path, technology: str = "45 nm"
) -> None:
    """Stacked bars per layer, engine beside scatter, as a picture."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 4), layout="constrained")
    for axes, side in zip(figure.subplots(1, 2, sharey=False), ("engine", "scatter"), strict=True):
        bottom = np.zeros(len(network.layers))
        for name, values in summary[technology][side].items():
            height = np.array(values) / 1e3
            axes.bar(np.arange(len(height)), height, bottom=bottom, label=name)
            bottom += height
        total = summary[technology][f"{side}_total_pj"]
        axes.set(title=f"{side}: {total / 1e3:,.0f} nJ an image", xlabel="layer", ylabel="nJ")
        axes.legend(fontsize="small")
    figure.suptitle(f"Energy an image, {technology}")
    figure.savefig(path)


def evaluate(
    network: Network, foldings: Sequence[Folding], image_count: int
) -> tuple[dict[str, Any], int]:
    """Run the golden model on shipped images: (summary, images)."""
    from sw import golden
    from sw.inputs import load_inputs

    frames = load_inputs(network, None, image_count).frames
    trace = golden.run(network, frames, foldings, keep_codes=False)
    return summarise(network, foldings, [layer.counters for layer in trace.layers]), len(frames)

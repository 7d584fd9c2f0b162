"""The rooms of a layer, each alone in cocotb, against a model that is written here from their contract."""

from pathlib import Path

import numpy as np
import pytest
from amaranth.hdl import *
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

import support
from cosimulation import beats_of, cosimulate, layer_input, pack, score_beats
from hw.geometry import Geometry
from hw.lanes import Lanes
from hw.neuron import Neuron
from hw.packer import Packer
from hw.pool import Pool
from hw.queue import Queue
from hw.readout import Readout
from hw.scanner import Scanner
from hw.weights import WeightMemory, weight_words
from hw.window import Window
from sw import golden
from sw.network import Network

pytestmark = pytest.mark.cosim


class Gather(wiring.Component):
    """Window and scanner: spike codes in, tokens out."""

    def __init__(self, geometry):
        self.window, self.scanner = Window(geometry), Scanner(geometry)
        super().__init__(
            {
                "i": In(stream.Signature(self.window.i.payload.shape())),
                "o": Out(stream.Signature(self.scanner.o.payload.shape())),
            }
        )

    def elaborate(self, platform):
        m = Module()
        m.submodules.window, m.submodules.scanner = self.window, self.scanner
        wiring.connect(m, i=wiring.flipped(self.i), window=self.window.i)
        wiring.connect(m, window=self.window.o, scanner=self.scanner.i)
        wiring.connect(m, scanner=self.scanner.o, o=wiring.flipped(self.o))
        return m


class Accumulate(wiring.Component):
    """Weight memory and lanes: tokens in, accumulators out."""

    def __init__(self, network, foldings, index, geometry):
        width = network.layers[index].weight_width
        self.memory = WeightMemory(geometry.lanes * width, weight_words(network, foldings, index))
        self.lanes = Lanes(geometry, width, network.bounds(index).accumulator_width)
        super().__init__(
            {
                "i": In(stream.Signature(self.lanes.i.payload.shape())),
                "o": Out(stream.Signature(self.lanes.o.payload.shape())),
            }
        )

    def elaborate(self, platform):
        m = Module()
        m.submodules.memory, m.submodules.lanes = memory, lanes = self.memory, self.lanes
        wiring.connect(m, i=wiring.flipped(self.i), lanes=lanes.i)
        wiring.connect(m, lanes=lanes.o, o=wiring.flipped(self.o))
        m.d.comb += [
            memory.address.eq(lanes.weight_addr),
            memory.en.eq(lanes.weight_en),
            lanes.weights.eq(memory.data),
        ]
        return m


def exponents_of(coding, code: int) -> list[int]:
    """Exponents of the events of a code, lowest first."""
    if coding.kind == "one-hot":
        return [code - 1] if code else []
    return [e for e in range(coding.exponent_count) if code >> e & 1]


def passes_of(
    network: Network, foldings, index: int, codes: np.ndarray
) -> list[list[tuple[int, int, tuple[int, int, int]]]]:
    """(weight address, exponent, place of the code) of every event, one list for each group at each output position.

    `codes` is (step, C, H, W).  Weight addresses count group, kernel row, kernel column, input channel.
    """
    layer, coding = network.layers[index], network.codings[index]
    k_h, k_w = layer.kernel
    a_h, a_w = layer.average
    _, height, width = network.shapes[index]
    channels, out_h, out_w = network.shapes[index + 1]
    inputs = network.shapes[index][0]
    passes = []
    for frame in codes:
        for y in range(out_h):
            for x in range(out_w):
                for group in range(foldings[index].group_count(channels)):
                    events = []
                    for dy in range(k_h * a_h):
                        for dx in range(k_w * a_w):
                            row = (y * layer.stride[0] - layer.padding[0]) * a_h + dy
                            column = (x * layer.stride[1] - layer.padding[1]) * a_w + dx
                            if not (0 <= row < height and 0 <= column < width):
                                continue
                            base = ((group * k_h + dy // a_h) * k_w + dx // a_w) * inputs
                            for c in range(inputs):
                                code = int(frame[c, row, column])
                                place = (row, column, c)
                                events += [(base + c, e, place) for e in exponents_of(coding, code)]
                    passes.append(events)
    return passes


@pytest.mark.parametrize(
    ("name", "index"), [("conv-odd", 1), ("spikes-in", 0), ("pooled", 2)], ids=str
)
def test_gather(name: str, index: int, tmp_path: Path) -> None:
    """Every event of every window, in order, the last one marked; nothing for silent codes or beyond the edges."""
    network, foldings = support.configuration(name)
    frames = support.images(np.random.default_rng(8), network, 3)
    trace = golden.run(network, frames, foldings)
    design = Gather(Geometry.of(network, foldings, index))
    layout = design.o.payload.shape()
    tokens, masks = [], []
    every_bit, end_only = (1 << layout.size) - 1, 1 << layout["end"].offset
    nothing_to_add = end_only | 1 << layout["add"].offset
    codes = frames if index == 0 else trace.layers[index - 1].codes
    for image in codes:
        for events in passes_of(network, foldings, index, image):
            before = None
            for left, (address, exponent, code) in zip(
                reversed(range(len(events))), events, strict=True
            ):
                again = before == (code, address)
                fields = {"address": address, "exponent": exponent, "again": again}
                tokens.append(pack(layout, fields | {"add": 1, "end": left == 0}))
                before = code, address
            masks += [every_bit] * len(events)
            if not events:
                tokens.append(end_only)
                masks.append(nothing_to_add)
    beats = {
        "i": layer_input(network, foldings, index, frames, trace),
        "o": tokens,
        "o_mask": masks,
    }
    cosimulate(design, "bench_stream", beats, tmp_path)


@pytest.mark.parametrize(("name", "index"), [("conv-odd", 0), ("strided", 1)], ids=str)
def test_accumulate(name: str, index: int, tmp_path: Path) -> None:
    """Sums of shifted weights, groups one after another, lanes without a channel left out."""
    network, foldings = support.configuration(name)
    geometry, folding = Geometry.of(network, foldings, index), foldings[index]
    design = Accumulate(network, foldings, index, geometry)
    token, sums = design.i.payload.shape(), design.o.payload.shape()
    layer = network.layers[index]
    flat = layer.weights.transpose(0, 2, 3, 1).reshape(geometry.channels, -1).astype(int)
    rng = np.random.default_rng(9)
    sent, received = [], []
    for _ in range(25):
        for group in range(geometry.groups):
            channels = range(
                group * folding.lanes, min((group + 1) * folding.lanes, geometry.channels)
            )
            totals = dict.fromkeys(channels, 0)
            tokens, silent = [], rng.choice([0.5, 1.0])
            for source in range(flat.shape[1]):
                if rng.random() < silent:
                    continue
                exponent = int(rng.integers(geometry.coding.exponent_count))
                address = group * flat.shape[1] + source
                exponents = [exponent]
                if exponent + 1 < geometry.coding.exponent_count and rng.random() < 0.5:
                    exponents.append(exponent + 1)
                for again, e in enumerate(exponents):
                    fields = {"address": address, "exponent": e, "again": again, "add": 1}
                    tokens.append(fields | {"end": 0})
                    for channel in channels:
                        totals[channel] += int(flat[channel, source]) << e
            if not tokens or rng.random() < 0.2:  # an end that adds nothing
                tokens.append({"address": 0, "exponent": 0, "again": 0, "add": 0, "end": 1})
            tokens[-1]["end"] = 1
            sent += [pack(token, fields) for fields in tokens]
            values = list(totals.values())
            for n in range(0, len(values), folding.fire_units):
                received.append(pack(sums, values[n : n + folding.fire_units]))
    cosimulate(design, "bench_stream", {"i": sent, "o": received}, tmp_path)


def accumulators(network: Network, index: int, count: int) -> np.ndarray:
    """Random sums within the layer's bounds, many near the thresholds: (count, step, y, x, channel)."""
    rng = np.random.default_rng(10)
    channels, height, width = network.shapes[index + 1]
    layer, bounds = network.layers[index], network.bounds(index)
    shape = (count, network.timesteps, height, width, channels)
    sums = rng.integers(bounds.accumulator[0], bounds.accumulator[1] + 1, shape)
    if layer.threshold is not None:
        near = (
            layer.threshold * rng.integers(0, layer.neuron.coding.max_value + 2, shape) - layer.bias
        )
        sums = np.where(rng.random(shape) < 0.8, near + rng.integers(-1, 2, shape), sums)
    sums = np.clip(sums, *bounds.accumulator)
    sums[0], sums[1] = bounds.accumulator
    return sums


NEURONS = [
    ("conv-odd", 0),
    ("strided", 0),
    ("strided", 1),
    ("temporal", 0),
    ("temporal", 2),
    ("perceptron", 1),
]


@pytest.mark.parametrize(("name", "index"), NEURONS, ids=str)
def test_neuron(name: str, index: int, tmp_path: Path) -> None:
    """Codes on both sides of every threshold, at both ends of the range, with potentials kept between timesteps."""
    network, foldings = support.configuration(name)
    layer, units = network.layers[index], foldings[index].fire_units
    design = Neuron(network, index, units)
    sums = accumulators(network, index, 12)
    sent, codes = [], np.zeros(sums.shape, np.uint8)
    for at in np.ndindex(sums.shape[0], *sums.shape[2:]):
        v, channel = 0, at[-1]
        for step in range(network.timesteps):
            place = (at[0], step, *at[1:])
            current = int(sums[place] + layer.bias[channel])
            codes[place], v = support.fire(layer.neuron, v, current, int(layer.threshold[channel]))
    for row in sums.reshape(-1, units).tolist():
        sent.append(pack(design.i.payload.shape(), row))
    width = layer.neuron.coding.code_width
    received = beats_of(codes.transpose(0, 1, 4, 2, 3), units, width)
    cosimulate(design, "bench_stream", {"i": sent, "o": received}, tmp_path)


def test_readout(tmp_path: Path) -> None:
    """Scores summed over the timesteps; of equal scores the first class wins."""
    network, _ = support.configuration("temporal")
    index = len(network.layers) - 1
    design = Readout(network, index)
    sums = accumulators(network, index, 12)
    sums[2:6] = sums[2:6, :, :, :, :1] - network.layers[index].bias + network.layers[index].bias[0]
    sums = np.clip(sums, *network.bounds(index).accumulator)
    scores = (sums + network.layers[index].bias).sum(axis=1).reshape(len(sums), -1)
    trace = golden.Trace(scores=scores, classes=scores.argmax(1), layers=())
    sent = [pack(design.i.payload.shape(), [value]) for value in sums.reshape(-1).tolist()]
    received = score_beats(design.o.payload.shape(), trace)
    cosimulate(design, "bench_stream", {"i": sent, "o": received}, tmp_path)


def test_pool(tmp_path: Path) -> None:
    """The largest code of each block, rows and columns left over dropped."""
    network, foldings = support.configuration("pooled")
    channels, height, width = network.shapes[1]
    p_h, p_w = network.layers[1].pool
    codes = (
        np.random.default_rng(11).integers(0, 4, (3, 1, channels, height, width)).astype(np.uint8)
    )
    out_h, out_w = height // p_h, width // p_w
    pooled = np.zeros((3, 1, channels, out_h, out_w), np.uint8)
    for y in range(out_h):
        for x in range(out_w):
            block = codes[..., y * p_h : (y + 1) * p_h, x * p_w : (x + 1) * p_w]
            pooled[..., y, x] = block.max(axis=(3, 4))
    units, code_width = foldings[0].fire_units, network.codings[1].code_width
    beats = {"i": beats_of(codes, units, code_width), "o": beats_of(pooled, units, code_width)}
    cosimulate(Pool(network, foldings, 1), "bench_stream", beats, tmp_path)


def test_packer(tmp_path: Path) -> None:
    """Words of four codes, the last of each pixel only half filled; silent words are marked."""
    network, foldings = support.configuration("conv-odd")
    geometry = Geometry.of(network, foldings, 1)
    assert (geometry.pixel, geometry.word, geometry.beat) == (6, 4, 2)
    design = Packer(geometry)
    layout = design.o.payload.shape()
    rng = np.random.default_rng(12)
    pixels = rng.integers(0, 5, (200, 6)) * (rng.random((200, 6)) < 0.3)
    received = []
    for pixel in pixels.tolist():
        for index, codes in enumerate((pixel[:4], [*pixel[4:], 0, 0])):
            word = {"codes": codes, "index": index, "filled": int(any(codes)), "last": index}
            received.append(pack(layout, word))
    sent = [a | b << 3 for a, b in pixels.reshape(-1, 2).tolist()]
    cosimulate(design, "bench_stream", {"i": sent, "o": received}, tmp_path)


def test_queue(tmp_path: Path) -> None:
    """What goes in comes out, in order."""
    values = np.random.default_rng(13).integers(0, 1 << 12, 500).tolist()
    cosimulate(Queue(unsigned(12)), "bench_stream", {"i": values, "o": values}, tmp_path)

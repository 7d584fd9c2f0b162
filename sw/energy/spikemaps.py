"""What a dataflow must know of a layer's spikes: counts taken from real maps, or expected of evenly spread ones.

A layer is described on the map that its kernel sees: an average pooling before it adds up blocks of codes to cells, and
a dense layer is one pixel of as many channels as it has inputs.  An event is a code that is not silent, whatever its
level.  Pooling after the neuron happens before spikes travel, so the next layer's events are counted behind it.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from sw import golden
from sw.analysis import common
from sw.inputs import load_inputs
from sw.models.spec import INPUT, NetworkSpec
from sw.models.spiking import SpikingNetwork
from sw.network import Network, load
from sw.training.checkpoint import load_checkpoint

BATCH = 50
PIXEL_LEVELS = 16  # an input of as many levels or more is a number to multiply by, not a spike


@dataclass(frozen=True, kw_only=True)
class Geometry:
    """One layer.

    Parameters
        kind: "conv", "dense", or "join", which adds spikes and has neither weights nor potentials of its own.
        inputs: (C_in, H, W) of cells; outputs: (C_out, H_out, W_out) before pooling.  (n, 1, 1) where dense.
        kernel, stride, padding: (vertical, horizontal).
        block: codes that are added up to one cell.
        largest: N, the largest value of an event.
        pixels: whether its events are numbers to multiply by (a network's first layer).
        timesteps: T.
    """

    name: str
    kind: str
    inputs: tuple[int, int, int]
    outputs: tuple[int, int, int]
    kernel: tuple[int, int] = (1, 1)
    stride: tuple[int, int] = (1, 1)
    padding: tuple[int, int] = (0, 0)
    block: int = 1
    largest: int = 1
    pixels: bool = False
    timesteps: int = 1

    @property
    def area(self) -> int:
        """Weights of one input channel and one output channel, k_h * k_w."""
        return math.prod(self.kernel)

    @property
    def positions(self) -> int:
        return math.prod(self.outputs[1:])

    @property
    def window_cells(self) -> int:
        """Pairs of an output position and a pixel inside its window; borders and stride leave some out."""
        pairs = 1
        sizes = zip(
            self.inputs[1:], self.outputs[1:], self.kernel, self.stride, self.padding, strict=True
        )
        for n, out, k, s, p in sizes:
            starts = (s * i - p for i in range(out))
            pairs *= sum(min(start + k, n) - max(start, 0) for start in starts)
        return pairs


@dataclass(frozen=True, kw_only=True)
class Statistics:
    """Means over the images of counts that are summed over the timesteps.

    Members
        events: theta, events received; sent: events that travel on, after pooling (0 of the readout).
        pixels, channels: those of the input map with at least one event.
        window_events: pairs of an event and an output position whose window holds it.
        window_pixels: the same of pixels with at least one event.
    """

    events: float
    sent: float
    pixels: float
    channels: float
    window_events: float
    window_pixels: float


@dataclass(frozen=True)
class Spikes:
    """What was measured: layers, statistics of each, and of how many images; "origin" describes the network."""

    origin: dict[str, Any]
    images: int
    layers: tuple[Geometry, ...]
    statistics: tuple[Statistics, ...]


# --------------------------------------------------------------------------------------------------- statistics


def measure(layer: Geometry, events: Tensor, sent: float = 0.0) -> Statistics:
    """Statistics of events at every cell, (batch, step, C_in, H, W); sent: mean of the batch."""
    batch = len(events)
    maps = events.flatten(0, 1).double()
    if layer.kind == "join":
        return _join(float(maps.sum()) / batch, sent)
    counts = maps.sum(1, keepdim=True)
    busy = (counts > 0).double()

    def windows(values: Tensor) -> float:
        window = torch.ones(1, 1, *layer.kernel, dtype=torch.float64)
        return float(
            functional.conv2d(values, window, stride=layer.stride, padding=layer.padding).sum()
        )

    return Statistics(
        events=float(maps.sum()) / batch,
        sent=sent,
        pixels=float(busy.sum()) / batch,
        channels=float(maps.flatten(2).amax(2).count_nonzero()) / batch,
        window_events=windows(counts) / batch,
        window_pixels=windows(busy) / batch,
    )


def uniform(layer: Geometry, events: float, sent: float = 0.0) -> Statistics:
    """What is expected of as many events (an image) that are spread evenly: every code fires with one probability.

    Raises ValueError when there are more events than codes.
    """
    if layer.kind == "join":
        return _join(events, sent)
    channels, area = layer.inputs[0], math.prod(layer.inputs[1:])
    density = events / (layer.timesteps * channels * area * layer.block)
    if not 0 <= density <= 1:
        raise ValueError(f"{layer.name}: {events:g} events do not fit its {layer.inputs} inputs")
    silent_pixel = (1 - density) ** (channels * layer.block)
    silent_channel = (1 - density) ** (area * layer.block)
    pairs = layer.timesteps * layer.window_cells
    return Statistics(
        events=events,
        sent=sent,
        pixels=layer.timesteps * area * (1 - silent_pixel),
        channels=layer.timesteps * channels * (1 - silent_channel),
        window_events=pairs * channels * layer.block * density,
        window_pixels=pairs * (1 - silent_pixel),
    )


def _join(events: float, sent: float) -> Statistics:
    return Statistics(
        events=events, sent=sent, pixels=0, channels=0, window_events=0, window_pixels=0
    )


def _cells(fired: Tensor, average: tuple[int, int], flat: bool) -> Tensor:
    """Events at every cell of (batch, step, C, H, W) codes that fired or not."""
    maps = fired.flatten(0, 1).float()
    if average != (1, 1):
        maps = functional.avg_pool2d(maps, average, divisor_override=1)
    maps = maps.flatten(1)[:, :, None, None] if flat else maps
    return maps.unflatten(0, fired.shape[:2])


class _Means:
    """Means over batches of different sizes."""

    def __init__(self, layers: Sequence[Geometry]) -> None:
        self.layers = tuple(layers)
        self.images = 0
        self._sums = [dict.fromkeys((f.name for f in fields(Statistics)), 0.0) for _ in layers]

    def add(self, index: int, events: Tensor, sent: int) -> None:
        """sent: of the whole batch."""
        size = len(events)
        found = vars(measure(self.layers[index], events, sent / size))
        for name, value in found.items():
            self._sums[index][name] += value * size

    def result(self, origin: dict[str, Any]) -> Spikes:
        means = [{name: v / self.images for name, v in sums.items()} for sums in self._sums]
        return Spikes(origin, self.images, self.layers, tuple(Statistics(**m) for m in means))


# ----------------------------------------------------------------------------------------------------- networks


def load_spikes(path: Path, folder: Path | None, images: int) -> Spikes:
    """Run the first `images` test images through an artefact (.npz) or a checkpoint (.pt).

    folder: where the data set lies; None takes the MNIST images that are shipped.
    Raises ValueError with one sentence.
    """
    if path.suffix == ".npz":
        network = load(path)
        spikes = of_artefact(network, load_inputs(network, folder, images).frames)
        return replace(spikes, origin={"network": str(path), **spikes.origin})
    if path.suffix != ".pt":
        raise ValueError(f"{path} is neither an artefact (.npz) nor a checkpoint (.pt)")
    trained, log = load_checkpoint(path)
    if not isinstance(trained, SpikingNetwork):
        raise ValueError(f"{path} is a transformer, whose products of spikes no flow describes")
    split = common.load_test(log, folder)
    spikes = of_checkpoint(trained, (x for x, _ in common.batches(split, images, BATCH)))
    return replace(spikes, origin={"network": str(path), **spikes.origin})


def of_artefact(network: Network, frames: np.ndarray) -> Spikes:
    """Spikes of the golden model on frames of codes, uint8 (batch, step, C, H, W).

    Raises ValueError for a network with joins, whose spikes only `of_checkpoint` follows.
    """
    if not network.is_chain:
        raise ValueError(
            "dataflows of an artefact are studied on chains only; give the checkpoint of a network with joins"
        )
    weighted = [i for i, layer in enumerate(network.layers) if layer.weights is not None]
    means = _Means([_artefact_geometry(network, index) for index in weighted])
    for start in range(0, len(frames), BATCH):
        batch = frames[start : start + BATCH]
        trace = golden.run(network, batch)
        sent = [batch, *(layer.codes for layer in trace.layers[:-1])]
        maps = [torch.from_numpy(np.ascontiguousarray(sent[index])) != 0 for index in weighted]
        travelling = [int(fired.sum()) for fired in maps[1:]] + [0]
        for number, (index, fired) in enumerate(zip(weighted, maps, strict=True)):
            layer = network.layers[index]
            events = _cells(fired, layer.average, layer.kind == "dense")
            means.add(number, events, travelling[number])
        means.images += len(batch)
    return means.result({"digest": network.digest})


def _artefact_geometry(network: Network, index: int) -> Geometry:
    layer, coding = network.layers[index], network.codings[index]
    c, h, w = network.shapes[index]
    cells = c, h // layer.average[0], w // layer.average[1]
    flat = layer.kind == "dense"
    return Geometry(
        name=f"{index} {layer.kind}",
        kind=layer.kind,
        inputs=(math.prod(cells), 1, 1) if flat else cells,
        outputs=network.shapes[index + 1],
        kernel=(1, 1) if flat else layer.kernel,
        stride=layer.stride,
        padding=layer.padding,
        block=math.prod(layer.average),
        largest=coding.max_value,
        pixels=index == 0 and coding.levels >= PIXEL_LEVELS,
        timesteps=network.timesteps,
    )


@torch.no_grad()
def of_checkpoint(network: SpikingNetwork, batches: Iterable[Tensor]) -> Spikes:
    """Spikes of a trainable network, chain or residual, on batches of inputs as its forward takes them.

    Raises ValueError when it has neurons that send no spikes.
    """
    spec = network.spec
    for index, layer in enumerate(spec.layers):
        if layer.neuron is not None and not network.fires_spikes(index):
            raise ValueError(
                f"layer {index} of {spec.name} has {layer.neuron.kind} neurons, which send no spikes; "
                "give a spiking network"
            )
    means = _Means([_checkpoint_geometry(network, index) for index in range(len(spec.layers))])

    def count(index: int, _: nn.Module, inputs: Any, output: tuple[Tensor, Tensor]) -> None:
        layer, sources = spec.layers[index], spec.sources(index)
        maps = [
            (values != 0).float().transpose(0, 1)
            for source, values in zip(sources, inputs[0], strict=True)
            if layer.weighted or common.sends_spikes(network, source)
        ]
        fired = torch.stack(maps).sum(0) if maps else torch.zeros(inputs[0][0].shape[1::-1])
        if layer.weighted:
            fired = _cells(fired, (layer.average, layer.average), layer.kind == "dense")
        travels = index < len(spec.layers) - 1 and common.sends_spikes(network, index)
        means.add(index, fired, int(output[1].count_nonzero()) if travels else 0)

    hooks = [
        layer.register_forward_hook(partial(count, index))
        for index, layer in enumerate(network.chain())
    ]
    try:
        for inputs in batches:
            network(inputs)
            means.images += len(inputs)
    finally:
        for hook in hooks:
            hook.remove()
    return means.result({"name": spec.name})


def _checkpoint_geometry(network: SpikingNetwork, index: int) -> Geometry:
    spec, layer = network.spec, network.spec.layers[index]
    before = spec.input_shape_of(index)
    outputs = spec.current_shape(layer, [before], index)
    name, steps = f"{index} {layer.kind}", spec.timesteps
    if not layer.weighted:
        return Geometry(name=name, kind="join", inputs=before, outputs=outputs, timesteps=steps)
    source = spec.sources(index)[0]
    cells = before[0], before[1] // layer.average, before[2] // layer.average
    conv = layer.kind == "conv"
    on_numbers = not common.sends_spikes(network, source)
    if source == INPUT:
        on_numbers = spec.input_coding.levels >= PIXEL_LEVELS
    return Geometry(
        name=name,
        kind=layer.kind,
        inputs=cells if conv else (math.prod(cells), 1, 1),
        outputs=outputs,
        kernel=(layer.kernel, layer.kernel) if conv else (1, 1),
        stride=(layer.stride, layer.stride) if conv else (1, 1),
        padding=(layer.padding, layer.padding) if conv else (0, 0),
        block=layer.average**2,
        largest=_largest(spec, source),
        pixels=on_numbers,
        timesteps=steps,
    )


def _largest(spec: NetworkSpec, index: int) -> int:
    """The largest value that layer `index` sends; normalised lanes count as the shift that they are."""
    if index == INPUT:
        return spec.input_coding.max_value
    neuron = spec.layers[index].neuron
    if neuron is not None:
        return 1 if neuron.values is None else neuron.values[-1]
    if spec.layers[index].weighted:
        return 1
    return sum(_largest(spec, source) for source in spec.sources(index))

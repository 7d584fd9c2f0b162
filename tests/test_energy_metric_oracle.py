"""Paper 1's metric against SpikingJelly's Lemaire profiler, which follows the article's equations.

Where the tables' rules differ (`TABLES` instead of `ARTICLE`): the line in place of the piecewise memory law, 16 bits
in place of 32, a filter's bank in place of one memory for the weights and biases of a layer, a bias read a channel in
place of a neuron, k^2 additions of addresses a spike in place of C_out k^2.  The profiler charges no T N_o potentials
where no neuron follows (the equations do: every layer here has neurons), and takes every input that is not binary for
a ReLU network's.
"""

import importlib
import math
import warnings
from dataclasses import replace
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from sw.energy import lemaire
from sw.energy.activity import Activity, Spikes
from sw.energy.layers import Geometry, conv, dense
from sw.energy.rules import ARTICLE, Work, total
from sw.energy.technology import technology

COSTS = technology("45 nm", "piecewise")


def foreign(name: str) -> Any:
    """A module of SpikingJelly, whose import may warn about its own dependencies."""
    pytest.importorskip("spikingjelly")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return importlib.import_module(f"spikingjelly.activation_based.{name}")


class Net(nn.Module):
    """Two convolutions, one with a stride, and a dense layer; T timesteps one after the other."""

    def __init__(self, neuron: Any, *, bias: bool = True) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 8, 3, padding=1, bias=bias)
        self.conv2 = nn.Conv2d(8, 12, 3, stride=2, padding=1, bias=bias)
        self.dense = nn.Linear(12 * 5 * 5, 11, bias=bias)
        self.neurons = nn.ModuleList(neuron() for _ in range(3)) if neuron else None

    def fire(self, index: int, x: Tensor) -> Tensor:
        return functional.relu(x) if self.neurons is None else self.neurons[index](x)

    def forward(self, frames: Tensor) -> Tensor:
        for x in frames:
            x = self.fire(0, self.conv1(x))
            x = self.fire(1, self.conv2(x))
            x = self.fire(2, self.dense(x.flatten(1)))
        return x


def geometry(*, bias: bool = True, leak: bool = False) -> tuple[Geometry, ...]:
    layers = (
        conv("conv1", (3, 10, 10), 8),
        conv("conv2", (8, 10, 10), 12, stride=2),
        dense("dense", (12, 5, 5), 11),
    )
    return tuple(replace(layer, bias=bias, leak=leak) for layer in layers)


def spikes_of(net: Net, frames: Tensor) -> Activity:
    """What our metric needs, from their network."""
    sent = [0, 0, 0]

    def count(index: int, output: Tensor) -> None:
        sent[index] += int(output.count_nonzero())

    assert net.neurons is not None
    hooks = [
        neuron.register_forward_hook(lambda _, __, output, i=index: count(i, output))
        for index, neuron in enumerate(net.neurons)
    ]
    with torch.no_grad():
        net(frames)
    for hook in hooks:
        hook.remove()
    for neuron in net.neurons:
        neuron.reset()
    entered = int(frames.count_nonzero())
    spikes = [Spikes(events=n, values=n, bits=n) for n in (entered, *sent)]
    return Activity(timesteps=len(frames), input=spikes[0], sent=tuple(spikes[1:]))


def summed(works: list[Work], name: str) -> float:
    return sum(getattr(work, name) for work in works)


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("kind", ["IFNode", "LIFNode"])
@pytest.mark.parametrize("steps", [1, 4])
def test_binary_network(steps: int, kind: str, bias: bool) -> None:
    """Every count and every part of the energy, dense, convolutional, with stride, with and without leak and bias."""
    counter, neuron = foreign("op_counter"), getattr(foreign("neuron"), kind)
    torch.manual_seed(steps)
    net = Net(partial(neuron, v_threshold=0.05), bias=bias)  # so that every layer fires
    frames = (torch.rand(steps, 1, 3, 10, 10) < 0.3).float()
    layers, activity = geometry(bias=bias, leak=kind == "LIFNode"), spikes_of(net, frames)
    assert all(s is not None and s.events > 0 for s in activity.sent)

    theirs = counter.estimate_lemaire_energy(net, frames)
    works = [
        lemaire.spiking_work(layer, activity.received(layers, i), activity.sent[i], steps, ARTICLE)
        for i, layer in enumerate(layers)
    ]
    counts = theirs.counts
    assert summed(works, "adds") == counts["ac"]
    assert summed(works, "macs") == counts["mac"]
    assert summed(works, "address_adds") == counts["acc_addr"]
    assert summed(works, "address_macs") == counts["mac_addr"]
    assert 4 * (summed(works, "weights") + summed(works, "biases")) == counts["read_params_bytes"]
    assert 4 * summed(works, "inputs") == counts["read_in_bytes"]
    assert 4 * summed(works, "outputs") == counts["write_out_bytes"]
    assert (
        4 * summed(works, "potentials")
        == counts["read_potential_bytes"] + counts["write_potential_bytes"]
    )

    ours = total(lemaire.spiking_energy(layers, activity, COSTS, ARTICLE))
    part = theirs.breakdown_pj
    assert math.isclose(ours.operations, part["ops_pj"])
    assert math.isclose(ours.addresses, part["addressing_pj"])
    assert math.isclose(ours.potentials, part["potential_pj"])
    assert math.isclose(ours.weights + ours.bias, part["params_pj"])
    assert math.isclose(ours.in_out, part["inout_pj"])
    assert math.isclose(ours.total, theirs.total_pj)


def test_relu_network() -> None:
    counter = foreign("op_counter")
    theirs = counter.estimate_lemaire_energy(Net(None), torch.rand(1, 1, 3, 10, 10))
    ours = total(lemaire.analogue_energy(geometry(), COSTS, ARTICLE))
    part = theirs.breakdown_pj
    assert math.isclose(ours.operations, part["ops_pj"])
    assert math.isclose(ours.addresses, part["addressing_pj"])
    assert math.isclose(ours.weights + ours.bias, part["params_pj"])
    assert math.isclose(ours.in_out, part["inout_pj"])
    assert math.isclose(ours.total, theirs.total_pj)


def test_multi_level_network() -> None:
    """Spikes of 0..4: they charge a MAC at every synapse, silent or not; we charge events, by their values."""
    counter, neuron = foreign("op_counter"), foreign("neuron").IFNode
    torch.manual_seed(0)
    frames = torch.randint(0, 5, (1, 1, 3, 10, 10)) * (torch.rand(1, 1, 3, 10, 10) < 0.1)
    frames = frames.float()
    net = Net(neuron)
    theirs = counter.estimate_lemaire_energy(net, frames)
    assert theirs.counts["mac"] == geometry()[0].macs

    layer = geometry()[0]
    events, values = int(frames.count_nonzero()), int(frames.sum())
    received = Spikes(events=events, levels=4, values=values)
    work = lemaire.spiking_work(layer, [received], Spikes(events=0, levels=4), 1, ARTICLE)
    assert 0 < events < values
    assert work.macs == 0
    assert work.weights == events * 8 * 9 < layer.macs / 5
    assert work.adds == values * 8 * 9 + layer.outputs

"""What the shared engine adds up, as windows of stored maps, is what the golden model adds up."""

import numpy as np
import pytest
import torch
from torch.nn import functional as F

import graphs
from support import images
from sw import golden
from sw.network import INPUT, Network
from sw.schedule import Schedule, Sharing, Step
from sw.terms import digits


def values_of(coding, codes: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(coding.values)[torch.from_numpy(codes).long()]


def sums_of(step: Step, maps: dict[int, torch.Tensor]) -> torch.Tensor:
    """sum(w * z) + b of a step, int64 (batch, timestep, C, H, W), by its terms."""
    total = torch.zeros(1, dtype=torch.float64)
    for term in step.terms:
        x = maps[term.source]
        x = x.flatten(0, 1).reshape(-1, *term.shape).double()
        x = F.avg_pool2d(x, term.average, divisor_override=1)
        weights = torch.from_numpy(term.weights).double()
        groups = len(weights) if term.diagonal else 1
        window = F.conv2d(x, weights, None, term.stride, term.padding, groups=groups)
        total = total + window * (1 << term.shift)
    assert total.abs().max() < 1 << (step.accumulator_width - 1)
    sums = total.long() + torch.from_numpy(step.bias)[:, None, None]
    return sums.unflatten(0, maps[step.terms[0].source].shape[:2])


def fired(network: Network, step: Step, sums: torch.Tensor) -> torch.Tensor:
    """Values of a step, timestep after timestep, by the golden model's neuron."""
    if step.neuron is None:
        assert 0 <= sums.min() and sums.max() <= step.coding.max_value
        return sums
    layer, v, values = network.layers[step.layer], torch.zeros_like(sums[:, 0]), []
    threshold = torch.from_numpy(step.threshold)[:, None, None]
    for current in sums.unbind(1):
        v, codes = golden.step_neuron(
            layer, v, current + (step.neuron.boundary == "open"), threshold
        )
        values.append(values_of(step.coding, codes.numpy()))
    return torch.stack(values, 1)


@pytest.mark.parametrize("seed", range(12))
def test_steps_equal_golden(seed):
    """Random graphs, step by step: every map and the scores are the golden model's."""
    net = graphs.entangled(1 + seed % 2) if seed < 2 else graphs.random_graph(seed)
    frames = golden.frames_of(net, images(np.random.default_rng(seed), net, 4))
    trace = golden.run(net, frames)
    maps = {INPUT: values_of(net.input_coding, frames)}
    for step in Schedule(net, Sharing.of(16)).steps:
        sums = sums_of(step, maps)
        if step.coding is None:
            assert (sums.sum(1)[..., 0, 0].numpy() == trace.scores).all()
            continue
        codes = frames if step.layer == INPUT else trace.layers[step.layer].codes
        values = fired(net, step, sums)
        assert (values == values_of(step.coding, codes)).all()
        pooled = F.max_pool2d(values.flatten(0, 1).double(), step.pool).long()
        maps[step.stored] = pooled.unflatten(0, values.shape[:2])


@pytest.mark.parametrize("width", [2, 3, 8])
def test_digits(width):
    """Every integer is the sum of its digits, which have so many bits."""
    for bits in (1, width, 17, 31):
        values = np.random.default_rng(bits).integers(-(1 << bits), 1 << bits, 50)
        found = digits(values, width)
        assert (sum(digit.astype(np.int64) << shift for digit, shift in found) == values).all()
        assert all(abs(2 * digit.astype(int) + 1).max() < 1 << width for digit, _ in found)
    assert len(digits(np.zeros(3, np.int64), width)) == 1

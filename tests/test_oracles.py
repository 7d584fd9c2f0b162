"""The closed forms against what they replace: loops over micro-timesteps, and the neurons of other libraries.

The other libraries are in tests/oracles.txt; without them their tests are skipped.
"""

import importlib
import warnings
from typing import Any

import pytest
import torch
from torch import Tensor

from sw.neurons import MultiLevelIF, RoundingLIF, multi_level_step

CHUNK = 1 << 16


def foreign(name: str) -> Any:
    """A module of another library, whose import may warn about its own dependencies."""
    pytest.importorskip(name.partition(".")[0])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return importlib.import_module(name)


# ------------------------------------------------------------------------------------------ micro-timesteps


def unrolled(
    x: Tensor, levels: int, theta: Tensor, leak: float, boundary: str, charges: int
) -> tuple[Tensor, Tensor]:
    """Spike trains (T, n) of currents (T, n) and the last potential: charge, then N times fire and discharge."""
    h, trains = torch.zeros_like(x[0]), []
    for current in x:
        h = leak * h
        for _ in range(charges):
            h = h + current
        level = torch.zeros_like(h)
        for _ in range(levels):
            fired = (h >= theta if boundary == "closed" else h > theta).to(h.dtype)
            h = h - fired * theta
            level = level + fired
        trains.append(level)
    return torch.stack(trains), h


def closed(
    x: Tensor, levels: int, theta: Tensor, leak: float, boundary: str, charge: str
) -> tuple[Tensor, Tensor]:
    v, trains = None, []
    for current in x:
        z, v = multi_level_step(
            current, v, theta, levels=levels, leak=leak, boundary=boundary, charge=charge
        )
        trains.append(z)
    assert v is not None
    return torch.stack(trains), v


@pytest.mark.parametrize("charge", ["once", "repeated"])
@pytest.mark.parametrize("boundary", ["closed", "open"])
@pytest.mark.parametrize(("levels", "steps"), [(1, 1), (4, 1), (16, 1), (1, 16), (3, 7), (16, 16)])
def test_integers(levels: int, steps: int, boundary: str, charge: str) -> None:
    """Bit for bit in single precision: a million random integer currents and thresholds, half of them on a boundary."""
    generator = torch.Generator().manual_seed(levels * 100 + steps)
    charges = levels if charge == "repeated" else 1
    for _ in range(max(1, (1 << 20) // (CHUNK * steps))):
        theta = torch.randint(1, 200, (CHUNK,), generator=generator).float()
        x = torch.randint(-400, 1200, (steps, CHUNK), generator=generator).float()
        x[:, ::2] = theta[::2] * torch.randint(-2, 8, (steps, CHUNK // 2), generator=generator)
        z, v = closed(x, levels, theta, 1.0, boundary, charge)
        expected, h = unrolled(x, levels, theta, 1.0, boundary, charges)
        assert torch.equal(z, expected)
        assert torch.equal(v, h)
        assert len(z.unique()) == levels + 1


@pytest.mark.parametrize("leak", [1.0, 0.9])
@pytest.mark.parametrize(("levels", "steps"), [(1, 1), (4, 1), (16, 1), (1, 16), (3, 7), (16, 16)])
def test_real_numbers(levels: int, steps: int, leak: float) -> None:
    """Bit for bit in single precision at theta = 1, a million random currents, one charge of N x."""
    generator = torch.Generator().manual_seed(levels * 100 + steps)
    one = torch.tensor(1.0)
    for _ in range(max(1, (1 << 20) // (CHUNK * steps))):
        x = torch.randn(steps, CHUNK, generator=generator) * 0.5 + 0.3
        z, v = closed(x, levels, one, leak, "closed", "repeated")
        expected, h = unrolled(x * levels, levels, one, leak, "closed", 1)
        assert torch.equal(z, expected)
        assert torch.equal(v, h)


# --------------------------------------------------------------------------------------------- other libraries


@pytest.mark.parametrize(("levels", "steps"), [(1, 1), (4, 1), (10, 1), (1, 8), (4, 4), (16, 16)])
def test_sinabs(levels: int, steps: int) -> None:
    """Its IAF with MaxSpike(N), charged with N x: the same spikes and potentials, bit for bit."""
    layers, activation = foreign("sinabs.layers"), foreign("sinabs.activation")
    x = torch.randn(20_000, steps, generator=torch.Generator().manual_seed(1)) * 0.5 + 0.3
    layer = layers.IAF(spike_fn=activation.MaxSpike(levels))
    with torch.no_grad():
        expected = layer(levels * x)
        z, v = closed(x.t(), levels, torch.tensor(1.0), 1.0, "closed", "repeated")
        assert torch.equal(MultiLevelIF(levels, charge="repeated")(x.t()), z)
    assert torch.equal(z.t(), expected)
    assert torch.equal(v, layer.v_mem)


@pytest.mark.parametrize("detach_reset", [False, True])
@pytest.mark.parametrize("tau", [4 / 3, 2.0])
@pytest.mark.parametrize(("levels", "steps"), [(1, 1), (4, 1), (8, 1), (4, 4), (16, 16)])
def test_spikingjelly_rounding(levels: int, steps: int, tau: float, detach_reset: bool) -> None:
    """Its ILIFNode: the same spikes and gradients, bit for bit, a tenth of the currents on a tie or an edge.

    Its leak is V - V / tau in this order of operations.  (Its multi-step mode adds up gradients in another order.)
    """
    neuron = foreign("spikingjelly.activation_based.neuron")
    surrogate = foreign("spikingjelly.activation_based.surrogate")
    generator = torch.Generator().manual_seed(2)
    x = torch.randn(steps, 20_000, generator=generator) * levels / 2 + levels / 4
    x[:, ::10] = (2 * x[:, ::10]).round() / 2
    weights = torch.randn(x.shape, generator=generator)
    theirs = neuron.ILIFNode(
        tau=tau,
        surrogate_function=surrogate.MultiLevelSpikeCount(levels),
        detach_reset=detach_reset,
    )
    ours = RoundingLIF(levels, detach_reset=detach_reset)
    results = []
    for spikes_of in (
        lambda x: torch.stack([theirs(current) for current in x]),
        lambda x: ours(x, leak=lambda v: v - v / tau),
    ):
        leaf = x.clone().requires_grad_()
        spikes = spikes_of(leaf)
        results.append((spikes, *torch.autograd.grad((spikes * weights).sum(), leaf)))
    assert torch.equal(results[0][0], results[1][0])
    assert torch.equal(results[0][1], results[1][1])
    assert len(results[0][0].unique()) == levels + 1


def test_spikingjelly_integrate_and_fire() -> None:
    """Its IFNode with soft reset is one level; sigmoid surrogate with the reset detached."""
    neuron = foreign("spikingjelly.activation_based.neuron")
    surrogate = foreign("spikingjelly.activation_based.surrogate")
    x = torch.randn(8, 20_000, generator=torch.Generator().manual_seed(3)) * 0.5 + 0.3
    theirs = neuron.IFNode(
        v_reset=None,
        surrogate_function=surrogate.Sigmoid(alpha=5.0),
        detach_reset=True,
        step_mode="m",
    )
    results = []
    for spikes_of in (theirs, MultiLevelIF(1, alpha=5.0)):
        leaf = x.clone().requires_grad_()
        spikes = spikes_of(leaf)
        results.append((spikes, *torch.autograd.grad(spikes.square().sum(), leaf)))
    assert torch.equal(results[0][0], results[1][0])
    torch.testing.assert_close(results[0][1], results[1][1], rtol=1e-5, atol=1e-5)

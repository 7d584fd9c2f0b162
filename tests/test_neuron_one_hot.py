"""One-hot and thermometer neurons against the pinned vectors and the papers' properties."""

import json
import math
from fractions import Fraction
from pathlib import Path

import pytest
import torch
from torch import Tensor

from sw.neurons import (
    EDGE_CODE,
    EDGE_PAPER,
    OneHotMLIF,
    ThermometerMLIF,
    fire_one_hot,
    one_hot_step,
    thermometer_step,
    variant,
)

VECTORS = json.loads((Path(__file__).parent / "vectors" / "mlif-vectors.json").read_text())
ONE = torch.tensor(1.0, dtype=torch.float64)


def tensor(*values: float) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


def lane_of(level: float) -> int:
    return -1 if level == 0 else round(math.log2(level))


# ---------------------------------------------------------------------------------------------------- vectors


@pytest.mark.parametrize("reset", ["soft", "hard"])
def test_static_map(reset: str) -> None:
    for entry in VECTORS["static"]:
        z, v = one_hot_step(tensor(entry["U"]), None, ONE, lanes=entry["S"], reset=reset)
        assert z.item() == entry["O"], entry
        assert lane_of(z.item()) == entry["lane"], entry
        assert v.item() == entry[f"V_{reset}"], entry


@pytest.mark.parametrize(
    ("u", "levels"), [(1, (1, 1, 1, 1)), (2, (1, 2, 2, 2)), (4, (1, 2, 4, 4)), (8, (1, 2, 4, 8))]
)
def test_closed_boundary(u: int, levels: tuple[int, ...]) -> None:
    for lanes, level in enumerate(levels, start=1):
        z, v = one_hot_step(tensor(u), None, ONE, lanes=lanes, boundary="closed")
        assert (z.item(), v.item()) == (level, u - level)


def test_single_step_with_leak() -> None:
    """Exact: a step is homogeneous, so 200 times every quantity is the same step in integers."""
    unit = 200
    for entry in VECTORS["step09"]:
        decayed = Fraction(9, 10) * Fraction(str(entry["Vprev"])) * unit
        drive, expected = Fraction(str(entry["I"])) * unit, Fraction(str(entry["V"])) * unit
        assert decayed.denominator == drive.denominator == 1
        assert decayed + drive == Fraction(str(entry["U"])) * unit
        z, v = one_hot_step(
            tensor(int(drive)), tensor(int(decayed)), ONE * unit, lanes=entry["S"], leak=1.0
        )
        assert z.item() == entry["O"], entry
        assert v.item() == expected, entry


def test_eight_step_runs() -> None:
    """Exact, in integers: a leak of 0.9 adds a decimal place to V in each of eight steps, a drive has quarters."""
    unit = 4 * 10**8

    def exactly(value: float) -> int:
        scaled = Fraction(str(value)) * unit
        assert scaled.denominator == 1
        return int(scaled)

    for run in VECTORS["seq"]["runs"]:
        tenths = round(10 * run["leak"])
        v, levels, potentials = None, [], []
        for x in VECTORS["seq"]["I"]:
            z, v = one_hot_step(
                tensor(exactly(x)),
                v,
                ONE * unit,
                lanes=run["S"],
                leak=lambda v, tenths=tenths: v * tenths / 10,
                reset=run["mode"],
            )
            levels.append(z.item())
            potentials.append(v.item())
        assert levels == run["O"], run
        assert potentials == [exactly(value) for value in run["V"]], run


def test_normalised_lanes_with_input_decay() -> None:
    for run in VECTORS["sdt"]["runs"]:
        v, levels, potentials = None, [], []
        for x in VECTORS["sdt"]["x"]:
            z, v = one_hot_step(
                tensor(x),
                v,
                ONE * run["theta"],
                lanes=run["S"],
                leak=0.5,
                reset="hard",
                normalised=True,
                input_decay=True,
            )
            levels.append(z.item())
            potentials.append(v.item())
        assert levels == run["O"], run
        assert potentials == run["V"], run


def slope_at(u: float, **options: object) -> float:
    x = tensor(u).requires_grad_()
    z, _ = one_hot_step(x, None, ONE, **options)  # type: ignore[arg-type]
    (gradient,) = torch.autograd.grad(z.sum(), x)
    return gradient.item()


@pytest.mark.parametrize(("edge", "name"), [(EDGE_PAPER, "paper"), (EDGE_CODE, "code")])
def test_triangular_surrogate(edge: float, name: str) -> None:
    for entry in VECTORS["sg"]:
        slope = slope_at(entry["U"], lanes=entry["S"], edge=edge)
        assert slope == pytest.approx(entry[name], abs=1e-12), entry


def test_integer_form() -> None:
    for entry in VECTORS["q4"]:
        boundary = {"gt": "open", "ge": "closed"}[entry["conv"]]
        z, v = one_hot_step(tensor(entry["u"]), None, ONE * 16, lanes=3, boundary=boundary)
        assert (lane_of(z.item()), z.item(), v.item()) == (entry["lane"], entry["O"], entry["v"])


def test_every_power_of_two_is_exact() -> None:
    """A logarithm in floating point returns level 8 just below eight thresholds; comparisons do not."""
    below = torch.nextafter(torch.tensor(8.0), torch.tensor(0.0))
    assert fire_one_hot(below[None], 4, "closed").item() == 4
    assert fire_one_hot(torch.tensor([8.0]), 4, "closed").item() == 8
    assert fire_one_hot(torch.tensor([8.0]), 4, "open").item() == 4


# ------------------------------------------------------------------------------------------------- properties


def test_one_hot_threshold_and_leak_gradients() -> None:
    u, theta, leak = (
        tensor(1.5).requires_grad_(),
        tensor(0.8).requires_grad_(),
        tensor(0.75).requires_grad_(),
    )
    v = tensor(0.4)
    z, after = one_hot_step(u, v, theta, lanes=3, leak=leak)
    by_u, by_theta, by_leak = torch.autograd.grad(z.sum(), (u, theta, leak), retain_graph=True)
    potential = 1.5 + 0.75 * 0.4
    torch.testing.assert_close(by_theta, -potential / theta.detach() * by_u)
    torch.testing.assert_close(by_leak, v * by_u)
    by_u, by_theta = torch.autograd.grad(after.sum(), (u, theta))
    assert by_u.item() == 1
    assert by_theta.item() == -z.item()


def test_one_lane_is_a_leaky_integrate_and_fire_neuron() -> None:
    """Forward and backward equal a binary neuron written out by hand."""
    generator = torch.Generator().manual_seed(1)
    drive = torch.randn(6, 500, generator=generator, dtype=torch.float64) + 0.5

    class Spike(torch.autograd.Function):
        @staticmethod
        def forward(ctx, u):  # type: ignore[no-untyped-def]
            ctx.save_for_backward(u)
            return (u > 1).double()

        @staticmethod
        def backward(ctx, grad):  # type: ignore[no-untyped-def]
            (u,) = ctx.saved_tensors
            return grad * 0.3 * (1 - (u - 1).abs()).clamp(min=0)

    def binary(x: Tensor) -> Tensor:
        v, spikes = torch.zeros_like(x[0]), []
        for current in x:
            u = 0.9 * v + current
            spikes.append(Spike.apply(u))
            v = u - spikes[-1].detach()
        return torch.stack(spikes)

    neuron = OneHotMLIF(1, threshold=1.0, leak=0.9).double()
    weights = torch.randn(6, 500, generator=generator, dtype=torch.float64)
    results = []
    for function in (binary, neuron):
        x = drive.clone().requires_grad_()
        spikes = function(x)
        (gradient,) = torch.autograd.grad((spikes * weights).sum(), x)
        results.append((spikes, gradient))
    assert torch.equal(results[0][0], results[1][0])
    torch.testing.assert_close(results[0][1], results[1][1], rtol=0, atol=1e-12)


# --------------------------------------------------------------------------------------------------- variants


def test_variant_a_on_the_pinned_runs() -> None:
    neuron = variant("A", 3).double()
    assert neuron.threshold.requires_grad
    assert isinstance(neuron.leak, torch.nn.Parameter)
    assert neuron.edge == EDGE_CODE
    (run,) = (r for r in VECTORS["seq"]["runs"] if (r["mode"], r["leak"], r["S"]) == ("soft", 1, 3))
    assert neuron(tensor(*VECTORS["seq"]["I"])).tolist() == run["O"]


@pytest.mark.parametrize("lanes", [1, 2, 3, 4])
def test_variant_b_on_the_pinned_runs(lanes: int) -> None:
    neuron = variant("B", lanes).double()
    assert not any(p.requires_grad for p in neuron.parameters())
    (run,) = (
        r for r in VECTORS["seq"]["runs"] if (r["mode"], r["leak"], r["S"]) == ("hard", 0.5, lanes)
    )
    assert neuron(tensor(*VECTORS["seq"]["I"])).tolist() == run["O"]


@pytest.mark.parametrize("run", VECTORS["sdt"]["runs"], ids=lambda r: f"{r['theta']}-{r['S']}")
def test_variant_c_on_the_pinned_runs(run) -> None:  # type: ignore[no-untyped-def]
    neuron = variant("C", run["S"], threshold=run["theta"]).double()
    assert neuron(tensor(*VECTORS["sdt"]["x"])).tolist() == run["O"]


def test_variants_c_and_d_differ_on_the_edges_of_the_windows() -> None:
    x = 2 * tensor(0.25, 0.5, 1.0, 0.75)[None]  # half of the input is the potential
    assert variant("C", 3).double()(x).tolist() == [[0, 0.25, 0.5, 0.5]]
    assert variant("D", 3).double()(x).tolist() == [[0.25, 0.5, 1, 0.5]]


def steepest(name: str, lanes: int) -> float:
    x = torch.linspace(-1, 5, 6001, dtype=torch.float64)[None].requires_grad_()
    (slope,) = torch.autograd.grad(variant(name, lanes).double()(x).sum(), x)
    return slope.max().item()


def test_variant_c_is_steeper_than_d() -> None:
    """By about 3.2, as measured on the published code at three lanes."""
    assert steepest("C", 3) / steepest("D", 3) == pytest.approx(3.2, abs=0.05)


@pytest.mark.parametrize(("normalised", "weights"), [(True, (0.25, 0.25, 0.5)), (False, (1, 1, 2))])
def test_merged_sigmoid(normalised: bool, weights: tuple[float, ...]) -> None:
    """Bumps of one width at every lane's threshold, with the weights of the difference of a window's edges."""
    theta, alpha, top = 0.5, 4.0, 4 if normalised else 1
    u = torch.linspace(-1, 6, 141, dtype=torch.float64).requires_grad_()
    z, _ = one_hot_step(
        u, None, ONE * theta, lanes=3, normalised=normalised, surrogate="merged-sigmoid"
    )
    (slope,) = torch.autograd.grad(z.sum(), u)
    expected = torch.zeros_like(slope)
    for s, weight in enumerate(weights):
        p = torch.sigmoid(alpha * (u.detach() / theta - (1 << s) / top))
        expected += weight * alpha * p * (1 - p) / theta
    torch.testing.assert_close(slope, expected, rtol=0, atol=1e-12)


# ------------------------------------------------------------------------------------------------ thermometer


@pytest.mark.parametrize("boundary", ["open", "closed"])
def test_every_lane_below_the_potential_fires(boundary: str) -> None:
    u = torch.arange(-8, 400).double() / 16
    z, v = thermometer_step(u, None, ONE, lanes=4, boundary=boundary)
    for value, level, rest in zip(u.tolist(), z.tolist(), v.tolist(), strict=True):
        lanes = [1 << s for s in range(4)]
        expected = sum(w for w in lanes if value > w or (boundary == "closed" and value == w))
        assert (level, rest) == (expected, value - expected)
    _, hard = thermometer_step(u, None, ONE, lanes=4, boundary=boundary, reset="hard")
    assert torch.equal(hard, torch.where(z > 0, 0, u))


def test_thermometer_gradient() -> None:
    """Every lane 2^s has one edge, a triangle of area 2^s gamma around its threshold 2^s theta."""
    theta = 0.7
    u = torch.linspace(-1, 8, 181, dtype=torch.float64).requires_grad_()
    threshold = (ONE * theta).requires_grad_()
    z, _ = thermometer_step(u, None, threshold, lanes=3, gamma=0.3)
    by_u, by_theta = torch.autograd.grad(z.sum(), (u, threshold))
    ratio = u.detach() / theta
    lanes = [(1 - (ratio / w - 1).abs()).clamp(min=0) * 0.3 for w in (1, 2, 4)]
    torch.testing.assert_close(by_u, sum(lanes) / theta)
    torch.testing.assert_close(by_theta, -(ratio * by_u).sum())


def test_one_lane_of_a_thermometer_is_one_hot() -> None:
    x = torch.randn(6, 1000, generator=torch.Generator().manual_seed(6)).requires_grad_()
    results = []
    for neuron in (OneHotMLIF(1, leak=0.5), ThermometerMLIF(1, leak=0.5)):
        spikes = neuron(x)
        results.append((spikes, *torch.autograd.grad(spikes.sum(), x)))
    assert torch.equal(results[0][0], results[1][0])
    assert torch.equal(results[0][1], results[1][1])

"""Neurons against the pinned vectors, the papers' properties and unrolled micro-steps."""

import json
import math
from fractions import Fraction
from pathlib import Path

import pytest
import torch
from torch import Tensor

from sw import benchmark
from sw.neurons import (
    EDGE_CODE,
    EDGE_PAPER,
    BarrierIF,
    MultiLevelIF,
    OneHotMLIF,
    fire_one_hot,
    multi_level_step,
    one_hot_step,
)

VECTORS = json.loads((Path(__file__).parent / "vectors" / "mlif-vectors.json").read_text())
ONE = torch.tensor(1.0, dtype=torch.float64)


def tensor(*values: float) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


def lane_of(level: float) -> int:
    return -1 if level == 0 else round(math.log2(level))


# ------------------------------------------------------------------------------------------ one-hot, vectors


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
    drive = VECTORS["seq"]["I"]
    for run in VECTORS["seq"]["runs"]:
        v, levels, potentials = None, [], []
        for x in drive:
            z, v = one_hot_step(
                tensor(x), v, ONE, lanes=run["S"], leak=float(run["leak"]), reset=run["mode"]
            )
            levels.append(z.item())
            potentials.append(v.item())
        assert levels == run["O"], run
        # leak 0.9 is not a binary fraction; no potential of these runs lies on a boundary
        assert potentials == pytest.approx(run["V"], abs=1e-12), run


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


# --------------------------------------------------------------------------------------- one-hot, properties


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


# ------------------------------------------------------------------------------------ multi-level, properties


@pytest.mark.parametrize(("levels", "steps"), [(1, 1), (4, 1), (1, 4), (4, 4), (3, 5)])
def test_number_of_levels(levels: int, steps: int) -> None:
    """A constant input in 0..theta, charged N times a step, is decoded to one of N*T + 1 even levels."""
    count = levels * steps
    x = torch.linspace(0, 1, 40 * count + 1, dtype=torch.float64)
    neuron = MultiLevelIF(levels, charge="repeated").double()
    decoded = neuron(x.expand(steps, -1)).sum(0).detach()
    expected = torch.floor(x * count + 1e-9).clamp(max=count)
    on_edge = (x * count - torch.round(x * count)).abs() < 1e-9
    assert torch.equal(decoded[~on_edge], expected[~on_edge])
    assert len(decoded.unique()) == count + 1


@pytest.mark.parametrize("boundary", ["closed", "open"])
def test_closed_form_equals_micro_steps(boundary: str) -> None:
    """Charged once, discharged N times: the same level and potential for a million random inputs and states."""
    generator = torch.Generator().manual_seed(2)
    x = torch.randint(-400, 1200, (1_000_000,), generator=generator).double()
    v = torch.randint(-300, 300, (1_000_000,), generator=generator).double()
    theta = torch.randint(1, 200, (1_000_000,), generator=generator).double()
    for levels in (1, 4, 15):
        h, level = v + x, torch.zeros_like(x)
        for _ in range(levels):
            fired = ((h >= theta) if boundary == "closed" else (h > theta)).double()
            h, level = h - fired * theta, level + fired
        z, after = multi_level_step(x, v, theta, levels=levels, boundary=boundary)
        assert torch.equal(z, level)
        assert torch.equal(after, h)


def test_closed_form_equals_micro_steps_on_real_numbers() -> None:
    generator = torch.Generator().manual_seed(3)
    x = torch.randn(1_000_000, generator=generator)
    h, level = 4 * x, torch.zeros_like(x)
    for _ in range(4):
        fired = (h >= 1).float()
        h, level = h - fired, level + fired
    z, after = multi_level_step(x, None, torch.tensor(1.0), levels=4, charge="repeated")
    assert torch.equal(z, level)
    assert torch.equal(after, h)


@pytest.mark.parametrize("levels", [1, 4])
def test_sigmoid_surrogate(levels: int) -> None:
    alpha, theta = 5.0, 0.7
    u = torch.linspace(-2, 6, 201, dtype=torch.float64).requires_grad_()
    threshold = tensor(theta).requires_grad_()
    z, _ = multi_level_step(u, None, threshold, levels=levels, alpha=alpha)
    by_u, by_theta = torch.autograd.grad(z.sum(), (u, threshold))
    expected = []
    for value in u.tolist():
        s = [1 / (1 + math.exp(-alpha * (value / theta - n))) for n in range(1, levels + 1)]
        expected.append(sum(alpha * p * (1 - p) for p in s) / theta)
    torch.testing.assert_close(by_u, tensor(*expected))
    torch.testing.assert_close(by_theta, -(u.detach() / theta * by_u).sum()[None])


def test_sigmoid_surrogate_at_its_peak() -> None:
    u = tensor(1.0).requires_grad_()
    z, _ = multi_level_step(u, None, ONE, levels=1)
    (slope,) = torch.autograd.grad(z.sum(), u)
    assert slope.item() == 5 / 4


@pytest.mark.parametrize(
    ("u", "slope"), [(-0.1, 0), (0.0, 2), (1.9, 2), (2.49, 2), (2.6, 0), (9, 0)]
)
def test_straight_through(u: float, slope: float) -> None:
    """theta = 0.5, N = 4: 1/theta from zero up to (N + 1) theta."""
    x = tensor(u).requires_grad_()
    z, _ = multi_level_step(x, None, ONE / 2, levels=4, surrogate="straight-through")
    (gradient,) = torch.autograd.grad(z.sum(), x)
    assert gradient.item() == slope


def test_one_level_is_an_integrate_and_fire_neuron() -> None:
    generator = torch.Generator().manual_seed(4)
    x = (torch.randn(5, 400, generator=generator, dtype=torch.float64) + 0.4).requires_grad_()
    spikes = MultiLevelIF(1).double()(x)
    v, expected = torch.zeros(400, dtype=torch.float64), []
    slopes = []
    for current in x.detach():
        u = v + current
        s = torch.sigmoid(5 * (u - 1))
        slopes.append(5 * s * (1 - s))
        expected.append((u >= 1).double())
        v = u - expected[-1]
    assert torch.equal(spikes, torch.stack(expected))
    (gradient,) = torch.autograd.grad(spikes.sum(), x)
    # dU[s]/dx[t] = 1 for every s >= t, the reset being detached
    torch.testing.assert_close(gradient, torch.stack(slopes).flip(0).cumsum(0).flip(0))


def test_charge_conventions() -> None:
    once, _ = multi_level_step(tensor(0.6), None, ONE, levels=4)
    repeated, after = multi_level_step(tensor(0.6), None, ONE, levels=4, charge="repeated")
    assert (once.item(), repeated.item()) == (0, 2)
    assert after.item() == pytest.approx(0.4)


@pytest.mark.parametrize(
    ("build", "words"),
    [
        (lambda: MultiLevelIF(0), "levels must be an integer of at least 1, not 0"),
        (lambda: MultiLevelIF(4, boundary="half"), "not 'half'"),
        (lambda: MultiLevelIF(4, threshold=0.0), "threshold must be above zero, not 0.0"),
        (lambda: OneHotMLIF(2, reset="none"), "reset must be one of 'soft', 'hard', not 'none'"),
        (lambda: OneHotMLIF(2, leak=1.5), "leak must be in 0..1, not 1.5"),
    ],
)
def test_bad_parameters(build, words: str) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(ValueError, match=words):
        build()


# --------------------------------------------------------------------------------------------------- benchmark


def test_benchmark(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    output = tmp_path / "speed.json"
    arguments = ["--elements", "4096", "--repeats", "1", "--threads", "1", "--json", str(output)]
    assert benchmark.main(arguments) == 0
    result = json.loads(output.read_text())
    assert [row["case"] for row in result["rows"]][-1] == "torch.relu"
    assert all(row["forward_backward_ns"] > 0 for row in result["rows"])
    assert "allocator" in capsys.readouterr().out
    assert benchmark.main(["--levels", "0"]) == 2
    assert capsys.readouterr().err == "error: --levels must be in 1..15, not 0\n"


def test_benchmark_compares_the_same_neuron() -> None:
    x = torch.randn(10_000, generator=torch.Generator().manual_seed(5))
    levels = [
        case(x) for name, case in benchmark.cases(4, compiled=False).items() if "relu" not in name
    ]
    assert len(levels) == 3
    assert torch.equal(levels[0], levels[1])
    assert torch.equal(levels[0], levels[2])


# ----------------------------------------------------------------------------------------------------- barrier


def test_barrier_keeps_the_sum_of_two_streams_within_its_levels() -> None:
    """What is above N waits for the next timestep; the gradient is 1 whether or not the neuron is full."""
    streams = tensor(0, 3, 4, 7, 8).expand(2, -1).clone().requires_grad_()
    spikes = BarrierIF(4).double()(streams)
    assert spikes.tolist() == [[0, 3, 4, 4, 4], [0, 3, 4, 4, 4]]
    (gradient,) = torch.autograd.grad(spikes[0].sum(), streams)
    assert gradient.tolist() == [[1] * 5, [0] * 5]
    rest = BarrierIF(4).double()(torch.stack([tensor(7, 8), tensor(0, 0), tensor(0, 1)]))
    assert rest.tolist() == [[4, 4], [3, 4], [0, 1]]

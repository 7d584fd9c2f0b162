"""Neurons with evenly spaced levels: multi-level IF, its surrogates, the barrier, and rounding."""

import math

import pytest
import torch
from torch import Tensor

from sw.neurons import BarrierIF, MultiLevelIF, RoundingLIF, multi_level_step, rounding_step

ONE = torch.tensor(1.0, dtype=torch.float64)


def tensor(*values: float) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


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


@pytest.mark.parametrize("levels", [1, 2, 4])
def test_triangle_surrogate(levels: int) -> None:
    theta, gamma = 0.7, 0.3
    u = torch.linspace(-2, 6, 201, dtype=torch.float64).requires_grad_()
    threshold = (ONE * theta).requires_grad_()
    z, _ = multi_level_step(u, None, threshold, levels=levels, surrogate="triangle", gamma=gamma)
    by_u, by_theta = torch.autograd.grad(z.sum(), (u, threshold))
    ratio = u.detach() / theta
    bumps = [gamma * (1 - (ratio - n).abs()).clamp(min=0) for n in range(1, levels + 1)]
    torch.testing.assert_close(by_u, sum(bumps) / theta)
    torch.testing.assert_close(by_theta, -(ratio * by_u).sum())


def test_identity_surrogate() -> None:
    u = tensor(-9, 0, 0.2, 1.9, 99).requires_grad_()
    z, _ = multi_level_step(u, None, ONE / 2, levels=4, surrogate="identity")
    assert z.tolist() == [0, 0, 0, 3, 4]
    (slope,) = torch.autograd.grad(z.sum(), u)
    assert slope.tolist() == [2] * 5


class Spike(torch.autograd.Function):
    """A binary spike of h / theta - 1 with the sigmoid surrogate."""

    @staticmethod
    def forward(ctx, x, alpha):  # type: ignore[no-untyped-def]
        ctx.save_for_backward(x)
        ctx.alpha = alpha
        return (x >= 0).to(x.dtype)

    @staticmethod
    def backward(ctx, grad):  # type: ignore[no-untyped-def]
        (x,) = ctx.saved_tensors
        s = torch.sigmoid(ctx.alpha * x)
        return grad * ctx.alpha * s * (1 - s), None


@pytest.mark.parametrize("detached", [True, False])
@pytest.mark.parametrize(("levels", "steps"), [(1, 1), (4, 1), (16, 1), (1, 16), (3, 5), (8, 8)])
def test_exact_back_propagation(levels: int, steps: int, detached: bool) -> None:
    """Autograd through the loop over micro-steps, written out: gradients of input, threshold and leak."""
    generator = torch.Generator().manual_seed(7)
    alpha = 2.0
    x = torch.randn(steps, 300, generator=generator, dtype=torch.float64) * 0.6 + 0.3
    weights = torch.randn(steps, 300, generator=generator, dtype=torch.float64)
    threshold, leak = (ONE * 0.8).requires_grad_(), (ONE * 0.9).requires_grad_()
    x.requires_grad_()

    h, unrolled = torch.zeros_like(x[0]), []
    for current in x:
        h = leak * h
        for _ in range(levels):
            h = h + current
        level = torch.zeros_like(h)
        for _ in range(levels):
            spike = Spike.apply(h / threshold - 1, alpha)
            h = h - (spike.detach() if detached else spike) * threshold
            level = level + spike
        unrolled.append(level)
    expected = torch.stack(unrolled)

    neuron = MultiLevelIF(
        levels,
        charge="repeated",
        surrogate="unrolled-detached" if detached else "unrolled",
        alpha=alpha,
    )
    spikes = neuron(x, threshold, leak)
    assert torch.equal(spikes, expected)
    for got, want in zip(
        torch.autograd.grad((spikes * weights).sum(), (x, threshold, leak), materialize_grads=True),
        torch.autograd.grad(
            (expected * weights).sum(), (x, threshold, leak), materialize_grads=True
        ),
        strict=True,
    ):
        torch.testing.assert_close(got, want, rtol=1e-9, atol=1e-9)


def test_integers_are_exact_in_single_precision() -> None:
    """floor(u / theta) of the rounded quotient is integer division, up to 2^24."""
    generator = torch.Generator().manual_seed(8)
    u = torch.randint(-(1 << 23), (1 << 24) + 1, (1_000_000,), generator=generator)
    theta = torch.randint(1, 1 << 21, (1_000_000,), generator=generator)
    theta[::2] >>= 14
    theta.clamp_(min=1)
    u[::3] -= u[::3] % theta[::3]  # on a threshold exactly
    z, v = multi_level_step(u.float(), None, theta.float(), levels=15)
    level = torch.div(u, theta, rounding_mode="floor").clamp(0, 15)
    assert torch.equal(z.long(), level)
    assert torch.equal(v.long(), u - level * theta)


# ---------------------------------------------------------------------------------------------------- barrier


def test_barrier_keeps_the_sum_of_two_streams_within_its_levels() -> None:
    """What is above N waits for the next timestep; the gradient is 1 whether or not the neuron is full."""
    streams = tensor(0, 3, 4, 7, 8).expand(2, -1).clone().requires_grad_()
    spikes = BarrierIF(4).double()(streams)
    assert spikes.tolist() == [[0, 3, 4, 4, 4], [0, 3, 4, 4, 4]]
    (gradient,) = torch.autograd.grad(spikes[0].sum(), streams)
    assert gradient.tolist() == [[1] * 5, [0] * 5]
    rest = BarrierIF(4).double()(torch.stack([tensor(7, 8), tensor(0, 0), tensor(0, 1)]))
    assert rest.tolist() == [[4, 4], [3, 4], [0, 1]]


@pytest.mark.parametrize("surrogate", ["sigmoid", "straight-through"])
def test_barrier_with_another_surrogate(surrogate: str) -> None:
    x = tensor(1, 8)[None].requires_grad_()
    (gradient,) = torch.autograd.grad(BarrierIF(4, surrogate=surrogate).double()(x).sum(), x)
    assert gradient[0, 0] > 0.9
    assert gradient[0, 1] < 0.01


# --------------------------------------------------------------------------------------------------- rounding


def test_rounding_goes_to_the_even_level() -> None:
    u = tensor(-1, 0.5, 0.51, 1.5, 2.5, 3.49, 3.5, 9)
    z, v = rounding_step(u, None, ONE, levels=4)
    assert z.tolist() == [0, 0, 1, 2, 2, 3, 4, 4]
    assert torch.equal(v, u - z)
    z, v = rounding_step(u * 0.5, None, ONE / 2, levels=4)
    assert z.tolist() == [0, 0, 1, 2, 2, 3, 4, 4]
    assert torch.equal(v, (u - z) / 2)


def test_gradient_of_rounding() -> None:
    u = tensor(-0.01, 0, 0.3, 2, 3.99, 4, 4.01).requires_grad_()
    z, v = rounding_step(u, None, ONE, levels=4)
    assert torch.autograd.grad(z.sum(), u, retain_graph=True)[0].tolist() == [0, 1, 1, 1, 1, 1, 0]
    assert torch.autograd.grad(v.sum(), u)[0].tolist() == [1, 0, 0, 0, 0, 0, 1]
    _, v = rounding_step(u, None, ONE, levels=4, detach_reset=True)
    assert torch.autograd.grad(v.sum(), u)[0].tolist() == [1] * 7


def test_rounding_neuron_carries_its_potential() -> None:
    assert RoundingLIF(4).double()(tensor(2.4, 0.4, 0.4, 0.4)).tolist() == [2, 0, 1, 0]

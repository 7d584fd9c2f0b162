"""What the neurons share as modules: parameters and their limits, precision, compilation; and the analogue twins."""

import pytest
import torch
from torch import Tensor, nn

from sw.neurons import (
    AnalogueReLU,
    BarrierIF,
    LogReLU,
    MultiLevelIF,
    OneHotMLIF,
    RoundingLIF,
    ThermometerMLIF,
    UniformReLU,
    calibrating,
    multi_level_step,
    one_hot_step,
    variant,
)
from sw.neurons.multi_level import SURROGATES

SPIKING = {
    "multi-level": lambda: MultiLevelIF(4),
    "barrier": lambda: BarrierIF(4),
    "one-hot": lambda: OneHotMLIF(3),
    "A": lambda: variant("A", 3),
    "B": lambda: variant("B", 3),
    "C": lambda: variant("C", 3),
    "D": lambda: variant("D", 3),
    "thermometer": lambda: ThermometerMLIF(3),
    "rounding": lambda: RoundingLIF(4),
}
ANALOGUE = {
    "relu": AnalogueReLU,
    "uniform-relu": lambda: UniformReLU(4),
    "log-relu": lambda: LogReLU(2),
}


def currents(steps: int = 3, count: int = 2000) -> Tensor:
    return torch.randn(steps, count, generator=torch.Generator().manual_seed(1)) * 1.5 + 0.5


# ------------------------------------------------------------------------------------------------- parameters


@pytest.mark.parametrize(
    ("build", "words"),
    [
        (lambda: MultiLevelIF(0), "levels must be an integer of at least 1, not 0"),
        (lambda: MultiLevelIF(2.0), "levels must be an integer of at least 1, not 2.0"),
        (lambda: MultiLevelIF(4, boundary="half"), "not 'half'"),
        (lambda: MultiLevelIF(4, charge="twice"), "charge must be one of .* not 'twice'"),
        (lambda: MultiLevelIF(4, threshold=0.0), "threshold must be above zero, not 0.0"),
        (lambda: BarrierIF(4, surrogate="step"), "surrogate must be one of .* not 'step'"),
        (lambda: OneHotMLIF(True), "lanes must be an integer of at least 1, not True"),
        (lambda: OneHotMLIF(2, reset="none"), "reset must be one of 'soft', 'hard', not 'none'"),
        (lambda: OneHotMLIF(2, leak=1.5), "leak must be in 0..1, not 1.5"),
        (lambda: ThermometerMLIF(0), "lanes must be an integer of at least 1, not 0"),
        (lambda: RoundingLIF(-1), "levels must be an integer of at least 1, not -1"),
        (lambda: variant("E", 3), "variant must be one of 'A', 'B', 'C', 'D', not 'E'"),
        (lambda: UniformReLU(0), "levels must be an integer of at least 1, not 0"),
        (lambda: UniformReLU(4, scale=-1.0), "scale must be above zero, not -1.0"),
        (lambda: LogReLU(0), "bits must be an integer of at least 1, not 0"),
    ],
)
def test_bad_parameters(build, words: str) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(ValueError, match=words):
        build()


def test_input_decay_needs_a_factor() -> None:
    with pytest.raises(ValueError, match="input_decay needs a leak factor, not a function"):
        variant("C", 3)(currents(), leak=lambda v: v / 2)


def test_a_parameter_beyond_its_limit_is_used_at_the_limit_and_can_return() -> None:
    neuron = OneHotMLIF(3, learn_leak=True)
    assert isinstance(neuron.leak, nn.Parameter)
    x = currents()
    with torch.no_grad():
        neuron.leak.fill_(1.25)
        neuron.threshold.fill_(-0.5)
    spikes = neuron(x)
    assert torch.equal(spikes, neuron(x, torch.tensor(1e-3), torch.tensor(1.0)))
    spikes.mul(torch.randn_like(spikes)).sum().backward()
    assert neuron.leak.grad is not None
    assert neuron.threshold.grad is not None
    with torch.no_grad():
        neuron.threshold.fill_(0.5)
    neuron.zero_grad()
    neuron(x).sum().backward()
    assert neuron.leak.grad != 0


# ------------------------------------------------------------------------------------------ time and precision


@pytest.mark.parametrize("name", SPIKING)
def test_timesteps_start_from_zero_and_later_ones_change_nothing(name: str) -> None:
    neuron, x = SPIKING[name](), currents()
    spikes = neuron(x)
    assert spikes.shape == x.shape
    assert torch.equal(neuron(x), spikes)
    assert torch.equal(neuron(x[:2]), spikes[:2])
    assert torch.equal(neuron(x[:1]), spikes[:1])
    assert not torch.equal(neuron(x[1:]), spikes[1:])  # what the first timestep left behind


@pytest.mark.parametrize("name", SPIKING)
def test_bfloat16(name: str) -> None:
    """Under autocast: levels in bfloat16, the same but for currents close to a threshold; float32 parameters learn."""
    neuron = SPIKING[name]()
    layer = nn.Linear(64, 64)
    x = torch.randn(2, 256, 64, generator=torch.Generator().manual_seed(2))
    with torch.autocast("cpu", torch.bfloat16):
        current = 2 * layer(x)
        spikes = neuron(current)
    assert current.dtype == spikes.dtype == torch.bfloat16
    exact = neuron(current.float())
    assert (spikes.float() != exact).float().mean() < 0.02
    spikes.float().square().sum().backward(retain_graph=True)
    got = {name: p.grad.clone() for name, p in neuron.named_parameters() if p.grad is not None}
    neuron.zero_grad()
    exact.square().sum().backward()
    for parameter, gradient in got.items():
        assert gradient.dtype == torch.float32
        expected = neuron.get_parameter(parameter).grad
        torch.testing.assert_close(gradient, expected, rtol=0.05, atol=1.0)
    assert layer.weight.grad is not None
    assert torch.isfinite(layer.weight.grad).all()


def test_thresholds_with_dimensions_keep_their_precision() -> None:
    """Folded integers up to 2^24 do not fit bfloat16: the potential follows them to float32."""
    generator = torch.Generator().manual_seed(3)
    x = torch.randint(-200, 256, (2, 8, 5, 5), generator=generator)
    theta = torch.tensor([1, 2, 3, 5, 7, 255, 257, 301]).float()[:, None, None]
    neuron = MultiLevelIF(4)
    spikes = neuron(x.bfloat16(), theta)
    assert spikes.dtype == torch.bfloat16
    assert torch.equal(spikes.float(), neuron(x.float(), theta))
    leaf = x.bfloat16().requires_grad_()
    neuron(leaf, theta).sum().backward()
    assert leaf.grad is not None and leaf.grad.dtype == torch.bfloat16


def test_the_last_timestep_may_leave_out_the_reset() -> None:
    x, one = currents(1)[0], torch.tensor(1.0)
    for step in (
        lambda carry: multi_level_step(x, x / 2, one, levels=4, carry=carry),
        lambda carry: one_hot_step(x, x / 2, one, lanes=3, carry=carry),
    ):
        (z, v), (again, u) = step(True), step(False)
        assert torch.equal(z, again)
        assert torch.equal(v, u - z)


@pytest.mark.parametrize("steps", [1, 3])
def test_memory_format_is_kept(steps: int) -> None:
    """Spikes and gradients of a channels-last convolution stay channels-last, over one timestep and several."""
    x = torch.randn(2 * steps, 4, 6, 5, generator=torch.Generator().manual_seed(9))
    leaf = x.to(memory_format=torch.channels_last).requires_grad_()
    neuron = MultiLevelIF(4)
    spikes = neuron(leaf.unflatten(0, (steps, 2))).flatten(0, 1)
    assert spikes.is_contiguous(memory_format=torch.channels_last)
    assert torch.equal(spikes, neuron(x.unflatten(0, (steps, 2))).flatten(0, 1))
    reached: list[Tensor] = []
    leaf.register_hook(reached.append)
    spikes.backward(torch.ones_like(spikes))
    assert reached[0].is_contiguous(memory_format=torch.channels_last)


# ------------------------------------------------------------------------------------------------ compilation


# torch 2.13 calls deprecated parts of itself while it compiles
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_compiled_neurons_are_the_same() -> None:
    """One graph without a break, two timesteps: levels equal, gradients equal up to the order of a sum."""
    neurons = [MultiLevelIF(4, surrogate=surrogate) for surrogate in SURROGATES]
    neurons += [BarrierIF(4), variant("A", 3), variant("D", 3)]
    neurons += [ThermometerMLIF(3), RoundingLIF(4, learn_threshold=True)]
    neurons += [UniformReLU(4), LogReLU(3)]
    x, weights = currents(2), torch.randn(2, 2000, generator=torch.Generator().manual_seed(4))

    def everything(x: Tensor) -> list[Tensor]:
        return [neuron(x) for neuron in neurons]

    parameters = [p for neuron in neurons for p in neuron.parameters() if p.requires_grad]
    results = []
    for function in (everything, torch.compile(everything, fullgraph=True)):
        leaf = x.clone().requires_grad_()
        outputs = function(leaf)
        loss = sum((output * weights).sum() for output in outputs)
        results.append((outputs, torch.autograd.grad(loss, [leaf, *parameters])))
    for eager, compiled in zip(results[0][0], results[1][0], strict=True):
        assert torch.equal(eager, compiled)
    for eager, compiled in zip(results[0][1], results[1][1], strict=True):
        torch.testing.assert_close(eager, compiled, rtol=1e-4, atol=1e-4)


# --------------------------------------------------------------------------------------------------- analogue


@pytest.mark.parametrize("name", ANALOGUE)
def test_a_twin_is_called_like_a_neuron(name: str) -> None:
    twin, x = ANALOGUE[name](), currents()
    y = twin(x, torch.tensor(7.0), 0.5)
    assert y.shape == x.shape
    assert torch.equal(y, twin(x))
    assert y.min() == 0
    assert twin(x.bfloat16()).dtype == torch.bfloat16


def test_uniform_levels_and_their_step() -> None:
    """Values and gradients of learned step size quantisation, written out."""
    scale, levels = 1.7, 4
    x = currents(1).double().requires_grad_()
    twin = UniformReLU(levels, scale).double()
    y = twin(x)
    d, r = twin.scale.item() / levels, x.detach() / (twin.scale.item() / levels)
    expected = r.clamp(0, levels).round() * d
    torch.testing.assert_close(y.detach(), expected)
    by_x, by_scale = torch.autograd.grad(y.sum(), (x, twin.scale))
    inside = ((r >= 0) & (r <= levels)).double()
    assert torch.equal(by_x, inside)
    by_step = r.clamp(0, levels).round() - r * inside
    torch.testing.assert_close(by_scale, by_step.sum() / levels)


@pytest.mark.parametrize("bits", [1, 2, 3, 4])
def test_logarithmic_levels(bits: int) -> None:
    """The equation itself, by logarithms; no random number lies on a midpoint, which are irrational."""
    scale = 3.0
    x = torch.rand(100_000, generator=torch.Generator().manual_seed(5), dtype=torch.float64)
    x = torch.cat((x * 4 - 0.5, x**8, torch.zeros(1))).requires_grad_()
    y = LogReLU(bits, scale).double()(x)
    q = torch.log2(x.detach().clamp(min=0) / scale).round().clamp(max=0)
    expected = torch.where(q >= 2 - 2**bits, scale * 2**q, 0)
    torch.testing.assert_close(y, expected, rtol=1e-14, atol=0)
    assert len(y.unique()) == 2**bits
    (slope,) = torch.autograd.grad(y.sum(), x)
    torch.testing.assert_close(slope, (x > 0).double())


def test_calibration_takes_the_largest_percentile() -> None:
    model = nn.Sequential(LogReLU(3), LogReLU(3))
    with calibrating(model):
        for factor in (1.0, 3.0, 2.0):
            x = factor * torch.arange(-1000, 1001) / 1000
            assert torch.equal(model(x), torch.relu(x))
    first, second = model
    # nearest rank of 99.7 % among 2001 values: six from the top
    assert first.scale.item() == second.scale.item() == pytest.approx(3 * 0.994)
    assert len(first(1.5 * x).unique()) == 8
    assert set(model.state_dict()) == {"0.scale", "1.scale"}


def test_calibration_without_data() -> None:
    with (
        pytest.raises(ValueError, match="0 saw no current above zero while calibrating"),
        calibrating(nn.Sequential(LogReLU(3))),
    ):
        pass

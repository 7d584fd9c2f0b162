"""Parts of the training: losses, schedules, optimisers, moving average, conversion of a ReLU network."""

import copy
import json
import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from sw.models.spec import INPUT, LayerSpec, NetworkSpec, NeuronSpec
from sw.models.spiking import SpikingNetwork
from sw.training.conversion import (
    fuse_batch_norm,
    highest_threshold,
    initialise_thresholds,
    transfer,
    without_batch_norm,
)
from sw.training.ema import MovingAverage
from sw.training.losses import (
    cross_entropy,
    distillation,
    distilled,
    temporal_efficient_training,
)
from sw.training.optimisers import Optimiser, set_rate
from sw.training.schedules import Schedule


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


# ------------------------------------------------------------------------------------------------------- losses


@pytest.mark.parametrize("smoothing", [0.0, 0.1, 1.0])
@pytest.mark.parametrize("hard", [True, False])
def test_cross_entropy_is_its_formula(hard: bool, smoothing: float) -> None:
    logits, classes = normal(5, 3), torch.tensor([0, 2, 1, 1, 0])
    soft = functional.one_hot(classes, 3).double() if hard else normal(5, 3, seed=1).softmax(1)
    smooth = (1 - smoothing) * soft + smoothing / 3
    expected = -(smooth * (logits - logits.logsumexp(1, keepdim=True))).sum(1).mean()
    found = cross_entropy(logits, classes if hard else soft, smoothing=smoothing)
    assert float(found) == pytest.approx(float(expected), abs=1e-12)


def test_temporal_efficient_training_of_two_timesteps() -> None:
    """CE_1 = ln(1 + e^-2) and CE_2 = ln 2, and every logit is 1 away from 1."""
    logits = torch.tensor([[[2.0, 0.0]], [[0.0, 0.0]]], dtype=torch.float64)
    label = torch.tensor([0])
    entropy = (math.log(1 + math.exp(-2)) + math.log(2)) / 2
    found = float(temporal_efficient_training(logits, label))
    assert found == pytest.approx(0.999 * entropy + 0.001 * 1.0, abs=1e-12)
    assert found == pytest.approx(0.4106275, abs=1e-7)
    further = float(temporal_efficient_training(logits, label, weight=0.5, mean=0.0))
    assert further == pytest.approx(0.5 * entropy + 0.5 * 4 / 4, abs=1e-12)


def test_temporal_efficient_training_of_many_images() -> None:
    logits, classes = normal(4, 6, 3), torch.tensor([0, 1, 2, 2, 1, 0])
    expected = sum(functional.cross_entropy(z, classes, label_smoothing=0.1) for z in logits) / 4
    found = temporal_efficient_training(logits, classes, weight=0, smoothing=0.1)
    assert float(found) == pytest.approx(float(expected), abs=1e-12)
    soft = functional.one_hot(classes, 3).double()
    found = temporal_efficient_training(logits, soft, weight=0, smoothing=0.1)
    assert float(found) == pytest.approx(float(expected), abs=1e-12)


def test_distillation() -> None:
    student, teacher = normal(4, 5).requires_grad_(), normal(4, 5, seed=1).requires_grad_()
    tau = 3.0
    p, q = (teacher / tau).softmax(1), (student / tau).softmax(1)
    expected = tau**2 * (p * (p.log() - q.log())).sum() / 4
    found = distillation(student, teacher, temperature=tau)
    assert float(found.detach()) == pytest.approx(float(expected.detach()), abs=1e-12)
    found.backward()
    # dL/dz = tau (q - p) / B, and the teacher learns nothing
    assert student.grad is not None and teacher.grad is None
    torch.testing.assert_close(student.grad, (tau * (q - p) / 4).detach())
    assert float(distillation(teacher, teacher).detach()) == pytest.approx(0, abs=1e-12)
    label = torch.tensor(2.0, dtype=torch.float64)
    both = distilled(label, student, teacher, weight=0.25, temperature=tau)
    assert float(both.detach()) == pytest.approx(0.75 * 2 + 0.25 * float(expected.detach()))


def test_losses_refuse() -> None:
    logits, classes = normal(4, 3), torch.zeros(4, dtype=torch.int64)
    with pytest.raises(ValueError, match="label smoothing must be in 0..1, not 1.5"):
        cross_entropy(logits, classes, smoothing=1.5)
    with pytest.raises(ValueError, match=r"logits \(4, 3\) and target \(3,\) do not belong"):
        cross_entropy(logits, classes[:3])
    with pytest.raises(ValueError, match=r"takes logits \(T, B, K\) of every timestep, not"):
        temporal_efficient_training(logits, classes)
    with pytest.raises(ValueError, match="weight between two losses must be in 0..1, not -1"):
        temporal_efficient_training(logits[None], classes, weight=-1)
    with pytest.raises(ValueError, match="temperature of distillation must be above zero, not 0"):
        distillation(logits, logits, temperature=0)
    with pytest.raises(ValueError, match=r"student \(4, 3\) and teacher \(4, 2\) must both be"):
        distillation(logits, logits[:, :2])
    with pytest.raises(ValueError, match="weight between two losses must be in 0..1, not 2"):
        distilled(logits.sum(), logits, logits, weight=2)


# ---------------------------------------------------------------------------------------------------- schedules


def test_one_cycle_is_the_rate_of_the_published_runs() -> None:
    """The same floating-point numbers: the accuracies of the shipped networks depend on them."""

    def expected(step: int, steps: int, rate: float, warm_up: float) -> float:
        position = (step + 0.5) / steps
        if position < warm_up:
            low, fraction = rate / 25, 1 - position / warm_up
        else:
            low, fraction = rate / 1000, (position - warm_up) / (1 - warm_up)
        return low + (rate - low) * (1 + math.cos(math.pi * fraction)) / 2

    for rate, warm_up in ((0.006, 0.2), (0.02, 0.0), (1.0, 0.37)):
        schedule = Schedule(kind="one-cycle", rate=rate, warm_up=warm_up)
        rates = [schedule.rate_at(step, 300, 30) for step in range(300)]
        assert rates == [expected(step, 300, rate, warm_up) for step in range(300)]


def test_cosine() -> None:
    schedule = Schedule(
        kind="cosine",
        rate=3e-4,
        warm_up_epochs=20,
        warm_up_rate=1e-6,
        floor=1e-5,
        cool_down_epochs=10,
    )
    rates = [schedule.rate_at(step, 3100, 10) for step in range(3100)]
    assert rates[0] == 1e-6
    assert rates[100] == pytest.approx((1e-6 + 3e-4) / 2)  # half-way through the warm-up
    assert max(rates) == rates[200] == 3e-4
    assert rates[1600] == pytest.approx((3e-4 + 1e-5) / 2)  # half-way down
    assert rates[2999] > rates[3000]
    assert set(rates[3000:]) == {1e-5}
    assert rates[:201] == sorted(rates[:201]) and rates[200:] == sorted(rates[200:], reverse=True)


def test_cosine_per_epoch() -> None:
    """The second paper's event-camera recipe: 0.001 (1 + cos(pi e / 300)) / 2 throughout epoch e."""
    schedule = Schedule(kind="cosine", rate=1e-3, per_epoch=True)
    for epoch in (0, 1, 150, 299):
        expected = 1e-3 * (1 + math.cos(math.pi * epoch / 300)) / 2
        for step in (0, 6):
            assert schedule.rate_at(7 * epoch + step, 2100, 7) == pytest.approx(expected, abs=1e-18)


def test_steps_of_the_papers() -> None:
    first = Schedule(kind="steps", rate=0.08, factor=0.9, every=50)
    assert first.rate_at(0, 15000, 10) == first.rate_at(499, 15000, 10) == 0.08
    assert first.rate_at(500, 15000, 10) == 0.08 * 0.9
    assert first.rate_at(14999, 15000, 10) == 0.08 * 0.9**29
    second = Schedule(
        kind="steps",
        rate=1e-4,
        factor=0.2,
        at=[0.6, 0.8, 0.9],
        warm_up_epochs=10,
        warm_up_rate=1e-5,
    )
    rates = [second.rate_at(2 * epoch, 1000, 2) for epoch in range(500)]
    assert rates[0] == 1e-5 and rates[5] == pytest.approx(5.5e-5) and rates[10] == 1e-4
    changes = [e for e in range(11, 500) if rates[e] != rates[e - 1]]
    assert changes == [300, 400, 450]
    assert rates[-1] == pytest.approx(1e-4 / 125)
    # 0.29 * 100 is 28.999999999999996
    third = Schedule(kind="steps", rate=1.0, factor=0.5, at=(0.29,))
    assert [third.rate_at(epoch, 100, 1) for epoch in (28, 29)] == [1.0, 0.5]
    # floor(0.31 * 50) = 15
    fourth = Schedule(kind="steps", rate=1.0, factor=0.5, at=(0.31,))
    assert [fourth.rate_at(epoch, 50, 1) for epoch in (14, 15)] == [1.0, 0.5]


def test_constant() -> None:
    schedule = Schedule(kind="constant", rate=0.1, warm_up_epochs=0.5)
    assert [schedule.rate_at(step, 8, 4) for step in range(4)] == [0.0, 0.05, 0.1, 0.1]


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"kind": "linear"}, "schedule must be one of .* not 'linear'"),
        ({"rate": 0.0}, "learning rate must be above zero, not 0.0"),
        ({"rate": math.inf}, "learning rate must be above zero, not inf"),
        ({"warm_up": 1.0}, "warm_up must be in 0..1, below 1, not 1.0"),
        ({"kind": "cosine", "rate": 0.1, "floor": 0.2}, "floor must be in 0..0.1, .* not 0.2"),
        ({"kind": "constant", "warm_up_epochs": -1}, "warm_up_epochs must be a number .* not -1"),
        ({"kind": "constant", "floor": 0.1}, "'constant' has no option floor .*takes warm_up_epo"),
        ({"factor": 0.5}, "'one-cycle' has no option factor"),
        ({"kind": "steps", "every": 5, "factor": 1.5}, "factor must be above 0 .* not 1.5"),
        ({"kind": "steps", "at": (0.5, 0.4)}, r"rising fractions .* not \(0.5, 0.4\)"),
        ({"kind": "steps", "at": (90, 120)}, r"rising fractions .* not \(90, 120\)"),
        ({"kind": "steps"}, "takes either every or at"),
        ({"kind": "steps", "every": 5, "at": (0.5,)}, "takes either every or at"),
    ],
)
def test_schedules_refuse(options: dict, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        Schedule(**options)


def test_schedules_refuse_steps_outside_the_run() -> None:
    schedule = Schedule(kind="cosine", rate=0.1, warm_up_epochs=5, cool_down_epochs=5)
    with pytest.raises(ValueError, match="step 100 is outside a run of 100 steps"):
        schedule.rate_at(100, 100, 10)
    with pytest.raises(ValueError, match="100 steps are no whole number of epochs of 30"):
        schedule.rate_at(0, 100, 30)
    with pytest.raises(ValueError, match="5 epochs of warm-up and 5 of cool-down do not fit"):
        schedule.rate_at(0, 100, 10)


# --------------------------------------------------------------------------------------------------- optimisers


class Neuron(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.threshold = nn.Parameter(torch.tensor(0.5, dtype=torch.float64))
        self.leak = nn.Parameter(torch.tensor(0.9, dtype=torch.float64))


class Small(nn.Module):
    """One parameter of every role, each with a known gradient."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(normal(3, 2))
        self.bias = nn.Parameter(normal(3, seed=1))
        self.frozen = nn.Parameter(normal(2), requires_grad=False)
        self.neuron = Neuron()
        for index, parameter in enumerate(self.parameters()):
            if parameter.requires_grad:
                parameter.grad = normal(*parameter.shape, seed=10 + index)

    def values(self) -> dict[str, Tensor]:
        return {name: p.detach().clone() for name, p in self.named_parameters()}


def test_decay_and_rates_of_the_groups() -> None:
    """Plain SGD shows in one step which rate and which decay every parameter has."""
    for decay_all in (False, True):
        module = Small()
        before = module.values()
        options = Optimiser(
            kind="sgd", momentum=0.0, decay=0.1, decay_all=decay_all, threshold_rate=0.5
        )
        optimiser = options.build(module, rate=0.2)
        set_rate(optimiser, 0.02)
        optimiser.step()
        gradients = {name: p.grad for name, p in module.named_parameters()}
        rates = {"weight": 0.02, "bias": 0.02, "neuron.threshold": 0.5, "neuron.leak": 0.02}
        for name, rate in rates.items():
            decay = 0.1 if name == "weight" or (decay_all and name == "bias") else 0.0
            expected = before[name] - rate * (gradients[name] + decay * before[name])
            torch.testing.assert_close(module.values()[name], expected)
        assert torch.equal(module.values()["frozen"], before["frozen"])


def test_scheduled_rates_of_the_neurons() -> None:
    options = Optimiser(threshold_rate=0.5, leak_rate=0.1, threshold_scheduled=True)
    optimiser = options.build(Small(), rate=0.2)
    rates = {group["role"]: group["lr"] for group in optimiser.param_groups}
    assert rates == {"decayed": 0.2, "others": 0.2, "threshold": 0.5, "leak": 0.1}
    set_rate(optimiser, 0.02)
    rates = {group["role"]: group["lr"] for group in optimiser.param_groups}
    assert rates == pytest.approx(
        {"decayed": 0.02, "others": 0.02, "threshold": 0.05, "leak": 0.01}
    )


def test_groups_survive_a_checkpoint() -> None:
    options = Optimiser(threshold_rate=0.5)
    first = options.build(Small(), rate=0.2)
    first.step()
    second = options.build(Small(), rate=0.2)
    second.load_state_dict(copy.deepcopy(first.state_dict()))
    set_rate(second, 0.1)
    rates = {group["role"]: group["lr"] for group in second.param_groups}
    assert rates == {"decayed": 0.1, "others": 0.1, "threshold": 0.5, "leak": 0.1}


def two_steps(options: Optimiser) -> dict[str, Tensor]:
    module = Small()
    optimiser = options.build(module, rate=0.2)
    for factor in (1.0, 0.25):
        set_rate(optimiser, 0.01)
        for parameter in module.parameters():
            if parameter.grad is not None:
                parameter.grad *= factor
        optimiser.step()
    return module.values()


def by_hand(
    w: list[float], gradient: list[float], kind: str, *, decay: float, clip: float = 1.0
) -> list[float]:
    """The same two steps of one parameter with scalars; clip is the factor of the first step's gradient of LAMB."""
    rate, beta, m, v, top = 0.01, (0.8, 0.9), [0.0] * len(w), [0.0] * len(w), [0.0] * len(w)
    for t, factor in ((1, 1.0), (2, 0.25)):
        g = [factor * x * (clip if t == 1 else min(1.0, 4 * clip)) for x in gradient]
        if kind in ("sgd", "nesterov", "adam", "amsgrad"):
            g = [a + decay * b for a, b in zip(g, w, strict=True)]
        if kind in ("sgd", "nesterov"):
            m = [0.8 * a + b for a, b in zip(m, g, strict=True)]
            change = [b + 0.8 * a if kind == "nesterov" else a for a, b in zip(m, g, strict=True)]
        else:
            m = [beta[0] * a + (1 - beta[0]) * b for a, b in zip(m, g, strict=True)]
            v = [beta[1] * a + (1 - beta[1]) * b * b for a, b in zip(v, g, strict=True)]
            top = [max(a, b) for a, b in zip(top, v, strict=True)]
            second = top if kind == "amsgrad" else v
            eps = 1e-6 if kind == "lamb" else 1e-8
            change = [
                a / (1 - beta[0] ** t) / (math.sqrt(b / (1 - beta[1] ** t)) + eps)
                for a, b in zip(m, second, strict=True)
            ]
            if kind in ("adamw", "lamb"):
                change = [a + decay * b for a, b in zip(change, w, strict=True)]
            if kind == "lamb" and decay:
                trust = math.hypot(*w) / math.hypot(*change)
                change = [trust * a for a in change]
        w = [a - rate * b for a, b in zip(w, change, strict=True)]
    return w


@pytest.mark.parametrize("kind", ["sgd", "nesterov", "adam", "amsgrad", "adamw", "lamb"])
def test_optimisers_step_as_their_formulas(kind: str) -> None:
    options = Optimiser(
        kind={"nesterov": "sgd", "amsgrad": "adam"}.get(kind, kind),
        decay=0.3,
        momentum=0.8,
        betas=(0.8, 0.9),
        nesterov=kind == "nesterov",
        amsgrad=kind == "amsgrad",
    )
    found, start = two_steps(options), Small()
    gradients = {name: p.grad for name, p in start.named_parameters() if p.grad is not None}
    norm = math.sqrt(sum(float(g.square().sum()) for g in gradients.values()))
    assert norm > 2  # so that the first step is clipped
    clip = 1 / norm if kind == "lamb" else 1.0
    for name, value in start.values().items():
        if name in gradients:
            expected = by_hand(
                value.flatten().tolist(),
                gradients[name].flatten().tolist(),
                kind,
                decay=0.3 if name == "weight" else 0.0,
                clip=clip,
            )
            assert found[name].flatten().tolist() == pytest.approx(expected, rel=1e-9)


def test_lamb_of_weights_that_are_zero() -> None:
    module = nn.Linear(2, 2, bias=False)
    nn.init.zeros_(module.weight)
    module.weight.grad = torch.tensor([[1.0, -1.0], [0.0, 0.0]])
    Optimiser(kind="lamb", decay=0.1).build(module, rate=0.5).step()
    expected = torch.tensor([[-0.5, 0.5], [0.0, 0.0]])
    torch.testing.assert_close(module.weight.detach(), expected, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"kind": "rmsprop"}, "optimiser must be one of .* not 'rmsprop'"),
        ({"decay": -1.0}, "weight decay must be a number from 0 up, not -1.0"),
        ({"momentum": 1.0}, "momentum must be in 0..1, below 1, not 1.0"),
        ({"betas": (0.9, 1.0)}, r"betas must be two numbers .* not \(0.9, 1.0\)"),
        ({"nesterov": True}, "nesterov needs the optimiser 'sgd'"),
        ({"kind": "sgd", "amsgrad": True}, "amsgrad needs .* not 'sgd'"),
        ({"threshold_rate": -0.1}, "threshold_rate must be a learning rate from 0 up, not -0.1"),
    ],
)
def test_optimisers_refuse(options: dict, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        Optimiser(**options)


# ----------------------------------------------------------------------------------------------- moving average


def network() -> nn.Module:
    torch.manual_seed(3)
    return nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4))


def disturb(module: nn.Module, seed: int) -> None:
    module.train()
    module(torch.randn(8, 3, generator=torch.Generator().manual_seed(seed)))  # moves the statistics
    with torch.no_grad():
        for index, parameter in enumerate(module.parameters()):
            parameter += normal(*parameter.shape, seed=seed + index).float()


@pytest.mark.parametrize("ramp", [True, False])
def test_average_is_its_formula(ramp: bool) -> None:
    module = network()
    average = MovingAverage(module, decay=0.3, ramp=ramp)
    expected = {name: value.double() for name, value in module.state_dict().items()}
    for t in range(1, 6):
        disturb(module, t)
        average.update(module)
        decay = min(0.3, (1 + t) / (10 + t)) if ramp else 0.3
        for name, value in module.state_dict().items():
            expected[name] = decay * expected[name] + (1 - decay) * value.double()
    other = network()
    average.copy_to(other)
    state = other.state_dict()
    assert int(state["1.num_batches_tracked"]) == 5  # an integer: copied, not averaged
    for name, value in expected.items():
        if name != "1.num_batches_tracked":
            torch.testing.assert_close(state[name].double(), value, rtol=1e-5, atol=1e-6)
    assert not torch.equal(state["1.running_var"], module.state_dict()["1.running_var"])


def test_swap_twice_changes_nothing() -> None:
    module = network()
    average = MovingAverage(module)
    disturb(module, 1)
    trained = copy.deepcopy(module.state_dict())
    average.swap(module)
    fresh = network().state_dict()
    assert all(torch.equal(value, fresh[name]) for name, value in module.state_dict().items())
    average.swap(module)
    assert all(torch.equal(value, trained[name]) for name, value in module.state_dict().items())


def test_average_survives_a_checkpoint(tmp_path: Path) -> None:
    """A run that is stopped and resumed has the same average, bit for bit, as one that is not."""
    averages = []
    for interrupted in (False, True):
        module = network()
        average = MovingAverage(module, decay=0.9)
        for t in range(6):
            disturb(module, t)
            average.update(module)
            if interrupted and t == 2:
                torch.save(average.state_dict(), tmp_path / "average.pt")
                average = MovingAverage(network(), decay=0.9)
                average.load_state_dict(torch.load(tmp_path / "average.pt", weights_only=True))
        averages.append(average.state_dict())
    assert averages[0]["updates"] == averages[1]["updates"] == 6
    for name, value in averages[0]["average"].items():
        assert torch.equal(value, averages[1]["average"][name])


def test_average_refuses() -> None:
    with pytest.raises(ValueError, match="decay of an average must be in 0..1, below 1, not 1.0"):
        MovingAverage(network(), decay=1.0)
    average = MovingAverage(network())
    with pytest.raises(ValueError, match="average is of another network: 0.weight"):
        average.update(nn.Sequential(nn.Linear(2, 4), nn.BatchNorm1d(4)))
    with pytest.raises(ValueError, match="average is of another network"):
        average.load_state_dict(MovingAverage(nn.Linear(3, 4)).state_dict())


def test_options_come_from_settings_files() -> None:
    """Lists, as JSON and TOML have them, become the tuples of the defaults, so that equal options compare equal."""
    entry = json.loads('{"kind": "steps", "rate": 0.1, "factor": 0.2, "at": [0.5, 0.75]}')
    assert Schedule(**entry) == Schedule(kind="steps", rate=0.1, factor=0.2, at=(0.5, 0.75))
    assert Optimiser(**json.loads('{"betas": [0.9, 0.99]}')) == Optimiser(betas=(0.9, 0.99))


# --------------------------------------------------------------------------------------------------- conversion

RELU = NeuronSpec(kind="relu")
ONE_HOT = NeuronSpec(kind="one-hot", levels=3, boundary="open", threshold=7.0)


def residual(neuron: NeuronSpec, bits: int | None = None, timesteps: int = 1) -> NetworkSpec:
    """A convolution with pooling, a residual block, and a readout."""
    branch: dict = {"kind": "conv", "channels": 4, "bits": bits, "quiet": False}
    return NetworkSpec(
        name="residual",
        input_shape=(2, 8, 8),
        timesteps=timesteps,
        layers=(
            LayerSpec(**branch, neuron=neuron, pool=2),
            LayerSpec(**branch, neuron=neuron, inputs=(0,), bias=True),
            LayerSpec(**branch, neuron=None, inputs=(1,)),
            LayerSpec(kind="join", inputs=(0, 2), neuron=neuron),
            LayerSpec(kind="dense", channels=3, bits=bits, norm=False, bias=True, neuron=None),
        ),
    )


def pixels(count: int = 16) -> Tensor:
    generator = torch.Generator().manual_seed(2)
    return torch.randint(0, 256, (count, 2, 8, 8), generator=generator).float()


def trained(spec: NetworkSpec) -> SpikingNetwork:
    """Random weights, gains of either sign, and running statistics of some batches."""
    torch.manual_seed(4)
    network = SpikingNetwork(spec)
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            if parameter.dim() == 1:
                parameter.normal_()
            assert name.endswith(("weight", "bias", "threshold"))
    network.train()
    for _ in range(3):
        network(pixels())
    return network.eval()


class Wire(nn.Module):
    """In place of a neuron, hands on its current."""

    def forward(self, x: Tensor, threshold: object, leak: object) -> Tensor:
        return x


@pytest.mark.parametrize("pool_first", [False, True])
def test_fusion_keeps_the_function(pool_first: bool) -> None:
    network = trained(residual(RELU))
    fused = fuse_batch_norm(network)
    assert fused.spec == without_batch_norm(network.spec)
    assert not any(isinstance(module, nn.BatchNorm2d) for module in fused.modules())
    expected, found = (n(pixels(), pool_first=pool_first) for n in (network, fused))
    assert float(expected.detach().std()) > 0.1
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)


def test_fusion_refuses_quantised_weights() -> None:
    with pytest.raises(ValueError, match="layer 0 has weights of 4 bits, which a fusion"):
        fuse_batch_norm(SpikingNetwork(residual(ONE_HOT, bits=4)))


def test_transfer_copies_all_but_the_neurons() -> None:
    twin, network = trained(residual(RELU)), SpikingNetwork(residual(ONE_HOT, bits=4))
    transfer(twin, network)
    given, taken = twin.state_dict(), network.state_dict()
    assert len(taken) == len(given) + 3
    for name, value in taken.items():
        if name.endswith("threshold"):
            assert float(value) == 7.0
        else:
            assert torch.equal(value, given[name])


def test_transfer_refuses_other_layers() -> None:
    twin, network = trained(residual(RELU)), SpikingNetwork(without_batch_norm(residual(ONE_HOT)))
    before = copy.deepcopy(network.state_dict())
    with pytest.raises(ValueError, match=r"layers.0.bias is absent in the trained network and of"):
        transfer(twin, network)
    with pytest.raises(ValueError, match=r"layers.0.bias is of shape \(4,\) .* and absent in the"):
        transfer(network, twin)
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())


@pytest.mark.parametrize(
    ("spec", "highest"),
    [
        (NeuronSpec(kind="one-hot", levels=1), 1),
        (NeuronSpec(kind="one-hot", levels=4), 8),
        (NeuronSpec(kind="one-hot", levels=4, normalised=True), 1),
        (NeuronSpec(kind="multi-level", levels=4), 4),
        (NeuronSpec(kind="multi-level", levels=4, charge="repeated"), 1),
    ],
)
def test_a_current_of_the_highest_threshold_has_the_highest_level(
    spec: NeuronSpec, highest: int
) -> None:
    neuron = SpikingNetwork(residual(replace(spec, threshold=0.5))).chain()[0].neuron
    assert neuron is not None and highest_threshold(spec) == highest
    edge = 0.5 * highest
    below, above, far = neuron(torch.tensor([[edge - 0.01, edge + 0.01, 100.0]])).flatten().tolist()
    assert below < above == far


@pytest.mark.parametrize(
    ("neuron", "highest"), [(ONE_HOT, 4), (NeuronSpec(kind="multi-level", levels=5), 5)]
)
def test_thresholds_are_percentiles_behind_spiking_layers(neuron: NeuronSpec, highest: int) -> None:
    """Against layers computed one by one: each current from the spikes of the layers before, as set already."""
    twin = trained(residual(RELU))
    network = SpikingNetwork(residual(neuron, timesteps=2))
    transfer(twin, network)
    network.train()
    frames = pixels().expand(2, 16, 2, 8, 8)
    found = initialise_thresholds(network, pixels(), percentile=90, factor=0.4)
    assert network.training and list(found) == [0, 1, 3]

    spikes: dict[int, Tensor] = {INPUT: frames}
    network.eval()
    for index, layer in enumerate(network.chain()[:-1]):
        inputs = [spikes[source] for source in network.spec.sources(index)]
        with torch.no_grad():
            neuron_module = layer.neuron
            layer.neuron = None if neuron_module is None else Wire()
            current, _ = layer(inputs)
            layer.neuron = neuron_module
            spikes[index] = layer(inputs)[1]
        if layer.neuron is None:
            continue
        # the smallest value that 90 % do not exceed, of the loudest timestep
        ordered = [sorted(step.flatten().tolist()) for step in current]
        expected = max(values[math.ceil(0.9 * len(values)) - 1] for values in ordered)
        assert found[index] == pytest.approx(0.4 * expected / highest, rel=1e-6)
        assert float(layer.neuron.threshold.detach()) == found[index]
    assert len(set(found.values())) == 3


def test_the_timestep_with_the_largest_percentile_counts() -> None:
    network = SpikingNetwork(residual(ONE_HOT, timesteps=3))
    transfer(trained(residual(RELU)), network)
    loud, quiet = pixels(), pixels() / 10
    single = SpikingNetwork(residual(ONE_HOT))
    transfer(network, single)
    expected = initialise_thresholds(single, loud)
    found = initialise_thresholds(network, torch.stack((quiet, loud, quiet), 1))
    assert found[0] == expected[0] > initialise_thresholds(single, quiet)[0]


def test_barriers_keep_their_threshold() -> None:
    spec = residual(ONE_HOT)
    barrier = replace(spec.layers[3], neuron=NeuronSpec(kind="barrier", levels=4))
    network = SpikingNetwork(replace(spec, layers=(*spec.layers[:3], barrier, spec.layers[4])))
    assert list(initialise_thresholds(network, pixels())) == [0, 1]
    assert float(network.chain()[3].neuron.threshold) == 1.0


def test_thresholds_refuse() -> None:
    network = SpikingNetwork(residual(ONE_HOT))
    before = copy.deepcopy(network.state_dict())
    with pytest.raises(ValueError, match="percentile must be above 0 and at most 100, not 101"):
        initialise_thresholds(network, pixels(), percentile=101)
    with pytest.raises(ValueError, match="factor of the thresholds must be above zero, not 0"):
        initialise_thresholds(network, pixels(), factor=0)
    with pytest.raises(ValueError, match="layer 0: the 99.7th percentile of its current is 0, wh"):
        initialise_thresholds(network, torch.zeros(4, 2, 8, 8))
    assert network.training
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    assert not any(layer.neuron._forward_pre_hooks for layer in network.spiking_layers())

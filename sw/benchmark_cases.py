"""What sw.benchmark times: neurons, and a small VGG with each of them.

Peers are optional; `peers_missing` says what to install.
"""

import importlib
import warnings
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from sw.neurons import AnalogueReLU, MultiLevelIF, multi_level_step
from sw.neurons.multi_level import SURROGATES

RELU = "torch.relu"
LOOP = "loop of the paper"  # the case that all neurons are compared with
CHANNELS = ((64, 64), (128, 128), (256, 256))


def peers_missing() -> str:
    """One sentence about what the peers lack, or an empty string."""
    try:
        _peer("spikingjelly.activation_based.neuron")
        _peer("sinabs.layers")
    except ImportError as error:
        return (
            f"--peers: {error}; pip install --no-deps -r tests/oracles.txt installs what it needs"
        )
    return ""


def _peer(name: str) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return importlib.import_module(name)


# --------------------------------------------------------------------------------------------------- neurons


@dataclass(frozen=True)
class NeuronCase:
    """A function of currents (steps, n) to levels of as many or fewer dimensions."""

    name: str
    function: Callable[[Tensor], Tensor]
    steps: int = 1


class _Spike(torch.autograd.Function):
    """A binary spike at potential 1 with the sigmoid surrogate: the neuron of the unrolled loop."""

    @staticmethod
    def forward(ctx: Any, h: Tensor) -> Tensor:
        ctx.save_for_backward(h)
        return (h >= 1).to(h.dtype)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        (h,) = ctx.saved_tensors
        s = torch.sigmoid((h - 1) * 5)
        return grad * 5 * s * (1 - s)


def literal_loop(x: Tensor, levels: int) -> Tensor:
    """The multi-level neuron as its paper defines it: N charges with x, then N times fire and discharge.

    Its gradient is that of the closed form with the surrogate "unrolled".

    x: any shape, float.  Returns the level, the number of micro-steps that fired.
    """
    h = torch.zeros_like(x)
    for _ in range(levels):
        h = h + x
    level = torch.zeros_like(x)
    for _ in range(levels):
        spike: Tensor = _Spike.apply(h)
        h = h - spike
        level = level + spike
    return level


def short_loop(x: Tensor, levels: int) -> Tensor:
    """The same with one charge of N * x and the reset detached: the gradient of "unrolled-detached"."""
    h = x * levels
    level = torch.zeros_like(x)
    for _ in range(levels):
        spike: Tensor = _Spike.apply(h)
        h = h - spike.detach()
        level = level + spike
    return level


def neuron_cases(levels: int, *, compiled: bool, peers: bool) -> list[NeuronCase]:
    """The neurons to time, the loop over micro-steps and ReLU among them."""
    one = torch.tensor(1.0)

    def closed(x: Tensor, surrogate: str) -> Tensor:
        options: dict[str, Any] = {"charge": "repeated", "carry": False}
        return multi_level_step(x, None, one, levels=levels, surrogate=surrogate, **options)[0]

    functions: dict[str, Callable[[Tensor], Tensor]] = {
        f"closed, {surrogate}": partial(closed, surrogate=surrogate) for surrogate in SURROGATES
    }
    functions[LOOP] = partial(literal_loop, levels=levels)
    functions["loop, one charge, detached"] = partial(short_loop, levels=levels)
    functions[RELU] = torch.relu
    cases = [NeuronCase(name, function) for name, function in functions.items()]
    if compiled:
        # every surrogate, with and without gradients, is one more graph of the same function
        torch.compiler.config.recompile_limit = 64
        cases += [
            NeuronCase(f"{name}, compiled", torch.compile(function))
            for name, function in functions.items()
        ]
    return [*cases, *(_peer_cases(levels) if peers else ())]


def _peer_cases(levels: int) -> Iterator[NeuronCase]:
    neuron = _peer("spikingjelly.activation_based.neuron")
    surrogate = _peer("spikingjelly.activation_based.surrogate")
    rounding = neuron.ILIFNode(surrogate_function=surrogate.MultiLevelSpikeCount(levels))
    binary = neuron.IFNode(v_reset=None, step_mode="m")
    layer = _peer("sinabs.layers").IAF(spike_fn=_peer("sinabs.activation").MaxSpike(levels))

    def spikingjelly(node: Any, x: Tensor) -> Tensor:
        node.reset()
        spikes: Tensor = node(x)
        return spikes

    def sinabs(x: Tensor) -> Tensor:
        layer.reset_states()
        spikes: Tensor = layer(x[None] * levels)
        return spikes

    yield NeuronCase("SpikingJelly ILIFNode", lambda x: spikingjelly(rounding, levels * x[0]))
    yield NeuronCase(
        f"SpikingJelly IFNode, T = {levels}", lambda x: spikingjelly(binary, x), steps=levels
    )
    yield NeuronCase("sinabs IAF, MaxSpike", sinabs)


# ------------------------------------------------------------------------------------------------- networks


class SmallVGG(nn.Module):
    """64-64-128-128-256-256 with batch norm, a max pooling after each pair and one dense layer: 1.19 M parameters.

    Images (n, 3, 32, 32) are shown at every timestep; the logits are the mean over the timesteps.
    """

    def __init__(self, neuron: Callable[[], nn.Module], steps: int) -> None:
        super().__init__()
        self.steps = steps
        pairs = [c for pair in CHANNELS for c in pair]
        self.synapses = nn.ModuleList(
            nn.Sequential(nn.Conv2d(i, o, 3, padding=1, bias=False), nn.BatchNorm2d(o))
            for i, o in zip((3, *pairs), pairs, strict=False)
        )
        self.neurons = nn.ModuleList(neuron() for _ in pairs)
        self.readout = nn.Linear(CHANNELS[-1][-1] * 16, 10)

    def forward(self, images: Tensor) -> Tensor:
        x = images.repeat(self.steps, 1, 1, 1) if self.steps > 1 else images
        for index, (synapse, neuron) in enumerate(zip(self.synapses, self.neurons, strict=True)):
            x = neuron(synapse(x).unflatten(0, (self.steps, -1))).flatten(0, 1)
            if index % 2:
                x = functional.max_pool2d(x, 2)
        logits: Tensor = self.readout(x.flatten(1))
        return logits.unflatten(0, (self.steps, -1)).mean(0)


@dataclass(frozen=True)
class NetworkCase:
    """A step of training: forward, backward and optimiser on one batch."""

    name: str
    precision: str
    train: Callable[[], Tensor]


def network_cases(levels: int, batch: int, *, compiled: bool, peers: bool) -> list[NetworkCase]:
    """The training steps to time, ReLU's among them, in two precisions."""
    neurons: dict[str, tuple[Callable[[], nn.Module], int]] = {
        RELU: (AnalogueReLU, 1),
        f"closed form, N = {levels}, T = 1": (
            partial(MultiLevelIF, levels, surrogate="straight-through"),
            1,
        ),
    }
    ours = list(neurons)
    if peers:
        node = _peer("spikingjelly.activation_based.neuron").IFNode
        neurons[f"SpikingJelly IFNode, T = {levels}"] = (
            partial(node, v_reset=None, detach_reset=True, step_mode="m"),
            levels,
        )
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(batch, 3, 32, 32, generator=generator)
    images = images.to(memory_format=torch.channels_last)
    labels = torch.randint(10, (batch,), generator=generator)
    cases = []
    for precision in ("float32", "bfloat16"):
        for name, (neuron, steps) in neurons.items():
            for compile_it in (False, True) if compiled and name in ours else (False,):
                torch.manual_seed(0)
                model = SmallVGG(neuron, steps).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
                train = _training_step(model, images, labels, precision, compile_it)
                cases.append(
                    NetworkCase(f"{name}, compiled" if compile_it else name, precision, train)
                )
    return cases


def _training_step(
    model: nn.Module, images: Tensor, labels: Tensor, precision: str, compiled: bool
) -> Callable[[], Tensor]:
    optimiser = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9)
    stateful: list[Any] = [m for m in model.modules() if hasattr(m, "reset")]
    function: Callable[[Tensor], Tensor] = torch.compile(model) if compiled else model

    def train() -> Tensor:
        for module in stateful:
            module.reset()
        half = torch.autocast("cpu", torch.bfloat16) if precision == "bfloat16" else nullcontext()
        with half:
            logits = function(images)
        loss = functional.cross_entropy(logits.float(), labels)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        return loss.detach()

    return train

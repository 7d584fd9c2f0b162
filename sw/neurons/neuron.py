"""What all spiking neurons share: a threshold, a leak, and the loop over the timesteps."""

from collections.abc import Callable, Sequence
from math import inf
from typing import Any

import torch
from torch import Tensor, nn

Leak = float | Tensor | Callable[[Tensor], Tensor]

LEAST_THRESHOLD = 1e-3


def decay(v: Tensor, leak: Leak) -> Tensor:
    """leak(V): a factor times V, or a function of V."""
    if callable(leak):
        return leak(v)
    return v if isinstance(leak, float) and leak == 1.0 else v * leak


class _Limit(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, parameter: Tensor, low: float, high: float) -> Tensor:
        return parameter.clamp(low, high)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        return grad, None, None


def limit(parameter: Tensor, low: float, high: float) -> Tensor:
    """A parameter kept in low..high; its gradient is 1 everywhere, so that it can return from outside."""
    limited: Tensor = _Limit.apply(parameter, low, high)
    return limited


def split_time(x: Tensor) -> Sequence[Tensor]:
    """The timesteps of (T, ...), in the memory format of x, and their gradients in that of theirs.

    Unbinding and stacking would do, but their results are contiguous, and so much slower in a channels-last network.
    """
    if len(x) == 1:
        return (x.squeeze(0),)
    return x.flatten(0, 1).split(x.shape[1]) if x.dim() > 1 else x.unbind()


def join_time(steps: list[Tensor]) -> Tensor:
    """(T, ...) of T timesteps: the reverse of `split_time`."""
    if len(steps) == 1:
        return steps[0].unsqueeze(0)
    return torch.cat(steps).unflatten(0, (len(steps), -1)) if steps[0].dim() else torch.stack(steps)


def check_choice(name: str, value: str, choices: tuple[str, ...]) -> None:
    """Raises ValueError with one sentence unless value is one of choices."""
    if value not in choices:
        raise ValueError(f"{name} must be one of {', '.join(map(repr, choices))}, not {value!r}")


def check_count(name: str, value: int) -> None:
    """Raises ValueError with one sentence unless value is a positive integer."""
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise ValueError(f"{name} must be an integer of at least 1, not {value!r}")


class SpikingNeuron(nn.Module):
    """A layer of neurons with one threshold, learned or not: runs `step` over the timesteps from zero potential.

    Parameters
        threshold: theta, above zero; kept above 0.001 while it is learned.
        leak: the factor that is left of the potential after a timestep, 0..1, and kept there while it is learned.
        learn_threshold, learn_leak: whether training changes them.

    Raises ValueError with one sentence for a value out of range.
    """

    def __init__(
        self,
        threshold: float = 1.0,
        leak: float = 1.0,
        learn_threshold: bool = True,
        learn_leak: bool = False,
    ) -> None:
        super().__init__()
        if not threshold > 0:
            raise ValueError(f"threshold must be above zero, not {threshold!r}")
        if not 0 <= leak <= 1:
            raise ValueError(f"leak must be in 0..1, not {leak!r}")
        self.threshold = nn.Parameter(torch.tensor(float(threshold)), requires_grad=learn_threshold)
        self.leak: float | nn.Parameter = (
            nn.Parameter(torch.tensor(float(leak))) if learn_leak else float(leak)
        )

    def step(
        self, x: Tensor, v: Tensor | None, threshold: Tensor, leak: Leak, carry: bool
    ) -> tuple[Tensor, Tensor]:
        """One timestep: (z, V); see the step function of the neuron."""
        raise NotImplementedError

    def forward(
        self, x: Tensor, threshold: Tensor | None = None, leak: Leak | None = None
    ) -> Tensor:
        """Spikes of a current.

        Parameters
            x: (T, ...) input currents, float.
            threshold: replaces the learned one, e.g. the folded integers, broadcast against x[0].
            leak: replaces the module's.

        Returns (T, ...) levels in x's dtype.  Potentials are in x's dtype, too, or in that of a threshold with
        dimensions if it is wider: in bfloat16 levels are exact up to 256, but one current in some hundred falls on
        the other side of a threshold, so evaluate and export in float32.
        """
        theta = threshold
        if theta is None:
            theta = limit(self.threshold, LEAST_THRESHOLD, inf)
        if leak is None:
            leak = limit(self.leak, 0.0, 1.0) if isinstance(self.leak, Tensor) else self.leak
        spikes: list[Tensor] = []
        v: Tensor | None = None
        currents = split_time(x)
        for current in currents:
            z, v = self.step(current, v, theta, leak, len(spikes) + 1 < len(currents))
            spikes.append(z.to(x.dtype))
        return join_time(spikes)

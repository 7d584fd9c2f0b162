"""Analogue activations to compare with: ReLU, and ReLU with evenly or logarithmically spaced levels.

They are called like the spiking neurons, on (T, ...) currents, so that a network differs in nothing else; threshold and
leak of such a call are ignored, and the values that come out are in units of the current.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from math import ceil, inf

import torch
from torch import Tensor, nn

from sw.neurons.neuron import LEAST_THRESHOLD, check_count, limit
from sw.neurons.rounding import fire_rounded, pull_rounded
from sw.neurons.surrogate import Fired, fire, window

PERCENTILE = 0.997


class AnalogueReLU(nn.Module):
    """max(0, x)."""

    def forward(self, x: Tensor, threshold: object = None, leak: object = None) -> Tensor:
        """(T, ...) activations of (T, ...) currents, float."""
        return torch.relu(x)


class UniformReLU(nn.Module):
    """ReLU with N even levels above zero and a learned scale m, the value of the highest::

        y = d * round(clip(x / d, 0, N)),  d = m / N

    Gradient: straight-through, 1 for 0 <= x <= m; to the step d that of learned step size quantisation, y/d - x/d
    within that range and N above.  The analogue twin of a multi-level neuron at one timestep.
    """

    def __init__(self, levels: int, scale: float = 1.0) -> None:
        super().__init__()
        check_count("levels", levels)
        _check_scale(scale)
        self.levels = levels
        self.scale = nn.Parameter(torch.tensor(float(scale)))

    def forward(self, x: Tensor, threshold: object = None, leak: object = None) -> Tensor:
        """(T, ...) activations of (T, ...) currents, float."""
        step = limit(self.scale, LEAST_THRESHOLD, inf) / self.levels
        rule, pull = (
            partial(fire_rounded, levels=self.levels),
            partial(pull_rounded, levels=self.levels),
        )
        return fire(x, step, rule, pull) * step


class LogReLU(nn.Module):
    """ReLU with 2^b - 1 levels above zero that double: LQ-ANN, the one-hot paper's analogue baseline (eq. 12)::

        y = max(0, x) / m,  q = min(round(log2 y), 0),  output m * 2^q if q >= 2 - 2^b, else 0

    Gradient: straight-through, 1 for x > 0.  The scale m is not learned, see `calibrating`.
    """

    scale: Tensor

    def __init__(self, bits: int, scale: float = 1.0) -> None:
        super().__init__()
        check_count("bits", bits)
        _check_scale(scale)
        self.bits = bits
        self.calibrates = False
        self.register_buffer("scale", torch.tensor(float(scale)))

    def forward(self, x: Tensor, threshold: object = None, leak: object = None) -> Tensor:
        """(T, ...) activations of (T, ...) currents, float."""
        if self.calibrates:
            values = torch.relu(x.detach()).flatten()
            highest = values.kthvalue(ceil(PERCENTILE * values.numel())).values
            self.scale.copy_(torch.maximum(self.scale, highest))
            return torch.relu(x)
        return fire(x, self.scale, partial(_fire_log, bits=self.bits), _pull_log) * self.scale


def _fire_log(ratio: Tensor, *, bits: int) -> Fired:
    """Sum of steps at the midpoints 2^(q - 1/2): exact levels, which exponentials do not promise."""
    lowest = 2 - (1 << bits)
    z = (ratio >= 2.0 ** (lowest - 0.5)).to(ratio.dtype).mul_(2.0**lowest)
    for q in range(lowest + 1, 1):
        z.add_(ratio >= 2.0 ** (q - 0.5), alpha=2.0 ** (q - 1))
    return z, ratio


def _pull_log(ratio: Tensor, grad: Tensor) -> Tensor:
    return window(grad, ratio.ceil(), low=1)


@contextmanager
def calibrating(model: nn.Module) -> Iterator[None]:
    """Sets the scale of every `LogReLU` in a model from the batches that it computes inside the with statement.

    m becomes the largest of the batches' 99.7th percentiles (by nearest rank); meanwhile the module is a plain ReLU.

    Raises ValueError with one sentence if a module has then seen nothing above zero.
    """
    modules = {name: m for name, m in model.named_modules() if isinstance(m, LogReLU)}
    for module in modules.values():
        module.calibrates = True
        module.scale.zero_()
    try:
        yield
    finally:
        for module in modules.values():
            module.calibrates = False
    for name, module in modules.items():
        if not module.scale > 0:
            raise ValueError(
                f"{name or 'the activation'} saw no current above zero while calibrating; "
                "compute at least one batch of data inside the with statement"
            )


def _check_scale(scale: float) -> None:
    if not scale > 0:
        raise ValueError(f"scale must be above zero, not {scale!r}")

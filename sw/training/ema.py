"""Exponential moving average of a network."""

from typing import Any

import torch
from torch import Tensor, nn


class MovingAverage:
    """Average of a module's parameters and buffers over the steps of a training::

        a <- d a + (1 - d) p        d = min(decay, (1 + t) / (10 + t)) at update t = 1, 2, ..

    The ramp lets a young average follow quickly; without it the average is `decay` from the first update on.
    Statistics of batch norm are averaged too; whatever is no floating-point number is copied.  Before the first update
    the average is the module as it was given.

    Parameters
        module: to average; of a wrapped module the inner one.
        decay: d, 0..1, below 1.
        ramp: begin with the smaller decays.

    Raises ValueError for a decay out of range.
    """

    def __init__(self, module: nn.Module, *, decay: float = 0.999, ramp: bool = True) -> None:
        if not 0 <= decay < 1:
            raise ValueError(f"the decay of an average must be in 0..1, below 1, not {decay!r}")
        self.decay, self.ramp, self.updates = decay, ramp, 0
        self.average = {name: value.clone() for name, value in module.state_dict().items()}

    @torch.no_grad()
    def update(self, module: nn.Module) -> None:
        """Take in the module as it is now; to be called after every step of the optimiser."""
        self.updates += 1
        decay = self.decay
        if self.ramp:
            decay = min(decay, (1 + self.updates) / (10 + self.updates))
        for average, value in self._pairs(module):
            if average.is_floating_point():
                average.lerp_(value, 1 - decay)
            else:
                average.copy_(value)

    @torch.no_grad()
    def copy_to(self, module: nn.Module) -> None:
        """Overwrite the module with the average."""
        for average, value in self._pairs(module):
            value.copy_(average)

    @torch.no_grad()
    def swap(self, module: nn.Module) -> None:
        """Exchange the module and the average; a second call puts both back."""
        for average, value in self._pairs(module):
            kept = value.clone()
            value.copy_(average)
            average.copy_(kept)

    def state_dict(self) -> dict[str, Any]:
        """What a resumed training needs; the tensors are the average's own, not copies."""
        return {"updates": self.updates, "average": dict(self.average)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a `state_dict`.  Raises ValueError if it is of another network."""
        loaded = state["average"]
        self._check({name: tuple(value.shape) for name, value in loaded.items()})
        for name, value in loaded.items():
            self.average[name].copy_(value)
        self.updates = int(state["updates"])

    def _pairs(self, module: nn.Module) -> list[tuple[Tensor, Tensor]]:
        state = module.state_dict()
        self._check({name: tuple(value.shape) for name, value in state.items()})
        return [(average, state[name]) for name, average in self.average.items()]

    def _check(self, shapes: dict[str, tuple[int, ...]]) -> None:
        own = {name: tuple(value.shape) for name, value in self.average.items()}
        if own != shapes:
            differing = sorted(set(own.items()) ^ set(shapes.items()))[0][0]
            raise ValueError(
                f"the average is of another network: {differing} is missing or differs in shape; "
                "make the average from the same network"
            )

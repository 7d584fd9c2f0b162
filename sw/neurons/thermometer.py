"""The thermometer neuron: S lanes whose thresholds double, and every lane below the potential fires.

The relative of the one-hot neuron in which all S lanes may be active at once.
"""

from functools import partial

import torch
from torch import Tensor

from sw.neurons.neuron import Leak, SpikingNeuron, check_choice, check_count, decay
from sw.neurons.one_hot import BOUNDARIES, RESETS, pull_lanes, reset_lanes
from sw.neurons.surrogate import Fired, fire

SURROGATES = ("triangle", "sigmoid")


def thermometer_step(
    x: Tensor,
    v: Tensor | None,
    threshold: Tensor,
    *,
    lanes: int,
    leak: Leak = 1.0,
    reset: str = "soft",
    boundary: str = "open",
    surrogate: str = "triangle",
    gamma: float = 0.3,
    alpha: float = 4.0,
    carry: bool = True,
) -> tuple[Tensor, Tensor]:
    """One timestep of the thermometer neuron::

        U = leak(V) + x
        o_s = 1 if U > 2^s theta, s = 0..S-1     (closed boundary: >=)
        z = sum_s 2^s o_s = 2^(k+1) - 1,         k the highest lane that fires
        V = U - z * theta (soft)  or  0 where z > 0 (hard)

    Gradient: dz/dU = (1/theta) sum_s bump(U / (2^s theta) - 1), every lane having one edge; the rest, and the
    parameters, as in `sw.neurons.one_hot_step`.  Returns (z, V), both of x's shape.
    """
    u = x if v is None else decay(v, leak) + x
    pull = partial(pull_lanes, lanes=lanes, surrogate=surrogate, edge=1.0, gamma=gamma, alpha=alpha)
    z = fire(u, threshold, partial(_fire, lanes=lanes, boundary=boundary), pull)
    return z, reset_lanes(u, z, threshold, reset) if carry else u


def _fire(ratio: Tensor, *, lanes: int, boundary: str) -> Fired:
    above = torch.ge if boundary == "closed" else torch.gt
    z = above(ratio, 1.0).to(ratio.dtype)
    for s in range(1, lanes):
        z.add_(above(ratio, float(1 << s)), alpha=1 << s)
    return z, ratio


class ThermometerMLIF(SpikingNeuron):
    """Thermometer neuron; see `thermometer_step`."""

    def __init__(
        self,
        lanes: int,
        *,
        threshold: float = 1.0,
        leak: float = 1.0,
        reset: str = "soft",
        boundary: str = "open",
        surrogate: str = "triangle",
        gamma: float = 0.3,
        alpha: float = 4.0,
        learn_threshold: bool = True,
        learn_leak: bool = False,
    ) -> None:
        super().__init__(threshold, leak, learn_threshold, learn_leak)
        check_count("lanes", lanes)
        check_choice("reset", reset, RESETS)
        check_choice("boundary", boundary, BOUNDARIES)
        check_choice("surrogate", surrogate, SURROGATES)
        self.lanes, self.reset, self.boundary = lanes, reset, boundary
        self.surrogate, self.gamma, self.alpha = surrogate, gamma, alpha

    def step(
        self, x: Tensor, v: Tensor | None, threshold: Tensor, leak: Leak, carry: bool = True
    ) -> tuple[Tensor, Tensor]:
        return thermometer_step(
            x,
            v,
            threshold,
            lanes=self.lanes,
            leak=leak,
            reset=self.reset,
            boundary=self.boundary,
            surrogate=self.surrogate,
            gamma=self.gamma,
            alpha=self.alpha,
            carry=carry,
        )

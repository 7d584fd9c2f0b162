"""The integer LIF neuron with rounding (I-LIF): levels 0..D to the nearest, ties to even, soft reset.

Equations: Luo et al., "Integer-Valued Training and Spike-Driven Inference Spiking Neural Network", ECCV 2024.
"""

from functools import partial

from torch import Tensor

from sw.neurons.neuron import Leak, SpikingNeuron, check_count, decay
from sw.neurons.surrogate import Fired, fire, window


def rounding_step(
    x: Tensor,
    v: Tensor | None,
    threshold: Tensor,
    *,
    levels: int,
    leak: Leak = 1.0,
    detach_reset: bool = False,
    carry: bool = True,
) -> tuple[Tensor, Tensor]:
    """One timestep of the integer LIF neuron, N = D levels::

        U = leak(V) + x
        z = round(clip(U / theta, 0, N))         ties to the even level
        V = U - z * theta

    Gradient: dz/dU = 1/theta for 0 <= U <= N theta, else 0; dz/dtheta = -(U / theta) dz/dU; it passes through the z of
    the reset, too, unless that is detached.

    Parameters
        x: input current, any shape, float.
        v: potential after the last step, of the same shape, or None for zero.
        threshold: theta > 0, broadcast against x.
        leak: a factor, or a function of V.
        carry: False at the last timestep leaves out the reset; U is returned for V then.

    Returns (z, V), both of x's shape.
    """
    u = x if v is None else decay(v, leak) + x
    z = fire(
        u, threshold, partial(fire_rounded, levels=levels), partial(pull_rounded, levels=levels)
    )
    if not carry:
        return z, u
    return z, u - (z.detach() if detach_reset else z) * threshold


def fire_rounded(ratio: Tensor, *, levels: int) -> Fired:
    """Firing rule of `rounding_step`, for `sw.neurons.surrogate.fire`."""
    return ratio.clamp(0, levels).round_(), ratio


def pull_rounded(ratio: Tensor, grad: Tensor, *, levels: int) -> Tensor:
    """Its gradient: that of the level where 0 <= r <= N."""
    return window(window(grad, ratio.floor(), low=0), ratio.ceil(), high=levels)


class RoundingLIF(SpikingNeuron):
    """Integer LIF neuron with rounding; see `rounding_step`.  Leak and threshold default to those of its authors."""

    def __init__(
        self,
        levels: int,
        *,
        threshold: float = 1.0,
        leak: float = 0.25,
        detach_reset: bool = False,
        learn_threshold: bool = False,
        learn_leak: bool = False,
    ) -> None:
        super().__init__(threshold, leak, learn_threshold, learn_leak)
        check_count("levels", levels)
        self.levels, self.detach_reset = levels, detach_reset

    def step(
        self, x: Tensor, v: Tensor | None, threshold: Tensor, leak: Leak, carry: bool = True
    ) -> tuple[Tensor, Tensor]:
        return rounding_step(
            x,
            v,
            threshold,
            levels=self.levels,
            leak=leak,
            detach_reset=self.detach_reset,
            carry=carry,
        )

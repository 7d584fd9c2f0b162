"""The multi-level integrate-and-fire neuron: N evenly spaced levels, soft reset.

At one level it is the binary integrate-and-fire neuron, with a leak the leaky one.
"""

from functools import partial, reduce

import torch
from torch import Tensor

from sw.neurons.neuron import Leak, SpikingNeuron, check_choice, check_count, decay
from sw.neurons.surrogate import Fired, fire, sigmoid_bump_, window

BOUNDARIES = ("closed", "open")
CHARGES = ("once", "repeated")
SURROGATES = (
    "sigmoid",
    "triangle",
    "straight-through",
    "identity",
    "unrolled",
    "unrolled-detached",
)


def multi_level_step(
    x: Tensor,
    v: Tensor | None,
    threshold: Tensor,
    *,
    levels: int,
    leak: Leak = 1.0,
    boundary: str = "closed",
    charge: str = "once",
    surrogate: str = "sigmoid",
    alpha: float = 5.0,
    gamma: float = 1.0,
    carry: bool = True,
) -> tuple[Tensor, Tensor]:
    """One timestep of the multi-level integrate-and-fire neuron, in closed form::

        U = leak(V) + c * x                      c = 1 (charge "once") or N (charge "repeated")
        z = clip(floor(U / theta), 0, N)         open boundary: clip(ceil(U / theta) - 1, 0, N)
        V = U - z * theta

    It equals the unrolled form (charge, then N micro-steps: fire if the potential reaches theta, subtract theta).
    The original neuron is charged N times with the same input: charge "repeated".

    Gradient, with r = U / theta, dz/dU = slope / theta, dz/dtheta = -(r / theta) slope, and
    b(x) = alpha s (1 - s), s = sigmoid(alpha x)::

        sigmoid              slope = sum_{n=1..N} b(r - n)
        triangle             slope = sum_{n=1..N} gamma max(0, 1 - |r - n|)
        straight-through     slope = 1 for 0 <= U < (N + 1) theta, else 0
        identity             slope = 1
        unrolled             slope = 1 - prod_{n=1..N} (1 - b_n)
        unrolled-detached    slope = sum_{n=1..N} b_n,     b_n = b(r - 1 - min(n - 1, z))

    The last two are exact back-propagation through the N micro-steps, whose potential stays where it is once a
    micro-step is silent: without (the product telescopes) and with the reset detached.  For all but "unrolled" the
    spike in the reset is detached: dV/dU = 1, dV/dtheta = -z; for "unrolled" dV/dU = 1 - slope follows from above.

    Parameters
        x: input current, any shape, float.
        v: potential after the last step, of the same shape, or None for zero.
        threshold: theta > 0, broadcast against x.
        leak: a factor, or a function of V.
        carry: False at the last timestep leaves out the reset; U is returned for V then.

    Returns (z, V), both of x's shape.
    """
    current = x * levels if charge == "repeated" else x
    u = current if v is None else decay(v, leak) + current
    z = fire(
        u,
        threshold,
        partial(_fire, levels=levels, boundary=boundary, surrogate=surrogate),
        partial(
            _pull, levels=levels, boundary=boundary, surrogate=surrogate, alpha=alpha, gamma=gamma
        ),
    )
    if not carry:
        return z, u
    return z, u - (z if surrogate == "unrolled" else z.detach()) * threshold


def _count_(ratio: Tensor, boundary: str) -> Tensor:
    """Thresholds that a potential has passed, were there no end to them: floor(r), open ceil(r) - 1; in place."""
    return ratio.floor_() if boundary == "closed" else ratio.ceil_().sub_(1)


def _fire(ratio: Tensor, *, levels: int, boundary: str, surrogate: str) -> Fired:
    if surrogate == "identity":
        return _count_(ratio, boundary).clamp_(0, levels), None
    if surrogate == "straight-through":
        count = _count_(ratio, boundary)
        return count.clamp(0, levels), count
    return _count_(ratio.clone(), boundary).clamp_(0, levels), ratio


def _pull(
    kept: Tensor,
    grad: Tensor,
    *,
    levels: int,
    boundary: str,
    surrogate: str,
    alpha: float,
    gamma: float,
) -> Tensor:
    if surrogate == "identity":
        return grad.clone()
    if surrogate == "straight-through":
        return window(grad, kept, 0, levels)
    if surrogate == "triangle":  # triangles of half-width 1 at 1..N add up to a trapezium
        return torch.minimum(kept, levels + 1 - kept).clamp_(0, 1).mul_(gamma).mul_(grad)
    if surrogate == "sigmoid":
        slope = sigmoid_bump_(kept - 1, alpha)
        for n in range(2, levels + 1):
            slope += sigmoid_bump_(kept - n, alpha)
        return slope.mul_(grad)
    z = _count_(kept.clone(), boundary).clamp_(0, levels)
    bumps = (sigmoid_bump_((kept - 1).sub_(z.clamp(max=n)), alpha) for n in range(levels))
    if surrogate == "unrolled-detached":
        return reduce(Tensor.add_, bumps).mul_(grad)
    silent = reduce(Tensor.mul_, (bump.neg_().add_(1) for bump in bumps))
    return silent.neg_().add_(1).mul_(grad)


class MultiLevelIF(SpikingNeuron):
    """Multi-level IF neuron; see `multi_level_step`.  Over T timesteps it has N * T + 1 output levels."""

    def __init__(
        self,
        levels: int,
        *,
        threshold: float = 1.0,
        leak: float = 1.0,
        boundary: str = "closed",
        charge: str = "once",
        surrogate: str = "sigmoid",
        alpha: float = 5.0,
        gamma: float = 1.0,
        learn_threshold: bool = True,
        learn_leak: bool = False,
    ) -> None:
        super().__init__(threshold, leak, learn_threshold, learn_leak)
        check_count("levels", levels)
        check_choice("boundary", boundary, BOUNDARIES)
        check_choice("charge", charge, CHARGES)
        check_choice("surrogate", surrogate, SURROGATES)
        self.levels, self.boundary, self.charge = levels, boundary, charge
        self.surrogate, self.alpha, self.gamma = surrogate, alpha, gamma

    def step(
        self, x: Tensor, v: Tensor | None, threshold: Tensor, leak: Leak, carry: bool = True
    ) -> tuple[Tensor, Tensor]:
        return multi_level_step(
            x,
            v,
            threshold,
            levels=self.levels,
            leak=leak,
            boundary=self.boundary,
            charge=self.charge,
            surrogate=self.surrogate,
            alpha=self.alpha,
            gamma=self.gamma,
            carry=carry,
        )


class BarrierIF(MultiLevelIF):
    """The barrier neuron of Sparse-ResNet: keeps the sum of two spike streams within N levels.

    A multi-level IF neuron of fixed threshold 1, charged once with the sum of the streams of a residual block and its
    shortcut: 0..2N in, 0..N out, and what is above N waits in the potential for the next timestep.  Its gradient is
    the paper's straight-through 1 ("identity"); "straight-through" is 1 only inside the range of the neuron, and
    "sigmoid" and the rest are there to compare with.
    """

    def __init__(
        self,
        levels: int,
        *,
        surrogate: str = "identity",
        leak: float = 1.0,
        alpha: float = 5.0,
        gamma: float = 1.0,
    ) -> None:
        super().__init__(
            levels, surrogate=surrogate, leak=leak, alpha=alpha, gamma=gamma, learn_threshold=False
        )

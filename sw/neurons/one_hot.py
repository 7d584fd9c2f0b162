"""The one-hot multi-level leaky integrate-and-fire neuron (M-LIF): S lanes whose thresholds double.

At one lane it is the binary leaky integrate-and-fire neuron.
"""

from functools import partial

import torch
from torch import Tensor

from sw.neurons.neuron import Leak, SpikingNeuron, check_choice, check_count, decay
from sw.neurons.surrogate import Fired, fire, sigmoid_bump_, triangle_bump_

BOUNDARIES = ("closed", "open")
RESETS = ("soft", "hard")
SURROGATES = ("triangle", "sigmoid", "merged-sigmoid")
EDGE_PAPER = 0.5  # difference of the two edges of a window, as derived in the paper
EDGE_CODE = 1.5  # sum of the two edges, as in the published code


def one_hot_step(
    x: Tensor,
    v: Tensor | None,
    threshold: Tensor,
    *,
    lanes: int,
    leak: Leak = 1.0,
    reset: str = "soft",
    boundary: str = "open",
    normalised: bool = False,
    input_decay: bool = False,
    surrogate: str = "triangle",
    edge: float = EDGE_PAPER,
    gamma: float = 0.3,
    alpha: float = 4.0,
    carry: bool = True,
) -> tuple[Tensor, Tensor]:
    """One timestep of the one-hot multi-level leaky integrate-and-fire neuron (M-LIF)::

        U = leak(V) + x                          with input decay: U = leak * V + (1 - leak) * x
        z = 2^k if 2^k theta < U <= 2^(k+1) theta, k = 0..S-2;  2^(S-1) if U > 2^(S-1) theta;  else 0
        V = U - z * theta (soft)  or  0 where z > 0 (hard)

    The closed boundary has its windows as 2^k theta <= U < 2^(k+1) theta.  Normalised lanes weigh w_k = 2^(k-S+1)
    instead of 2^k, in output, windows and reset alike.

    Gradient, the spike inside the reset detached, with bump(x) = gamma max(0, 1 - |x|) for "triangle" and
    alpha s (1 - s), s = sigmoid(alpha x), for the sigmoids::

        triangle, sigmoid   dz/dU = (1/theta) (t_0 + edge * sum_{s=1..S-1} t_s),      t_s = bump(U / (w_s theta) - 1)
        merged-sigmoid      dz/dU = (1/theta) (w_0 m_0 + edge * sum_{s=1..S-1} w_s m_s),  m_s = bump(U / theta - w_s)
        all                 dz/dtheta = -(U/theta) dz/dU,   dV/dtheta = -z (soft)

    edge is 0.5 when each lane's surrogate is the difference of its window's two edges (the paper) and 1.5 when it
    is their sum (the published code).

    Parameters
        x: input current, any shape, float.
        v: potential after the last step, of the same shape, or None for zero.
        threshold: theta > 0, broadcast against x.
        leak: a factor, or a function of V (no input decay then).
        carry: False at the last timestep leaves out the reset; U is returned for V then.

    Returns (z, V), both of x's shape.  Raises ValueError for an input decay without a factor.
    """
    if input_decay:
        if callable(leak):
            raise ValueError(
                "input_decay needs a leak factor, not a function; pass a number or a tensor"
            )
        x = (1 - leak) * x
    u = x if v is None else decay(v, leak) + x
    top = float(1 << (lanes - 1)) if normalised else 1.0
    theta = threshold / top if normalised else threshold
    pull = partial(
        pull_lanes, lanes=lanes, surrogate=surrogate, edge=edge, gamma=gamma, alpha=alpha, top=top
    )
    z = fire(u, theta, partial(_fire, lanes=lanes, boundary=boundary), pull)
    level = z / top if normalised else z
    return level, reset_lanes(u, z, theta, reset) if carry else u


def fire_one_hot(ratio: Tensor, lanes: int, boundary: str = "open") -> Tensor:
    """Level 2^k of a potential in units of its threshold, 0 if silent: the sum of [r > 1] and 2^(s-1) [r > 2^s].

    Comparisons, not a logarithm: exact at every power of two.  ratio: any shape, float.
    """
    above = torch.ge if boundary == "closed" else torch.gt
    z = above(ratio, 1.0).to(ratio.dtype)
    for s in range(1, lanes):
        z.add_(above(ratio, float(1 << s)), alpha=1 << (s - 1))
    return z


def _fire(ratio: Tensor, *, lanes: int, boundary: str) -> Fired:
    return fire_one_hot(ratio, lanes, boundary), ratio


def pull_lanes(
    ratio: Tensor,
    grad: Tensor,
    *,
    lanes: int,
    surrogate: str,
    edge: float,
    gamma: float,
    alpha: float,
    top: float = 1.0,
) -> Tensor:
    """Gradient of U / theta through S lanes at 2^s, the gradient of the level given; see `one_hot_step`.

    edge: weight of the lanes above the first.  top: what U / theta was multiplied with to get lanes at 2^s.
    """

    def bump(s: int) -> Tensor:
        if surrogate == "merged-sigmoid":
            x = (ratio - (1 << s)).div_(top)
            return sigmoid_bump_(x, alpha).mul_((1 << s) / top)
        x = ratio.div(1 << s).sub_(1)
        return sigmoid_bump_(x, alpha) if surrogate == "sigmoid" else triangle_bump_(x, gamma)

    slope = bump(0)
    for s in range(1, lanes):
        slope.add_(bump(s), alpha=edge)
    return slope.mul_(grad)


def reset_lanes(u: Tensor, z: Tensor, theta: Tensor, reset: str) -> Tensor:
    """V after a spike of z thresholds: U - z * theta (soft), or 0 where z > 0 (hard); z detached."""
    z = z.detach()
    return u - z * theta if reset == "soft" else u * (1 - z.clamp(max=1))


class OneHotMLIF(SpikingNeuron):
    """One-hot M-LIF neuron; see `one_hot_step`, and sw.neurons.variants for the four published ones."""

    def __init__(
        self,
        lanes: int,
        *,
        threshold: float = 1.0,
        leak: float = 1.0,
        reset: str = "soft",
        boundary: str = "open",
        normalised: bool = False,
        input_decay: bool = False,
        surrogate: str = "triangle",
        edge: float = EDGE_PAPER,
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
        self.normalised, self.input_decay = normalised, input_decay
        self.surrogate, self.edge, self.gamma, self.alpha = surrogate, edge, gamma, alpha

    def step(
        self, x: Tensor, v: Tensor | None, threshold: Tensor, leak: Leak, carry: bool = True
    ) -> tuple[Tensor, Tensor]:
        return one_hot_step(
            x,
            v,
            threshold,
            lanes=self.lanes,
            leak=leak,
            reset=self.reset,
            boundary=self.boundary,
            normalised=self.normalised,
            input_decay=self.input_decay,
            surrogate=self.surrogate,
            edge=self.edge,
            gamma=self.gamma,
            alpha=self.alpha,
            carry=carry,
        )

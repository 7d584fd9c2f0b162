"""Multi-level spiking neurons: pure step functions with surrogate gradients, and thin modules on top.

Two firing rules, both reducing to the binary integrate-and-fire neuron at one level or one lane:

- `multi_level_step`: the multi-level IF neuron, N evenly spaced levels, soft reset;
- `one_hot_step`: the one-hot M-LIF neuron, S lanes whose thresholds double, soft or hard reset.

The equations stand in the docstrings of these two functions and nowhere else.  A step is homogeneous in potential,
input and threshold, so the same code runs on real numbers while training and on integer-valued tensors after folding.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

Leak = float | Tensor | Callable[[Tensor], Tensor]

BOUNDARIES = ("closed", "open")
MULTI_LEVEL_SURROGATES = ("sigmoid", "straight-through")
ONE_HOT_SURROGATES = ("triangle", "sigmoid")
EDGE_PAPER = 0.5  # difference of the two edges of a window, as derived in the paper
EDGE_CODE = 1.5  # sum of the two edges, as in the published code


# ------------------------------------------------------------------------------------------------- firing rules


def fire_multi_level(ratio: Tensor, levels: int, boundary: str = "closed") -> Tensor:
    """Level of a potential in units of its threshold: clip(floor(r), 0, N), or clip(ceil(r) - 1, 0, N) if open.

    ratio: any shape, float.  Returns the levels as floats of the same shape; no gradient.
    """
    level = torch.floor(ratio) if boundary == "closed" else torch.ceil(ratio) - 1
    return level.clamp_(0, levels)


def fire_one_hot(ratio: Tensor, lanes: int, boundary: str = "open") -> Tensor:
    """Level 2^k of a potential in units of its threshold, 0 if silent: the sum of [r > 1] and 2^(s-1) [r > 2^s].

    Comparisons, not a logarithm: exact at every power of two.  ratio: any shape, float.
    """
    above = torch.ge if boundary == "closed" else torch.gt
    z = above(ratio, 1.0).to(ratio.dtype)
    for s in range(1, lanes):
        z.add_(above(ratio, float(1 << s)), alpha=1 << (s - 1))
    return z


def _sigmoid_bump(x: Tensor, alpha: float) -> Tensor:
    """alpha * s * (1 - s) with s = sigmoid(alpha * x)."""
    s = torch.sigmoid(x * alpha)
    return s.sub_(s * s).mul_(alpha)


class _MultiLevelFire(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        u: Tensor,
        threshold: Tensor,
        levels: int,
        boundary: str,
        surrogate: str,
        alpha: float,
    ) -> Tensor:
        ratio = u / threshold
        ctx.save_for_backward(ratio, threshold)
        ctx.options = levels, boundary, surrogate, alpha
        return fire_multi_level(ratio, levels, boundary)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor | None, None, None, None, None]:
        ratio, threshold = ctx.saved_tensors
        levels, boundary, surrogate, alpha = ctx.options
        if surrogate == "sigmoid":
            slope = _sigmoid_bump(ratio - 1, alpha)
            for n in range(2, levels + 1):
                slope += _sigmoid_bump(ratio - n, alpha)
        else:
            # 1 - min(1, |q - clip(q, 0, N)|): floats only, because a boolean mask defeats vectorised code
            q = torch.floor(ratio) if boundary == "closed" else torch.ceil(ratio) - 1
            slope = q.clamp(0, levels).sub_(q).abs_().clamp_(max=1).neg_().add_(1)
        grad_u = slope.mul_(grad).div_(threshold)
        grad_threshold = None
        if ctx.needs_input_grad[1]:
            grad_threshold = (-grad_u * ratio).sum_to_size(threshold.shape)
        return grad_u, grad_threshold, None, None, None, None


class _OneHotFire(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        u: Tensor,
        threshold: Tensor,
        lanes: int,
        boundary: str,
        surrogate: str,
        edge: float,
        gamma: float,
        alpha: float,
    ) -> Tensor:
        ratio = u / threshold
        ctx.save_for_backward(ratio, threshold)
        ctx.options = lanes, surrogate, edge, gamma, alpha
        return fire_one_hot(ratio, lanes, boundary)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        ratio, threshold = ctx.saved_tensors
        lanes, surrogate, edge, gamma, alpha = ctx.options

        def bump(s: int) -> Tensor:
            x = ratio / (1 << s) - 1
            if surrogate == "sigmoid":
                return _sigmoid_bump(x, alpha)
            return x.abs_().neg_().add_(1).clamp_(min=0).mul_(gamma)

        slope = bump(0)
        for s in range(1, lanes):
            slope.add_(bump(s), alpha=edge)
        grad_u = slope.mul_(grad).div_(threshold)
        grad_threshold = None
        if ctx.needs_input_grad[1]:
            grad_threshold = (-grad_u * ratio).sum_to_size(threshold.shape)
        return grad_u, grad_threshold, None, None, None, None, None, None


# ------------------------------------------------------------------------------------------------------- steps


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
) -> tuple[Tensor, Tensor]:
    """One timestep of the multi-level integrate-and-fire neuron, in closed form::

        U = leak(V) + c * x                      c = 1 (charge "once") or N (charge "repeated")
        z = clip(floor(U / theta), 0, N)         open boundary: clip(ceil(U / theta) - 1, 0, N)
        V = U - z * theta

    It equals the unrolled form (charge, then N times: fire if the potential reaches theta, subtract theta).  The
    original neuron is charged N times with the same input: charge "repeated".

    Gradient, with r = U / theta and a detached reset::

        sigmoid            dz/dU = (1/theta) sum_{n=1..N} alpha s_n (1 - s_n),  s_n = sigmoid(alpha (r - n))
        straight-through   dz/dU = 1/theta for 0 <= U < (N + 1) theta, else 0
        both               dz/dtheta = -r dz/dU,   dV/dU = 1,   dV/dtheta = -z

    Parameters
        x: input current, any shape, float.
        v: potential after the last step, of the same shape, or None for zero.
        threshold: theta > 0, broadcast against x.
        leak: a factor, or a function of V.

    Returns (z, V), both of x's shape.
    """
    current = x * levels if charge == "repeated" else x
    u = current if v is None else _decay(v, leak) + current
    z: Tensor = _MultiLevelFire.apply(u, threshold, levels, boundary, surrogate, alpha)
    return z, u - z.detach() * threshold


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
) -> tuple[Tensor, Tensor]:
    """One timestep of the one-hot multi-level leaky integrate-and-fire neuron (M-LIF)::

        U = leak(V) + x                          with input decay: U = leak * V + (1 - leak) * x
        z = 2^k if 2^k theta < U <= 2^(k+1) theta, k = 0..S-2;  2^(S-1) if U > 2^(S-1) theta;  else 0
        V = U - z * theta (soft)  or  0 where z > 0 (hard)

    The closed boundary has its windows as 2^k theta <= U < 2^(k+1) theta.  Normalised lanes weigh 2^(k-S+1) instead
    of 2^k, in output, windows and reset alike.

    Gradient, with t_s = bump(U / (2^s theta) - 1), the spike inside the reset detached::

        triangle   dz/dU = (gamma/theta) (t_0 + edge * sum_{s=1..S-1} t_s),   bump(x) = max(0, 1 - |x|)
        sigmoid    the same with gamma = 1 and bump(x) = alpha s (1 - s), s = sigmoid(alpha x)
        both       dz/dtheta = -(U/theta) dz/dU,   dV/dtheta = -z (soft)

    edge is 0.5 when each lane's surrogate is the difference of its window's two edges (the paper) and 1.5 when it
    is their sum (the published code).

    Parameters
        x: input current, any shape, float.
        v: potential after the last step, of the same shape, or None for zero.
        threshold: theta > 0, broadcast against x.
        leak: a factor, or a function of V (no input decay then).

    Returns (z, V), both of x's shape.
    """
    if input_decay:
        if callable(leak):
            raise ValueError(
                "input_decay needs a leak factor, not a function; pass a number or a tensor"
            )
        x = (1 - leak) * x
    u = x if v is None else _decay(v, leak) + x
    top = float(1 << (lanes - 1)) if normalised else 1.0
    theta = threshold / top
    z: Tensor = _OneHotFire.apply(u, theta, lanes, boundary, surrogate, edge, gamma, alpha)
    spikes = z.detach()
    v = u - spikes * theta if reset == "soft" else u * (1 - spikes.clamp(max=1))
    return (z / top if normalised else z), v


def _decay(v: Tensor, leak: Leak) -> Tensor:
    if callable(leak):
        return leak(v)
    return v if isinstance(leak, float) and leak == 1.0 else v * leak


# ----------------------------------------------------------------------------------------------------- modules


class _Neuron(nn.Module):
    """A layer of neurons with one learned threshold: runs a step function over the timesteps from zero potential."""

    def __init__(
        self, threshold: float, leak: float, learn_threshold: bool, learn_leak: bool
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
        self, x: Tensor, v: Tensor | None, threshold: Tensor, leak: Leak
    ) -> tuple[Tensor, Tensor]:
        raise NotImplementedError

    def forward(
        self, x: Tensor, threshold: Tensor | None = None, leak: Leak | None = None
    ) -> Tensor:
        """Spikes of a current.

        Parameters
            x: (T, ...) input currents, float.
            threshold: replaces the learned one, e.g. the folded integers, broadcast against x[0].
            leak: replaces the module's.

        Returns (T, ...) levels, float.
        """
        theta = self.threshold.clamp_min(1e-3) if threshold is None else threshold
        factor: Leak = leak if leak is not None else _clamp_leak(self.leak)
        spikes, v = [], None
        for current in x:
            z, v = self.step(current, v, theta, factor)
            spikes.append(z)
        return spikes[0][None] if len(spikes) == 1 else torch.stack(spikes)


def _clamp_leak(leak: float | Tensor) -> float | Tensor:
    return leak.clamp(0.0, 1.0) if isinstance(leak, Tensor) else leak


class MultiLevelIF(_Neuron):
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
        learn_threshold: bool = True,
        learn_leak: bool = False,
    ) -> None:
        super().__init__(threshold, leak, learn_threshold, learn_leak)
        if not isinstance(levels, int) or levels < 1:
            raise ValueError(f"levels must be an integer of at least 1, not {levels!r}")
        _check_choice("boundary", boundary, BOUNDARIES)
        _check_choice("charge", charge, ("once", "repeated"))
        _check_choice("surrogate", surrogate, MULTI_LEVEL_SURROGATES)
        self.levels, self.boundary, self.charge = levels, boundary, charge
        self.surrogate, self.alpha = surrogate, alpha

    def step(
        self, x: Tensor, v: Tensor | None, threshold: Tensor, leak: Leak
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
        )


class OneHotMLIF(_Neuron):
    """One-hot M-LIF neuron; see `one_hot_step`."""

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
        if not isinstance(lanes, int) or lanes < 1:
            raise ValueError(f"lanes must be an integer of at least 1, not {lanes!r}")
        _check_choice("reset", reset, ("soft", "hard"))
        _check_choice("boundary", boundary, BOUNDARIES)
        _check_choice("surrogate", surrogate, ONE_HOT_SURROGATES)
        self.lanes, self.reset, self.boundary = lanes, reset, boundary
        self.normalised, self.input_decay = normalised, input_decay
        self.surrogate, self.edge, self.gamma, self.alpha = surrogate, edge, gamma, alpha

    def step(
        self, x: Tensor, v: Tensor | None, threshold: Tensor, leak: Leak
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
        )


def _check_choice(name: str, value: str, choices: tuple[str, ...]) -> None:
    if value not in choices:
        raise ValueError(f"{name} must be one of {', '.join(map(repr, choices))}, not {value!r}")

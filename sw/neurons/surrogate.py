"""Firing with a surrogate gradient: one autograd function for every rule, and the slopes that the rules are built of.

A firing rule counts in r = U / theta and is two functions of it.  `rule` returns the levels z(r) and what the backward
pass needs of r; `pull` turns the gradient of z into that of r.  Slopes are floats from start to end, because a boolean
mask defeats vectorised code when the backward pass is compiled.
"""

from collections.abc import Callable
from math import inf
from typing import Any

import torch
from torch import Tensor

Fired = tuple[Tensor, Tensor | None]


class _Fire(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        u: Tensor,
        threshold: Tensor,
        rule: Callable[[Tensor], Fired],
        pull: Callable[[Tensor, Tensor], Tensor],
    ) -> Tensor:
        level, kept = rule(u / threshold)
        ctx.save_for_backward(kept, threshold, u if ctx.needs_input_grad[1] else None)
        ctx.pull, ctx.dtype = pull, u.dtype
        return level

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor | None, None, None]:
        kept, threshold, u = ctx.saved_tensors
        by_u = ctx.pull(kept, grad).mul_(threshold.reciprocal())
        by_threshold = None
        if u is not None:
            by_threshold = _sum_to(by_u * u, threshold).neg_().div_(threshold)
        return by_u.to(ctx.dtype), by_threshold, None, None


def _sum_to(x: Tensor, like: Tensor) -> Tensor:
    """x summed to the shape and dtype of `like`; sums accumulate in float32, but a float16 cannot hold the result."""
    if x.dtype == torch.float16:
        x = x.float()
    return x.sum_to_size(like.shape).to(like.dtype)


def fire(
    u: Tensor,
    threshold: Tensor,
    rule: Callable[[Tensor], Fired],
    pull: Callable[[Tensor, Tensor], Tensor],
) -> Tensor:
    """Levels z(U / theta), with dz/dU = slope / theta and dz/dtheta = -(U / theta) dz/dU.

    Parameters
        u: potential, any shape, float.
        threshold: theta > 0, broadcast against u.
        rule: r -> (z, kept); owns r and may compute in place; kept is any tensor of r's shape, or None.
        pull: (kept, dL/dz) -> dL/dr, a new tensor; owns neither.
    """
    z: Tensor = _Fire.apply(u, threshold, rule, pull)
    return z


def window(grad: Tensor, count: Tensor, low: float = -inf, high: float = inf) -> Tensor:
    """grad where the whole number `count` is in low..high, else 0."""
    if torch.compiler.is_compiling():
        outside = count.clamp(low, high).sub(count).abs().clamp(max=1)
        return grad * (1 - outside)
    # one pass over memory instead of seven
    masked: Tensor = torch.ops.aten.hardtanh_backward(grad, count, low - 0.5, high + 0.5)
    return masked


def sigmoid_bump_(x: Tensor, alpha: float) -> Tensor:
    """alpha s (1 - s) with s = sigmoid(alpha x), in place of x: a bump of area 1 and height alpha / 4."""
    s = x.mul_(alpha).sigmoid_()
    return s.addcmul_(s, s, value=-1).mul_(alpha)


def triangle_bump_(x: Tensor, gamma: float) -> Tensor:
    """gamma max(0, 1 - |x|), in place of x: a bump of area and height gamma."""
    return x.abs_().sub_(1).clamp_(max=0).mul_(-gamma)

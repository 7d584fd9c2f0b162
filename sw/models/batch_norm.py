"""Batch norm whose statistics are those of the whole batch, also where several processes have a part of it each."""

from typing import Any

import torch
from torch import Tensor, distributed
from torch.nn import functional


def batch_norm(
    x: Tensor,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    *,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Tensor:
    """torch.nn.functional.batch_norm; while training in several processes, on the statistics of all their batches::

        y = weight (x - mean) / sqrt(var + eps) + bias          mean, var: of a channel, over all processes

    Every process has to take part, with a batch of its own of any size above zero.  Running statistics become the
    same in all of them.  Gradients are those of the sum of the processes' losses, which DistributedDataParallel
    divides by their number; so the mean loss of equal shares has the gradient of the loss of the whole batch.

    Parameters
        x: (n, C, ...), float.
        running_mean, running_var: (C,), changed in place while training; None to keep none.
        weight, bias: (C,), or None for 1 and 0.
        training: normalise with the batch's statistics, else with the running ones.
        momentum: share of the new in the running statistics.
        eps: added to the variance.

    Returns x's shape and type.  With one process, or not training, it is torch's function, bit for bit.
    """
    if not training or not distributed.is_initialized() or distributed.get_world_size() == 1:
        return functional.batch_norm(
            x, running_mean, running_var, weight, bias, training, momentum, eps
        )
    result, mean, variance, count = _BatchNorm.apply(x, weight, bias, eps)
    with torch.no_grad():
        if running_mean is not None:
            running_mean.lerp_(mean.to(running_mean.dtype), momentum)
        if running_var is not None:
            unbiased = variance * (count / (count - 1))
            running_var.lerp_(unbiased.to(running_var.dtype), momentum)
    normalised: Tensor = result
    return normalised


class _BatchNorm(torch.autograd.Function):
    """Normalisation over all processes: one collective forward, one backward.  Half precision is summed in single."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor | None, bias: Tensor | None, eps: float
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        wide = x.float() if x.dtype in (torch.float16, torch.bfloat16) else x
        channels = x.shape[1]
        axes, shape = [0, *range(2, x.dim())], [1, channels, *[1] * (x.dim() - 2)]

        # Means and variances of parts are merged as in Chan et al. (1979), without differences of large squares.
        own_var, own_mean = torch.var_mean(wide, axes, correction=0)
        own = torch.cat((wide.new_tensor([x.numel() // channels]), own_mean, own_var))
        parts = [torch.empty_like(own) for _ in range(distributed.get_world_size())]
        distributed.all_gather(parts, own)
        counts, means, variances = torch.stack(parts).split((1, channels, channels), 1)
        count = counts.sum()
        mean = (counts * means).sum(0) / count
        variance = (counts * (variances + (means - mean).square())).sum(0) / count

        inverse = torch.rsqrt(variance + eps)
        standard = (wide - mean.view(shape)).mul_(inverse.view(shape))
        ctx.save_for_backward(standard, inverse, count, weight)
        ctx.axes, ctx.shape, ctx.has_bias, ctx.dtype = axes, shape, bias is not None, x.dtype
        ctx.mark_non_differentiable(mean, variance, count)
        result = standard * (1.0 if weight is None else weight.view(shape))
        if bias is not None:
            result += bias.view(shape)
        return result.to(x.dtype), mean, variance, count

    @staticmethod
    def backward(
        ctx: Any, grad: Tensor, *_: Tensor
    ) -> tuple[Tensor, Tensor | None, Tensor | None, None]:
        standard, inverse, count, weight = ctx.saved_tensors
        grad = grad.to(standard.dtype)
        grad_bias, grad_weight = grad.sum(ctx.axes), (grad * standard).sum(ctx.axes)
        sums = torch.stack((grad_bias, grad_weight))
        distributed.all_reduce(sums)
        mean_grad, mean_product = (sums / count).view(2, *ctx.shape)
        grad_x = grad - mean_grad - standard * mean_product
        grad_x *= (inverse if weight is None else inverse * weight).view(ctx.shape)
        return (
            grad_x.to(ctx.dtype),
            None if weight is None else grad_weight,
            grad_bias if ctx.has_bias else None,
            None,
        )

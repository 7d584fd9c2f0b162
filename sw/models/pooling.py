"""Max pooling over windows that do not overlap, by slices: several times faster on CPUs than the general one."""

from functools import reduce
from typing import Any

import torch
from torch import Tensor


class _MaxPool(torch.autograd.Function):
    """The gradient goes to the first largest value of a window, in raster order."""

    @staticmethod
    def slices(x: Tensor, p: int) -> list[Tensor]:
        height, width = x.shape[2] // p * p, x.shape[3] // p * p
        return [x[:, :, i:height:p, j:width:p] for i in range(p) for j in range(p)]

    @staticmethod
    def forward(ctx: Any, x: Tensor, p: int) -> Tensor:
        largest = reduce(torch.maximum, _MaxPool.slices(x, p))
        ctx.save_for_backward(x, largest)
        ctx.p = p
        return largest

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        x, largest = ctx.saved_tensors
        result, left = torch.zeros_like(x), grad.clone()
        for source, target in zip(
            _MaxPool.slices(x, ctx.p), _MaxPool.slices(result, ctx.p), strict=True
        ):
            part = torch.eq(source, largest).to(grad.dtype).mul_(left)
            left.sub_(part)
            target.copy_(part)
        return result, None


def max_pool(x: Tensor, p: int) -> Tensor:
    """Max pooling of (n, C, H, W) over p x p windows that do not overlap; what is left over is dropped."""
    pooled: Tensor = _MaxPool.apply(x, p)
    return pooled

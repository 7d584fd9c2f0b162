"""Quantisation: weights to 2..8 signed bits with symmetric scales, and straight-through rounding.

A layer's integer weight is round(w / s), |integer| <= 2^(B-1) - 1, with one scale s per output channel (hidden
layers, whose thresholds absorb it) or one for the layer (the readout, whose scores are compared with each other).
"""

import torch
from torch import Tensor

WEIGHT_BITS = range(2, 9)


class _RoundThrough(torch.autograd.Function):
    @staticmethod
    def forward(ctx: object, x: Tensor) -> Tensor:
        return torch.round(x)

    @staticmethod
    def backward(ctx: object, grad: Tensor) -> Tensor:
        return grad


class _FloorThrough(torch.autograd.Function):
    @staticmethod
    def forward(ctx: object, x: Tensor) -> Tensor:
        return torch.floor(x)

    @staticmethod
    def backward(ctx: object, grad: Tensor) -> Tensor:
        return grad


def round_through(x: Tensor) -> Tensor:
    """Round to the nearest integer (half to even); the gradient passes unchanged."""
    rounded: Tensor = _RoundThrough.apply(x)
    return rounded


def floor_through(x: Tensor) -> Tensor:
    """Round toward minus infinity; the gradient passes unchanged."""
    rounded: Tensor = _FloorThrough.apply(x)
    return rounded


def largest(bits: int) -> int:
    """Largest magnitude of a symmetric signed integer of `bits` bits."""
    if isinstance(bits, bool) or not isinstance(bits, int) or bits not in WEIGHT_BITS:
        raise ValueError(f"weights have 2 to 8 bits, not {bits!r}")
    return (1 << (bits - 1)) - 1


@torch.no_grad()
def weight_scale(weight: Tensor, bits: int, *, per_channel: bool = True) -> Tensor:
    """Scale s of the integer weights, without gradient.

    From 6 bits up the largest weight maps to the largest integer; below, the scale is the one of 16 clipping points
    with the least squared error.

    weight: (C_out, ...), float.  Returns (C_out, 1, ...) or, for one scale per layer, (1, 1, ...), above zero.
    """
    top = largest(bits)
    flat = weight.reshape(weight.shape[0], -1) if per_channel else weight.reshape(1, -1)
    scale = flat.abs().amax(1).clamp_min(1e-8) / top
    if bits < 6:
        candidates = (
            scale * torch.linspace(0.4, 1.0, 16, dtype=weight.dtype, device=weight.device)[:, None]
        )
        grid = candidates[:, :, None]
        error = (torch.clamp(torch.round(flat / grid), -top, top) * grid - flat).square().sum(2)
        scale = candidates.gather(0, error.argmin(0, keepdim=True))[0]
    return scale.reshape(-1, *(1,) * (weight.dim() - 1))


def integer_weight(weight: Tensor, scale: Tensor, bits: int) -> Tensor:
    """Integer-valued weights, float dtype; the gradient passes where nothing is clipped."""
    top = largest(bits)
    return round_through((weight / scale).clamp(-top, top))


def parse_bits(text: str, count: int) -> tuple[int, ...]:
    """Bits of every layer with weights from "8" or "8,4,4,8".

    Raises ValueError with one sentence when the list does not suit.
    """
    try:
        bits = tuple(int(part) for part in text.split(","))
        for value in bits:
            largest(value)
    except ValueError:
        raise ValueError(
            f"--bits {text!r} is not a number 2..8 or a list such as 8,4,4,8"
        ) from None
    if len(bits) == 1:
        bits *= count
    if len(bits) != count:
        raise ValueError(
            f"--bits {text!r} has {len(bits)} entries; the network has {count} layers with weights"
        )
    return bits

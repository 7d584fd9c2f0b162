"""RandAugment (Cubuk et al. 2019) on whole batches, with the operations and ranges of paper 2's transformer recipe.

The recipe is `m9 n1 mstd0.4 inc1`: one operation an image, magnitude 9 of 10 with a deviation of 0.4, the severity of
every operation growing with the magnitude.  Of the fifteen operations below every image draws one, and applies it with
probability 1/2.  With m the magnitude / 10, + or - at random:

    autocontrast, equalise, invert            no magnitude
    rotate, shear_x, shear_y                  by +-30 m degrees about the centre, +-0.3 m about the upper left corner
    translate_x, translate_y                  by +-0.45 m of the image's size
    posterise                                 keep 4 - floor(4 m) bits
    solarise                                  invert pixels from 256 - floor(256 m) up
    solarise_add                              add floor(110 m) to pixels below 128
    colour, contrast, brightness, sharpness   1 +- 0.9 m times the difference to the grey, flat, black, smoothed image

What a geometric operation uncovers is grey; it samples bilinearly.
"""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional

from sw.datasets.common import Draw
from sw.datasets.geometry import warp

# Every operation takes pixels, float whole numbers 0..255 (k, frame, 3, H, W), and m (k, 1, 1, 1, 1), here as
# `strength`, or with a random sign as `change`.


def autocontrast(pixels: Tensor, _: Tensor) -> Tensor:
    """Stretch each channel's values to 0..255; a channel of one value stays."""
    low, high = pixels.amin((-2, -1), keepdim=True), pixels.amax((-2, -1), keepdim=True)
    return torch.where(high > low, ((pixels - low) * 255 / (high - low)).floor_(), pixels)


def equalise(pixels: Tensor, _: Tensor) -> Tensor:
    """Spread each channel's values so that all are about as frequent; a channel of very few values stays."""
    values = pixels.flatten(-2).long()
    ones = torch.ones_like(values)
    counts = torch.zeros(*values.shape[:-1], 256, dtype=torch.int64, device=pixels.device)
    counts.scatter_add_(-1, values, ones)
    last = counts.gather(-1, values.amax(-1, keepdim=True))
    step = (counts.sum(-1, keepdim=True) - last) // 255
    below = counts.cumsum(-1) - counts
    table = ((below + step // 2) // step.clamp(min=1)).clamp(max=255)
    spread = table.gather(-1, values).view_as(pixels).to(pixels.dtype)
    return torch.where(step[..., None] > 0, spread, pixels)


def invert(pixels: Tensor, _: Tensor) -> Tensor:
    return 255 - pixels


def posterise(pixels: Tensor, strength: Tensor) -> Tensor:
    """Keep the upper 4 - floor(4 m) bits; none at the full magnitude."""
    unit = torch.exp2(4 + (4 * strength).floor())
    return (pixels / unit).floor_() * unit


def solarise(pixels: Tensor, strength: Tensor) -> Tensor:
    return torch.where(pixels < 256 - (256 * strength).floor(), pixels, 255 - pixels)


def solarise_add(pixels: Tensor, strength: Tensor) -> Tensor:
    brighter = (pixels + (110 * strength).floor()).clamp_(max=255)
    return torch.where(pixels < 128, brighter, pixels)


def grey(pixels: Tensor) -> Tensor:
    """Luma of ITU-R 601 in whole numbers, (k, frame, 1, H, W)."""
    red, green, blue = pixels.split(1, -3)
    return ((19595 * red + 38470 * green + 7471 * blue + 32768) / 65536).floor_()


def away(base: Tensor, pixels: Tensor, change: Tensor) -> Tensor:
    """`pixels` moved away from `base` (change > 0) or towards it, at least a tenth of their difference remaining."""
    factor = (1 + 0.9 * change).clamp(min=0.1)
    return (base + factor * (pixels - base)).clamp_(0, 255).floor_()


def colour(pixels: Tensor, change: Tensor) -> Tensor:
    return away(grey(pixels), pixels, change)


def contrast(pixels: Tensor, change: Tensor) -> Tensor:
    mean = grey(pixels).mean((-2, -1), keepdim=True)
    return away((mean + 0.5).floor_(), pixels, change)


def brightness(pixels: Tensor, change: Tensor) -> Tensor:
    return away(torch.zeros_like(pixels), pixels, change)


def sharpness(pixels: Tensor, change: Tensor) -> Tensor:
    """The smoothed image is a 3 x 3 mean with a centre of five times the weight; its border stays as it is."""
    planes = pixels.flatten(0, 2)[:, None]
    total = 9 * functional.avg_pool2d(planes, 3, 1) + 4 * planes[..., 1:-1, 1:-1]
    smooth = planes.clone()
    smooth[..., 1:-1, 1:-1] = (total / 13 + 0.5).floor_()
    return away(smooth.view_as(pixels), pixels, change)


UNSIGNED: tuple[Callable[[Tensor, Tensor], Tensor], ...] = (
    autocontrast,
    equalise,
    invert,
    posterise,
    solarise,
    solarise_add,
)
SIGNED: tuple[Callable[[Tensor, Tensor], Tensor], ...] = (colour, contrast, brightness, sharpness)
GEOMETRIC = ("rotate", "shear_x", "shear_y", "translate_x", "translate_y")
OPERATIONS = len(UNSIGNED) + len(SIGNED) + len(GEOMETRIC)


def affine(kinds: Tensor, change: Tensor, aspect: float) -> Tensor:
    """The maps of the geometric operations `kinds` (positions in GEOMETRIC), float32 (k, 2, 3), see geometry.warp.

    change: float32 (k,), in -1..1.  aspect: width over height.
    """
    rotate, shear_x, shear_y, right, down = (
        torch.where(kinds == kind, change, torch.zeros_like(change))
        for kind in range(len(GEOMETRIC))
    )
    angle = rotate * (torch.pi / 6)
    lean_x, lean_y = 0.3 * shear_x / aspect, 0.3 * shear_y * aspect
    cos, sin = torch.cos(angle), torch.sin(angle)
    return torch.stack(
        [
            torch.stack([cos, lean_x - sin / aspect, lean_x + 0.9 * right], 1),
            torch.stack([lean_y + sin * aspect, cos, lean_y + 0.9 * down], 1),
        ],
        1,
    )


def randaugment(
    images: Tensor,
    draw: Draw,
    *,
    magnitude: float = 9.0,
    deviation: float = 0.4,
    layers: int = 1,
    probability: float = 0.5,
    fill: int = 128,
) -> Tensor:
    """One of the fifteen operations on every image, `layers` times.

    images: (n, ..., 3, H, W), uint8 or float whole numbers 0..255; all frames of a recording share what is drawn.
    magnitude: 0..10; deviation: of the normal distribution around it, cut at 0 and 10.
    probability: with which a drawn operation is applied; fill: of uncovered pixels.
    Returns the same shape and dtype.  Raises ValueError for images that are not in colour.
    """
    if images.ndim < 4 or images.shape[-3] != 3:
        raise ValueError(f"images of shape {tuple(images.shape[1:])} have no three colours")
    height, width = images.shape[-2:]
    pixels = images.reshape(len(images), -1, 3, height, width).float()
    if pixels is images or pixels.data_ptr() == images.data_ptr():
        pixels = pixels.clone()
    for _ in range(layers):
        operation = draw.integers(0, OPERATIONS)
        operation[draw.uniform() >= probability] = -1
        strength = (magnitude + deviation * draw.normal()).clamp(0, 10) / 10
        change = torch.where(draw.uniform() < 0.5, -strength, strength)
        for index, function in enumerate((*UNSIGNED, *SIGNED)):
            chosen = torch.nonzero(operation == index)[:, 0]
            if len(chosen):
                amount = (strength if index < len(UNSIGNED) else change)[chosen]
                amount = amount.to(images.device)[:, None, None, None, None]
                chosen = chosen.to(images.device)
                pixels[chosen] = function(pixels[chosen], amount)
        chosen = torch.nonzero(operation >= OPERATIONS - len(GEOMETRIC))[:, 0]
        if len(chosen):
            kinds = operation[chosen] - (OPERATIONS - len(GEOMETRIC))
            theta = affine(kinds, change[chosen], width / height)
            chosen = chosen.to(images.device)
            pixels[chosen] = warp(pixels[chosen] - fill, theta) + fill
    return pixels.to(images.dtype).view_as(images)

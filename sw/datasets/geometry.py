"""Augmentation that moves, hides or resamples pixels.

Every function takes images (n, ..., H, W) of any device, uint8 or float pixels 0..255, and a `Draw` for them; all
channels and frames of one image or recording share what is drawn.  It returns the same shape and dtype.
"""

import math

import torch
from torch import Tensor
from torch.nn import functional

from sw.datasets.common import Draw


def _pick(images: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """images (n, ..., h, w) at rows int64 (n, H) and columns int64 (n, W): (n, ..., H, W)."""
    n, height, width = len(images), rows.shape[1], columns.shape[1]
    flat = images.reshape(n, -1, images.shape[-2] * images.shape[-1])
    index = (rows[:, :, None] * images.shape[-1] + columns[:, None, :]).reshape(n, 1, -1)
    picked = flat.gather(2, index.to(images.device).expand(-1, flat.shape[1], -1))
    return picked.reshape(*images.shape[:-2], height, width)


def shift(images: Tensor, draw: Draw, *, limit: int, reflect: bool = False) -> Tensor:
    """Move every image by its own whole number of pixels, -limit..limit in both directions.

    What is uncovered stays blank, or with `reflect` mirrors the image about its outermost pixels.  It equals padding by
    `limit` and cropping at random.  A reflected shift needs a limit below the image's size.
    """
    height, width = images.shape[-2:]
    dy, dx = draw.integers(0, 2 * limit + 1, 2)
    rows = dy[:, None] + torch.arange(height)
    columns = dx[:, None] + torch.arange(width)
    if not reflect:
        return _pick(functional.pad(images, (limit,) * 4), rows, columns)
    if not limit < min(height, width):
        raise ValueError(f"images of {height} x {width} cannot be reflected by {limit} pixels")
    rows, columns = (
        (size - 1) - ((index - limit).abs() - (size - 1)).abs()
        for index, size in ((rows, height), (columns, width))
    )
    return _pick(images, rows, columns)


def roll(images: Tensor, draw: Draw, *, limit: int) -> Tensor:
    """Move every image by its own whole number of pixels, -limit..limit in both directions, around the edges.

    Paper 2's augmentation of event frames, with a limit of 5.
    """
    height, width = images.shape[-2:]
    dy, dx = draw.integers(-limit, limit + 1, 2)
    rows, columns = dy[:, None] + torch.arange(height), dx[:, None] + torch.arange(width)
    return _pick(images, rows % height, columns % width)


def flip(images: Tensor, draw: Draw, *, probability: float = 0.5) -> Tensor:
    """Mirror every image left to right with `probability`."""
    chosen = (draw.uniform() < probability).to(images.device)
    return torch.where(chosen.reshape(-1, *[1] * (images.ndim - 1)), images.flip(-1), images)


def cutout(images: Tensor, draw: Draw, *, size: int, fill: float = 0) -> Tensor:
    """Overwrite a square of `size` pixels with `fill`; its centre is any pixel, so that it may hang over the edge."""
    height, width = images.shape[-2:]
    corner_y = draw.integers(0, height) - size // 2
    corner_x = draw.integers(0, width) - size // 2
    rows, columns = torch.arange(height), torch.arange(width)
    inside_y = (rows >= corner_y[:, None]) & (rows < corner_y[:, None] + size)
    inside_x = (columns >= corner_x[:, None]) & (columns < corner_x[:, None] + size)
    hidden = (inside_y[:, :, None] & inside_x[:, None, :]).to(images.device)
    return images.masked_fill(
        hidden.reshape(len(images), *[1] * (images.ndim - 3), height, width), fill
    )


# -------------------------------------------------------------------------------------------------- resampling


def warp(images: Tensor, theta: Tensor) -> Tensor:
    """Sample every image bilinearly under its own affine map; pixels stay whole numbers, the ground is 0.

    theta: float32 (n, 2, 3), from output to input coordinates (x, y), both -1..1 over the image.
    """
    height, width = images.shape[-2:]
    planes = images.reshape(len(images), -1, height, width)
    grid = functional.affine_grid(theta.to(images.device), list(planes.shape), align_corners=False)
    floats = planes if planes.is_floating_point() else planes.float()
    sampled = functional.grid_sample(floats, grid.to(floats.dtype), align_corners=False).round_()
    return sampled.to(images.dtype).reshape(images.shape)


def window(scale_x: Tensor, scale_y: Tensor, move_x: Tensor, move_y: Tensor) -> Tensor:
    """The affine maps of axis-parallel windows, float32 (n, 2, 3): half sizes and centres in coordinates -1..1."""
    none = torch.zeros_like(scale_x)
    return torch.stack(
        [torch.stack([scale_x, none, move_x], 1), torch.stack([none, scale_y, move_y], 1)], 1
    )


def resize(images: Tensor, draw: Draw, *, scale: float) -> Tensor:
    """Resize every image by its own factor, uniform in 1 - scale..1 + scale, and put it back into its frame.

    A larger image is cropped at a random place, a smaller one lies at a random place on blank ground (paper 1's
    random resize; the paper gives no range).
    """
    factor, right, down = draw.uniform(3)
    half = 1 / (1 - scale + 2 * scale * factor)
    slack = (1 - half).abs()
    return warp(images, window(half, half, (2 * right - 1) * slack, (2 * down - 1) * slack))


def random_resized_crop(
    images: Tensor,
    draw: Draw,
    *,
    scale: tuple[float, float] = (0.08, 1.0),
    ratio: tuple[float, float] = (3 / 4, 4 / 3),
) -> Tensor:
    """Crop a window of random area, aspect ratio and place from every image and resize it to the image's size.

    scale: range of the window's share of the area, uniform; ratio: range of width over height, uniform in the
    logarithm.  A side that would be longer than the image's is cut to it.
    """
    area, aspect, right, down = draw.uniform(4)
    area = scale[0] + (scale[1] - scale[0]) * area
    low, high = math.log(ratio[0]), math.log(ratio[1])
    aspect = torch.exp(low + (high - low) * aspect) * (images.shape[-2] / images.shape[-1])
    wide = (area * aspect).sqrt().clamp(max=1)
    tall = (area / aspect).sqrt().clamp(max=1)
    return warp(
        images, window(wide, tall, (2 * right - 1) * (1 - wide), (2 * down - 1) * (1 - tall))
    )


def distort(
    images: Tensor,
    draw: Draw,
    *,
    degrees: float,
    scale: float,
    shear: float,
    move: float,
) -> Tensor:
    """Rotate, scale, shear and move every image by its own small random amount; pixels stay whole numbers.

    degrees, scale, shear and move (in pixels) are the largest amounts in both directions.
    """
    height, width = images.shape[-2:]
    amounts = draw.uniform(6) * 2 - 1
    angle = amounts[0] * (degrees * math.pi / 180)
    zoom_x, zoom_y = 1 + amounts[1] * scale, 1 + amounts[2] * scale
    slope = amounts[3] * shear
    cos, sin = torch.cos(angle), torch.sin(angle)
    theta = torch.stack(
        [
            torch.stack(
                [cos * zoom_x, (slope * cos - sin) * zoom_y, amounts[4] * (2 * move / width)], 1
            ),
            torch.stack(
                [sin * zoom_x, (slope * sin + cos) * zoom_y, amounts[5] * (2 * move / height)], 1
            ),
        ],
        1,
    )
    return warp(images, theta)

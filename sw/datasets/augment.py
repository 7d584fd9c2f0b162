"""Augmentation: functions of a batch and a draw, chosen and ordered by a recipe.

Every function takes images (n, ..., H, W) and a `Draw` for them, and returns the same shape.
"""

import math

import torch
from torch import Tensor
from torch.nn import functional

from sw.datasets.common import Draw


def shift(images: Tensor, draw: Draw, *, limit: int) -> Tensor:
    """Move every image by its own whole number of pixels, -limit..limit in both directions, over a blank ground.

    images: (n, C, H, W), any dtype.
    """
    n, _, height, width = images.shape
    padded = functional.pad(images, (limit,) * 4)
    dy, dx = draw.integers(0, 2 * limit + 1, 2)
    rows = (dy[:, None] + torch.arange(height))[:, None, :, None]
    columns = (dx[:, None] + torch.arange(width))[:, None, None, :]
    return padded[
        torch.arange(n)[:, None, None, None],
        torch.arange(images.shape[1])[:, None, None],
        rows,
        columns,
    ]


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

    images: (n, C, H, W), float pixels 0..255.  degrees, scale, shear and move (in pixels) are the largest amounts
    in both directions.  Returns the same shape, float, rounded.
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
    grid = functional.affine_grid(theta, list(images.shape), align_corners=False)
    return functional.grid_sample(images, grid, align_corners=False).round_()

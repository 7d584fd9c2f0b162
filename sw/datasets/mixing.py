"""Augmentation that mixes pairs of images and their targets: mixup and CutMix.

Neighbours of a batch are mixed with each other, 0 with 1, 2 with 3 and so on; a shuffled batch makes them random pairs.
So a process that holds an even share of the batch needs no image of another one.  The last image of an odd batch is
mixed with itself.  One share of mixing is drawn for a batch.
"""

import torch
from torch import Tensor

from sw.datasets.common import Draw


def _partners(count: int, draw: Draw) -> Tensor:
    """For every image here the position of the one that it is mixed with, int64 (count,)."""
    start, stop, _ = draw.share.indices(draw.total)
    if start % 2 or (count % 2 and stop != draw.total):
        raise ValueError(
            f"images {start} to {stop - 1} of {draw.total} split a pair; give every process an even share"
        )
    return (torch.arange(count) ^ 1).clamp(max=count - 1)


def _blend(values: Tensor, partners: Tensor, share: float) -> Tensor:
    return torch.lerp(values[partners.to(values.device)], values, share)


def mixup(images: Tensor, targets: Tensor, draw: Draw, *, alpha: float) -> tuple[Tensor, Tensor]:
    """Blend every image with its neighbour (Zhang et al. 2018), and the targets with the same share.

    images: (n, ..., H, W), uint8 or float; targets: float (n, classes), one-hot or smoothed.
    alpha: of the Beta distribution from which the share of the image itself is drawn.
    Returns float images and targets of the same shapes.
    """
    partners, share = _partners(len(images), draw), draw.beta(alpha)
    floats = images if images.is_floating_point() else images.float()
    return _blend(floats, partners, share), _blend(targets, partners, share)


def cutmix(images: Tensor, targets: Tensor, draw: Draw, *, alpha: float) -> tuple[Tensor, Tensor]:
    """Replace one rectangle of every image by its neighbour's (Yun et al. 2019), and weigh the targets by area.

    images: (n, ..., H, W), uint8 or float; targets: float (n, classes), one-hot or smoothed.
    alpha: of the Beta distribution from which the share of the image itself is drawn.  The rectangle has the image's
    proportions and its centre is any pixel, so that it may be cut at the edge; the targets follow what is visible.
    Returns images and targets of the same shapes and dtypes.
    """
    partners, share = _partners(len(images), draw), draw.beta(alpha)
    height, width = images.shape[-2:]
    side = (1 - share) ** 0.5
    spans = []
    for size, centre in ((height, draw.one(height)), (width, draw.one(width))):
        half = int(size * side) // 2
        spans.append(slice(max(0, centre - half), min(size, centre + half)))
    mixed = images.clone()
    mixed[..., spans[0], spans[1]] = images[partners.to(images.device)][..., spans[0], spans[1]]
    hidden = (spans[0].stop - spans[0].start) * (spans[1].stop - spans[1].start)
    return mixed, _blend(targets, partners, 1 - hidden / (height * width))


def mix(
    images: Tensor,
    targets: Tensor,
    draw: Draw,
    *,
    mixup_alpha: float = 0.0,
    cutmix_alpha: float = 0.0,
    probability: float = 1.0,
) -> tuple[Tensor, Tensor]:
    """Mixup, CutMix or neither for a whole batch: with `probability` one of those whose alpha is above 0, evenly.

    Paper 2's transformer on ImageNet: mixup_alpha 0.2, cutmix_alpha 1.0, probability 0.6.
    """
    kinds = [(f, alpha) for f, alpha in ((mixup, mixup_alpha), (cutmix, cutmix_alpha)) if alpha > 0]
    chance, kind = draw.one(1 << 24) / (1 << 24), draw.one(2)
    if not kinds or chance >= probability:
        return images, targets
    function, alpha = kinds[kind % len(kinds)]
    return function(images, targets, draw, alpha=alpha)

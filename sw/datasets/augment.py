"""Augmentation: functions of a batch and a draw, chosen and ordered by a recipe.

    augment(images, draw, {"shift": {"limit": 4, "reflect": True}, "flip": {}})

Every step takes images (n, ..., H, W), uint8 or float pixels 0..255, and a `Draw` for them; it returns the same shape
and dtype.  All channels and frames of one image or recording share what is drawn.
"""

import inspect
from collections.abc import Callable, Mapping
from typing import Any

from torch import Tensor

from sw.datasets.common import DataError, Draw
from sw.datasets.geometry import cutout, distort, flip, random_resized_crop, resize, roll, shift
from sw.datasets.mixing import cutmix, mix, mixup
from sw.datasets.randaugment import randaugment

__all__ = [
    "augment",
    "check_steps",
    "cutmix",
    "cutout",
    "distort",
    "flip",
    "mix",
    "mixup",
    "randaugment",
    "random_resized_crop",
    "resize",
    "roll",
    "shift",
]

STEPS: dict[str, Callable[..., Tensor]] = {
    "shift": shift,
    "roll": roll,
    "flip": flip,
    "cutout": cutout,
    "resize": resize,
    "random_resized_crop": random_resized_crop,
    "distort": distort,
    "randaugment": randaugment,
}


def check_steps(steps: Mapping[str, Mapping[str, Any]]) -> None:
    """Raises DataError with one sentence for an unknown function, an unknown option or one that is missing."""
    for name, options in steps.items():
        if name not in STEPS:
            raise DataError(f"{name!r} is no augmentation; known are {', '.join(STEPS)}")
        parameters = list(inspect.signature(STEPS[name]).parameters.values())[2:]
        known = [parameter.name for parameter in parameters]
        for option in options:
            if option not in known:
                raise DataError(
                    f"augmentation {name} has no option {option!r}; its options are {', '.join(known)}"
                )
        for parameter in parameters:
            if parameter.default is parameter.empty and parameter.name not in options:
                raise DataError(f"augmentation {name} needs the option {parameter.name!r}")


def augment(images: Tensor, draw: Draw, steps: Mapping[str, Mapping[str, Any]]) -> Tensor:
    """`images` after the functions of `steps`, name -> options, in their order.

    Raises DataError as `check_steps` does.
    """
    check_steps(steps)
    for name, options in steps.items():
        images = STEPS[name](images, draw, **options)
    return images

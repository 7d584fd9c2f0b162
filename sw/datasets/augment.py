"""Augmentation: functions of a batch and a draw, chosen and ordered by a recipe.

    augment(images, draw, {"shift": {"limit": 4, "reflect": True}, "flip": {}})

Every step takes images (n, ..., H, W), uint8 or float pixels 0..255, and a `Draw` for them; it returns the same shape
and dtype.  All channels and frames of one image or recording share what is drawn.
"""

import inspect
import math
from collections.abc import Callable, Mapping
from typing import Any

from torch import Tensor

from sw.datasets.common import DataError, Draw
from sw.datasets.geometry import cutout, distort, flip, random_resized_crop, resize, roll, shift
from sw.datasets.mixing import cutmix, mix, mixup
from sw.datasets.options import check_options
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


# What values an option of one number may have, and the highest of an option that is a range.
VALUES = {
    "limit": (0, math.inf),
    "size": (1, math.inf),
    "fill": (0, 255),
    "probability": (0, 1),
    "scale": (0, 0.95),
    "degrees": (0, 180),
    "shear": (0, 1),
    "move": (0, math.inf),
    "magnitude": (0, 10),
    "deviation": (0, math.inf),
    "layers": (1, math.inf),
}
HIGHEST = {"scale": 1.0, "ratio": math.inf}


def check_steps(steps: Mapping[str, Mapping[str, Any]]) -> None:
    """Raises DataError with one sentence for an unknown function or option, a wrong value, or one that is missing."""
    for name, options in steps.items():
        if name not in STEPS:
            raise DataError(f"{name!r} is no augmentation; known are {', '.join(STEPS)}")
        owner, known = f"augmentation {name}", dict(inspect.signature(STEPS[name]).parameters)
        del known["images"], known["draw"]
        check_options(owner, options, known)
        for option, value in options.items():
            if isinstance(value, list | tuple):
                if not 0 < value[0] <= value[1] <= HIGHEST[option]:
                    raise DataError(
                        f"{option} of {owner} must rise from above 0 to {HIGHEST[option]} at most, not {value}"
                    )
            elif option in VALUES and not VALUES[option][0] <= value <= VALUES[option][1]:
                low, high = VALUES[option]
                raise DataError(f"{option} of {owner} must be in {low}..{high}, not {value}")


def augment(images: Tensor, draw: Draw, steps: Mapping[str, Mapping[str, Any]]) -> Tensor:
    """`images` after the functions of `steps`, name -> options, in their order.

    Raises DataError as `check_steps` does.
    """
    check_steps(steps)
    for name, options in steps.items():
        images = STEPS[name](images, draw, **options)
    return images

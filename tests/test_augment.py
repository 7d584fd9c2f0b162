"""Augmentation: what it does to pixels, and that nothing depends on how a batch is shared out."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image, ImageEnhance, ImageOps
from torch import Tensor

from sw.datasets import randaugment as ra
from sw.datasets.augment import (
    STEPS,
    augment,
    check_steps,
    cutmix,
    cutout,
    flip,
    mix,
    mixup,
    randaugment,
    random_resized_crop,
    resize,
    roll,
    shift,
)
from sw.datasets.common import DataError, Draw

OPTIONS: dict[str, dict[str, Any]] = {
    "shift": {"limit": 3},
    "roll": {"limit": 3},
    "cutout": {"size": 5},
    "resize": {"scale": 0.25},
    "distort": {"degrees": 20.0, "scale": 0.1, "shear": 0.1, "move": 2.0},
    "randaugment": {"layers": 2},
}


def images_of(count: int, *shape: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (count, *shape), generator=generator, dtype=torch.uint8)


def draw_of(total: int, share: slice = slice(None), seed: int = 5) -> Draw:
    return Draw(torch.Generator().manual_seed(seed), total, share)


@pytest.mark.parametrize("name", STEPS)
@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32])
def test_every_step(name: str, dtype: torch.dtype) -> None:
    """Same draw, same result; a share of a draw is a slice of the whole; frames share their recording's draw."""
    images, options = images_of(22, 3, 13, 17).to(dtype), OPTIONS.get(name, {})
    before = images.clone()
    whole = STEPS[name](images, draw_of(22), **options)
    assert torch.equal(images, before)
    assert whole.shape == images.shape and whole.dtype == dtype
    assert not torch.equal(whole, images)
    assert torch.equal(whole, STEPS[name](images, draw_of(22), **options))
    assert torch.equal(whole, whole.round()) and whole.min() >= 0 and whole.max() <= 255
    for share in (slice(0, 7), slice(7, 22)):
        assert torch.equal(STEPS[name](images[share], draw_of(22, share), **options), whole[share])
    frames = images[:, None].expand(-1, 4, -1, -1, -1).contiguous()
    moved = STEPS[name](frames, draw_of(22), **options)
    for step in range(4):
        assert torch.equal(moved[:, step], whole)


def test_order_and_names() -> None:
    images = images_of(8, 1, 12, 12)
    both = augment(images, draw_of(8), {"cutout": {"size": 6, "fill": 255}, "shift": {"limit": 4}})
    draw = draw_of(8)
    assert torch.equal(both, shift(cutout(images, draw, size=6, fill=255), draw, limit=4))
    for steps, words in (
        ({"turn": {}}, "^'turn' is no augmentation; known are shift, roll, flip, cutout, "),
        ({"shift": {"limt": 2}}, "^augmentation shift has no option 'limt'; .* limit, reflect$"),
        ({"flip": {}, "cutout": {}}, "^augmentation cutout needs the option 'size'$"),
        (
            {"shift": {"limit": 2.5}},
            "^limit of augmentation shift must be a whole number, not 2.5$",
        ),
        (
            {"shift": {"limit": True}},
            "^limit of augmentation shift must be a whole number, not True$",
        ),
        ({"shift": {"limit": 2, "reflect": 1}}, "^reflect of .* must be true or false, not 1$"),
        ({"shift": {"limit": -1}}, "^limit of augmentation shift must be in 0..inf, not -1$"),
        ({"resize": {"scale": "1"}}, "^scale of augmentation resize must be a number, not '1'$"),
        ({"resize": {"scale": 1}}, "^scale of augmentation resize must be in 0..0.95, not 1$"),
        ({"random_resized_crop": {"scale": 0.5}}, "must be a list of two numbers, not 0.5$"),
        (
            {"random_resized_crop": {"scale": [0.5, 2]}},
            "must rise from above 0 to 1.0 at most, not",
        ),
    ):
        with pytest.raises(DataError, match=words):
            check_steps(steps)
        with pytest.raises(DataError, match=words):
            augment(images, draw_of(8), steps)


def test_lists_of_a_recipe() -> None:
    """A pair may be a list, as TOML has no tuples."""
    images = images_of(4, 3, 8, 8)
    steps = {"random_resized_crop": {"scale": [0.5, 1], "ratio": [1.0, 1.0]}}
    expected = random_resized_crop(images, draw_of(4), scale=(0.5, 1), ratio=(1.0, 1.0))
    assert torch.equal(augment(images, draw_of(4), steps), expected)


def test_shift_reflects() -> None:
    """Equals padding with numpy's reflection and cropping; every offset occurs."""
    images = images_of(60, 2, 6, 7)
    moved = shift(images, draw_of(60), limit=3, reflect=True)
    dy, dx = draw_of(60).integers(0, 7, 2)
    for image, result, y, x in zip(images, moved, dy, dx, strict=True):
        padded = np.pad(image.numpy(), ((0, 0), (3, 3), (3, 3)), "reflect")
        assert np.array_equal(result.numpy(), padded[:, y : y + 6, x : x + 7])
    with pytest.raises(ValueError, match="images of 6 x 7 cannot be reflected by 6 pixels"):
        shift(images, draw_of(60), limit=6, reflect=True)


def test_roll_and_flip() -> None:
    images = images_of(40, 2, 3, 9, 8)
    dy, dx = draw_of(40).integers(-5, 6, 2)
    rolled = roll(images, draw_of(40), limit=5)
    for image, result, y, x in zip(images, rolled, dy, dx, strict=True):
        assert torch.equal(result, torch.roll(image, (-int(y), -int(x)), (-2, -1)))
    assert torch.equal(flip(images, draw_of(40), probability=1.0), images.flip(-1))
    assert torch.equal(flip(images, draw_of(40), probability=0.0), images)
    same = (flip(images, draw_of(40)) == images).flatten(1).all(1)
    assert 10 <= same.sum() <= 30


def test_cutout() -> None:
    images = torch.full((400, 2, 9, 12), 200, dtype=torch.uint8)
    hidden = cutout(images, draw_of(400), size=4, fill=7) == 7
    assert (hidden[:, 0] == hidden[:, 1]).all()
    heights, widths = hidden[:, 0].any(2).sum(1), hidden[:, 0].any(1).sum(1)
    assert (hidden[:, 0].flatten(1).sum(1) == heights * widths).all()
    assert heights.unique().tolist() == widths.unique().tolist() == [2, 3, 4]
    assert hidden.any(0).all()


def test_resize_and_crop() -> None:
    ground = torch.full((300, 1, 20, 20), 100.0)
    assert torch.equal(resize(ground, draw_of(300), scale=0.0), ground)
    grown = resize(ground, draw_of(300), scale=0.3)
    covered = (grown > 50).flatten(1).float().mean(1).sqrt()
    assert 0.65 <= covered.min() < 0.75 and covered.max() == 1
    assert 0.3 < (covered == 1).float().mean() < 0.7
    assert torch.equal(
        random_resized_crop(ground, draw_of(300))[..., 1:-1, 1:-1], ground[..., 1:-1, 1:-1]
    )
    slope = torch.arange(40.0).expand(300, 1, 30, 40) * 6
    cropped = random_resized_crop(slope, draw_of(300), scale=(0.25, 0.25), ratio=(1.0, 1.0))
    # A window of a quarter of the area with equal sides in pixels is sqrt(300) of 40 pixels wide.
    steepness = (cropped[:, 0, 15, 30] - cropped[:, 0, 15, 10]) / 20
    assert torch.allclose(steepness, torch.tensor(6 * 300**0.5 / 40), atol=0.06)


# ------------------------------------------------------------------------------------------------- RandAugment


def pillow(function: Callable[[Image.Image], Image.Image], images: Tensor) -> Tensor:
    pictures = [Image.fromarray(image.permute(1, 2, 0).numpy()) for image in images]
    return torch.stack([torch.tensor(np.array(function(p))).permute(2, 0, 1) for p in pictures])


PILLOW: list[tuple[str, float, Callable[[Image.Image], Image.Image]]] = [
    ("autocontrast", 0.9, ImageOps.autocontrast),
    ("equalise", 0.9, ImageOps.equalize),
    ("invert", 0.9, ImageOps.invert),
    ("posterise", 0.9, lambda picture: ImageOps.posterize(picture, 1)),
    ("posterise", 0.5, lambda picture: ImageOps.posterize(picture, 2)),
    ("solarise", 0.9, lambda picture: ImageOps.solarize(picture, 256 - 230)),
    ("solarise_add", 0.9, lambda p: p.point([i + 99 if i < 128 else i for i in range(256)] * 3)),
    ("colour", 0.9, lambda picture: ImageEnhance.Color(picture).enhance(1.81)),
    ("colour", -0.9, lambda picture: ImageEnhance.Color(picture).enhance(0.19)),
    ("contrast", 0.5, lambda picture: ImageEnhance.Contrast(picture).enhance(1.45)),
    ("contrast", -1.0, lambda picture: ImageEnhance.Contrast(picture).enhance(0.1)),
    ("brightness", 0.9, lambda picture: ImageEnhance.Brightness(picture).enhance(1.81)),
    ("sharpness", 0.9, lambda picture: ImageEnhance.Sharpness(picture).enhance(1.81)),
    ("sharpness", -0.9, lambda picture: ImageEnhance.Sharpness(picture).enhance(0.19)),
]


@pytest.mark.parametrize(
    ("name", "amount", "function"), PILLOW, ids=[f"{p[0]}{p[1]}" for p in PILLOW]
)
def test_operation_equals_pillow(
    name: str, amount: float, function: Callable[[Image.Image], Image.Image]
) -> None:
    """Within one step of 255: Pillow works in other floating-point types."""
    smooth = torch.nn.functional.interpolate(
        images_of(6, 3, 5, 5).float(), size=(32, 24), mode="bilinear"
    )
    images = torch.cat([smooth * 0.6 + 40, images_of(2, 3, 32, 24, seed=1).float()]).floor().byte()
    images[7, 1] = 90
    result = getattr(ra, name)(images[:, None].float(), torch.full((8, 1, 1, 1, 1), amount))[:, 0]
    expected = pillow(function, images).float()
    assert (result - expected).abs().max() <= 1
    assert (result == expected).float().mean() > 0.97
    assert not torch.equal(result, images.float())


def test_geometric_operations() -> None:
    """Each moves a bright spot to where its formula says."""
    spot = torch.zeros(1, 3, 40, 40)
    spot[..., 9:12, 27:30] = 200  # centre (28, 10), from the middle (+8.5, -9.5)

    def centre(kind: str, change: float) -> tuple[float, float]:
        theta = ra.affine(
            torch.tensor([ra.GEOMETRIC.index(kind)]), torch.tensor([change]), aspect=1.0
        )
        plane = ra.warp(spot, theta)[0, 0]
        axis = torch.arange(40.0)
        return float((plane.sum(0) @ axis) / plane.sum()), float(
            (plane.sum(1) @ axis) / plane.sum()
        )

    cos, sin = np.cos(np.pi / 6), np.sin(np.pi / 6)
    for kind, change, expected in (
        ("translate_x", 0.5, (28 - 9, 10)),
        ("translate_y", -0.5, (28, 10 + 9)),
        ("shear_x", 1.0, (28 - 0.3 * 10.5, 10)),
        ("shear_y", -1.0, (28, 10 + 0.3 * 28.5)),
        ("rotate", 1.0, (19.5 + cos * 8.5 - sin * 9.5, 19.5 - sin * 8.5 - cos * 9.5)),
    ):
        assert centre(kind, change) == pytest.approx(expected, abs=0.1), kind


def test_randaugment() -> None:
    images = images_of(600, 3, 8, 8) // 2 + 20
    assert torch.equal(randaugment(images, draw_of(600), probability=0.0), images)
    changed = (randaugment(images, draw_of(600)) != images).flatten(1).any(1).float().mean()
    assert 0.4 < changed < 0.6
    always = randaugment(images, draw_of(600), probability=1.0)
    operation = draw_of(600).integers(0, ra.OPERATIONS)
    inverted = operation == ra.UNSIGNED.index(ra.invert)
    assert inverted.sum() > 10 and torch.equal(always[inverted], 255 - images[inverted])
    moved = operation == ra.OPERATIONS - 1
    edges = torch.cat([always[moved][:, :, :2], always[moved][:, :, -2:]], 2)
    assert ((edges == 128).flatten(2).float().mean((1, 2)) >= 0.4).all()
    with pytest.raises(ValueError, match=r"images of shape \(1, 8, 8\) have no three colours"):
        randaugment(images[:, :1], draw_of(600))


# ------------------------------------------------------------------------------------------------------ mixing


@pytest.mark.parametrize("function", [mixup, cutmix, mix])
@pytest.mark.parametrize("total", [8, 7])
def test_mixing(function: Callable[..., tuple[Tensor, Tensor]], total: int) -> None:
    options = {"mixup_alpha": 0.2, "cutmix_alpha": 1.0} if function is mix else {"alpha": 1.0}
    images, targets = images_of(total, 3, 10, 10).float(), torch.eye(total) * 0.9 + 0.1 / total
    for seed in range(6):
        whole, soft = function(images, targets, draw_of(total, seed=seed), **options)
        assert torch.allclose(soft.sum(1), torch.ones(total))
        for share in (slice(0, 4), slice(4, total)):
            part = function(images[share], targets[share], draw_of(total, share, seed), **options)
            assert torch.equal(part[0], whole[share]) and torch.equal(part[1], soft[share])
        if total % 2:
            assert torch.allclose(whole[-1], images[-1]) and torch.allclose(soft[-1], targets[-1])
    with pytest.raises(ValueError, match="images 3 to 5 of 7 split a pair"):
        mixup(images[3:6], targets[3:6], draw_of(7, slice(3, 6)), alpha=1.0)


def test_mixup_shares() -> None:
    """Image and target are mixed in the same share, which follows its distribution."""
    images, targets = torch.tensor([0.0, 100.0]).reshape(2, 1, 1, 1), torch.eye(2)
    draw, shares = draw_of(2), []
    for _ in range(400):
        mixed, soft = mixup(images, targets, draw, alpha=0.5)
        assert torch.allclose(mixed.flatten(), soft[:, 1] * 100, atol=1e-3)
        shares.append(float(soft[0, 0]))
    # Beta(a, a): mean 1/2, variance 1 / (4 (2 a + 1)).
    assert np.mean(shares) == pytest.approx(0.5, abs=0.06)
    assert np.var(shares) == pytest.approx(0.125, abs=0.02)
    bytes_in = mixup(images_of(2, 1, 4, 4), targets, draw_of(2), alpha=0.5)[0]
    assert bytes_in.dtype == torch.float32


def test_cutmix_area() -> None:
    images = torch.tensor([0, 100], dtype=torch.uint8).reshape(2, 1, 1, 1).expand(2, 3, 16, 12)
    draw, seen = draw_of(2), set()
    for _ in range(100):
        mixed, soft = cutmix(images.contiguous(), targets := torch.eye(2), draw, alpha=1.0)
        assert mixed.dtype == torch.uint8
        assert float((mixed[0] == 100).float().mean()) == pytest.approx(float(soft[0, 1]), abs=1e-6)
        assert float((mixed[1] == 0).float().mean()) == pytest.approx(float(soft[1, 0]), abs=1e-6)
        seen.add(round(float(soft[0, 0]), 3))
    assert len(seen) > 20 and torch.equal(targets, torch.eye(2))


def test_mix_chooses() -> None:
    images, targets = images_of(4, 1, 8, 8).float(), torch.eye(4)
    draw, kinds = draw_of(4), {"none": 0, "mixup": 0, "cutmix": 0}
    for _ in range(300):
        mixed, soft = mix(images, targets, draw, mixup_alpha=1.0, cutmix_alpha=1.0, probability=0.6)
        if torch.equal(soft, targets) and torch.equal(mixed, images):
            kinds["none"] += 1
        elif torch.equal(mixed, mixed.round()):
            kinds["cutmix"] += 1
        else:
            kinds["mixup"] += 1
    assert 100 <= kinds["none"] <= 150 and 65 <= kinds["mixup"] <= 115
    assert torch.equal(mix(images, targets, draw)[0], images)

"""Image folders: splits, windows that depend on nothing but seed, epoch and index, and refusals."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from sw.datasets import load
from sw.datasets.common import DataError, DataSet, TensorSplit, batches_of
from sw.datasets.imagenet import ImageFiles, centre_box, random_box

CLASSES = ["n01440764", "n01443537", "n02102040"]


def picture(label: int, number: int, width: int = 60, height: int = 45) -> Image.Image:
    """Red names the class, green the number; blue rises from left to right."""
    pixels = np.zeros((height, width, 3), np.uint8)
    pixels[..., 0], pixels[..., 1] = 80 * label + 20, 12 * number
    pixels[..., 2] = np.arange(width) * 4
    return Image.fromarray(pixels)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for part, count in (("train", 20), ("val", 4)):
        for label, name in enumerate(CLASSES):
            (tmp_path / part / name).mkdir(parents=True)
            for number in range(count):
                path = tmp_path / part / name / f"{name}_{number}.JPEG"
                picture(label, number).save(path, "JPEG", quality=95, subsampling=0)
    return tmp_path


def load_small(root: Path, **options: object) -> DataSet:
    return load("imagenet", root, **{"size": 28, "resize": 32, "workers": 0, **options})


def names_of(images: Tensor) -> list[tuple[int, int]]:
    red, green = images[:, 0].float().mean((1, 2)), images[:, 1].float().mean((1, 2))
    return [
        (round((r - 20) / 80), round(g / 12))
        for r, g in zip(red.tolist(), green.tolist(), strict=True)
    ]


def test_splits(root: Path) -> None:
    data = load_small(root)
    assert (len(data.train), len(data.validation), len(data.test)) == (54, 6, 12)
    assert data.classes == 3 and data.train.shape == (3, 28, 28)
    assert data.note == "a part of ImageNet: 60 of 1,281,167 training and 12 of 50,000 test images"
    seen = []
    for split in (data.train, data.validation):
        images = split.take(torch.arange(len(split)))
        assert images.dtype == torch.uint8 and images.shape == (len(split), 3, 28, 28)
        assert [label for label, _ in names_of(images)] == split.labels.tolist()
        seen += names_of(images)
    assert sorted(seen) == [(label, number) for label in range(3) for number in range(20)]
    half = load_small(root, validation=30)
    assert len(half.train) == 30 and len(half.validation.labels.unique()) == 3
    (root / "ImageNet").mkdir()
    (root / "train").rename(root / "ImageNet" / "train")
    (root / "val").rename(root / "ImageNet" / "val")
    assert len(load_small(root).train) == 54


def test_centre(root: Path) -> None:
    """Resized and cut in one step, within the roundings of doing it in two."""
    assert centre_box(60, 45, 28, 32) == (
        30 - 45 * 7 / 16,
        22.5 - 45 * 7 / 16,
        30 + 45 * 7 / 16,
        22.5 + 45 * 7 / 16,
    )
    image = load_small(root).test.take(torch.tensor([5]))[0]
    with Image.open(root / "val" / CLASSES[1] / f"{CLASSES[1]}_1.JPEG") as file:
        resized = np.asarray(file.resize((43, 32), Image.Resampling.BILINEAR)).astype(int)
    assert np.abs(image.permute(1, 2, 0).numpy() - resized[2:30, 7:35]).max() <= 4


def test_random_windows(root: Path) -> None:
    split = load_small(root, seed=3).train
    assert isinstance(split, ImageFiles)
    order = [torch.tensor([4, 9, 50]), torch.tensor([2]), torch.arange(30, 44)]
    first = list(batches_of(split, order, epoch=1))
    assert [len(images) for images in first] == [3, 1, 14]
    for images, batch in zip(first, order, strict=True):
        assert [label for label, _ in names_of(images)] == split.labels[batch].tolist()
    alone = next(split.stream([torch.tensor([50])], 1))
    assert torch.equal(alone[0], first[0][2])
    other = next(split.stream([torch.tensor([50])], 2))
    assert not torch.equal(alone, other)
    centres = next(batches_of(split, [torch.tensor([4, 9, 50])]))
    assert torch.equal(centres, split.take(torch.tensor([4, 9, 50])))


def test_workers_change_nothing(root: Path) -> None:
    order = [torch.arange(start, start + 9) for start in range(0, 54, 9)]
    state = torch.random.get_rng_state()
    here, there = (
        torch.cat(list(batches_of(load_small(root, workers=workers).train, order, epoch=0)))
        for workers in (0, 2)
    )
    assert torch.equal(here, there)
    assert torch.equal(torch.random.get_rng_state(), state)
    path = next((root / "train").glob("*/*_7.JPEG"))
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(DataError, match=r"^.*_7.JPEG cannot be decoded \(.*\); fetch it again$"):
        list(batches_of(load_small(root, workers=1, validation=0).train, [torch.arange(60)]))


def test_random_box() -> None:
    rng = np.random.default_rng(0)
    for width, height in ((500, 375), (40, 60)):
        areas, ratios = [], []
        for _ in range(2000):
            left, top, right, bottom = random_box(width, height, rng, (0.1, 0.5), (0.75, 4 / 3))
            assert 0 <= left < right <= width and 0 <= top < bottom <= height
            areas.append((right - left) * (bottom - top) / (width * height))
            ratios.append((right - left) / (bottom - top))
        assert 0.09 < min(areas) < 0.12 and 0.48 < max(areas) < 0.53
        assert np.mean(areas) == pytest.approx(0.3, abs=0.01)
        assert 0.7 < min(ratios) < 0.78 and 1.28 < max(ratios) < 1.4
        assert np.mean(np.log(ratios)) == pytest.approx(0, abs=0.02)
    # A picture that is too long for any window: the widest one, in the middle.
    assert random_box(1000, 30, rng, (0.9, 1.0), (0.5, 2.0)) == (470, 0, 530, 30)
    assert random_box(30, 1000, rng, (0.9, 1.0), (0.5, 2.0)) == (0, 470, 30, 530)


def test_any_split_in_batches() -> None:
    split = TensorSplit(torch.arange(5, dtype=torch.uint8).reshape(5, 1, 1, 1), torch.arange(5))
    batches = batches_of(split, [torch.tensor([3, 1]), torch.tensor([0])], epoch=4)
    assert [images.flatten().tolist() for images in batches] == [[3, 1], [0]]


def test_grey_pictures_become_colour(root: Path) -> None:
    path = root / "val" / CLASSES[0] / f"{CLASSES[0]}_0.JPEG"
    picture(0, 0).convert("L").save(path, "JPEG")
    image = load_small(root).test.take(torch.tensor([0]))[0]
    assert torch.equal(image[0], image[1]) and torch.equal(image[0], image[2])


def test_refusals(root: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    for options, words in (
        ({"size": 33}, "size must be 1 to resize, 32, not 33"),
        ({"scale": (0.0, 1.0)}, "scale must be two rising numbers above 0, not 0.0, 1.0"),
        ({"ratio": (2.0, 1.0)}, "ratio must be two rising numbers above 0, not 2.0, 1.0"),
        ({"workers": -1}, "workers must be 0 or more, not -1"),
        ({"validation": 60}, "60 of 60 training images cannot be set apart"),
    ):
        with pytest.raises(DataError, match=words):
            load_small(root, **options)
    with pytest.raises(DataError, match="train does not exist; give the folder of ImageNet's"):
        load_small(tmp_path_factory.mktemp("empty"))
    (root / "val" / CLASSES[2]).rename(root / CLASSES[2])
    with pytest.raises(DataError, match="has the class n02102040 in only one of train and val"):
        load_small(root)
    (root / "val" / CLASSES[2]).mkdir()
    with pytest.raises(DataError, match="n02102040 holds no .JPEG file"):
        load_small(root)
    flat = tmp_path_factory.mktemp("flat")
    (flat / "train").mkdir()
    with pytest.raises(DataError, match="train holds no folders of classes"):
        load_small(flat)

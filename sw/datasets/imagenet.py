"""ImageNet (ILSVRC 2012) from folders of JPEG files: train/WNID/*.JPEG and val/WNID/*.JPEG.

The publisher's validation images are the test set here; validation images are set apart from the training set.  Files
are decoded when they are needed, by worker processes ahead of time (`ImageFiles.stream`).
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from sw.datasets.common import DEFAULT_FOLDER, DataError, DataSet
from sw.datasets.recordings import mixed_order, part_note

SITE = "https://image-net.org/download.php"
SUFFIXES = (".jpeg", ".jpg")
PUBLISHED = {"training": 1_281_167, "test": 50_000}
VALIDATION_COUNT = 10_000
ATTEMPTS = 10  # to draw a window that fits

Box = tuple[float, float, float, float]  # left, top, right, bottom in pixels

# ---------------------------------------------------------------------------------------------------- one image


def centre_box(width: int, height: int, size: int, resize: int) -> Box:
    """The window that is left when the shorter side becomes `resize` and the centre `size` x `size` is kept."""
    side = min(width, height) * size / resize
    left, top = (width - side) / 2, (height - side) / 2
    return left, top, left + side, top + side


def random_box(
    width: int,
    height: int,
    rng: np.random.Generator,
    scale: tuple[float, float],
    ratio: tuple[float, float],
) -> Box:
    """A random window of whole pixels.

    scale: range of its share of the area, uniform; ratio: range of width over height, uniform in the logarithm.  When
    no drawn window fits, the largest one of an allowed ratio in the centre.
    """
    for _ in range(ATTEMPTS):
        area = width * height * rng.uniform(*scale)
        aspect = math.exp(rng.uniform(math.log(ratio[0]), math.log(ratio[1])))
        w, h = round(math.sqrt(area * aspect)), round(math.sqrt(area / aspect))
        if 0 < w <= width and 0 < h <= height:
            left, top = int(rng.integers(width - w + 1)), int(rng.integers(height - h + 1))
            return left, top, left + w, top + h
    aspect = min(max(width / height, ratio[0]), ratio[1])
    w, h = min(width, round(height * aspect)), min(height, round(width / aspect))
    left, top = (width - w) // 2, (height - h) // 2
    return left, top, left + w, top + h


# ---------------------------------------------------------------------------------------------------- many images


@dataclass(frozen=True)
class ImageFiles:
    """A split whose images are files.

    Parameters
        root: folder of the class folders.
        names: of the files below `root`, as bytes (n,).
        labels: int64 (n,).
        size: of the images, (3, size, size).
        resize: what the shorter side is resized to before the centre is cut out.
        scale, ratio: of random windows, see `random_box`.
        seed, workers: of `stream`; no workers decode in this process.
    """

    root: Path
    names: np.ndarray
    labels: Tensor
    size: int
    resize: int
    scale: tuple[float, float]
    ratio: tuple[float, float]
    seed: int
    workers: int

    def __len__(self) -> int:
        return len(self.names)

    @property
    def shape(self) -> tuple[int, ...]:
        return 3, self.size, self.size

    def image(self, index: int, epoch: int | None = None) -> Tensor:
        """One image, uint8 (3, size, size): its centre, or a random window for `epoch`, resized bilinearly.

        The window depends on seed, epoch and index alone.  Raises DataError with the file's name.
        """
        path = self.root / self.names[index].decode()
        try:
            with Image.open(path) as file:
                picture = file.convert("RGB")
        except (OSError, SyntaxError, ValueError) as error:
            raise DataError(f"{path} cannot be decoded ({error}); fetch it again") from None
        if epoch is None:
            box = centre_box(*picture.size, self.size, self.resize)
        else:
            rng = np.random.default_rng([self.seed, epoch, index])
            box = random_box(*picture.size, rng, self.scale, self.ratio)
        resized = picture.resize((self.size, self.size), Image.Resampling.BILINEAR, box=box)
        return torch.from_numpy(np.array(resized)).permute(2, 0, 1).contiguous()

    def take(self, indices: Tensor) -> Tensor:
        """The centres of the images at `indices`, uint8 (len(indices), 3, size, size).  Raises DataError."""
        return torch.stack([self.image(index) for index in indices.tolist()])

    def stream(self, batches: Sequence[Tensor], epoch: int | None = None) -> Iterator[Tensor]:
        """The images of each of `batches`, int64 indices (n,), as uint8 (n, 3, size, size), decoded ahead of time.

        epoch: of the random windows; None takes the centres.  The number of workers changes nothing but the speed.
        Raises DataError.
        """
        loader: DataLoader[Tensor | str] = DataLoader(
            _Decoder(self, epoch),
            batch_sampler=[batch.tolist() for batch in batches],
            collate_fn=_collate,
            num_workers=self.workers,
            generator=torch.Generator(),  # whose numbers nothing uses; the global one stays as it is
            # Forked children of a process with threads, as torch's, may hang.
            multiprocessing_context="forkserver" if self.workers else None,
        )
        for images in loader:
            if isinstance(images, str):
                raise DataError(images)
            yield images


@dataclass(frozen=True)
class _Decoder(Dataset[Tensor | str]):
    """What a worker runs; an error is passed on as its sentence, since torch would wrap it in a traceback."""

    files: ImageFiles
    epoch: int | None

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> Tensor | str:
        try:
            return self.files.image(index, self.epoch)
        except DataError as error:
            return str(error)


def _collate(images: list[Tensor | str]) -> Tensor | str:
    for image in images:
        if isinstance(image, str):
            return image
    return torch.stack([image for image in images if isinstance(image, Tensor)])


# ---------------------------------------------------------------------------------------------------- the data set


def _scan(folder: Path) -> dict[str, list[str]]:
    """Class folder -> file names, both sorted."""
    if not folder.is_dir():
        raise DataError(
            f"{folder} does not exist; give the folder of ImageNet's train and val with --data ({SITE})"
        )
    classes = {
        entry.name: sorted(f.name for f in entry.iterdir() if f.suffix.lower() in SUFFIXES)
        for entry in sorted(folder.iterdir())
        if entry.is_dir()
    }
    if not classes:
        raise DataError(
            f"{folder} holds no folders of classes; sort its images into one for each class"
        )
    for name, files in classes.items():
        if not files:
            raise DataError(
                f"{folder / name} holds no .JPEG file; fetch the class again, or remove its folder"
            )
    return classes


def load_imagenet(
    folder: Path | None,
    *,
    validation: int | None = None,
    size: int = 224,
    resize: int = 256,
    scale: tuple[float, float] = (0.08, 1.0),
    ratio: tuple[float, float] = (3 / 4, 4 / 3),
    seed: int = 0,
    workers: int = 8,
) -> DataSet:
    """ImageNet, or any data set in such folders: images (3, size, size), a class for every folder.

    validation: how many training images are set apart, of all classes; None for 10,000, at most a tenth.
    resize, scale, ratio, seed, workers: see `ImageFiles`.
    A part of the set is accepted and noted.  Raises DataError with one sentence.
    """
    if not 1 <= size <= resize:
        raise DataError(f"size must be 1 to resize, {resize}, not {size}")
    for name, (low, high), limit in (("scale", scale, 1.0), ("ratio", ratio, math.inf)):
        if not 0 < low <= high <= limit:
            raise DataError(f"{name} must be two rising numbers above 0, not {low}, {high}")
    if workers < 0:
        raise DataError(f"workers must be 0 or more, not {workers}")
    root = folder or DEFAULT_FOLDER
    root = next((root / name for name in ("ImageNet", "imagenet") if (root / name).is_dir()), root)
    training, testing = _scan(root / "train"), _scan(root / "val")
    if list(training) != list(testing):
        lone = sorted(set(training) ^ set(testing))[0]
        raise DataError(
            f"{root} has the class {lone} in only one of train and val; fetch the other, too"
        )

    def files(part: str, entries: list[tuple[str, int]]) -> ImageFiles:
        names = np.array([name.encode() for name, _ in entries], np.bytes_)
        labels = torch.tensor([label for _, label in entries], dtype=torch.int64)
        return ImageFiles(root / part, names, labels, size, resize, scale, ratio, seed, workers)

    entries, tests = (
        [
            (f"{name}/{file}", label)
            for label, (name, of) in enumerate(classes.items())
            for file in of
        ]
        for classes in (training, testing)
    )
    kept = min(VALIDATION_COUNT, len(entries) // 10) if validation is None else validation
    if not 0 <= kept < len(entries):
        raise DataError(
            f"{kept} of {len(entries)} training images cannot be set apart to validate; 0 to {len(entries) - 1} can"
        )
    mixed = [entries[index] for index in mixed_order(len(entries))]
    found = {"training": len(entries), "test": len(tests)}
    return DataSet(
        name="ImageNet",
        classes=len(training),
        train=files("train", mixed[: len(mixed) - kept]),
        validation=files("train", mixed[len(mixed) - kept :]),
        test=files("val", tests),
        note=part_note("ImageNet", found, PUBLISHED, "images"),
    )

"""What every data set is to the rest: three splits of uint8 images or frames, with labels."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from sw.network import Coding

PIXELS = Coding(kind="multi-level", levels=255)
DEFAULT_FOLDER = Path("data")  # where data sets are looked for when no folder is given


class DataError(ValueError):
    """A data set is missing or damaged; the message is one sentence with the value and the remedy."""


class Split(Protocol):
    """One part of a data set.

    Members
        labels: int64 (n,).
        shape: of one image (C, H, W), or of one recording (T, C, H, W).
    """

    @property
    def labels(self) -> Tensor: ...

    @property
    def shape(self) -> tuple[int, ...]: ...

    def __len__(self) -> int: ...

    def take(self, indices: Tensor) -> Tensor:
        """The images at `indices`, uint8 (len(indices), *shape)."""
        ...


@dataclass(frozen=True)
class TensorSplit:
    """A split that lies in memory: images uint8 (n, *shape), labels int64 (n,), on the same device."""

    images: Tensor
    labels: Tensor

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(self.images.shape[1:])

    def take(self, indices: Tensor) -> Tensor:
        return self.images[indices.to(self.images.device)]

    def first(self, count: int | None) -> "TensorSplit":
        """The first `count` images; all for None.  Raises DataError when there are not that many."""
        if count is None:
            return self
        if not 1 <= count <= len(self):
            raise DataError(f"{count} images were asked for; this set has 1 to {len(self)}")
        return TensorSplit(self.images[:count], self.labels[:count])

    def to(self, device: torch.device | str) -> "TensorSplit":
        return TensorSplit(self.images.to(device), self.labels.to(device))


def batches_of(
    split: Split, batches: Sequence[Tensor], *, epoch: int | None = None
) -> Iterator[Tensor]:
    """The images of each of `batches`, int64 indices (n,), one after the other, uint8 (n, *shape).

    A split of files decodes them ahead of time, and for the training `epoch` gives random windows, see
    `sw.datasets.imagenet.ImageFiles.stream`; for any other split it is `take`.
    """
    stream = getattr(split, "stream", None)
    if stream is not None:
        yield from stream(batches, epoch)
    else:
        for batch in batches:
            yield split.take(batch)


def split_off(split: TensorSplit, count: int) -> tuple[TensorSplit, TensorSplit]:
    """`split` without its last `count` images, and these; with 0 the second part is empty.

    Raises DataError when none would remain.
    """
    if not 0 <= count < len(split):
        raise DataError(
            f"{count} of {len(split)} training images cannot be set apart to validate; 0 to {len(split) - 1} can"
        )
    kept = len(split) - count
    return (
        TensorSplit(split.images[:kept], split.labels[:kept]),
        TensorSplit(split.images[kept:], split.labels[kept:]),
    )


def changed_note(files: list[str], checksum: str) -> str:
    """The note of a data set of which `files` differ from the published checksum; "" without such files."""
    verb = "differs" if len(files) == 1 else "differ"
    return (
        f"not the publisher's bytes: {', '.join(files)} {verb} from the published {checksum}"
        if files
        else ""
    )


@dataclass(frozen=True)
class DataSet:
    """A data set, ready to train on.

    Parameters
        name: of the set, as people know it.
        classes: how many.
        train, validation, test: disjoint; the test images are used once, at the end of a run.
        scale: what one unit of a stored value is worth to the network: 1/255 for pixels, 1 for event counts.
        coding: how stored values travel in hardware, and so how large they are.
        note: what a reader of a figure has to know about these files, or "".
    """

    name: str
    classes: int
    train: Split
    validation: Split
    test: Split
    scale: float = 1 / 255
    coding: Coding = PIXELS
    note: str = ""
    provenance: dict[str, object] = field(default_factory=dict)


@dataclass(frozen=True)
class Draw:
    """Random numbers for this process's share of a batch.

    Every process draws for the whole batch and keeps its own part, so that what is drawn does not depend on how many
    processes there are.

    Parameters
        generator: on the CPU.
        total: images of the whole batch.
        share: which of them are here.
    """

    generator: torch.Generator
    total: int
    share: slice = field(default_factory=lambda: slice(None))

    def uniform(self, *leading: int) -> Tensor:
        """Uniform in 0..1, float32 (*leading, n)."""
        return torch.rand(*leading, self.total, generator=self.generator)[..., self.share]

    def integers(self, low: int, high: int, *leading: int) -> Tensor:
        """Uniform in low..high-1, int64 (*leading, n)."""
        drawn = torch.randint(low, high, (*leading, self.total), generator=self.generator)
        return drawn[..., self.share]

    def normal(self, *leading: int) -> Tensor:
        """Standard normal, float32 (*leading, n)."""
        return torch.randn(*leading, self.total, generator=self.generator)[..., self.share]

    def one(self, count: int) -> int:
        """One number of 0..count-1 for the whole batch."""
        return int(torch.randint(count, (), generator=self.generator))

    def beta(self, alpha: float) -> float:
        """One number in 0..1 for the whole batch, from the Beta(alpha, alpha) distribution."""
        return float(np.random.default_rng(self.one(1 << 62)).beta(alpha, alpha))

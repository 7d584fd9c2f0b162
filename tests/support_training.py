"""A data set that small networks learn in a second, and a small network."""

import numpy as np
import torch

from sw.datasets.common import DataSet, TensorSplit
from sw.models.small import readout
from sw.models.spec import LayerSpec, NetworkSpec, NeuronSpec


def quadrants(count: int, seed: int) -> TensorSplit:
    """Four classes of 8 x 8 images: one bright quadrant, over noise."""
    generator = np.random.default_rng(seed)
    labels = generator.integers(0, 4, count)
    images = generator.integers(0, 60, (count, 1, 8, 8))
    for image, label in zip(images, labels, strict=True):
        y, x = divmod(int(label), 2)
        image[0, 4 * y : 4 * y + 4, 4 * x : 4 * x + 4] += 120
    return TensorSplit(torch.from_numpy(images.astype(np.uint8)), torch.from_numpy(labels))


DATA = DataSet("quadrants", 4, quadrants(512, 0), quadrants(64, 1), quadrants(128, 2))


def small(neuron: NeuronSpec, timesteps: int = 1) -> NetworkSpec:
    return NetworkSpec(
        name="small",
        input_shape=(1, 8, 8),
        timesteps=timesteps,
        layers=(
            LayerSpec(kind="conv", channels=4, bits=4, pool=2, neuron=neuron),
            readout(4),
        ),
    )

"""Multi-level spiking neurons: pure step functions with surrogate gradients, and thin modules on top.

- `MultiLevelIF`: N evenly spaced levels; binary IF and LIF at one level.  `BarrierIF` is the one of Sparse-ResNet.
- `OneHotMLIF`: S lanes whose thresholds double, of which one fires; `variant` has the four that were published.
- `ThermometerMLIF`: the same lanes, of which all below the potential fire.
- `RoundingLIF`: levels by rounding (I-LIF).
- `AnalogueReLU`, `UniformReLU`, `LogReLU`: analogue activations to compare with, called alike.

Every module maps currents (T, ...) to levels (T, ...) from zero potential.  The equations stand in the docstrings of
the step functions and nowhere else.  A step is homogeneous in potential, input and threshold, so the same code runs on
real numbers while training and on integer-valued tensors after folding, there without a rounding error in float32.
"""

from sw.neurons.analogue import AnalogueReLU, LogReLU, UniformReLU, calibrating
from sw.neurons.multi_level import BarrierIF, MultiLevelIF, multi_level_step
from sw.neurons.neuron import Leak, SpikingNeuron
from sw.neurons.one_hot import EDGE_CODE, EDGE_PAPER, OneHotMLIF, fire_one_hot, one_hot_step
from sw.neurons.rounding import RoundingLIF, rounding_step
from sw.neurons.thermometer import ThermometerMLIF, thermometer_step
from sw.neurons.variants import variant

__all__ = [
    "EDGE_CODE",
    "EDGE_PAPER",
    "AnalogueReLU",
    "BarrierIF",
    "Leak",
    "LogReLU",
    "MultiLevelIF",
    "OneHotMLIF",
    "RoundingLIF",
    "SpikingNeuron",
    "ThermometerMLIF",
    "UniformReLU",
    "calibrating",
    "fire_one_hot",
    "multi_level_step",
    "one_hot_step",
    "rounding_step",
    "thermometer_step",
    "variant",
]

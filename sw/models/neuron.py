"""The neuron module of a `NeuronSpec`."""

from typing import Any

from torch import nn

from sw import neurons
from sw.models.spec import NeuronSpec


def build_neuron(spec: NeuronSpec) -> nn.Module:
    """The module of sw.neurons that `spec` describes; what the spec leaves open is the module's own default."""
    chosen: dict[str, Any] = {
        name: value for name in ("surrogate", "gamma", "alpha") if (value := getattr(spec, name))
    }
    learned: dict[str, Any] = {
        "threshold": spec.threshold,
        "learn_threshold": spec.learn_threshold,
        "learn_leak": spec.learn_leak,
    }
    lanes: dict[str, Any] = {"reset": spec.reset, "boundary": spec.boundary}
    match spec.kind:
        case "multi-level":
            return neurons.MultiLevelIF(
                spec.levels, boundary=spec.boundary, charge=spec.charge, **learned, **chosen
            )
        case "barrier":
            return neurons.BarrierIF(spec.levels, **chosen)
        case "one-hot":
            return neurons.OneHotMLIF(
                spec.levels,
                normalised=spec.normalised,
                input_decay=spec.input_decay,
                edge=spec.edge,
                **lanes,
                **learned,
                **chosen,
            )
        case "thermometer":
            return neurons.ThermometerMLIF(spec.levels, **lanes, **learned, **chosen)
        case "rounding":
            if chosen:
                raise ValueError(
                    f"a rounding neuron has one gradient only; leave out network.neuron.{next(iter(chosen))}"
                )
            return neurons.RoundingLIF(spec.levels, **learned)
        case "uniform-relu":
            return neurons.UniformReLU(spec.levels)
        case "log-relu":
            return neurons.LogReLU(spec.levels)
    return neurons.AnalogueReLU()

"""Paper 2's metric: floating-point operations only, no memory, no addresses.

Equations 13 to 17, E_MAC = 4.6 pJ and E_AC = 0.9 pJ at 45 nm (32-bit floating point), r_l the spikes that enter layer l
in all T timesteps, a neuron that sends them::

    ops_ANN = k^2 C_in H_out W_out C_out        (14)        n_in n_out            (16)
    ops_SNN = r_l ops_ANN                       (15)        r_l n_in n_out        (17)
    delta   = E_MAC sum_l ops_ANN / (E_MAC ops_ANN,1 + E_AC sum_(l>1) ops_SNN)    (13)

The first layer reads pixels and multiplies them once, whatever T; where it reads spikes (event cameras), it adds as the
others do.  A spike is one addition whatever its value and however many lanes there are: scaling by a power of two is an
addition of exponents, 30 times cheaper.  Sums, pooling and neurons are free.
"""

from collections.abc import Sequence
from dataclasses import replace

from sw.energy.activity import Activity
from sw.energy.layers import Geometry
from sw.energy.technology import Technology


def operations(layer: Geometry, *, padded_shortcuts: bool = False) -> int:
    """MACs of a layer (equations 14 and 16), 0 without weights.

    Parameters
        padded_shortcuts: size 1 x 1 convolutions with a stride as if they were padded by 1, 9 x 9 instead of 8 x 8,
            as the published script does: 1.09 million MACs too many for ResNet20 at 32 x 32.
    """
    if (
        padded_shortcuts
        and layer.kind == "conv"
        and layer.kernel == (1, 1)
        and max(layer.stride) > 1
    ):
        _, height, width = layer.input_shape
        height, width = (
            (n + 1) // s + 1 for n, s in zip((height, width), layer.stride, strict=True)
        )
        layer = replace(layer, output_shape=(layer.channels, height, width))
    return layer.macs


def analogue_energy(
    layers: Sequence[Geometry], technology: Technology, *, padded_shortcuts: bool = False
) -> tuple[float, ...]:
    """pJ of every layer of a ReLU network, an image; `padded_shortcuts` as in `operations`."""
    return tuple(
        technology.float_mac_pj * operations(layer, padded_shortcuts=padded_shortcuts)
        for layer in layers
    )


def spiking_energy(
    layers: Sequence[Geometry],
    activity: Activity,
    technology: Technology,
    *,
    padded_shortcuts: bool = False,
) -> tuple[float, ...]:
    """pJ of every layer of a spiking network, an inference; `padded_shortcuts` as in `operations`.

    Raises ValueError when the spikes are those of another network, or a layer with weights receives currents.
    """
    energy = []
    for index, layer in enumerate(layers):
        count = operations(layer, padded_shortcuts=padded_shortcuts)
        received = activity.received(layers, index)[0]
        if not count:
            energy.append(0.0)
        elif received is None:
            raise ValueError(f"layer {layer.name} has weights and receives currents, not spikes")
        elif received.analogue:
            presentations = 1 if received.repeated else activity.timesteps
            energy.append(technology.float_mac_pj * count * presentations)
        else:
            rate = received.events / layer.inputs
            energy.append(technology.float_add_pj * rate * count)
    return tuple(energy)


def saving(layers: Sequence[Geometry], activity: Activity, technology: Technology) -> float:
    """delta of equation 13: how many times less than the ReLU network of the same architecture."""
    spent = sum(spiking_energy(layers, activity, technology))
    return sum(analogue_energy(layers, technology)) / spent


def implied_activity(
    energy_pj: float, macs_first: float, macs_rest: float, technology: Technology
) -> float:
    """Mean r of the layers after the first, weighted by their operations, at which equation 13 gives `energy_pj`.

    Without a first layer on pixels `macs_first` is 0.
    """
    return (energy_pj - technology.float_mac_pj * macs_first) / (
        technology.float_add_pj * macs_rest
    )

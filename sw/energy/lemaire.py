"""Paper 1's metric (Lemaire et al., "An analytical estimation of spiking neural networks energy efficiency", 2023).

Operations, memory accesses and addresses are counted layer by layer and priced apart.  N_i, N_o elements in and out,
theta_i, theta_o spikes that enter and leave in all T timesteps, N the largest value of a spike::

                    ReLU network, once               spiking network, all timesteps
    MAC             N_o C_in k^2, N_i N_o            T N_o if the neuron leaks (eq. 1.3)
    ACC             N_o (bias)                       theta_i C_out ceil(k/s)^2 + T N_o (bias) + theta_o (reset)
    input reads     N_o C_in k^2; dense: N_i         theta_i, from a FIFO
    output writes   N_o                              theta_o, into a FIFO
    weight reads    N_o C_in k^2, N_i N_o            theta_i C_out k^2, theta_i N_o: not divided by s^2
    bias reads      N_o (eq. 6.1) or C_out           T N_o (eq. 7) or T C_out
    potentials      -                                reads and writes, each theta_i C_out k^2 + T N_o
    addresses       N_i + N_o + C_out k^2 ACC        2 theta_i MAC, and theta_i k^2 or theta_i C_out k^2 ACC (eq. 16.3)

Dense layers are convolutions with k^2 C_out = N_o, whose address rules are in `Rules`.  Pixels that enter the first
spiking layer meet MACs, once if the image is still (the authors' code calls this hybrid).  Borders count in full.

In paper 1 (5.3) every accumulation of a multi-level network costs N additions, whatever the value of the spike; that
is the metric's assumption about hardware, and `Rules.spike` has two others.
"""

from collections.abc import Sequence

from sw.energy.activity import Activity, Spikes
from sw.energy.layers import Geometry, sources
from sw.energy.rules import TABLES, Cells, Rules, Work, price
from sw.energy.technology import Technology
from sw.models.spec import INPUT

# --------------------------------------------------------------------------------------------------- whole networks


def analogue_energy(
    layers: Sequence[Geometry], technology: Technology, rules: Rules = TABLES
) -> tuple[Cells, ...]:
    """Energy of every layer of a ReLU network, an image."""
    return tuple(
        price(analogue_work(layer, len(sources(layers, index)), rules), technology, rules)
        for index, layer in enumerate(layers)
    )


def spiking_energy(
    layers: Sequence[Geometry], activity: Activity, technology: Technology, rules: Rules = TABLES
) -> tuple[Cells, ...]:
    """Energy of every layer of a spiking network, an inference of T timesteps.

    Raises ValueError when the spikes are those of another network, or their values are needed and not known.
    """
    cells = []
    for index, layer in enumerate(layers):
        received = []
        for source, spikes in zip(
            sources(layers, index), activity.received(layers, index), strict=True
        ):
            summed = source != INPUT and layers[source].kind == "add" and not layers[source].fires
            if spikes is not None and summed and rules.weightless == "free":
                units = _known(spikes.values, layers[source].name)
                spikes = Spikes(events=units, levels=1, values=units, bits=units)
            received.append(spikes)
        work = spiking_work(layer, received, activity.sent[index], activity.timesteps, rules)
        cells.append(price(work, technology, rules))
    return tuple(cells)


# --------------------------------------------------------------------------------------------------------- one layer


def analogue_work(layer: Geometry, input_count: int, rules: Rules) -> Work:
    """One layer of a ReLU network that reads `input_count` others."""
    if not layer.weighted:
        return _analogue_weightless(layer, input_count, rules)
    weight_words, bias_words = _banks(layer, rules)
    addresses = layer.inputs + layer.outputs
    if layer.kind == "conv":
        addresses += layer.channels * layer.taps
    elif rules.address == "taps":
        addresses = layer.inputs * layer.outputs
    return Work(
        macs=layer.macs,
        adds=layer.bias * layer.outputs,
        address_adds=addresses,
        weights=layer.macs,
        weight_words=weight_words,
        biases=_bias_reads(layer, rules),
        bias_words=bias_words,
        inputs=layer.inputs if layer.kind == "dense" else layer.macs,
        input_words=layer.inputs,
        outputs=layer.outputs,
        output_words=layer.outputs,
    )


def spiking_work(
    layer: Geometry,
    received: Sequence[Spikes | None],
    sent: Spikes | None,
    timesteps: int,
    rules: Rules,
) -> Work:
    """One layer of a spiking network; `received` and `sent` are None where currents or scores travel.

    Raises ValueError for a layer with weights that receives currents, or spikes whose values are needed and not known.
    """
    if not layer.weighted:
        return _spiking_weightless(layer, received, sent, timesteps, rules)
    (spikes,) = received
    if spikes is None:
        raise ValueError(f"layer {layer.name} has weights and receives currents, not spikes")
    fan_out = layer.outputs if layer.kind == "dense" else layer.channels * layer.taps
    synapses = layer.outputs if layer.kind == "dense" else layer.channels * layer.strided_taps
    weight_words, bias_words = _banks(layer, rules)
    neurons = timesteps * layer.outputs
    leaving = sent.events if layer.fires and sent is not None else 0.0
    times = _levels(received, sent) if rules.spike == "levels" else 1
    if rules.address == "synapses":
        address_adds = spikes.events * fan_out
    elif layer.kind == "conv":
        address_adds = spikes.events * layer.taps
    else:  # their code multiplies the spikes per input, not the spikes
        address_adds = spikes.events / layer.inputs * layer.outputs
    events_to_potentials = spikes.events * (timesteps if spikes.repeated else 1)
    multiplied = spikes.events * synapses if spikes.analogue else 0.0
    added = 0.0 if spikes.analogue else _additions(spikes, layer, rules) * synapses
    return Work(
        macs=multiplied + layer.leak * neurons,
        adds=added + times * (layer.bias * neurons + leaving),
        address_macs=2 * spikes.events if layer.kind == "conv" else 0.0,
        address_adds=times * address_adds,
        potentials=2 * (events_to_potentials * fan_out + neurons),
        potential_words=layer.outputs,
        weights=spikes.events * fan_out,
        weight_words=weight_words,
        biases=timesteps * _bias_reads(layer, rules),
        bias_words=bias_words,
        inputs=spikes.events,
        input_words=rules.fifo_words,
        outputs=leaving,
        output_words=rules.fifo_words,
    )


def _analogue_weightless(layer: Geometry, input_count: int, rules: Rules) -> Work:
    """A sum has one addition an element and further input, elements taken as C H W.  A lone ReLU costs nothing."""
    if layer.kind == "pool" and rules.weightless == "free":
        return Work()
    if layer.kind == "add" and input_count == 1:
        return Work()
    adds = layer.inputs if layer.kind == "pool" else layer.outputs * (input_count - 1)
    return Work(
        adds=adds,
        address_adds=layer.outputs,
        inputs=layer.inputs * input_count,
        input_words=layer.inputs,
        outputs=layer.outputs,
        output_words=layer.outputs,
    )


def _spiking_weightless(
    layer: Geometry,
    received: Sequence[Spikes | None],
    sent: Spikes | None,
    timesteps: int,
    rules: Rules,
) -> Work:
    """Counted: spikes are read, added (compared, in a pool) at their element and sent; currents are read whole."""
    if rules.weightless == "free":
        return Work()
    times = _levels(received, sent) if rules.spike == "levels" else 1
    spikes = [one for one in received if one is not None]
    arriving = sum(one.events for one in spikes)
    leaving = 0.0 if sent is None else sent.events
    currents = timesteps * layer.inputs * (len(received) - len(spikes))
    if layer.kind == "pool":
        compared, added, updates = arriving, 0.0, 0.0
    else:
        compared, added = 0.0, sum(_additions(one, layer, rules) for one in spikes)
        updates = arriving + currents
    neurons = timesteps * layer.outputs * layer.fires
    return Work(
        adds=compared + added + times * (currents + leaving * layer.fires),
        address_adds=times * arriving,
        potentials=2 * (updates + neurons) + currents,
        potential_words=layer.outputs,
        inputs=arriving,
        input_words=rules.fifo_words,
        outputs=leaving,
        output_words=rules.fifo_words,
    )


def _bias_reads(layer: Geometry, rules: Rules) -> int:
    """Reads of biases in a timestep."""
    return layer.bias * (layer.channels if rules.bias == "channel" else layer.outputs)


def _banks(layer: Geometry, rules: Rules) -> tuple[int, int]:
    """Words of the memories of weights and of biases."""
    biases = layer.channels * layer.bias
    if rules.bank == "filter":
        return layer.filter_words, biases
    if rules.bank == "layer":
        return layer.weights, biases
    return (layer.weights + biases,) * 2


def _levels(received: Sequence[Spikes | None], sent: Spikes | None) -> int:
    """N of a layer: of what it sends, the readout of what it receives."""
    known = [sent] if sent is not None else received
    return max((one.levels for one in known if one is not None and not one.analogue), default=1)


def _additions(spikes: Spikes, layer: Geometry, rules: Rules) -> float:
    """Additions of all spikes at one synapse each."""
    if rules.spike == "levels":
        return spikes.events * (1 if spikes.analogue else spikes.levels)
    return _known(spikes.values if rules.spike == "value" else spikes.bits, layer.name)


def _known(count: float | None, name: str) -> float:
    if count is None:
        raise ValueError(
            f"layer {name}: the values of its spikes are not known; count them, or take the rule spike='levels'"
        )
    return count

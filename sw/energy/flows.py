"""Six orders of the sums of a layer: the accesses that each makes, and what they cost.

Accesses of a layer, in words, for theta events in and theta_o out, kernel area k^2, C_in and C_out channels, N_o
potentials and T timesteps.  "hits" are pairs of an event and an output position that its kernel reaches, "busy" pairs
of a pixel with an event and a position::

    flow      weights           potentials              events (all write theta_o, too)
    scatter   hits C_out        2 hits C_out + 2 T N_o  theta
    pixels    hits C_out        2 busy C_out + 2 T N_o  theta + T pixels
    rows      hits C_out        2 k T N_o               theta + T pixels
    gather    hits C_out        2 (T - 1) N_o           hits + T pixels in windows
    channels  active k^2 C_out  as scatter              theta + T C_in
    tiles     active k^2 C_out  2 (T - 1) N_o           (theta + T C_in) a tile

- scatter: each event in turn adds to every potential that it reaches, in memory (paper 1).
- pixels: a scatter, but the events of a pixel are added up in k^2 C_out registers first.
- rows: a scatter into k rows of potentials in registers; each row comes and goes k times.
- gather (output-stationary): the events of a window are added to C_out accumulators; what one timestep leaves goes to
  memory only where another one follows (the same of tiles).
- channels (weight-stationary): the weights of an input channel that has events ("active") are read once, for all its
  events, which scatter.
- tiles (output-stationary): as many whole output maps as R accumulators hold make a tile, and all events, sorted by
  channel, pass once for each; a map that is larger than R is cut into bands.

Pixels and channels cost a header, a word that tells the number of their events; a dense layer is one pixel, in which
the event names its input, so that C_in is 1 there.  A flow that needs more than R accumulators reads its events several
times. Sums in registers cost one accumulator a synapse, weights in registers nothing, and the operations are the
paper's: N additions a synapse, N the largest value of a spike (one multiplication on pixels), and one for every neuron
and spike sent. Addresses: two multiplications and k^2 additions an event, of a dense layer one addition a synapse; of
gather one addition an event in a window.

Memories: weights of one output channel a bank, C_in k^2 words; potentials N_o words of 16 bits; events of 16 bits in a
FIFO of 1000, or where they are not taken in order, twice the events of a timestep.  "Packed" words of 64 bits hold
4, 8 or 16 weights and 4 potentials or events; a bank is as much larger as its words then.  Biases, thresholds, control
and leakage are the same in every flow and left out.
"""

import math
from dataclasses import dataclass

from sw.energy.spikemaps import Geometry, Statistics
from sw.energy.technology import Technology

FLOWS = ("scatter", "pixels", "rows", "gather", "channels", "tiles")
KINDS = ("weights", "potentials", "events", "accumulators", "operations", "addresses")
VALUE_BITS = 16  # of a potential and of an event
WORD_BITS = 64
FIFO_WORDS = 1000


@dataclass(frozen=True, kw_only=True)
class Machine:
    """What the flows run on.

    Parameters
        weight_bits: of a weight; packed: whether words of 64 bits hold as many weights and values as fit, or one.
        registers: R, accumulators.
        paper_count: charge k^2 positions for every event as paper 1 does, also those that border and stride leave out.
    """

    weight_bits: int = 16
    packed: bool = False
    registers: int = 4096
    paper_count: bool = False

    def __post_init__(self) -> None:
        if not 1 <= self.weight_bits <= WORD_BITS:
            raise ValueError(f"a weight has 1 to {WORD_BITS} bits, not {self.weight_bits}")
        if self.registers < 1:
            raise ValueError(f"the flows need 1 accumulator or more, not {self.registers}")

    @property
    def weights_per_word(self) -> int:
        return WORD_BITS // self.weight_bits if self.packed else 1

    @property
    def values_per_word(self) -> int:
        return WORD_BITS // VALUE_BITS if self.packed else 1

    @property
    def name(self) -> str:
        return f"{self.weight_bits} bit x {self.weights_per_word}"


@dataclass(frozen=True, kw_only=True)
class Traffic:
    """Accesses of one layer in one flow, an image.

    Members
        weights, potentials, events: words read and written; event_words: size of the events' memory.
        accumulators: sums in registers; synapses: sums anywhere; fires: additions of neurons and spikes.
        multiplications, additions: of addresses.
        registers: accumulators (channels: weights) that the flow holds at a time.
    """

    weights: float = 0.0
    potentials: float = 0.0
    events: float
    event_words: float
    accumulators: float = 0.0
    synapses: float = 0.0
    fires: float
    multiplications: float = 0.0
    additions: float = 0.0
    registers: int = 0

    def counts(self) -> dict[str, float]:
        """Accesses by the names of KINDS."""
        return {
            "weights": self.weights,
            "potentials": self.potentials,
            "events": self.events,
            "accumulators": self.accumulators,
            "operations": self.synapses + self.fires,
            "addresses": self.multiplications + self.additions,
        }


def traffic(flow: str, layer: Geometry, spikes: Statistics, machine: Machine) -> Traffic:
    """Accesses of one layer; `flow` is one of FLOWS."""
    steps, theta, area = layer.timesteps, spikes.events, layer.area
    fires = steps * math.prod(layer.outputs) + spikes.sent
    per_word = machine.values_per_word
    fifo = FIFO_WORDS / per_word
    if layer.kind == "join":
        return Traffic(events=(theta + spikes.sent) / per_word, event_words=fifo, fires=fires)

    conv, channels, positions = layer.kind == "conv", layer.outputs[0], layer.positions
    hits = theta * area if machine.paper_count else spikes.window_events
    busy = spikes.pixels * area if machine.paper_count else spikes.window_pixels
    row = math.ceil(channels / per_word)  # words of the potentials of one position
    sweep = 2 * steps * positions * row
    carried = 2 * (steps - 1) * positions * row
    pixels = steps * math.prod(layer.inputs[1:])
    channel_headers = steps * (layer.inputs[0] if conv else 1)

    weights = hits * _words(channels, channels, machine)
    potentials: float = carried
    multiplications = 2 * theta if conv else 0.0
    additions = theta * (area if conv else channels)
    registers = area * channels
    memory = 2 * theta / steps / per_word
    match flow:
        case "scatter":
            potentials, reads = 2 * hits * row + sweep, theta
            memory, registers = fifo, 0
        case "pixels":
            potentials = 2 * busy * row + sweep
            reads = _passes(registers, machine) * (theta + pixels)
        case "rows":
            potentials = layer.kernel[0] * sweep
            registers = layer.kernel[0] * layer.outputs[2] * channels
            reads = _passes(registers, machine) * (theta + pixels)
        case "gather":
            registers = min(channels, machine.registers)
            passes = _passes(channels, machine)
            reads = passes * (spikes.window_events + steps * layer.window_cells)
            multiplications, additions = 0.0, passes * spikes.window_events
        case "channels":
            weights = spikes.channels * area * _words(channels, channels, machine)
            potentials, reads = 2 * hits * row + sweep, theta + channel_headers
        case "tiles":
            maps = min(channels, max(machine.registers // positions, 1))
            bands = _passes(positions, machine)
            streams = math.ceil(channels / maps) * bands
            registers = min(maps * positions, machine.registers)
            weights = spikes.channels * area * _words(channels, maps, machine) * bands
            reads = streams * (theta + channel_headers)
            multiplications, additions = streams * multiplications, streams * theta * area
        case _:
            raise ValueError(f"there is no flow {flow!r}; known are {', '.join(FLOWS)}")
    in_memory = flow in ("scatter", "channels")
    return Traffic(
        weights=weights,
        potentials=potentials,
        events=(reads + spikes.sent) / per_word,
        event_words=memory,
        accumulators=0.0 if in_memory else hits * channels,
        synapses=hits * channels,
        fires=fires,
        multiplications=multiplications,
        additions=additions,
        registers=registers,
    )


def _words(channels: int, group: int, machine: Machine) -> int:
    """Words of the weights of one input of all channels, `group` channels at a time."""
    whole, rest = divmod(channels, group)
    per_word = machine.weights_per_word
    return whole * math.ceil(group / per_word) + math.ceil(rest / per_word)


def _passes(registers: int, machine: Machine) -> int:
    return max(1, math.ceil(registers / machine.registers))


def price(layer: Geometry, made: Traffic, costs: Technology, machine: Machine) -> dict[str, float]:
    """Energy of accesses in pJ by the names of KINDS."""
    weight_bits = machine.weight_bits * machine.weights_per_word
    value_bits = VALUE_BITS * machine.values_per_word
    potential_words = layer.positions * math.ceil(layer.outputs[0] / machine.values_per_word)
    synapse_pj = costs.mac_pj if layer.pixels else layer.largest * costs.add_pj
    return {
        "weights": made.weights * costs.access_pj(layer.inputs[0] * layer.area, weight_bits),
        "potentials": made.potentials * costs.access_pj(potential_words, value_bits),
        "events": made.events * costs.access_pj(made.event_words, value_bits),
        "accumulators": made.accumulators * costs.accumulator_pj,
        "operations": made.synapses * synapse_pj + made.fires * costs.add_pj,
        "addresses": made.multiplications * costs.mac_pj + made.additions * costs.add_pj,
    }

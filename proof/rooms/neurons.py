"""From accumulators to spikes, currents and scores: every sum once, in order, with the constants of its channel."""

from dataclasses import replace

from amaranth.hdl import *

from hw.currents import Currents
from hw.neuron import Neuron
from hw.readout import Readout
from proof.bench import Bench
from proof.claim import Claim, bugs
from proof.networks import LEVELS, NEURON, conv, joined, network
from sw.network.bounds import synapse_range


class Sums:
    """The stream of accumulators of layer `index` and a plain model of what becomes of each.

    Members
        put: a beat is taken; end, final: it is the last of its timestep, in the last timestep
        u: leak(V) + accumulator + bias of each unit; theta: the threshold of its channel
        store: statements that keep V, unit by unit, where timesteps carry it
    """

    def __init__(self, bench, dut, net, index, units):
        m, layer = bench.m, net.layers[index]
        channels, height, width = net.shapes[index + 1]
        beats = channels // units * height * width
        self.put = bench.source(dut.i)
        place, step = Signal(range(max(2, beats))), Signal(range(max(2, net.timesteps)))
        self.place = place
        self.end, self.final = place == beats - 1, step == net.timesteps - 1
        with m.If(self.put):
            m.d.sync += place.eq(Mux(self.end, 0, place + 1))
            with m.If(self.end):
                m.d.sync += step.eq(Mux(self.final, 0, step + 1))
        low, high = synapse_range(layer, net.codings[index].max_value)
        wide = signed(net.firing_width(index) + 3)
        self.u, self.theta, self.kept = [], [], []
        for unit in range(units):
            u, theta = Signal(wide, name=f"u_{unit}"), Signal(wide, name=f"theta_{unit}")
            # No sum leaves the range of its channel's weights.
            for beat in range(channels // units):
                channel = beat * units + unit
                with m.If(place % (channels // units) == beat):
                    value = dut.i.payload[unit]
                    m.d.comb += [
                        Assume((value >= int(low[channel])) & (value <= int(high[channel]))),
                        theta.eq(0 if layer.threshold is None else int(layer.threshold[channel])),
                    ]
            bias = Array(Const(int(layer.bias[c]), wide) for c in range(unit, channels, units))
            v = Signal(wide, name=f"v_{unit}")
            if net.timesteps > 1 and (layer.neuron is not None or net.is_readout(index)):
                memory = Array(Signal(wide, name=f"kept_{unit}_{n}") for n in range(beats))
                self.kept.append(memory)
                m.d.comb += v.eq(Mux(step == 0, 0, memory[place]))
            m.d.comb += u.eq(
                _leak(layer.neuron, v) + dut.i.payload[unit] + bias[place % (channels // units)]
            )
            self.u.append(u)
            self.theta.append(theta)

    def store(self, m, unit, value):
        """Keep `value` as the unit's potential for the next timestep."""
        if self.kept:
            with m.If(self.put):
                m.d.sync += self.kept[unit][self.place].eq(value)


def _leak(neuron, v):
    if neuron is None or neuron.leak == "none":
        return v
    return v - (v >> neuron.leak_shift) if neuron.leak == "retain" else v >> neuron.leak_shift


def neuron(rule, *, timesteps=1, units=1, map_size=(1, 1)):
    net = network(
        conv(2, 2, (1, 1), neuron=rule),
        input_shape=(2, *map_size),
        coding=LEVELS,
        timesteps=timesteps,
    )
    dut = Neuron(net, 0, units)
    b = Bench(dut)
    m, sums = b.m, Sums(b, dut, net, 0, units)
    codes = Signal(dut.o.payload.shape())
    for unit, (u, theta) in enumerate(zip(sums.u, sums.theta, strict=True)):
        # The last count of thresholds that fits: reached when closed, exceeded when open.
        def fits(number, u=u, theta=theta):
            return u >= number * theta if rule.boundary == "closed" else u > number * theta

        code, spent = codes[unit], Signal.like(u, name=f"spent_{unit}")
        for n, value in enumerate(rule.coding.values[1:].tolist()):
            with m.If(fits(value)):
                m.d.comb += [code.eq(n + 1), spent.eq(value * theta)]
        reset = Mux(code != 0, 0, u) if rule.reset == "hard" else u - spent
        sums.store(m, unit, reset)
    beats = 2 // units * map_size[0] * map_size[1]
    steps = rule.coding.exponent_count
    b.expect(sums.put, codes, dut.o, room=steps + 2)
    b.drains(steps + 2)
    b.moves(steps + 2 if timesteps > 1 and beats < steps + 2 else 0)
    return b


def currents(units=1):
    net = joined(None, None, fires=True, channels=2)
    dut = Currents(net, 0, units)
    b = Bench(dut)
    sums = Sums(b, dut, net, 0, units)
    expected = Signal(dut.o.payload.shape())
    b.m.d.comb += [expected[n].eq(u) for n, u in enumerate(sums.u)]
    b.expect(sums.put, expected, dut.o, room=2)
    b.drains(2)
    b.moves(0)
    return b


def readout(classes, *, timesteps=1):
    net = network(input_shape=(1, 1, 1), classes=classes, timesteps=timesteps)
    dut = Readout(net, 0)
    b = Bench(dut)
    m, sums = b.m, Sums(b, dut, net, 0, 1)
    (u,) = sums.u
    sums.store(m, 0, u)
    best, highest = Signal(range(max(2, classes))), Signal.like(u)
    wins = (sums.place == 0) | (u > highest)
    with m.If(sums.put & sums.final & wins):
        m.d.sync += [best.eq(sums.place), highest.eq(u)]
    expected = Signal(dut.o.payload.shape())
    m.d.comb += [
        expected.score.eq(u),
        expected.best.eq(Mux(wins, sums.place, best)),
        expected.last.eq(sums.end),
    ]
    b.expect(sums.put & sums.final, expected, dut.o, room=3)
    b.drains(3)
    b.moves(3 if timesteps > 1 else 0)
    return b


HARD = replace(NEURON, kind="one-hot", boundary="open", reset="hard")
LEAKY = replace(NEURON, leak="shift", leak_shift=1)
RETAINING = replace(NEURON, kind="one-hot", leak="retain", leak_shift=1)
SAYS = "each sum once, in order, with the constants of its channel; stream rules"

NEURON_BUGS = (
    *bugs(
        "hw.neuron",
        (
            "Mux(fits, code | 1 << exponent, code)",
            "code | fits << 0",
            "a bit is set in a wrong place",
        ),
        ("<= neuron.levels)", "<= neuron.levels + 1)", "one level too many"),
        ("remainder >= 0", "remainder > 0", "a threshold just reached does not count"),
        ("move.eq(~self.o.valid | self.o.ready), self.i", "move.eq(1), self.i", "a spike is lost"),
    ),
    *bugs(
        "hw.potential",
        (
            "Mux(channel == self.channel_beats - 1, 0, channel + 1)",
            "0",
            "every channel's bias is the first's",
        ),
    ),
)
MEMORY_BUGS = bugs(
    "hw.potential",
    ("waiting_valid.eq(accept)", "waiting_valid.eq(self.i.valid)", "a sum twice"),
    ("under_way != self.frame_beats\n", "1\n", "a potential is read before it is stored"),
    (
        "first.eq(step == 0)",
        "first.eq(step != 0)",
        "an image starts with the last one's potentials",
    ),
    (
        "under_way + accept - self.v_write)",
        "under_way + accept)",
        "nothing more once a frame is in",
    ),
    ("v >> neuron.leak_shift\n", "v\n", "no leak"),
)
READOUT_BUGS = bugs(
    "hw.readout",
    ("(score > highest)", "(score >= highest)", "the highest index wins ties"),
    ("(index == 0) | ", "", "an image is compared with the one before"),
    ("Mux(potential.o.p.end, 0, index + 1)", "index + 1", "classes are counted on and on"),
    ("move = ~self.o.valid | self.o.ready", "move = Const(1)", "a score is lost"),
)
CURRENT_BUGS = bugs(
    "hw.currents",
    ("beat.ready.eq(self.o.ready)", "beat.ready.eq(1)", "a current is lost"),
    (
        "self.o.valid.eq(beat.valid)",
        "self.o.valid.eq(beat.valid & self.o.ready)",
        "valid waits for ready",
    ),
)

CLAIMS = (
    Claim(
        component="hw.neuron.Neuron",
        instance="multi-level, 2 channels",
        says=f"{SAYS}; z = clip(floor(U / theta), 0, N); 4 clocks",
        bench=lambda: neuron(NEURON),
        bugs=NEURON_BUGS,
    ),
    Claim(
        component="hw.neuron.Neuron",
        instance="one-hot, hard reset, 2 channels at once",
        says=f"{SAYS}; z = the window that holds U",
        bench=lambda: neuron(HARD, units=2),
    ),
    Claim(
        component="hw.neuron.Neuron",
        instance="multi-level with leak, 2 timesteps",
        says=f"{SAYS}; V comes back from the memory in time",
        bench=lambda: neuron(LEAKY, timesteps=2),
        bugs=MEMORY_BUGS,
    ),
    *(
        Claim(
            component="hw.currents.Currents",
            instance=f"2 channels, {units} at once",
            says=f"{SAYS}; accumulator + bias, 2 clocks",
            bench=lambda units=units: currents(units),
            bugs=CURRENT_BUGS if units == 1 else (),
        )
        for units in (1, 2)
    ),
    Claim(
        component="hw.readout.Readout",
        instance="3 classes",
        says=f"{SAYS}; scores, the lowest index wins ties",
        bench=lambda: readout(3),
        bugs=READOUT_BUGS,
    ),
    Claim(
        component="hw.readout.Readout",
        instance="2 classes, 2 timesteps",
        says=f"{SAYS}; scores summed over the timesteps",
        bench=lambda: readout(2, timesteps=2),
    ),
)

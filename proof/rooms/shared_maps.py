"""What the shared engine stores: images and fired values, each once, in its place."""

from amaranth.hdl import *

from hw.shared.loader import Loader
from hw.shared.writer import Writer
from proof.bench import Bench
from proof.claim import Claim, bugs
from proof.networks import LEVELS, conv, network, program, two_steps
from sw.network import Layer


def loader():
    p = program(two_steps(channels=3, timesteps=2))
    dut = Loader(p)
    b = Bench(dut)
    m, put = b.m, b.source(dut.i)
    granted, free = b.free(1, "granted"), b.free(1, "free")
    m.d.comb += [dut.granted.eq(granted), dut.free.eq(free)]
    channels, height, width = p.schedule.input_shape
    codes, planes, bits = p.schedule.input_codes, p.schedule.planes, p.schedule.value_width
    words, pixels = -(-channels // codes), p.timesteps * height * width
    channel, pixel = Signal(range(channels + 1)), Signal(range(pixels + 1))
    early = Array(Signal(dut.i.payload.shape(), name=f"early_{c}") for c in range(channels))
    last = channel == channels - 1
    complete = last | (channel % codes == codes - 1)
    with m.If(put):
        m.d.sync += [channel.eq(Mux(last, 0, channel + 1)), early[channel].eq(dut.i.payload)]
        with m.If(last):
            m.d.sync += pixel.eq(Mux(pixel == pixels - 1, 0, pixel + 1))
    full = Signal()
    with m.If(put & last & (pixel == pixels - 1)):
        m.d.sync += full.eq(1)
    with m.Elif(free):
        m.d.sync += full.eq(0)
    b.always(dut.full == full)
    b.always(dut.i.ready == (~full & (granted | ~complete)))
    b.always(dut.en == (put & complete))
    number = channel // codes
    b.always(dut.address == pixel * words + number, when=dut.en)
    for c in range(codes):
        at = number * codes + c
        value = Mux(at == channel, dut.i.payload, Mux(at < channel, early[at[: len(channel)]], 0))
        for plane in range(planes):
            piece = dut.word.values[plane * codes + c]
            b.always(piece == (value >> plane * bits)[:bits], when=dut.en)
    b.always(dut.word.filled == dut.word.values.as_value().any())
    return b


def writer():
    """Blocks of two positions, of which the larger values are kept."""
    layers = conv(1, 3, (1, 2)), Layer(kind="maxpool", pool=(1, 2))
    p = program(network(*layers, input_shape=(1, 1, 5), coding=LEVELS, timesteps=2))
    dut = Writer(p)
    b = Bench(dut)
    m, record = b.m, p.records[0]
    m.d.comb += dut.record.eq(p.layout.const(record))
    put = b.source(dut.i)
    bits, lanes, step = p.schedule.value_width, p.schedule.sharing.lanes, p.steps[0]
    blocks = step.map[0] * step.map[1]
    # The values in the order in which they come: group, block, timestep, position of the block, lane.
    bounds = {
        "lane": lanes,
        "sub": step.pool[0] * step.pool[1],
        "time": p.timesteps,
        "block": blocks,
        "group": p.schedule.groups(step),
    }
    at = {name: Signal(range(bound + 1), name=name) for name, bound in bounds.items()}
    turn, last = put, {}
    for name, bound in bounds.items():
        last[name] = at[name] == bound - 1
        with m.If(turn):
            m.d.sync += at[name].eq(Mux(last[name], 0, at[name] + 1))
        turn = turn & last[name]
    largest = Array(Signal(bits, name=f"largest_{lane}") for lane in range(lanes))
    before, value = largest[at["lane"][:1]], Value.cast(dut.i.payload)
    now = Signal(bits)
    m.d.comb += now.eq(Mux((at["sub"] != 0) & (before > value), before, value))
    with m.If(put):
        m.d.sync += before.eq(now)
    written = put & last["lane"] & last["sub"]
    b.always(dut.en == written)
    words = p.schedule.words(step.stored, step.channels)
    pixel = at["time"] * blocks + at["block"]
    address = p.places[step.stored][0] + pixel * words + at["group"]
    b.always(dut.address == address, when=dut.en)
    whole = Cat(*largest[: lanes - 1], now)
    b.always(dut.word.values.as_value() == whole, when=dut.en)
    b.always(dut.word.filled == whole.any(), when=dut.en)
    b.always(dut.done == turn)
    b.moves(0)
    return b


LOADER_BUGS = bugs(
    "hw.shared.loader",
    ("(self.granted | ~complete)", "1", "a word is written while the port is not granted"),
    ("~self.full & ", "", "the next image is written over one that is needed"),
    ("Mux(slot > c, early[c], 0)", "early[c]", "codes of the word before"),
    ("channel.is_last\n", "0\n", "the rest of a pixel is never written"),
)
WRITER_BUGS = bugs(
    "hw.shared.writer",
    ("pixel + record.out_words", "pixel + 1", "pixels lie in each other"),
    ("Mux(group.is_last, 0, first + words)", "0", "the second group is written over the first"),
    (
        "pixel.eq(Mux(block.is_last, 0, pixel",
        "pixel.eq(Mux(0, 0, pixel",
        "the second group lies elsewhere",
    ),
    ("frame + record.out_frame", "frame", "timesteps lie in each other"),
    ("(sub.value != 0) & ", "", "a block keeps values of the one before"),
    ("early[n].eq(self.i.payload)", "early[n].eq(0)", "only the last value of a word"),
)

CLAIMS = (
    Claim(
        component="hw.shared.loader.Loader",
        instance="2 timesteps of 3 channels of 1 x 3",
        says="each code once, in its word, where the port is granted; no image over one that is needed",
        bench=loader,
        bugs=LOADER_BUGS,
    ),
    Claim(
        component="hw.shared.writer.Writer",
        instance="2 groups, 2 blocks of 2, 2 timesteps",
        says="each word of values once, in its place, in the clock of its last value",
        bench=writer,
        bugs=WRITER_BUGS,
    ),
)

"""What the shared engine reads: every pixel of every window, and of their words those with spikes."""

import numpy as np
from amaranth.hdl import *

from hw.shared.fetcher import UNDER_WAY, Fetcher
from hw.shared.taps import Taps
from hw.shared.views import Reading
from proof.bench import Bench
from proof.claim import Claim, bugs
from proof.networks import LEVELS, NEURON, conv, joined, network, program, two_steps
from sw.network import INPUT, Layer


def taps(net, index=0):
    """Step `index` over and over: the pixels under each window, group by group, block by block."""
    p = program(net)
    dut = Taps(p)
    b = Bench(dut)
    m, tap = b.m, dut.o.p
    m.d.comb += dut.record.eq(p.layout.const(p.records[index]))
    expected = list(taps_of(p, p.steps[index]))
    place = Signal(range(len(expected)))
    running, starts = Signal(), b.free(1, "starts")
    m.d.comb += dut.start.eq(starts)
    b.given(~running, when=starts)
    took = b.sink(dut.o)
    with m.If(took):
        m.d.sync += place.eq(Mux(tap.done, 0, place + 1))
    with m.If(starts):
        m.d.sync += running.eq(1)
    with m.Elif(took & tap.done):
        m.d.sync += running.eq(0)
    b.always(running, when=dut.o.valid)
    for name in expected[0]:
        value = Array(Const(int(entry[name]), 8) for entry in expected)[place]
        matters = 1 if name in ("inside", "last", "rest", "done") else tap.inside
        b.always(getattr(tap, name) == value, when=dut.o.valid & matters)
    b.always(0, when=b.lasts(running & dut.o.ready & ~dut.o.valid, 6))
    return b


def taps_of(p, step):
    """What `tap_layout` says of every tap of a step, in order."""
    schedule = p.schedule
    lanes, groups, last_term = schedule.sharing.lanes, schedule.groups(step), len(step.terms) - 1
    outer = list(np.ndindex(groups, *step.map, p.timesteps, *step.pool))
    for turn in outer:
        group, y, x, time, dy, dx = turn
        row_of_weights = 0
        for number, term in enumerate(step.terms):
            (channels, height, width), (kernel_y, kernel_x) = term.shape, term.kernel
            codes = schedule.word_rows(term.source)
            words = -(-channels // codes)
            own = range(group * lanes // codes, min(words, (group + 1) * lanes // codes))
            read = own if term.diagonal else range(words)
            first_number = -(-row_of_weights // codes)
            row_of_weights = codes * (first_number + kernel_y * kernel_x * len(read))
            for ky, kx in np.ndindex(kernel_y, kernel_x):
                row = (y * step.pool[0] + dy) * term.stride[0] - term.padding[0] + ky
                column = (x * step.pool[1] + dx) * term.stride[1] - term.padding[1] + kx
                inside = 0 <= row < height and 0 <= column < width
                last = (number, ky, kx) == (last_term, kernel_y - 1, kernel_x - 1)
                if inside or last:
                    pixel = (time * height + row) * width + column
                    address = p.places[term.source][0] + pixel * words + read[0]
                    yield {
                        "address": address * inside,
                        "words_last": len(read) - 1,
                        "reading": p.readings.index(
                            Reading(term.source == INPUT, term.shift, term.diagonal)
                        ),
                        "number": first_number + (ky * kernel_x + kx) * len(read),
                        "inside": inside,
                        "last": last,
                        "rest": group == groups - 1,
                        "done": last and turn == outer[-1],
                    }


def window(height, *, padding=(0, 0), pool=(1, 1), timesteps=1):
    """A 2 x 1 window of 3 channels on a map of one column."""
    layers = [conv(1, 3, (2, 1), padding=padding)]
    if pool != (1, 1):
        layers.append(Layer(kind="maxpool", pool=pool))
    return network(*layers, input_shape=(1, height, 1), coding=LEVELS, timesteps=timesteps)


def beside(timesteps):
    """A convolution of the input, and the spikes of another one beside it, added up."""
    return joined(NEURON, None, fires=True, channels=3, map_size=(1, 2), timesteps=timesteps)


def fetcher():
    """Taps with any words; each word of the memory is read once, and what it holds is the solver's."""
    p = program(two_steps())
    dut = Fetcher(p, depth=UNDER_WAY)
    b = Bench(dut)
    m, tap, item = b.m, dut.i.p, dut.o.p
    put = b.source(dut.i)
    b.given(tap.inside | tap.last, when=dut.i.valid)  # beside the map only where a pass ends
    values = b.free(len(dut.word.values.as_value()), "values")
    # The word read in the clock before, and which one it is.
    read = dut.en | (put & ~tap.inside)
    number = Signal.like(tap.words_last)
    tap_end = ~tap.inside | (number == tap.words_last)
    with m.If(read):
        m.d.sync += number.eq(Mux(tap_end, 0, number + 1))
    b.always(dut.address == (tap.address + number)[: len(dut.address)], when=dut.en)
    b.always(tap_end, when=put)
    b.always(dut.done == (put & tap.done))
    seen = Signal(values.shape())
    with m.If(dut.en):
        m.d.sync += seen.eq(values)
    m.d.comb += [Value.cast(dut.word.values).eq(seen), dut.word.filled.eq(seen.any())]
    fresh = b.past(read)
    index = b.past(Cat((tap.number + number)[: len(tap.number)], tap.reading))
    inside, rest = b.past(tap.inside), b.past(tap.rest)
    last, done = b.past(tap.last & tap_end), b.past(tap.done & tap_end)
    filled = inside & seen.any()

    # Words with spikes wait until it is known whether they are the last of their pass.
    layout = item.shape()
    entries = [Signal(layout, name=f"entry_{n}") for n in range(4)]
    count, begun = Signal(range(5)), Signal()
    after, held = Signal(range(6)), [Signal(layout, name=f"held_{n}") for n in range(4)]
    adds = fresh & (filled | (last & ~begun))
    marks = fresh & ~filled & last & begun
    word = Signal(layout)
    m.d.comb += [
        word.codes.eq(seen),
        word.index.eq(index),
        word.empty.eq(~filled),
        word.last.eq(last),
        word.rest.eq(rest),
        word.done.eq(done),
        after.eq(count + adds),
    ]
    with m.If(fresh):
        m.d.sync += begun.eq((begun | filled) & ~last)
    for n, (entry, now) in enumerate(zip(entries, held, strict=True)):
        m.d.comb += now.eq(entry)
        with m.If(adds & (count == n)):
            m.d.comb += now.eq(word)
        with m.If(marks & (count == n + 1)):
            m.d.comb += [now.last.eq(1), now.done.eq(done)]
    took = b.sink(dut.o)
    for entry, now, behind in zip(entries, held, [*held[1:], held[-1]], strict=True):
        m.d.sync += entry.eq(Mux(took, behind, now))
    m.d.sync += count.eq(after - took)
    first, valid = held[0], dut.o.valid
    known = first.last | (after > 1)
    b.always((after != 0) & known, when=valid)
    for name in ("empty", "last", "rest", "done"):
        b.always(item[name] == first[name], when=valid)
    same = (item.codes.as_value() == first.codes.as_value()) & (item.index == first.index)
    b.always(same, when=valid & ~first.empty)
    b.always(after <= UNDER_WAY)
    b.always(0, when=b.lasts(dut.i.valid & dut.o.ready & ~read, 8))  # reads go on
    b.drains(8, waiting=[known & (after != 0)])
    return b


SAYS = "each once, in order; stream rules"
TAPS_BUGS = bugs(
    "hw.shared.taps",
    (
        "valid[2] & (inside | tags[2].last)",
        "valid[2] & inside",
        "a pass that ends beside the map has no end",
    ),
    (
        "Mux(kernel_y.wrap, 0, row + 1)",
        "row + 1",
        "the second window starts where the first one ended",
    ),
    (
        "[number.eq(first), row_number.eq(first)]",
        "row_number.eq(first)",
        "weights are counted on",
    ),
    (
        "block_row.eq(block_row + record.pool_y_last + 1)",
        "block_row.eq(block_row + 1)",
        "pooled blocks overlap",
    ),
    (
        "Loop(m, time.wrap, record.block_x_last",
        "Loop(m, pool_y.wrap, record.block_x_last",
        "a block has only one timestep",
    ),
    (
        'Mux(term_last, 0, self._term(term + 1)["first"])',
        "0",
        "the second term has the weights of the first",
    ),
    ("kernel_y.wrap & term_last", "kernel_y.wrap", "a pass ends with its first term"),
    ('Mux(second["diagonal"], tags[1].own_words, 0)', "0", "every group reads the first words"),
    ("Mux(group.is_last, 0, after)", "after", "the next step's groups begin where this one's end"),
    ('tags[1].time * second["frame"]', "0", "every timestep reads the first one's map"),
    ("self._term(tags[2].term)", "self._term(term)", "a tap has the fields of another term"),
)
FETCHER_BUGS = bugs(
    "hw.shared.fetcher",
    (
        "keep.eq(valid & (filled | tag.last))",
        "keep.eq(valid & filled)",
        "a pass in silence has no end",
    ),
    (
        "[item.last.eq(1), item.done.eq(tag.done)]",
        "item.done.eq(tag.done)",
        "a pass that ends in silence has no end",
    ),
    ("self.depth - UNDER_WAY)", "self.depth - UNDER_WAY + 1)", "a word is lost"),
    (
        "held_valid & (held.last | keep)",
        "held_valid",
        "a word leaves before it is known to be the last",
    ),
    ("keep & ~(held_valid & closes)", "keep", "an empty word behind the last"),
)

CLAIMS = (
    Claim(
        component="hw.shared.taps.Taps",
        instance="2 x 1 window on 3 x 1, padded",
        says=f"each pixel under each window of each group, {SAYS}",
        bench=lambda: taps(window(3, padding=(1, 0))),
        bugs=TAPS_BUGS[:3],
    ),
    Claim(
        component="hw.shared.taps.Taps",
        instance="2 x 1 window on 5 x 1, pooled, 2 timesteps",
        says=f"each pixel under each window of each block, {SAYS}",
        bench=lambda: taps(window(5, pool=(2, 1), timesteps=2)),
        bugs=TAPS_BUGS[3:5],
    ),
    Claim(
        component="hw.shared.taps.Taps",
        instance="a window and the group's own words, 2 timesteps",
        says=f"each pixel under each window of each group, and of the own words only those, {SAYS}",
        bench=lambda: taps(beside(2), 1),
        bugs=TAPS_BUGS[5:],
    ),
    Claim(
        component="hw.shared.fetcher.Fetcher",
        instance="2 values a word, the smallest queue",
        says=f"each word with spikes, marked where its pass ends; an empty one for a silent pass; {SAYS}",
        bench=fetcher,
        bugs=FETCHER_BUGS,
    ),
)

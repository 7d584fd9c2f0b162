"""Spike codes on the wire, and the layouts that the streams between the rooms carry."""

from amaranth.hdl import *
from amaranth.lib import data
from amaranth.utils import ceil_log2

from sw.network import Coding, Network


def width_of(count):
    """Bits of an index into `count` things; 1 where a single thing would give a signal of no width."""
    return max(1, ceil_log2(count))


def expand(code, coding: Coding):
    """The events of a code, one bit per exponent: a multi-level value's set bits, a one-hot spike's only bit."""
    if coding.kind == "multi-level":
        return code[: coding.exponent_count]
    return Cat(code == lane + 1 for lane in range(coding.levels))


def value_of(code, coding: Coding):
    """The integer that a code stands for: a multi-level code is its value, a one-hot one its exponent plus 1."""
    return code if coding.kind == "multi-level" else Cat(expand(code, coding))


def first_set(bits):
    """(one-hot, index) of the lowest set bit; index 0 when none is set."""
    onehot = Cat(bits[i] & ~bits[:i].any() if i else bits[0] for i in range(len(bits)))
    index = [
        Cat(onehot[i] for i in range(len(bits)) if i >> b & 1).any()
        for b in range(ceil_log2(len(bits)))
    ]
    return onehot, Cat(*index) if index else Const(0, 1)


def several(bits):
    """Whether more than one bit of a list is set, in few levels of logic.

    A list, not a value: Amaranth works through all of a wide value for each of its slices.
    """

    def count(part):
        """(any, more than one)"""
        if len(part) == 1:
            return part[0], Const(0, 1)
        (a, a_more), (b, b_more) = count(part[: len(part) // 2]), count(part[len(part) // 2 :])
        return a | b, a_more | b_more | (a & b)

    return count(bits)[1]


def beat_layout(codes, coding: Coding):
    """One beat of a spike stream: `codes` codes, the lowest channel first."""
    return data.ArrayLayout(unsigned(coding.code_width), codes)


def sent_layout(network: Network, index, codes):
    """One beat of what layer `index` sends, or of the network's input: `codes` codes, or as many currents."""
    coding = network.sent(index)
    if coding is not None:
        return beat_layout(codes, coding)
    return data.ArrayLayout(signed(network.bounds(index).potential_width), codes)


def item_layout(word_codes, coding: Coding, index_count, base_width):
    """One word of a window on its way to the scanner.

    codes: L spike codes; index: which word of its pixel; base: weight address of the pixel's first code;
    empty: no word at all (a window without spikes); last: last of its pass; rest: its pass is the last group's;
    done: last of the frame.
    """
    return data.StructLayout(
        {
            "codes": beat_layout(word_codes, coding),
            "index": unsigned(width_of(index_count)),
            "base": unsigned(base_width),
            "empty": 1,
            "last": 1,
            "rest": 1,
            "done": 1,
        }
    )


def token_layout(address_width, coding: Coding, multiply=False):
    """One slot of the lanes: `add` the weights at `address`, shifted by `exponent`; `end`: then hand the group over.

    `again`: the address is that of the event before, whose weights are still there.  A layer that multiplies has the
    code's value as a `factor` instead of an exponent.
    """
    if multiply:
        operand = {"factor": unsigned(coding.exponent_count)}
    else:
        operand = {"exponent": unsigned(width_of(coding.exponent_count))}
    return data.StructLayout(
        {"address": unsigned(address_width), **operand, "again": 1, "add": 1, "end": 1}
    )


def score_layout(score_width, class_count):
    """One class score; `best` is the argmax so far, final in the beat marked `last`."""
    return data.StructLayout(
        {
            "score": signed(score_width),
            "best": unsigned(width_of(class_count)),
            "last": 1,
        }
    )

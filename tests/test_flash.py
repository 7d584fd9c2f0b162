# amaranth: UnusedElaboratable=no
"""The reader of weights against a model of a serial flash memory, written from the data sheets' timing diagrams."""

import random

import pytest
from amaranth.sim import Simulator

from hw.shared.flash import FAST_READ, READ, FlashReader


class FlashModel:
    """Mode 0: takes a bit at every rising edge of the clock, puts one out after every falling edge.

    Members
        commands: (command, address) of every selection; count: bits that were put out in the last one
    """

    def __init__(self, content: bytes):
        self.content, self.commands, self.count = content, [], 0
        self.selected, self.clk, self.bits, self.cipo = False, 0, [], 1

    def look(self, cs_n: int, clk: int, copi: int) -> int:
        """The level of cipo, given the other three pins."""
        if cs_n:
            assert not self.selected or clk == 0, "deselected in the middle of a bit"
            self.selected, self.bits, self.cipo = False, [], 1
        elif not self.selected:
            assert clk == 0, "selected while the clock is high"
            self.selected, self.count = True, 0
        elif clk and not self.clk:
            self.bits.append(copi)
        elif self.clk and not clk:
            head = 40 if self._number(0, 8) == FAST_READ else 32
            if len(self.bits) == head:
                self.commands.append((self._number(0, 8), self._number(8, 32)))
            if len(self.bits) >= head:
                at = 8 * self.commands[-1][1] + len(self.bits) - head
                self.cipo = self.content[at // 8] >> (7 - at % 8) & 1
                self.count += 1
        self.clk = clk
        return self.cipo

    def _number(self, low: int, high: int) -> int:
        return int("".join(map(str, self.bits[low:high])) or "0", 2)


@pytest.mark.parametrize(
    ("address", "size", "beat_bytes", "fast", "pause"),
    [(0, 5, 1, False, 0.0), (300, 24, 4, True, 0.9), (65530, 12, 2, True, 0.5)],
)
def test_reads_over_and_over(address, size, beat_bytes, fast, pause):
    rng = random.Random(address + size)
    content = rng.randbytes(address + size + 8)
    flash = FlashModel(content)
    dut = FlashReader(address=address, size=size, beat_bytes=beat_bytes, fast=fast)
    beats = [
        int.from_bytes(content[n : n + beat_bytes], "little")
        for n in range(address, address + size, beat_bytes)
    ] * 3
    simulator = Simulator(dut)
    simulator.add_clock(1e-6)

    async def memory(ctx):
        while True:
            pins = (await ctx.tick().sample(dut.cs_n, dut.clk, dut.copi))[2:]
            ctx.set(dut.cipo, flash.look(*pins))

    async def sink(ctx):
        for expected in beats:
            clocks = 0
            held = None
            while True:
                ready = rng.random() >= pause
                ctx.set(dut.o.ready, ready)
                _, _, valid, payload = await ctx.tick().sample(dut.o.valid, dut.o.payload)
                assert held is None or (valid and payload == held), "a beat did not hold"
                held = payload if valid and not ready else None
                clocks += 1
                assert clocks < 1000
                if valid and ready:
                    break
            assert payload == expected
        assert pause or clocks == 16 * beat_bytes

    simulator.add_testbench(memory, background=True)
    simulator.add_testbench(sink)
    simulator.run()
    assert flash.commands == [(FAST_READ if fast else READ, address)] * 3


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"address": 1 << 24, "size": 1},
            "1 bytes from address 16777216 do not lie in the 16777216 bytes of the memory",
        ),
        ({"address": 0, "size": 5, "beat_bytes": 2}, "5 bytes are no beats of 2 bytes"),
    ],
)
def test_refusals(options, message):
    with pytest.raises(ValueError, match=f"^{message}$"):
        FlashReader(**options)

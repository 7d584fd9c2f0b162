"""A model of a serial flash memory, written from the data sheets' timing diagrams."""

from hw.boot import WAKE
from hw.shared.flash import FAST_READ


class FlashModel:
    """Mode 0: takes a bit at every rising edge of the clock, puts one out after every falling edge.

    asleep: it answers nothing before it is woken.

    Members
        commands: (command, address) of every selection; count: bits that were put out in the last one
    """

    def __init__(self, content: bytes, asleep: bool = False):
        self.content, self.commands, self.count = content, [], 0
        self.asleep = asleep
        self.selected, self.clk, self.bits, self.cipo = False, 0, [], 1

    def look(self, cs_n: int, clk: int, copi: int) -> int:
        """The level of cipo, given the other three pins."""
        if cs_n:
            assert not self.selected or clk == 0, "deselected in the middle of a bit"
            if self.selected and len(self.bits) == 8 and self._number(0, 8) == WAKE:
                self.asleep = False
            self.selected, self.bits, self.cipo = False, [], 1
        elif not self.selected:
            assert clk == 0, "selected while the clock is high"
            self.selected, self.count = True, 0
        elif clk and not self.clk:
            self.bits.append(copi)
        elif self.clk and not clk and not self.asleep:
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

"""Nested loops, with constant bounds or with those of the program."""

from amaranth.hdl import *


class Loop:
    """Counts 0 to `last` and again, one turn for every `step`.

    Members
        value: the count; is_last: it is `last`; wrap: this clock ends the last turn
    """

    def __init__(self, m, step, last, name: str):
        if isinstance(last, int):
            last = Const(last, max(1, last.bit_length()))
        self.value = Signal(len(Value.cast(last)), name=name)
        self.is_last, self.wrap = Signal(name=f"{name}_is_last"), Signal(name=f"{name}_wrap")
        m.d.comb += [self.is_last.eq(self.value == last), self.wrap.eq(step & self.is_last)]
        with m.If(step):
            m.d.sync += self.value.eq(Mux(self.is_last, 0, self.value + 1))

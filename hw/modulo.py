"""Where a stream stands in its image."""

from amaranth.hdl import *


class Modulo:
    """A modulo counter: `value`, and `wrap`, high in the clock in which it returns to zero."""

    def __init__(self, m, step, count):
        self.value = Signal(range(max(2, count)))
        self.wrap = Signal()
        m.d.comb += self.wrap.eq(step & (self.value == count - 1))
        with m.If(step):
            m.d.sync += self.value.eq(Mux(self.value == count - 1, 0, self.value + 1))

"""The weights of a shared engine in an SDRAM: written once, read back for a check, then read over and over."""

from amaranth.hdl import *
from amaranth.lib import fifo, stream, wiring
from amaranth.lib.wiring import In, Out

from ..loader import LOAD_LAYOUT
from ..sdram import ADDRESS_BITS, PINS, WORD_BITS, Sdram, Timing

QUEUE = 32  # words that are on their way or not taken yet
DELAYS = range(4, 12)  # clocks between that in which a READ is taken and that of its word


class SdramReader(wiring.Component):
    """Stores the words of `load` and offers them on `o`, the first one after the last one, without end.

    The last word is taken when all of them were read back.  How long the way to the chip and back is, in clocks, is
    found there: the first of `DELAYS` with which every word is right.  No word is offered before, nor after a word
    that is marked `first`, with which everything begins anew.

    Parameters
        words: how many; timing: of the chip

    Members
        load: words to store (in)
        stored: they are there (out); o: words (out); pins: to the chip (out)
    """

    def __init__(self, *, words: int, timing: Timing):
        if not 0 < words <= 1 << ADDRESS_BITS:
            raise ValueError(f"{words} words do not lie in the {1 << ADDRESS_BITS} of the memory")
        self.words, self.timing = words, timing
        super().__init__(
            {
                "load": In(stream.Signature(LOAD_LAYOUT)),
                "stored": Out(1),
                "o": Out(stream.Signature(WORD_BITS)),
                "pins": Out(PINS),
            }
        )

    def elaborate(self, platform):
        m = Module()
        load = self.load
        m.submodules.chip = chip = Sdram(self.timing)
        wiring.connect(m, chip=chip.pins, pins=wiring.flipped(self.pins))
        clear = Signal()  # what was read so far is of no use
        queue = fifo.SyncFIFOBuffered(width=WORD_BITS, depth=QUEUE)
        m.submodules.queue = ResetInserter(clear)(queue)

        # Accesses: what is loaded, or reads as far as the queue has room.
        access, at = chip.i, Signal(range(self.words))
        room = Signal(range(QUEUE + 1), init=QUEUE)
        reads, checking = Signal(), Signal()
        move, is_last = access.valid & access.ready, at == self.words - 1
        taken = queue.r_rdy & queue.r_en
        m.d.comb += [
            access.p.address.eq(at),
            access.p.write.eq(~reads),
            access.p.data.eq(load.p.data),
        ]
        with m.If(reads):
            m.d.comb += access.valid.eq((room != 0) & ~clear)
        m.d.sync += room.eq(Mux(clear, QUEUE, room - (reads & move) + taken))
        with m.If(clear):
            m.d.sync += at.eq(0)
        with m.Elif(move):
            m.d.sync += at.eq(Mux(is_last, 0, at + 1))

        # Words come back after a while.
        delay = Signal(range(len(DELAYS)))
        flight = Signal(DELAYS[-1] + 1)
        m.d.sync += flight.eq(Mux(clear, 0, Cat(reads & move, flight)))
        m.d.comb += [
            queue.w_data.eq(chip.pins.data_in),
            queue.w_en.eq(flight[DELAYS[0] :].bit_select(delay, 1)),
            self.o.payload.eq(queue.r_data),
            self.o.valid.eq(queue.r_rdy & self.stored),
            queue.r_en.eq(Mux(self.stored, self.o.ready, checking)),
        ]

        # A sum in which the place of a word counts.
        total, expected = Signal(32), Signal(32)
        count = Signal(range(self.words))
        with m.If(Mux(reads, checking & taken, move)):
            m.d.sync += [
                total.eq(total.rotate_left(1) + Mux(reads, queue.r_data, load.p.data)),
                count.eq(Mux(count == self.words - 1, 0, count + 1)),
            ]
        anew = load.valid & load.p.first

        with m.FSM(name="weights"):
            with m.State("Load"):
                with m.If(anew & (at != 0)):
                    m.d.comb += clear.eq(1)
                    m.d.sync += [total.eq(0), count.eq(0)]
                with m.Else():
                    m.d.comb += [
                        access.valid.eq(load.valid),
                        load.ready.eq(access.ready & ~is_last),
                    ]
                with m.If(move & is_last):
                    m.next = "Turn"
            with m.State("Turn"):
                m.d.comb += clear.eq(1)
                m.d.sync += [expected.eq(total), total.eq(0), delay.eq(0), reads.eq(1)]
                m.next = "Check"
            with m.State("Check"):
                m.d.comb += checking.eq(1)
                with m.If(taken & (count == self.words - 1)):
                    m.next = "Compare"
            with m.State("Compare"):
                m.d.sync += total.eq(0)
                with m.If(total == expected):
                    m.d.comb += load.ready.eq(1)
                    m.d.sync += self.stored.eq(1)
                    m.next = "Serve"
                with m.Else():
                    m.d.comb += clear.eq(1)
                    m.d.sync += delay.eq(delay + 1)
                    m.next = "Check"
                    with m.If(delay == len(DELAYS) - 1):
                        m.d.comb += load.ready.eq(1)
                        m.d.sync += reads.eq(0)
                        m.next = "Load"
            with m.State("Serve"):
                m.d.comb += load.ready.eq(~anew)
                with m.If(anew):
                    m.d.comb += clear.eq(1)
                    m.d.sync += [self.stored.eq(0), reads.eq(0)]
                    m.next = "Load"
        return m

"""What surrounds a component under proof: sources and sinks that do whatever the rules of streams allow."""

from amaranth.hdl import *

ROOM = 8  # beats that an ideal queue holds unless told otherwise


class Bench(Elaboratable):
    """A component whose every input is free, and what must hold of it.

    The reset is free, too: it may come in any clock, and all must hold again after it.

    Members
        m: the module of the bench, for models and statements of its own
        ports: everything that the solver chooses or a netlist shows
        independent: pairs (from, to) of ports between which there must be no combinational path
    """

    def __init__(self, dut):
        self.m = Module()
        self.m.submodules.dut = dut
        self.ports, self.independent = [], []
        self._sources, self._sinks, self._waiting = [], [], []

    def elaborate(self, platform):
        return self.m

    def free(self, shape, name):
        """An input of the solver's choice."""
        signal = Signal(shape, name=name)
        self.ports.append(signal)
        return signal

    def shown(self, value, name):
        """An output port with `value`."""
        value = Value.cast(value)
        signal = Signal(value.shape(), name=name)
        self.m.d.comb += signal.eq(value)
        self.ports.append(signal)
        return signal

    def always(self, condition, *, when=1):
        """`condition` must hold in every clock in which `when` does."""
        self.m.d.comb += Assert(~Value.cast(when).any() | condition, src_loc_at=1)

    def given(self, condition, *, when=1):
        """The environment keeps `condition`."""
        self.m.d.comb += Assume(~Value.cast(when).any() | condition)

    def never_reset(self):
        """Only the power comes on; where a reset in the middle would cost more time than it is worth."""
        self.given(~ResetSignal())

    def past(self, value, *, init=0):
        """`value` one clock ago; `init` after a reset."""
        value = Value.cast(value)
        signal = Signal(value.shape(), init=init)
        self.m.d.sync += signal.eq(value)
        return signal

    # ---------------------------------------------------------------------------------------------------- streams

    def source(self, stream, name="i"):
        """Offer free beats to an input stream, each until it is taken; returns whether one is taken in this clock."""
        payload = Value.cast(stream.payload)
        valid = self.free(1, f"{name}_valid")
        self.m.d.comb += [
            stream.valid.eq(valid),
            payload.eq(self.free(payload.shape(), f"{name}_payload")),
        ]
        kept = self.past(valid & ~stream.ready)
        self.given(valid & (payload == self.past(payload)), when=kept)
        self.shown(stream.ready, f"{name}_ready")
        self._sources.append(stream)
        return valid & stream.ready

    def sink(self, stream, name="o"):
        """Take beats whenever the solver likes; returns whether one is taken in this clock.

        The stream must not withdraw or change a beat before it is taken, nor look at ready to offer one.
        """
        payload = Value.cast(stream.payload)
        ready = self.free(1, f"{name}_ready")
        self.m.d.comb += stream.ready.eq(ready)
        shown = [
            self.shown(stream.valid, f"{name}_valid"),
            self.shown(payload, f"{name}_payload"),
        ]
        kept = self.past(stream.valid & ~ready)
        self.always(stream.valid & (payload == self.past(payload)), when=kept)
        self._sinks.append(stream)
        self.independent += [(f"{name}_ready", port.name) for port in shown]
        return stream.valid & ready

    def expect(self, put, beat, stream, *, room=ROOM, through=False, name="o"):
        """What is `put` comes out of `stream`, once and in order: neither lost, nor doubled, nor changed.

        A beat may come out in the clock in which it is put only when `through`.  Returns the number of beats that
        are still to come.
        """
        beat = Value.cast(beat)
        taken = self.sink(stream, name)
        queue = IdealQueue(self.m, beat.shape(), room)
        self.m.d.comb += [queue.put.eq(put), queue.beat.eq(beat), queue.take.eq(taken)]
        there, head = queue.count != 0, queue.head
        if through:
            there, head = there | put, Mux(there, head, beat)
        self.always(there & (Value.cast(stream.payload) == head), when=stream.valid)
        self.always(queue.count <= room - 1, when=put & ~taken)
        self._waiting.append(queue.count)
        return queue.count

    def drains(self, clocks, *, waiting=None):
        """With every sink ready and nothing offered, all that is to come is out after `clocks` clocks."""
        calm = ~Cat(i.valid for i in self._sources).any() & Cat(o.ready for o in self._sinks).all()
        waiting = self._waiting if waiting is None else waiting
        done = ~Cat(o.valid for o in self._sinks).any() & (Cat(waiting) == 0)
        self.always(done, when=self.lasts(calm, clocks))

    def moves(self, clocks, *, when=1):
        """With every source valid and every sink ready, a beat is taken within `clocks` clocks."""
        willing = (
            Cat(i.valid for i in self._sources).all() & Cat(o.ready for o in self._sinks).all()
        )
        taken = Cat(i.valid & i.ready for i in self._sources).any()
        self.always(0, when=self.lasts(willing & ~taken & when, clocks))

    def lasts(self, condition, clocks):
        """`condition` holds, and has for `clocks` clocks before."""
        count = Signal(range(clocks + 1))
        with self.m.If(~condition):
            self.m.d.sync += count.eq(0)
        with self.m.Elif(count != clocks):
            self.m.d.sync += count.eq(count + 1)
        return condition & (count == clocks)


class IdealQueue:
    """A queue of registers, as plain as can be.

    Members
        put, beat: a beat enters; take: the first one leaves (to be driven)
        count, head: beats in the queue, and the first of them
    """

    def __init__(self, m, shape, room):
        self.put, self.beat, self.take = Signal(), Signal(shape), Signal()
        self.count = Signal(range(room + 1))
        entries = [Signal(shape, name=f"ideal_{n}") for n in range(room)]
        self.head = entries[0]
        place = Signal.like(self.count)
        m.d.comb += place.eq(self.count - self.take)
        m.d.sync += self.count.eq(self.count + self.put - self.take)
        for n, entry in enumerate(entries):
            with m.If(self.take & (n + 1 < room)):
                m.d.sync += entry.eq(entries[min(n + 1, room - 1)])
            with m.If(self.put & (place == n)):
                m.d.sync += entry.eq(self.beat)

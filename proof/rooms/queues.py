"""Queues and forks: every beat once, in order, and room for exactly as many as promised."""

from amaranth.hdl import *

from hw.fork import Fork
from hw.queue import MemoryQueue, Queue
from proof.bench import Bench
from proof.claim import Claim, bugs

BEAT = unsigned(2)


def queue(depth):
    dut = MemoryQueue(BEAT, depth) if depth > 2 else Queue(BEAT)
    b = Bench(dut)
    put = b.source(dut.i)
    waiting = b.expect(put, dut.i.payload, dut.o, room=depth)
    b.independent.append(("o_ready", "i_ready"))
    # Room for `depth` beats; a memory's last place is free for use once its output register has been filled.
    full = waiting >= depth - 1 if depth > 2 else waiting == 2
    b.always(dut.i.ready, when=~full | (waiting == depth - 1) & b.past(waiting == depth - 1))
    b.drains(depth)
    b.moves(1)
    return b


def fork(readers):
    dut = Fork(BEAT, readers)
    b = Bench(dut)
    put = b.source(dut.i)
    for n, o in enumerate(dut.o):
        took = b.sink(o, f"o{n}")
        has = Signal(name=f"has_{n}")  # this reader has taken the beat on offer
        b.m.d.sync += has.eq((has | took) & ~put)
        b.always(o.valid == (dut.i.valid & ~has))  # nobody waits for another reader
        b.always(o.payload == dut.i.payload, when=o.valid)
        b.always(has | took, when=put)
    b.independent += [
        (f"o{n}_ready", f"o{k}_valid") for n in range(readers) for k in range(readers)
    ]
    b.moves(0)
    return b


ORDER = "order, no loss, no duplicate, stream rules"

QUEUE_BUGS = bugs(
    "hw.queue",
    ("spare_valid.eq(1)", "spare_valid.eq(0)", "the spare beat is lost"),
    (
        "Mux(spare_valid, spare, self.i.payload)",
        "Mux(self.i.valid, self.i.payload, spare)",
        "a beat overtakes the spare one",
    ),
    (
        "ready.eq(~spare_valid)",
        "ready.eq(~spare_valid | self.o.ready)",
        "ready runs through, and a beat is lost",
    ),
    ("ready.eq(~spare_valid)", "ready.eq(~self.o.valid)", "room for one beat only"),
    (
        "with m.If(~self.o.valid | self.o.ready):\n            m.d.sync += [",
        "with m.If(~self.o.valid | self.o.ready | self.i.valid):\n            m.d.sync += [",
        "a beat changes on offer",
    ),
)
MEMORY_BUGS = bugs(
    "hw.queue",
    ("stored != words)", "stored != words + 1)", "one beat too many"),
    ("stored != words)", "stored != words - 1)", "one beat too few"),
    ("port.addr == words - 1", "port.addr == words", "wraps a word late"),
    (
        "(stored != 0) & (~self.o.valid | self.o.ready)",
        "stored != 0",
        "a beat is overwritten on offer",
    ),
    ("valid.eq(stored != 0)", "valid.eq(stored > 1)", "a beat is read and not offered"),
)
FORK_BUGS = bugs(
    "hw.fork",
    ("Mux(has.all(), 0, has)", "has", "nothing after the first beat"),
    ("self.i.valid & ~taken[n]", "self.i.valid", "a reader gets a beat twice"),
    ("has.all())", "has.any())", "a slow reader loses a beat"),
    ("& ~taken[n]", "& ~taken[n] & self.o[0].ready", "readers wait for the first one"),
)

CLAIMS = (
    Claim(
        component="hw.queue.Queue",
        instance="2 beats",
        says=f"{ORDER}, i.ready is a register, room for 2, drains in 2",
        bench=lambda: queue(2),
        bugs=QUEUE_BUGS,
    ),
    *(
        Claim(
            component="hw.queue.MemoryQueue",
            instance=f"{depth} beats",
            says=f"{ORDER}, i.ready is a register, room for {depth}, drains in {depth}",
            bench=lambda depth=depth: queue(depth),
            bugs=MEMORY_BUGS if depth == 4 else (),
        )
        for depth in (3, 4, 5)
    ),
    *(
        Claim(
            component="hw.fork.Fork",
            instance=f"{readers} readers",
            says=f"{ORDER} for each reader, no reader waits for another",
            bench=lambda readers=readers: fork(readers),
            bugs=FORK_BUGS if readers == 3 else (),
        )
        for readers in (1, 2, 3)
    ),
)

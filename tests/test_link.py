# amaranth: UnusedElaboratable=no
"""Frames: the hardware's ends against Python's, and what noise does to them."""

import random
import struct

import pytest
from amaranth.sim import Simulator

from hw.link import FrameReceiver, FrameSender
from hw.protocol import CRC_BYTES, END, ESCAPE, HEAD_BYTES, WINDOW, Deframer, Frame, on_line
from streams import exchange


def random_frames(rng, count):
    """Frames whose bytes are often those that need an escape."""
    sizes = [0, 1, 100, 240]
    return [
        Frame(
            rng.randrange(256),
            rng.choice([END, ESCAPE, 7]),
            bytes(
                rng.choice([END, ESCAPE, rng.randrange(256)])
                for _ in range(rng.choice(sizes) if n < 4 else rng.randrange(12))
            ),
        )
        for n in range(count)
    ]


def body_of(frames):
    """Frames without their CRC."""
    return b"".join(
        bytes([frame.kind, frame.number, len(frame.payload), 0]) + frame.payload for frame in frames
    )


def receive(line, *, seed, waits=False):
    """What the receiver makes of `line`: (the frames, how many were dropped).

    waits: for the whole line before the first frame is taken; else no more than a window of frames is on its way.
    """
    rng = random.Random(seed)
    dut = FrameReceiver()
    frames, dropped = [], 0

    async def bench(ctx):
        nonlocal dropped
        waiting, offered, pending, behind = list(reversed(line)), False, bytearray(), 0
        quiet, spoken, said = 0, Deframer(), 0
        while quiet < 300:
            room = waits or said - len(frames) < WINDOW
            if waiting and not offered and room and rng.random() < 0.5:
                offered = True
                ctx.set(dut.i.payload, waiting[-1])
                said += len(list(spoken.feed(bytes([waiting.pop()]))))
            ctx.set(dut.i.valid, offered)
            whole = len(pending) >= HEAD_BYTES and len(pending) >= HEAD_BYTES + pending[2] + behind
            takes = not whole and rng.random() < 0.8 and not (waits and (waiting or offered))
            ctx.set(dut.o.ready, takes)
            ctx.set(dut.release, whole)
            if whole:
                assert pending[3] == 0
                frames.append(Frame(pending[0], pending[1], bytes(pending[4 : 4 + pending[2]])))
                pending.clear()
                behind = rng.randrange(4)  # bytes that do not matter any more
            values = (dut.i.ready, dut.damaged, dut.o.valid, dut.o.payload)
            _, _, heard, damaged, valid, byte = await ctx.tick().sample(*values)
            dropped += damaged
            offered = offered and not heard
            if valid and takes:
                pending.append(byte)
            quiet = 0 if offered or waiting or valid else quiet + 1
        assert not pending

    simulator = Simulator(dut)
    simulator.add_clock(1e-6)
    simulator.add_testbench(bench)
    simulator.run()
    return frames, dropped


@pytest.mark.parametrize("seed", [1, 2])
def test_receiver(seed):
    frames = random_frames(random.Random(seed), 12)
    line = b"".join(frame.encode() for frame in frames)
    assert receive(line, seed=seed) == (frames, 0)


@pytest.mark.parametrize("seed", [1, 2])
def test_sender(seed):
    frames = random_frames(random.Random(seed), 8)
    beats = []
    for frame in frames:
        body = body_of([frame])
        beats += [byte | (n == len(body) - 1) << 8 for n, byte in enumerate(body)]
    expected = b"".join(frame.encode() for frame in frames)
    seen = exchange(FrameSender(), {"i": beats}, {"o": len(expected)}, seed=seed)
    assert bytes(seen.received["o"]) == expected
    assert list(Deframer().feed(expected)) == frames


@pytest.mark.parametrize("seed", range(4))
def test_noise(seed):
    """The receiver and Python's deframer find the same frames in a spoiled line, and every good one after bad ones."""
    rng = random.Random(seed)
    line = bytearray()
    for frame in random_frames(rng, 40)[4:]:
        text = bytearray(frame.encode())
        place = rng.randrange(len(text))
        match rng.randrange(6):
            case 0:
                text[place] ^= 1 << rng.randrange(8)
            case 1:
                del text[place:]
            case 2:
                text[place:place] = rng.randbytes(rng.randrange(1, 20))
            case 3:
                other = rng.randrange(len(text))
                text[place], text[other] = text[other], text[place]
        line += text
    deframer = Deframer()
    frames = list(deframer.feed(bytes(line)))
    assert deframer.damaged > 3 and len(frames) > 3
    assert receive(line, seed=seed) == (frames, deframer.damaged)


def test_no_room():
    """Frames that find both slots taken are dropped whole, and do no harm to those."""
    frames = [Frame(1, n, bytes([n]) * 200) for n in range(4)]
    line = b"".join(frame.encode() for frame in frames)
    assert receive(line, seed=1, waits=True) == (frames[:2], 2)


@pytest.mark.parametrize(
    ("said", "sent"),
    [(5, 3), (3, 5), (0, 1), (0x105, 5), (0x105, 0x105), (0, 256), (250, 250), (4, 4 + 1024)],
)
def test_length_that_cannot_be(said, sent):
    """A frame whose length is not what it says, or too much for us, is dropped, although its CRC is right."""
    text = on_line(struct.pack("<BBH", 1, 2, said) + bytes(sent))
    good = Frame(1, 3, b"abc")
    assert receive(text + good.encode(), seed=2) == ([good], 1)


@pytest.mark.parametrize("size", range(CRC_BYTES + HEAD_BYTES))
def test_stumps(size):
    """Less than a frame is dropped, and empty frames mean nothing."""
    good = Frame(1, 3, b"abc")
    line = bytes([END, END]) + bytes(size) + good.encode()
    assert receive(line, seed=2) == ([good], size > 0)

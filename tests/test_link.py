# amaranth: UnusedElaboratable=no
"""Frames: the hardware's ends against Python's, and what noise does to them."""

import random

import pytest
from amaranth.sim import Simulator

from hw.link import FrameReceiver, FrameSender
from hw.protocol import BUFFER_BYTES, END, ESCAPE, Deframer, Frame
from streams import exchange


def random_frames(rng, count):
    """Frames whose bytes are often those that need an escape."""
    sizes = [0, 1, 100, 255]
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


def stored(frames):
    """What the receiver gives for frames."""
    return b"".join(
        bytes([frame.kind, frame.number, len(frame.payload), 0]) + frame.payload for frame in frames
    )


@pytest.mark.parametrize("seed", [1, 2])
def test_receiver(seed):
    frames = random_frames(random.Random(seed), 12)
    line = b"".join(frame.encode() for frame in frames)
    expected = stored(frames)
    pauses = {"o": 0.2}
    seen = exchange(
        FrameReceiver(), {"i": line}, {"o": len(expected)}, seed=seed, pauses=pauses, patience=4000
    )
    assert bytes(seen.received["o"]) == expected
    assert seen.accepted["i"] == len(line)


@pytest.mark.parametrize("seed", [1, 2])
def test_sender(seed):
    frames = random_frames(random.Random(seed), 8)
    beats = []
    for frame in frames:
        body = stored([frame])
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
    expected = stored(frames)
    pauses = {"o": 0.2}
    seen = exchange(
        FrameReceiver(), {"i": line}, {"o": len(expected)}, seed=seed, pauses=pauses, patience=4000
    )
    assert bytes(seen.received["o"]) == expected


def test_no_room():
    """A frame that finds no room is dropped whole, while nobody takes what is kept."""
    frames = [Frame(1, n, bytes([n]) * 200) for n in range(4)]
    line = b"".join(frame.encode() for frame in frames)
    dut = FrameReceiver()
    kept = BUFFER_BYTES // len(stored(frames[:1]))
    assert kept == 2
    expected = stored(frames[:kept])
    # Nothing is taken while the line speaks; a frame behind them all is dropped as well.
    received, damaged = bytearray(), 0

    async def bench(ctx):
        nonlocal damaged
        for byte in line:
            ctx.set(dut.i.payload, byte)
            ctx.set(dut.i.valid, 1)
            ready = False
            while not ready:
                _, _, ready, strobe = await ctx.tick().sample(dut.i.ready, dut.damaged)
                damaged += strobe
        ctx.set(dut.i.valid, 0)
        ctx.set(dut.o.ready, 1)
        for _ in range(2 * BUFFER_BYTES):
            _, _, valid, byte = await ctx.tick().sample(dut.o.valid, dut.o.payload)
            if valid:
                received.append(byte)

    simulator = Simulator(dut)
    simulator.add_clock(1e-6)
    simulator.add_testbench(bench)
    simulator.run()
    assert bytes(received) == expected
    assert damaged == len(frames) - kept


def test_refusals():
    with pytest.raises(ValueError, match=r"^depth must be a power of two, not 100$"):
        FrameReceiver(100)

"""A generated accelerator behind its bus, driven by independent bus models, with random stalls on every channel.

`AxiDevice` and `WishboneDevice` offer the same: registers, images, results.  The models of AXI are cocotbext-axi's,
that of Wishbone is cocotbext-wishbone's.
"""

import random
from collections.abc import Callable, Sequence
from typing import Any

import cocotb
from cocotb.clock import Clock
from cocotb.triggers import ClockCycles, Lock, RisingEdge, Timer
from cocotbext.axi import (
    AxiLiteBus,
    AxiLiteMaster,
    AxiResp,
    AxiStreamBus,
    AxiStreamFrame,
    AxiStreamSink,
    AxiStreamSource,
)
from cocotbext.wishbone.driver import WBOp, WishboneMaster

CLOCK_NS = 10
STALLS = (1, 1, 1, 2, 3, 8, 40)  # clocks
RUNS = (1, 2, 3, 10, 100)

Result = tuple[int, list[int], int]  # number of the image, scores, class


class BusError(Exception):
    """An access was answered with an error."""


class AxiDevice:
    """Streams for images and results, AXI4-Lite for registers.

    stall: whether the channels pause at random.
    """

    def __init__(self, dut: Any, registers: dict[str, int], *, stall: bool) -> None:
        self.dut, self.registers, self.clk, self.stall = dut, registers, dut.aclk, stall
        args = (dut.aclk, dut.aresetn, False)
        self.master = AxiLiteMaster(AxiLiteBus.from_prefix(dut, "s_axi"), *args)
        self.source = AxiStreamSource(AxiStreamBus.from_prefix(dut, "s_axis"), *args)
        self.sink = AxiStreamSink(AxiStreamBus.from_prefix(dut, "m_axis"), *args)
        self.stopped = False  # the reader of results does not read
        self.frozen = False  # the sender of images does not send
        write, read = self.master.write_if, self.master.read_if
        if stall:
            for channel in (
                *(write.aw_channel, write.w_channel, write.b_channel),
                *(read.ar_channel, read.r_channel),
            ):
                cocotb.start_soon(_pause(channel))
        cocotb.start_soon(_pause(self.source, lambda: self.frozen, stall=stall))
        cocotb.start_soon(_pause(self.sink, lambda: self.stopped, stall=stall))

    async def reset(self) -> None:
        """A few clocks of reset; the models of the bus give up what they were at."""
        self.dut.aresetn.value = 0
        await ClockCycles(self.clk, 4)
        self.source.clear()
        self.sink.clear()
        self.dut.aresetn.value = 1
        await ClockCycles(self.clk, 2)

    async def read(self, address: int) -> int:
        """Raises BusError."""
        answer = await self.master.read(address, 4)
        if answer.resp != AxiResp.OKAY:
            assert answer.resp == AxiResp.SLVERR
            raise BusError(f"read of {address:#x}: {answer.resp.name}")
        return int.from_bytes(answer.data, "little")

    async def write(self, address: int, value: int, size: int = 4) -> None:
        """The low `size` bytes.  Raises BusError."""
        answer = await self.master.write(address, value.to_bytes(size, "little"))
        if answer.resp != AxiResp.OKAY:
            assert answer.resp == AxiResp.SLVERR
            raise BusError(f"write to {address:#x}: {answer.resp.name}")

    async def send(self, codes: bytes, keep: Sequence[int] | None = None) -> None:
        """One frame, queued."""
        await self.source.send(AxiStreamFrame(codes, tkeep=None if keep is None else [*keep]))

    async def cut(self, codes: bytes) -> None:
        """The beginning of a frame that never ends; back when it is in the device."""
        await self.source.wait()
        count = random.randint(1, max(1, len(codes) // self.source.byte_lanes - 4))
        await self.source.send(AxiStreamFrame(codes))
        while count:
            await RisingEdge(self.clk)
            count -= self.dut.s_axis_tvalid.value == 1 and self.dut.s_axis_tready.value == 1
        # The model ends every frame; so it is held in the middle of this one, and forgets the rest.
        self.frozen = self.source.pause = True
        while self.dut.s_axis_tvalid.value == 1:
            await RisingEdge(self.clk)
        await ClockCycles(self.clk, 2)
        self.source.assert_reset()
        self.frozen = False

    async def result(self) -> Result:
        """The next packet."""
        frame = await self.sink.recv()
        words = [
            int.from_bytes(bytes(frame.tdata[at : at + 4]), "little")
            for at in range(0, len(frame.tdata), 4)
        ]
        scores = [word - (word >> 31 << 32) for word in words[:-1]]
        return words[-1] >> 16, scores, words[-1] & 0xFFFF


class WishboneDevice:
    """All through registers.  `stall`: whether the master pauses at random."""

    def __init__(self, dut: Any, registers: dict[str, int], *, stall: bool) -> None:
        self.dut, self.registers, self.clk, self.stall = dut, registers, dut.wb_clk_i, stall
        signals = {
            "cyc": "cyc_i",
            "stb": "stb_i",
            "we": "we_i",
            "adr": "adr_i",
            "sel": "sel_i",
            "datwr": "dat_i",
            "datrd": "dat_o",
            "ack": "ack_o",
            "err": "err_o",
        }
        self.master = WishboneMaster(dut, "wb", self.clk, timeout=100, signals_dict=signals)
        self.lock = Lock()
        self.stopped = False
        self.resets = 0

    async def reset(self) -> None:
        async with self.lock:
            self.resets += 1
            self.dut.wb_rst_i.value = 1
            await ClockCycles(self.clk, 4)
            self.dut.wb_rst_i.value = 0
            await ClockCycles(self.clk, 2)

    async def _access(self, operation: WBOp) -> int:
        async with self.lock:
            (answer,) = await self.master.send_cycle([operation])
        if answer.ack != 1:
            raise BusError(f"access to {operation.adr * 4:#x}")
        return int(answer.datrd)

    def _idle(self) -> int:
        return random.choice(STALLS) if self.stall else 0

    async def read(self, address: int) -> int:
        return await self._access(WBOp(address // 4, idle=self._idle()))

    async def write(self, address: int, value: int, size: int = 4) -> None:
        select = (1 << size) - 1
        await self._access(WBOp(address // 4, value, idle=self._idle(), sel=select))

    async def send(self, codes: bytes, keep: Sequence[int] | None = None) -> None:
        await self._words(codes, last=True)

    async def cut(self, codes: bytes) -> None:
        count = self.registers["BEAT_CODES_VALUE"]
        await self._words(codes[: random.randrange(count, len(codes), count)], last=False)

    async def _words(self, codes: bytes, last: bool) -> None:
        count, room = self.registers["BEAT_CODES_VALUE"], 0
        for at in range(0, len(codes), count):
            while not room:
                room = await self.read(self.registers["IMAGE_ROOM"])
            final = last and at + count >= len(codes)
            name = "IMAGE_LAST" if final else "IMAGE_DATA"
            word = int.from_bytes(codes[at : at + count], "little")
            await self.write(self.registers[name], word)
            room -= 1

    async def result(self) -> Result:
        registers = self.registers
        while True:
            resets, status = self.resets, await self.read(registers["STATUS"])
            if status & registers["STATUS_RESULT_MASK"] and not self.stopped:
                result = await held_result(self, registers)
                await self.write(registers["COMMAND"], registers["COMMAND_TAKEN_MASK"])
                if resets == self.resets:  # else it was of two kinds
                    return result
            await ClockCycles(self.clk, 20)


Device = AxiDevice | WishboneDevice


async def held_result(device: Device, registers: dict[str, int]) -> Result:
    """The result that is in the registers."""
    scores = []
    for n in range(registers["CLASSES_VALUE"]):
        word = await device.read(registers["SCORES"] + 4 * n)
        scores.append(word - (word >> 31 << 32))
    image = await device.read(registers["RESULT_IMAGE"]) & 0xFFFF
    return image, scores, await device.read(registers["CLASS"])


async def start(dut: Any, registers: dict[str, int], *, stall: bool) -> Device:
    """The device of `dut`, after a reset."""
    device: Device
    if hasattr(dut, "aclk"):
        dut.aresetn.value = 0
        Clock(dut.aclk, CLOCK_NS, "ns").start()
        device = AxiDevice(dut, registers, stall=stall)
    else:
        dut.wb_rst_i.value = 1
        Clock(dut.wb_clk_i, CLOCK_NS, "ns").start()
        device = WishboneDevice(dut, registers, stall=stall)
    await device.reset()
    return device


async def _pause(
    channel: Any, stopped: Callable[[], bool] = lambda: False, *, stall: bool = True
) -> None:
    """Pause `channel` at random, if it is to stall, and as long as it is stopped."""
    while True:
        channel.pause = stopped()
        await Timer(CLOCK_NS * random.choice(RUNS if stall else (1,)), "ns")
        if stall:
            channel.pause = True
            await Timer(CLOCK_NS * random.choice(STALLS), "ns")

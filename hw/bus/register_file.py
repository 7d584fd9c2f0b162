"""The hardware of a register map, behind whatever bus."""

from amaranth.hdl import *
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from .registers import WORD_BYTES, Register, RegisterMap


class RegisterBus(wiring.Signature):
    """From a bus to its registers: one access, whose address stands still in the clock before it, too.

    Members
        address: of a word (in words); write_data, strobes: what to write and which of its bytes (out)
        read, write: the access is made in this clock (out)
        read_data: the register; error: there is none, or it cannot be accessed so; in the clock of the access (in)
    """

    def __init__(self, address_width):
        super().__init__(
            {
                "address": Out(address_width - 2),
                "write_data": Out(32),
                "strobes": Out(WORD_BYTES),
                "read": Out(1),
                "write": Out(1),
                "read_data": In(32),
                "error": In(1),
            }
        )


def write_layout(width):
    """What a register that can only be written hands on: its word, in a clock with a strobe."""
    return data.StructLayout({"data": unsigned(width), "strobe": 1})


class RegisterFile(wiring.Component):
    """Decodes accesses to the registers of a map.

    A write of all bytes works, a write of none does nothing, any other is refused with an error.

    Members, by the registers' names in lower case
        bus: accesses (in)
        "read": its value (in); of an array NAME_index (out) and one clock later the value of that word (in)
        "write": the write (out); NAME_ready: it can be taken now (in), without which it is refused
        "read/write": its value (out); "write 1 to clear": NAME_set (in, sets bits, rather than clearing them) and its
        value (out)
    """

    def __init__(self, registers: RegisterMap):
        self.registers = registers
        members = {"bus": In(RegisterBus(registers.address_width))}
        for register in registers.registers:
            name = register.name.lower()
            match register.access:
                case "read":
                    members[name] = In(register.width)
                    if register.count > 1:
                        members[f"{name}_index"] = Out(range(register.count))
                case "write":
                    members[name] = Out(write_layout(register.width))
                    members[f"{name}_ready"] = In(1)
                case "read/write":
                    members[name] = Out(register.width)
                case "write 1 to clear":
                    members[name] = Out(register.width)
                    members[f"{name}_set"] = In(register.width)
        super().__init__(members)

    def elaborate(self, platform):
        m = Module()
        bus = self.bus
        # The clock before the access looks words up; the access itself only chooses.
        word, array, readable, writable = Signal(32), Signal(32), Signal(), Signal()
        is_array = Signal()
        complete = bus.strobes.all()
        write = bus.write & complete & writable
        m.d.comb += [
            bus.read_data.eq(Mux(is_array, array, word)),
            bus.error.eq(
                (bus.read & ~(readable | is_array)) | (bus.write & bus.strobes.any() & ~write)
            ),
        ]
        self._look_up_words(m, word, readable)
        m.d.sync += is_array.eq(0)
        for register in self.registers.registers:
            if self._is_array(register):
                self._look_up(m, register, is_array, array)
        with m.Switch(bus.address):
            for register in self.registers.registers:
                if register.access in ("constant", "read"):
                    continue
                with m.Case(register.address // WORD_BYTES):
                    self._write(m, register, write, writable)
        for register in self.registers.registers:
            if register.access == "write 1 to clear":
                self._clear(m, register, write)
        return m

    @staticmethod
    def _is_array(register: Register):
        return register.access == "read" and register.count > 1

    def _look_up_words(self, m, word, readable):
        """All but the arrays: they lie together at the beginning, so a tree of multiplexers is small."""
        words = {}
        for register in self.registers.registers:
            if register.access != "write" and not self._is_array(register):
                values = register.values or (getattr(self, register.name.lower()),)
                words |= {register.address // WORD_BYTES + n: v for n, v in enumerate(values)}
        size = 1 << max(words).bit_length()
        low = self.bus.address[: size.bit_length() - 1]
        m.d.sync += [
            word.eq(Array([words.get(n, 0) for n in range(size)])[low]),
            readable.eq(
                (self.bus.address < size) & Array([int(n in words) for n in range(size)])[low]
            ),
        ]

    def _look_up(self, m, register: Register, is_array, array):
        """One of the words of an array, which lies at a multiple of its size."""
        first, name = register.address // WORD_BYTES, register.name.lower()
        index = getattr(self, f"{name}_index")
        inside = (self.bus.address[len(index) :] == first >> len(index)) & (
            self.bus.address[: len(index)] < register.count
        )
        selected = Signal(name=f"{name}_selected")
        m.d.comb += index.eq(self.bus.address)
        m.d.sync += selected.eq(inside)
        with m.If(inside):
            m.d.sync += is_array.eq(1)
        with m.If(selected):
            m.d.comb += array.eq(getattr(self, name))

    def _write(self, m, register: Register, write, writable):
        """What a write to `register` does, if it is not refused."""
        name = register.name.lower()
        target = getattr(self, name)
        if register.access == "write":
            m.d.comb += [
                writable.eq(getattr(self, f"{name}_ready")),
                target.data.eq(self.bus.write_data),
                target.strobe.eq(write),
            ]
            return
        m.d.comb += writable.eq(1)
        if register.access == "read/write":
            with m.If(write):
                m.d.sync += target.eq(self.bus.write_data)

    def _clear(self, m, register: Register, write):
        """What happens in the clock in which a bit is cleared sets it again."""
        name = register.name.lower()
        value = getattr(self, name)
        here = write & (self.bus.address == register.address // WORD_BYTES)
        cleared = Mux(here, self.bus.write_data[: register.width], 0)
        m.d.sync += value.eq((value & ~cleared) | getattr(self, f"{name}_set"))

"""Phase-locked loops of the families: settings solved for two frequencies, and the primitive that gets them."""

from dataclasses import dataclass
from typing import ClassVar

from amaranth import *


def _unsolvable(input_hz, output_hz):
    return ValueError(f"the PLL cannot make {output_hz:g} Hz from {input_hz:g} Hz")


@dataclass(frozen=True, kw_only=True)
class Ice40Pll:
    """Settings of SB_PLL40: f = f_in * (divf + 1) / (2 ** divq * (divr + 1)) with simple feedback."""

    takes_pad: ClassVar[bool] = False  # the source is a pin without a buffer
    derived: ClassVar[bool] = False  # the tools constrain the output by themselves
    divr: int
    divf: int
    divq: int
    filter_range: int

    @classmethod
    def solve(cls, input_hz, output_hz):
        """Exact settings, the fastest oscillator first.

        Raises ValueError when there are none.
        """
        for divr in range(16):
            detector = input_hz / (divr + 1)
            if not 10e6 <= detector <= 133e6:
                continue
            for divf in reversed(range(128)):
                for divq in range(1, 7):
                    oscillator = detector * (divf + 1)
                    if 533e6 <= oscillator <= 1066e6 and oscillator / (1 << divq) == output_hz:
                        edges = (17e6, 26e6, 44e6, 66e6, 101e6)
                        return cls(
                            divr=divr,
                            divf=divf,
                            divq=divq,
                            filter_range=1 + sum(detector >= edge for edge in edges),
                        )
        raise _unsolvable(input_hz, output_hz)

    def instance(self, source, clock, locked):
        """The primitive: `source` in, `clock` and `locked` out."""
        pin = {"i_PACKAGEPIN": source} if self.takes_pad else {"i_REFERENCECLK": source}
        return Instance(
            "SB_PLL40_PAD" if self.takes_pad else "SB_PLL40_CORE",
            p_FEEDBACK_PATH="SIMPLE",
            p_PLLOUT_SELECT="GENCLK",
            p_DIVR=Const(self.divr, 4),
            p_DIVF=Const(self.divf, 7),
            p_DIVQ=Const(self.divq, 3),
            p_FILTER_RANGE=Const(self.filter_range, 3),
            **pin,
            i_RESETB=Const(1),
            i_BYPASS=Const(0),
            o_PLLOUTGLOBAL=clock,
            o_LOCK=locked,
        )


@dataclass(frozen=True, kw_only=True)
class Ice40PadPll(Ice40Pll):
    """The same for a crystal on the pad of the PLL, which takes the pad's input for itself: nothing else may use it."""

    takes_pad: ClassVar[bool] = True


@dataclass(frozen=True, kw_only=True)
class Ecp5Pll:
    """Settings of EHXPLLL with feedback from CLKOP: f = f_in * feedback / input, oscillator = f * output."""

    takes_pad: ClassVar[bool] = False
    derived: ClassVar[bool] = False
    input_divider: int
    feedback_divider: int
    output_divider: int
    input_hz: float
    output_hz: float

    @classmethod
    def solve(cls, input_hz, output_hz):
        """Exact settings with the oscillator near 600 MHz.

        Raises ValueError when there are none.
        """
        for input_divider in range(1, 9):  # the phase detector takes 3.125 MHz and more
            for feedback in range(1, 81):
                if input_hz / input_divider < 3.125e6:
                    continue
                if input_hz * feedback / input_divider == output_hz:
                    output = round(600e6 / output_hz)
                    if 400e6 <= output_hz * output <= 800e6 and 1 <= output <= 128:
                        return cls(
                            input_divider=input_divider,
                            feedback_divider=feedback,
                            output_divider=output,
                            input_hz=input_hz,
                            output_hz=output_hz,
                        )
        raise _unsolvable(input_hz, output_hz)

    def instance(self, source, clock, locked):
        """The primitive: `source` in, `clock` and `locked` out."""
        return Instance(
            "EHXPLLL",
            p_CLKI_DIV=self.input_divider,
            p_CLKFB_DIV=self.feedback_divider,
            p_CLKOP_DIV=self.output_divider,
            p_CLKOP_ENABLE="ENABLED",
            p_CLKOP_CPHASE=self.output_divider // 2,
            p_CLKOP_FPHASE=0,
            p_FEEDBK_PATH="CLKOP",
            p_OUTDIVIDER_MUXA="DIVA",
            p_PLLRST_ENA="DISABLED",
            p_INTFB_WAKE="DISABLED",
            p_STDBY_ENABLE="DISABLED",
            p_DPHASE_SOURCE="DISABLED",
            a_FREQUENCY_PIN_CLKI=f"{self.input_hz / 1e6:g}",
            a_FREQUENCY_PIN_CLKOP=f"{self.output_hz / 1e6:g}",
            a_ICP_CURRENT="12",
            a_LPF_RESISTOR="8",
            a_MFG_ENABLE_FILTEROPAMP="1",
            a_MFG_GMCREF_SEL="2",
            i_CLKI=source,
            i_CLKFB=clock,
            i_RST=Const(0),
            i_STDBY=Const(0),
            i_PHASESEL0=Const(0),
            i_PHASESEL1=Const(0),
            i_PHASEDIR=Const(0),
            i_PHASESTEP=Const(0),
            i_PHASELOADREG=Const(0),
            i_PLLWAKESYNC=Const(0),
            i_ENCLKOP=Const(0),
            o_CLKOP=clock,
            o_LOCK=locked,
        )


@dataclass(frozen=True, kw_only=True)
class GowinPll:
    """Settings of rPLL: f = f_in * feedback / input, oscillator = f * output; of GW2A(R)-18, the faster kind."""

    takes_pad: ClassVar[bool] = False
    derived: ClassVar[bool] = False
    input_divider: int
    feedback_divider: int
    output_divider: int
    input_hz: float

    @classmethod
    def solve(cls, input_hz, output_hz):
        """Exact settings with the fastest phase detector, and the oscillator in 500 to 1,250 MHz.

        Raises ValueError when there are none.
        """
        for input_divider in range(1, 65):
            for feedback in range(1, 65):
                if input_hz * feedback / input_divider != output_hz:
                    continue
                for output in (2, 4, 8, *range(16, 129, 16)):
                    if input_hz / input_divider >= 3e6 and 500e6 <= output_hz * output <= 1250e6:
                        return cls(
                            input_divider=input_divider,
                            feedback_divider=feedback,
                            output_divider=output,
                            input_hz=input_hz,
                        )
        raise _unsolvable(input_hz, output_hz)

    def instance(self, source, clock, locked):
        """The primitive: `source` in, `clock` and `locked` out."""
        unused = {"FBDSEL": 6, "IDSEL": 6, "ODSEL": 6, "PSDA": 4, "DUTYDA": 4, "FDLY": 4}
        return Instance(
            "rPLL",
            p_DEVICE="GW2AR-18C",
            p_FCLKIN=f"{self.input_hz / 1e6:g}",
            p_IDIV_SEL=self.input_divider - 1,
            p_FBDIV_SEL=self.feedback_divider - 1,
            p_ODIV_SEL=self.output_divider,
            p_DYN_IDIV_SEL="false",
            p_DYN_FBDIV_SEL="false",
            p_DYN_ODIV_SEL="false",
            p_DYN_DA_EN="false",
            p_DYN_SDIV_SEL=2,
            p_PSDA_SEL="0000",
            p_DUTYDA_SEL="1000",
            p_CLKOUT_FT_DIR=Const(1, 1),
            p_CLKOUTP_FT_DIR=Const(1, 1),
            p_CLKOUT_DLY_STEP=0,
            p_CLKOUTP_DLY_STEP=0,
            p_CLKFB_SEL="internal",
            p_CLKOUT_BYPASS="false",
            p_CLKOUTP_BYPASS="false",
            p_CLKOUTD_BYPASS="false",
            p_CLKOUTD_SRC="CLKOUT",
            p_CLKOUTD3_SRC="CLKOUT",
            **{f"i_{name}": Const(0, width) for name, width in unused.items()},
            i_RESET=Const(0),
            i_RESET_P=Const(0),
            i_CLKFB=Const(0),
            i_CLKIN=source,
            o_CLKOUT=clock,
            o_LOCK=locked,
        )


@dataclass(frozen=True, kw_only=True)
class XilinxMmcm:
    """Settings of MMCME2_BASE of the seventh series: f = f_in * multiplier / divider; the multiplier counts eighths."""

    takes_pad: ClassVar[bool] = False
    derived: ClassVar[bool] = True
    multiplier: float
    divider: float
    input_hz: float

    @classmethod
    def solve(cls, input_hz, output_hz):
        """Exact settings with a whole multiplier if there is one, and the oscillator up to 1,200 MHz.

        Raises ValueError when there are none.
        """
        for eighths in sorted(range(16, 513), key=lambda n: (n % 8 > 0, -n)):
            multiplier = eighths / 8
            divider = input_hz * multiplier / output_hz
            if (
                600e6 <= input_hz * multiplier <= 1200e6
                and 1 <= divider <= 128
                and divider % 1 == 0
            ):
                return cls(multiplier=multiplier, divider=divider, input_hz=input_hz)
        raise _unsolvable(input_hz, output_hz)

    def instance(self, source, clock, locked):
        """The primitive and the global buffer behind it: `source` in, `clock` and `locked` out."""
        m = Module()
        feedback, output = Signal(), Signal()
        m.submodules.mmcm = Instance(
            "MMCME2_BASE",
            p_CLKIN1_PERIOD=1e9 / self.input_hz,
            p_DIVCLK_DIVIDE=1,
            p_CLKFBOUT_MULT_F=self.multiplier,
            p_CLKOUT0_DIVIDE_F=self.divider,
            i_CLKIN1=source,
            i_CLKFBIN=feedback,
            i_PWRDWN=Const(0),
            i_RST=Const(0),
            o_CLKFBOUT=feedback,
            o_CLKOUT0=output,
            o_LOCKED=locked,
        )
        m.submodules.buffer = Instance("BUFG", i_I=output, o_O=clock)
        return m

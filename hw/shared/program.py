"""A schedule as the shared engine's program: where maps lie, and one record of loop bounds and addresses a step."""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from amaranth.hdl import *
from amaranth.lib import data
from amaranth.utils import bits_for

from sw.network import INPUT, Coding, NetworkError
from sw.schedule import Schedule, Step
from sw.terms import Term

from ..geometry import Geometry
from ..spike import score_layout
from .maps import place_maps
from .packing import pack, rows_of
from .views import Exponents, Reading, flat_geometry


@dataclass(frozen=True, eq=False)
class Program:
    """Everything that the rooms of the shared engine are built from.

    Parameters
        schedule: what to compute
        weight_depth: words of P weights that the buffer holds; None takes twice the largest group, so that a group
            can come in while the one before is used
        stream_width: bits of a beat of the weight stream: 8, 16, 32, or a multiple of 64

    Raises NetworkError for a buffer that is smaller than the largest group, or another width.
    """

    schedule: Schedule
    weight_depth: int
    stream_width: int

    @classmethod
    def of(
        cls, schedule: Schedule, *, weight_depth: int | None = None, stream_width: int = 64
    ) -> "Program":
        largest = schedule.largest_group
        depth = 2 * largest if weight_depth is None else weight_depth
        if depth < largest:
            lanes = schedule.sharing.lanes
            raise NetworkError(
                f"a buffer of {depth} words of {lanes} weights is too small for the {largest} that one group of "
                "output channels needs; give it that many, or use a network with fewer inputs a window"
            )
        if stream_width not in (8, 16, 32) and (stream_width < 64 or stream_width % 64):
            raise NetworkError(
                f"the weight stream has 8, 16, 32 or a multiple of 64 bits, not {stream_width}"
            )
        return cls(schedule, depth, stream_width)

    # ----------------------------------------------------------------------------------------------------- widths

    @property
    def steps(self) -> tuple[Step, ...]:
        return self.schedule.steps

    @cached_property
    def weight_width(self) -> int:
        return max(step.weight_width for step in self.steps)

    @cached_property
    def accumulator_width(self) -> int:
        return max(step.accumulator_width for step in self.steps)

    @cached_property
    def potential_width(self) -> int:
        return max(step.potential_width for step in self.steps)

    @cached_property
    def threshold_width(self) -> int:
        return max(
            (int(step.threshold.max()).bit_length() for step in self.steps if step.threshold is not None),
            default=1,
        )  # fmt: skip

    @property
    def score_layout(self) -> data.StructLayout:
        return score_layout(self.potential_width, self.schedule.network.class_count)

    @property
    def value_shape(self) -> Shape:
        return unsigned(self.schedule.value_width)

    @property
    def timesteps(self) -> int:
        return self.schedule.network.timesteps

    @property
    def carries(self) -> bool:
        """Some potentials last to the next timestep."""
        return any(step.carries for step in self.steps)

    @cached_property
    def block_beats(self) -> int:
        """Beats of F neurons between two timesteps of a neuron, at most: words of the memory of potentials."""
        return self.schedule.sharing.minimum_pass * max(
            step.pool[0] * step.pool[1] for step in self.steps
        )

    @cached_property
    def leaks(self) -> list[tuple[str, int]]:
        """Leaks that occur, as (leak, leak_shift) of a neuron."""
        neurons = [step.neuron for step in self.steps if step.carries and step.neuron is not None]
        return sorted({("none", 0)} | {(neuron.leak, neuron.leak_shift) for neuron in neurons})

    @cached_property
    def readings(self) -> list[Reading]:
        """Those that occur."""
        found = {self._reading(term) for step in self.steps for term in step.terms}
        return sorted(found, key=lambda r: (r.is_input, r.diagonal, r.shift))

    def _reading(self, term: Term) -> Reading:
        return Reading(term.source == INPUT, term.shift, term.diagonal)

    @cached_property
    def number_width(self) -> int:
        """Bits of the number of a word within the window of an output position."""
        return bits_for(max(self.schedule.numbers(step)[-1] for step in self.steps) - 1)

    @cached_property
    def row_count(self) -> int:
        """Words of weights of the largest group."""
        return self.schedule.largest_group

    @cached_property
    def scan_geometry(self) -> Geometry:
        """The scanner's view: a flat window of numbered words; above the number stands the reading."""
        sharing, width = self.schedule.sharing, self.schedule.value_width
        words = 1 << self.number_width + bits_for(len(self.readings) - 1)
        coding = Coding(kind="multi-level", levels=(1 << width) - 1)
        return flat_geometry(sharing, coding, words * sharing.word_codes)

    @cached_property
    def lane_geometry(self) -> Geometry:
        """The lanes' view: one group of P channels, and every word of the weight buffer."""
        input_width = self.schedule.network.input_coding.max_value.bit_length()
        exponents = max(
            reading.shift + (input_width if reading.is_input else self.schedule.value_width)
            for reading in self.readings
        )
        return flat_geometry(self.schedule.sharing, Exponents(exponents), self.weight_depth)

    # ------------------------------------------------------------------------------------------------------- maps

    @cached_property
    def places(self) -> dict[int, tuple[int, int]]:
        """First word of every stored map, and the one behind it."""
        return place_maps(self.schedule)

    @property
    def map_depth(self) -> int:
        """Words of the memory of maps."""
        return max(end for _, end in self.places.values())

    # ---------------------------------------------------------------------------------------------------- records

    @cached_property
    def records(self) -> list[dict[str, Any]]:
        """One record a step; names ending in `last` are counts less one."""
        readers = [
            n for n, step in enumerate(self.steps) if any(t.source == INPUT for t in step.terms)
        ]
        records = []
        for number, step in enumerate(self.steps):
            scores, area = step.coding is None, step.pool[0] * step.pool[1]
            out_words = 0 if scores else self.schedule.words(step.stored, step.channels)
            record = {
                "group_last": self.schedule.groups(step) - 1,
                "pass_last": step.passes - 1,
                "block_y_last": step.map[0] - 1,
                "block_x_last": step.map[1] - 1,
                "block_last": step.map[0] * step.map[1] - 1,
                "pool_y_last": step.pool[0] - 1,
                "pool_x_last": step.pool[1] - 1,
                "sub_last": area - 1,
                "term_last": len(step.terms) - 1,
                "rows": self.schedule.rows(step),
                "rest": (step.channels - 1) % self.schedule.sharing.lanes + 1,
                "scores": int(scores),
                "limit": 0 if step.coding is None else step.coding.max_value,
                "one_hot": int(step.coding is not None and step.coding.kind == "one-hot"),
                "out_base": 0 if scores else self.places[step.stored][0],
                "out_words": out_words,
                "out_frame": step.map[0] * step.map[1] * out_words,
                "awaits_input": int(number == readers[0]),
                "frees_input": int(number == readers[-1]),
            }
            if self.carries:
                record |= self._carry(step)
            numbers = self.schedule.numbers(step)
            for n in range(self.term_count):
                at = min(n, len(step.terms) - 1)
                fields = self._term(step, step.terms[at]) | {"first": numbers[at]}
                record |= {f"{name}_{n}": value for name, value in fields.items()}
            records.append(record)
        return records

    def _carry(self, step: Step) -> dict[str, int]:
        """How potentials of a step last to the next timestep."""
        neuron = step.neuron
        leak = ("none", 0) if neuron is None else (neuron.leak, neuron.leak_shift)
        return {
            "carries": int(step.carries),
            "block_beats": self.schedule.sharing.minimum_pass * step.pool[0] * step.pool[1],
            "leak": self.leaks.index(leak) if step.carries else 0,
            "open": int(neuron is not None and neuron.boundary == "open"),
            "hard": int(neuron is not None and neuron.reset == "hard"),
        }

    def _term(self, step: Step, term: Term) -> dict[str, int]:
        c, h, w = term.shape
        words, run = self.schedule.words(term.source, c), self.schedule.group_words(term)
        stride, padding = (
            tuple(x * a for x, a in zip(pair, term.average, strict=True))
            for pair in (term.stride, term.padding)
        )
        return {
            "base": self.places[term.source][0],
            "reading": self.readings.index(self._reading(term)),
            "diagonal": int(term.diagonal),
            "height": h,
            "width": w,
            "words": words,
            "run_last": run - 1,
            "rest_last": words - (self.schedule.groups(step) - 1) * run - 1
            if term.diagonal
            else words - 1,
            "pitch": w * words,
            "frame": h * w * words,
            "stride_y": stride[0],
            "stride_x": stride[1],
            "padding_y": padding[0],
            "padding_x": padding[1],
            "kernel_y_last": term.kernel[0] - 1,
            "kernel_x_last": term.kernel[1] - 1,
            "average_y_last": term.average[0] - 1,
            "average_x_last": term.average[1] - 1,
        }

    @cached_property
    def layout(self) -> data.StructLayout:
        """Of a record; no field is wider than its largest value, and those of all terms are as wide."""
        widths: dict[str, int] = {}
        for record in self.records:
            for name, value in record.items():
                widths[name] = max(widths.get(name, 1), value.bit_length())
        for name in self.term_fields:
            every = [f"{name}_{n}" for n in range(self.term_count)]
            widths |= dict.fromkeys(every, max(widths[field] for field in every))
        return data.StructLayout({name: unsigned(width) for name, width in widths.items()})

    @property
    def term_count(self) -> int:
        """Terms of a record."""
        return max(len(step.terms) for step in self.steps)

    @property
    def term_fields(self) -> list[str]:
        """Names of a term's fields, without its number."""
        return [*self._term(self.steps[0], self.steps[0].terms[0]), "first"]

    @cached_property
    def coordinate_width(self) -> int:
        """Bits of a signed row or column, on the map or beside it."""
        reach = 0
        for term in (term for step in self.steps for term in step.terms):
            for n in (0, 1):
                size = (term.kernel[n] + 2 * term.padding[n]) * term.average[n] + term.shape[1 + n]
                reach = max(reach, size + term.stride[n] * term.average[n])
        return reach.bit_length() + 1

    # ----------------------------------------------------------------------------------------- weights and constants

    @property
    def weight_widths(self) -> list[int]:
        """Widths of weights that occur."""
        return sorted({step.weight_width for step in self.steps})

    def beats(self, width: int) -> int:
        """Beats of the stream that bring one word of P weights of `width` bits."""
        return -(-self.schedule.sharing.lanes * width // self.stream_width)

    @property
    def streamed_beats(self) -> int:
        """Beats of the stream in an image."""
        return sum(
            self.schedule.groups(step) * self.schedule.rows(step) * self.beats(step.weight_width)
            for step in self.steps
        )

    def weight_stream(self) -> np.ndarray:
        """What the weight stream brings for every image, uint8 (beats, bytes of a beat), low byte first.

        Step, group, term, kernel row, kernel column, input channel, lane; channels and lanes that are not there are
        zeros, and a word begins with a new beat.  A diagonal term has only its group's input channels.
        """
        parts = []
        for step in self.steps:
            words = rows_of(self.schedule, step).reshape(-1, self.schedule.sharing.lanes)
            beats = self.beats(step.weight_width)
            parts.append(pack(words, step.weight_width, beats, self.stream_width))
        return np.concatenate(parts)

    @cached_property
    def constants(self) -> list[dict[str, int]]:
        """Bias and threshold of every channel in the order of firing; absent channels never fire."""
        lanes, constants = self.schedule.sharing.lanes, []
        for step in self.steps:
            silent = -1 if step.neuron is not None and step.neuron.boundary == "open" else 0
            for channel in range(self.schedule.groups(step) * lanes):
                there = channel < step.channels
                theta = 1 if step.threshold is None or not there else int(step.threshold[channel])
                bias = int(step.bias[channel]) if there else silent
                constants.append({"bias": bias, "threshold": theta})
        return constants

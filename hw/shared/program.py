"""A schedule as the shared engine's program: where maps lie, and one record of loop bounds and addresses a step."""

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
from amaranth.hdl import *
from amaranth.lib import data
from amaranth.utils import bits_for

from sw.folding import Folding
from sw.network import INPUT, Coding, NetworkError
from sw.schedule import Schedule, Step, Term

from ..geometry import Geometry
from ..spike import score_layout


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

    @cached_property
    def index_count(self) -> int:
        """Words of values that the window of an output position has, at most."""
        return max(self._indices(step) for step in self.steps)

    @cached_property
    def row_count(self) -> int:
        """Words of weights of the largest group."""
        return self.schedule.largest_group

    def _indices(self, step: Step) -> int:
        return sum(
            term.kernel[0] * term.kernel[1] * self.schedule.words(term.source, term.shape[0])
            for term in step.terms
        )

    @cached_property
    def scan_geometry(self) -> Geometry:
        """The scanner's view: a flat window of numbered words.  Numbers of the upper half are words of the input."""
        sharing = self.schedule.sharing
        words = 2 << bits_for(self.index_count - 1)
        return self._flat(self.schedule.value_width, words * sharing.word_codes)

    @cached_property
    def lane_geometry(self) -> Geometry:
        """The lanes' view: one group of P channels, and every word of the weight buffer."""
        bits = self.schedule.network.input_coding.max_value.bit_length()
        return self._flat(max(self.schedule.value_width, bits), self.weight_depth)

    def _flat(self, exponents: int, codes: int) -> Geometry:
        sharing, network = self.schedule.sharing, self.schedule.network
        one, folding = (1, 1), Folding(lanes=sharing.lanes, fire_units=sharing.fire_units)
        return replace(
            Geometry.of(network, (folding,) * len(network.layers), 0),
            coding=Coding(kind="multi-level", levels=(1 << exponents) - 1),
            word=sharing.word_codes,
            pixel=codes,
            window=one,
            average=one,
            kernel=one,
            channels=sharing.lanes,
            groups=1,
            minimum_pass=sharing.minimum_pass,
        )

    # ------------------------------------------------------------------------------------------------------- maps

    @cached_property
    def bases(self) -> dict[int, int]:
        """Address of every stored map.  The input keeps its place; a layer's map takes the first one that is free."""
        read = {INPUT: len(self.steps)}  # the next image may arrive at any time
        for number, step in enumerate(self.steps):
            read |= {term.source: number for term in step.terms if term.source != INPUT}
        places = {INPUT: (0, self._size(INPUT))}
        for number, step in enumerate(self.steps[:-1]):
            live = sorted(places[source] for source in places if read[source] >= number)
            base, size = 0, self._size(step.stored)
            for low, high in live:
                if base + size <= low:
                    break
                base = max(base, high)
            places[step.stored] = (base, base + size)
        return {source: low for source, (low, _) in places.items()}

    @cached_property
    def map_depth(self) -> int:
        """Words of the memory of maps."""
        return max(base + self._size(source) for source, base in self.bases.items())

    def _size(self, source: int) -> int:
        c, h, w = self._shape(source)
        return h * w * self.schedule.words(source, c)

    def _shape(self, source: int) -> tuple[int, int, int]:
        if source == INPUT:
            return self.schedule.input_shape
        return self.schedule.network.shapes[source + 1]

    # ---------------------------------------------------------------------------------------------------- records

    @cached_property
    def records(self) -> list[dict[str, Any]]:
        """One record a step; names ending in `last` are counts less one."""
        readers = [
            n for n, step in enumerate(self.steps) if any(t.source == INPUT for t in step.terms)
        ]
        terms = max(len(step.terms) for step in self.steps)
        records = []
        for number, step in enumerate(self.steps):
            scores = step.coding is None
            record = {
                "group_last": self.schedule.groups(step) - 1,
                "pass_last": step.passes - 1,
                "block_y_last": step.map[0] - 1,
                "block_x_last": step.map[1] - 1,
                "block_last": step.map[0] * step.map[1] - 1,
                "pool_y_last": step.pool[0] - 1,
                "pool_x_last": step.pool[1] - 1,
                "sub_last": step.pool[0] * step.pool[1] - 1,
                "term_last": len(step.terms) - 1,
                "rows": self.schedule.rows(step),
                "rest": (step.channels - 1) % self.schedule.sharing.lanes + 1,
                "scores": int(scores),
                "limit": 0 if step.coding is None else step.coding.max_value,
                "one_hot": int(step.coding is not None and step.coding.kind == "one-hot"),
                "out_base": 0 if scores else self.bases[step.stored],
                "out_words": 0 if scores else self.schedule.words(step.stored, step.channels),
                "awaits_input": int(number == readers[0]),
                "frees_input": int(number == readers[-1]),
            }
            for n in range(terms):
                term = step.terms[min(n, len(step.terms) - 1)]
                record |= {f"{name}_{n}": value for name, value in self._term(term).items()}
            records.append(record)
        return records

    def _term(self, term: Term) -> dict[str, int]:
        c, h, w = term.shape
        words = self.schedule.words(term.source, c)
        stride, padding = (
            tuple(x * a for x, a in zip(pair, term.average, strict=True))
            for pair in (term.stride, term.padding)
        )
        return {
            "base": self.bases[term.source],
            "is_input": int(term.source == INPUT),
            "height": h,
            "width": w,
            "words": words,
            "pitch": w * words,
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
        """Of a record; no field is wider than its largest value."""
        widths = {
            name: max(1, max(record[name].bit_length() for record in self.records))
            for name in self.records[0]
        }
        return data.StructLayout({name: unsigned(width) for name, width in widths.items()})

    @property
    def term_count(self) -> int:
        """Terms of a record."""
        return max(len(step.terms) for step in self.steps)

    @property
    def term_fields(self) -> list[str]:
        """Names of a term's fields, without its number."""
        return list(self._term(self.steps[0].terms[0]))

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
        zeros, and a word begins with a new beat.
        """
        lanes, beats = self.schedule.sharing.lanes, []
        for step in self.steps:
            rows = []
            for term in step.terms:
                c = term.shape[0]
                padding = (
                    self.schedule.words(term.source, c) * self.schedule.word_rows(term.source) - c
                )
                columns = term.weights.transpose(0, 2, 3, 1)
                columns = np.pad(columns, ((0, 0), (0, 0), (0, 0), (0, padding)))
                rows.append(columns.reshape(len(columns), -1))
            matrix = np.concatenate(rows, 1)
            absent = self.schedule.groups(step) * lanes - step.channels
            grouped = np.pad(matrix, ((0, absent), (0, 0))).reshape(-1, lanes, matrix.shape[1])
            words = grouped.transpose(0, 2, 1).reshape(-1, lanes, 1).astype(np.uint8)
            bits = np.unpackbits(words, axis=2, bitorder="little")[:, :, : step.weight_width]
            bits = bits.reshape(len(words), -1)
            size = self.beats(step.weight_width) * self.stream_width
            bits = np.pad(bits, ((0, 0), (0, size - bits.shape[1])))
            packed = np.packbits(bits, axis=1, bitorder="little")
            beats.append(packed.reshape(-1, self.stream_width // 8))
        return np.concatenate(beats)

    @cached_property
    def constants(self) -> list[dict[str, int]]:
        """Bias and threshold of every channel in the order of firing; absent channels never fire."""
        lanes, constants = self.schedule.sharing.lanes, []
        for step in self.steps:
            for channel in range(self.schedule.groups(step) * lanes):
                there = channel < step.channels
                theta = 1 if step.threshold is None or not there else int(step.threshold[channel])
                bias = int(step.bias[channel]) if there else 0
                constants.append({"bias": bias, "threshold": theta})
        return constants

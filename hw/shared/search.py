"""Chooses the size of a shared engine: of all that a device holds, by estimated cost, the one with the fewest clocks.

For boards, which ask `pipeline_fits` first: a pipeline of all layers needs no weights from outside and is faster.
"""

from collections.abc import Iterable
from dataclasses import asdict

import numpy as np

from sw.network import INPUT, Network, NetworkError
from sw.schedule import Schedule, Sharing, Step

from ..costs import COUNTER_LUTS, FITS, Cost, constant_blocks, variable_blocks
from ..search import PIXEL_EVENTS, SPIKE_EVENTS, Search, Target, estimate_events
from .program import Program

LANES = (4, 8, 16, 24, 32, 48, 64, 96, 128)
FIRE_UNITS = (1, 2, 4)
DEPTHS = (2.0, 1.5, 1.25, 1.0)  # of the buffer, in largest groups
BASE_LUTS = 1300  # of everything that does not grow with the lanes


def pipeline_fits(network: Network, target: Target) -> bool:
    """Whether a pipeline of all layers, with its weights on the chip, fits `target` with the fewest lanes."""
    try:
        Search(network, target, estimate_events(network)).fastest()
    except NetworkError:
        return False
    return True


def choose(
    network: Network, target: Target, *, lanes: int | None = None, stream_width: int = 64
) -> Program:
    """The program of the fastest shared engine that fits `target`, by average activity.

    lanes: just so many; None searches.  stream_width: bits a clock that the source of the weights brings.
    Raises NetworkError when nothing fits, or for a network that the engine cannot run.
    """
    best: tuple[float, int] | None = None
    found: Program | None = None
    smallest: Cost | None = None
    for program in _candidates(network, LANES if lanes is None else (lanes,), stream_width):
        cost = program_cost(program, target.family, counters=target.counters)
        if smallest is None or cost.luts + cost.blocks < smallest.luts + smallest.blocks:
            smallest = cost
        if not cost.fits(target.limit):
            continue
        rank = estimated_clocks(program), cost.luts
        if best is None or rank < best:
            best, found = rank, program
    if found is None:
        assert smallest is not None
        raise NetworkError(
            f"even the smallest shared engine needs about {_overflow(smallest, target.limit)} of the {target.name}; "
            "use a smaller network or a larger board"
        )
    return found


def _candidates(network: Network, lanes: Iterable[int], stream_width: int) -> Iterable[Program]:
    """Programs of every size that suits the network.  Raises NetworkError when there is none."""
    refusal: NetworkError | None = None
    suits = False
    for count in lanes:
        for units in FIRE_UNITS:
            try:
                schedule = Schedule(network, Sharing.of(count, units))
                depths = {int(factor * schedule.largest_group) for factor in DEPTHS}
                programs = [
                    Program.of(schedule, weight_depth=depth, stream_width=stream_width)
                    for depth in depths
                ]
            except NetworkError as error:
                refusal = refusal or error
                continue
            suits = True
            yield from programs
    if not suits and refusal is not None:
        raise refusal


def program_cost(program: Program, family: str, *, counters: bool = False) -> Cost:
    """LUTs and block RAMs of the whole engine; LUTs are a fit to synthesis, which has the last word."""
    sharing, schedule = program.schedule.sharing, program.schedule
    lanes, units, width = sharing.lanes, sharing.fire_units, schedule.value_width
    exponents = program.lane_geometry.coding.exponent_count
    potentials = program.block_beats if program.carries else 0
    counts = FITS[family]
    luts = BASE_LUTS + counts["lane bit"] * lanes * program.accumulator_width
    luts += counts["shift bit"] * lanes * (exponents - 1) * (program.weight_width + exponents - 1)
    luts += counts["fire bit"] * units * (width + 1) * program.potential_width
    luts += counts["code bit"] * sharing.word_codes * width
    constants = sum(schedule.groups(step) for step in schedule.steps) * sharing.minimum_pass
    channel_bits = program.potential_width + program.threshold_width
    blocks = (
        variable_blocks(family, program.map_depth, sharing.word_codes * width + 1)
        + variable_blocks(family, program.weight_depth, lanes * program.weight_width)
        + variable_blocks(family, potentials, units * program.potential_width)
        + constant_blocks(family, constants, units * channel_bits)
    )
    return Cost(round(luts) + COUNTER_LUTS * counters, blocks)


def estimated_clocks(program: Program) -> float:
    """Clocks between images of average activity, the weights streamed as they are needed."""
    schedule = program.schedule
    work = np.array([[_slots(schedule, step) for step in schedule.steps]] * 2, np.int64)
    beats = [program.beats(step.weight_width) for step in schedule.steps]
    return float(np.diff(schedule.forecast(work, depth=program.weight_depth, beats=beats))[0])


def _slots(schedule: Schedule, step: Step) -> int:
    events = 0.0
    for term in step.terms:
        channels = min(term.shape[0], schedule.sharing.lanes) if term.diagonal else term.shape[0]
        codes = channels * np.prod(term.kernel) * np.prod(term.average)
        events += codes * (PIXEL_EVENTS if term.source == INPUT else SPIKE_EVENTS)
    return schedule.groups(step) * step.passes * max(schedule.sharing.minimum_pass, round(events))


def _overflow(cost: Cost, limit: Cost) -> str:
    """What of `cost` exceeds `limit`, in words."""
    names = {"luts": "LUTs", "blocks": "block RAMs"}
    return " and ".join(
        f"{asdict(cost)[kind]:,} {name} where there are {asdict(limit)[kind]:,}"
        for kind, name in names.items()
        if asdict(cost)[kind] > asdict(limit)[kind]
    )

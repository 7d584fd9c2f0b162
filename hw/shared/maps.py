"""Where the maps lie: each from the step that stores it to the last one that reads it."""

from sw.network import INPUT
from sw.schedule import Schedule


def place_maps(schedule: Schedule) -> dict[int, tuple[int, int]]:
    """First word of the map of every layer, all its timesteps, and the word behind it.

    The input keeps its place, as the next image may arrive at any time; a layer's map takes the first place that is
    free while it is stored.
    """
    shapes, timesteps = schedule.network.shapes, schedule.network.timesteps

    def size(source: int) -> int:
        c, h, w = schedule.input_shape if source == INPUT else shapes[source + 1]
        return timesteps * h * w * schedule.words(source, c)

    last_reader = {}
    for number, step in enumerate(schedule.steps):
        last_reader |= {term.source: number for term in step.terms}
    last_reader[INPUT] = len(schedule.steps)
    places = {INPUT: (0, size(INPUT))}
    for number, step in enumerate(schedule.steps[:-1]):
        needed, base = size(step.stored), 0
        live = sorted(place for source, place in places.items() if last_reader[source] >= number)
        for low, high in live:
            if base + needed <= low:
                break
            base = max(base, high)
        places[step.stored] = (base, base + needed)
    return places

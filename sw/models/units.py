"""Folding of graphs: what integers are worth, and which of them have to be worth the same.

A folded network computes with integers, each of which stands for a number times a unit.  A spike's unit is 1, a pixel's
the input scale; an average of spikes is sent as their sum, so its unit has the division.  A current's unit is the
layer's own, a number per channel, in which its bias and threshold are rounded; but currents that are added must have
the same, and so the layers that a chain of joins connects form a group with one unit.  Sums of pixels have a unit finer
by so much that the weights of one unit would have no bits left; where their ratio is known to be a whole number, the
join multiplies the coarser currents with it.
"""

from collections.abc import Sequence

from sw.models.layer_spec import INPUT, LayerSpec

Graph = tuple[tuple[LayerSpec, tuple[int, ...]], ...]  # every layer with the indices of its sources
MOST_LEVELS = 255  # of a code, see sw.network.Coding


def code_units(graph: Graph, input_scale: float) -> tuple[float | None, ...]:
    """Unit of what each layer sends, None for currents and scores."""
    found: list[float | None] = []
    for layer, sources in graph:
        if layer.neuron is not None:
            found.append(1.0)
            continue
        before = {input_scale if source == INPUT else found[source] for source in sources}
        unit = before.pop()
        if layer.weighted or before or unit is None:
            found.append(None)
        else:
            found.append(unit / layer.average**2)
    return tuple(found)


def current_groups(graph: Graph, units: Sequence[float | None]) -> tuple[int | None, ...]:
    """Number of the group of each layer that sends currents, or adds them; None for all others."""
    groups: list[int | None] = []
    for index, (layer, sources) in enumerate(graph):
        joined = {groups[s] for s in sources if s != INPUT and units[s] is None}
        if layer.weighted:
            groups.append(index if layer.neuron is None and index < len(graph) - 1 else None)
        elif joined:
            groups = [index if group in joined else group for group in groups]
            groups.append(index)
        else:
            groups.append(None)
    return tuple(groups)


def current_ratios(
    graph: Graph, units: Sequence[float | None], groups: Sequence[int | None], input_scale: float
) -> tuple[int, ...]:
    """How many units of its group one unit of a layer's currents is: the ratio of the inputs' units; 1 for others."""
    inputs = [
        (input_scale if source == INPUT else units[source] or 1.0) / layer.average**2
        for layer, (source, *_) in graph
    ]
    finest: dict[int | None, float] = {}
    for (layer, _), group, unit in zip(graph, groups, inputs, strict=True):
        if layer.weighted:
            finest[group] = min(unit, finest.get(group, unit))
    return tuple(
        round(unit / finest[group]) if layer.weighted and group is not None else 1
        for (layer, _), group, unit in zip(graph, groups, inputs, strict=True)
    )


def unfoldable(
    graph: Graph, units: Sequence[float | None], input_scale: float, largest_input: int
) -> str:
    """Why this graph cannot be computed in integers, one sentence, or ""."""
    highest: list[int] = []  # value of what each layer sends
    for index, (layer, sources) in enumerate(graph):
        before = [input_scale if source == INPUT else units[source] for source in sources]
        reason = _reason(layer, before, last=index == len(graph) - 1)
        if not reason and layer.neuron is None and units[index] is not None:
            sums = sum(largest_input if s == INPUT else highest[s] for s in sources)
            highest.append(sums * layer.average**2)
            if highest[-1] > MOST_LEVELS:
                reason = f"its sums of spikes reach {highest[-1]}, more than {MOST_LEVELS}"
        elif not reason:
            values = layer.neuron.values if layer.neuron is not None else None
            highest.append(values[-1] if values else 0)
        if reason:
            return f"layer {index} ({layer.kind}): {reason}"
    return ""


def _reason(layer: LayerSpec, before: Sequence[float | None], *, last: bool) -> str:
    """before: units of the sources of a layer, None for those that send currents."""
    neuron, adds_currents = layer.neuron, None in before
    if neuron is not None and not neuron.foldable:
        return f"its {neuron.kind} neurons cannot be computed in integers as they are set"
    if layer.pool_kernel:
        return "its pooling windows overlap"
    if layer.pool > 1 and neuron is None and (layer.weighted or adds_currents):
        return "it pools currents"
    if layer.weighted:
        if layer.bits is None:
            return "its weights are not quantised; give it bits"
        if adds_currents:
            return "it reads currents, which only a join can"
        if neuron is not None and neuron.kind == "barrier":
            return "only a join has a barrier"
        if last and layer.norm:
            return "the readout has batch norm"
        if neuron is None and layer.kind == "dense" and not last:
            return "a dense layer without a neuron is the readout, and so the last"
        return ""
    if layer.average > 1 and (neuron is not None or adds_currents):
        return "it averages currents"
    if adds_currents:
        return ""
    if len(set(before)) > 1:
        return "it adds spikes to averages of spikes"
    if neuron is not None and neuron.kind != "barrier":
        return "it adds nothing but spikes, which only a barrier neuron can take"
    return ""

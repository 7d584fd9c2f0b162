"""Layers proven alone: every kind of layer, differences found and named, results that are found again and only then."""

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import graphs
import support
from sim import layers
from sim.alone import LayerModel
from sim.beats import field, pack, unpack
from sim.compare import MismatchError
from sim.jobs import ROOT, SOURCES, Proof, plan
from sim.verilator import SimulationError
from sw import golden

SHIPPED = Path(__file__).resolve().parent.parent / "networks" / "mnist-perceptron.npz"


@pytest.mark.cosim
@pytest.mark.parametrize(
    ("name", "index"), [("pooled", 0), ("pooled", 1), ("temporal", 0), ("temporal", -1)]
)
def test_layer_equals_golden(name: str, index: int, tmp_path: Path) -> None:
    """A convolution, a pool, potentials, and the readout of several timesteps, on the streams that they meet."""
    network, foldings = support.configuration(name)
    index %= len(network.layers)
    frames = support.images(np.random.default_rng(1), network, 10)
    trace = golden.run(network, frames, foldings)
    model = LayerModel.build(network, foldings, index, tmp_path)
    for pause in (0.0, 0.5):
        measured = model.check(frames, trace, seed=5, pause=pause)
        codes = trace.layers[index].codes
        assert measured.values == (trace.scores if codes is None else codes).size
        assert measured.counters["clocks"] == trace.layers[index].counters["clocks"].sum()
        assert measured.clocks > measured.counters["clocks"] // 2

    # A golden model that says something else is contradicted at the right place.
    layer = trace.layers[index]
    if layer.codes is not None:
        codes = layer.codes.copy()
        codes[3, 0, 1, 0, 0] ^= 1
        wrong = replace(layer, codes=codes)
        at = rf"image 7, layer {index} \(\w+\), spike 1 of its stream \(step 0, row 0, column 0, channel 1\): "
        said = f"{at}expected {codes[3, 0, 1, 0, 0]}, got {layer.codes[3, 0, 1, 0, 0]}$"
        with pytest.raises(MismatchError, match=said):
            model.check(frames, _with(trace, index, wrong), first_image=4)
    else:
        scores = trace.scores.copy()
        scores[2, 1] += 1
        with pytest.raises(MismatchError, match=r"^image 2, score of class 1: expected beat 0x"):
            model.check(frames, replace(trace, scores=scores))
    counters = {name: values + (name == "spike_reads") for name, values in layer.counters.items()}
    wrong = replace(layer, counters=counters)
    with pytest.raises(MismatchError, match=rf"^image 0, layer {index} .*counter spike_reads: "):
        model.check(frames, _with(trace, index, wrong))
    if index:  # what never comes is a stall
        more = np.concatenate([frames, frames[:1]])
        with pytest.raises(SimulationError, match=rf"^layer {index} .* stalled in image 0 to 10: "):
            model.check(more, trace)


@pytest.mark.cosim
def test_joins_and_currents(tmp_path: Path) -> None:
    """A join of several sources and a convolution that sends currents; a wrong current is named."""
    network = graphs.mixed()
    foldings = graphs.random_foldings(1, network)
    frames = support.images(np.random.default_rng(1), network, 4)
    trace = golden.run(network, frames, foldings)
    kinds = [layer.kind for layer in network.layers]
    sender = next(n for n, layer in enumerate(trace.layers) if layer.currents is not None)
    for index in {kinds.index("join"), sender}:
        model = LayerModel.build(network, foldings, index, tmp_path / str(index))
        assert len(model.device.interface.inputs) == len(network.sources(index))
        model.check(frames, trace, seed=2, pause=0.4)
    model = LayerModel.build(network, foldings, sender, tmp_path / "again")
    layer = trace.layers[sender]
    currents = layer.currents.copy()
    currents[2, 0, 0, 0, 0] -= 1
    wrong = _with(trace, sender, replace(layer, currents=currents))
    at = rf"image 2, layer {sender} \(\w+\), current 0 of its stream \(step 0, row 0, column 0, channel 0\): "
    said = f"^{at}expected {currents[2, 0, 0, 0, 0]}, got {layer.currents[2, 0, 0, 0, 0]}$"
    with pytest.raises(MismatchError, match=said):
        model.check(frames, wrong)


def _with(trace: golden.Trace, index: int, layer: golden.LayerTrace) -> golden.Trace:
    return replace(trace, layers=(*trace.layers[:index], layer, *trace.layers[index + 1 :]))


@pytest.mark.parametrize(("fields", "width"), [(1, 1), (3, 5), (16, 3), (5, 8), (1, 33), (7, 23)])
def test_beats(fields: int, width: int) -> None:
    """Packing puts field n at bit n * width, as a Python integer would, and unpacking undoes it."""
    rng = np.random.default_rng(2)
    values = rng.integers(-(1 << (width - 1)), 1 << (width - 1), (9, fields))
    beats = pack(values, width)
    for row, beat in zip(values.tolist(), beats.tolist(), strict=True):
        expected = sum((value & (1 << width) - 1) << n * width for n, value in enumerate(row))
        assert sum(word << 32 * n for n, word in enumerate(beat)) == expected
    assert (unpack(beats, fields, width, signed=True) == values).all()
    assert (unpack(beats, fields, width) == values & (1 << width) - 1).all()
    for n in range(fields):
        assert (field(beats, n * width, width, signed=True) == values[:, n]).all()


def _proof(folder: Path, **changes) -> Proof:
    defaults = {
        "path": SHIPPED,
        "digest": "d",
        "data": None,
        "foldings": (support.folded(),),
        "images": 7,
        "pause": 0.1,
        "seed": 1,
        "output": folder,
    }
    return Proof(**(defaults | changes))


def test_results_are_bound_to_what_makes_and_judges_the_hardware() -> None:
    """Every module of ours behind the layers' hardware and the golden model is in the digest of a result."""
    program = (
        "import sys, hw.single, sw.golden\n"
        "print(*(m.__file__ for n, m in sys.modules.items() if n[:3] in ('sw.', 'hw.')))"
    )
    said = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True
    )
    digested = {path for pattern in SOURCES for path in ROOT.glob(pattern)}
    missing = {Path(file) for file in said.stdout.split()} - digested
    # These only write files and messages, and predict clocks to choose lanes, which are in the digest themselves.
    harmless = ("files.py", "command.py", "clocks.py", "stages.py")
    assert missing <= {ROOT / "sw" / name for name in harmless}


def test_plan_and_stored_results(tmp_path: Path) -> None:
    """Ranges cover all images once; a result holds for the same network, foldings and pauses only."""
    proof = _proof(tmp_path)
    jobs = plan(proof, (0, 2), 3)
    assert [(job.index, job.first, job.count) for job in jobs] == [
        (0, 0, 3), (2, 0, 3), (0, 3, 3), (2, 3, 3), (0, 6, 1), (2, 6, 1),
    ]  # fmt: skip
    job = jobs[1]
    assert job.stored() is None
    job.path.write_text(json.dumps({"key": proof.key}))
    assert job.stored() == {"key": proof.key}
    for changes in ({"digest": "e"}, {"foldings": (support.folded(2),)}, {"pause": 0.2}):
        assert plan(_proof(tmp_path, **changes), (0, 2), 3)[1].stored() is None
    assert plan(_proof(tmp_path, seed=2), (0, 2), 3)[1].stored() is not None
    job.path.write_text("{")
    assert job.stored() is None


@pytest.mark.cosim
def test_command_line(
    tmp_path: Path, capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A proof, the same again from its results, and the figures of both."""
    figures = tmp_path / "figures.json"
    command = [str(SHIPPED), "--images", "5", "--chunk", "3", "--lanes", "8,2", "--seed", "1"]
    command += ["--output", str(tmp_path / "proof"), "--json", str(figures)]
    assert layers.main([*command, "--jobs", "2"]) == 0
    shown = capsys.readouterr().out
    assert "4 of 4 jobs equal the golden model" in shown and "2 models for 2 layers" in shown
    first = json.loads(figures.read_text())
    assert (first["images"], first["failures"]) == (5, [])
    assert 0.5 < first["layers"][0]["utilisation"] <= 1
    assert len(list((tmp_path / "proof").iterdir())) == 4

    def never(job: object) -> None:
        raise AssertionError("a job is done again")

    monkeypatch.setattr(layers, "execute", never)
    assert layers.main([*command, "--jobs", "0"]) == 0
    assert json.loads(figures.read_text()) == first


def test_failures_do_not_end_the_others(
    tmp_path: Path, capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    done = []

    def execute(job):
        done.append(job.index)
        raise MismatchError(f"image 0, layer {job.index}: wrong")

    monkeypatch.setattr(layers, "execute", execute)
    command = [str(SHIPPED), "--images", "2", "--output", str(tmp_path), "--jobs", "0"]
    assert layers.main([*command, "--seed", "3"]) == 1
    assert done == [0, 1]
    assert "layer 1: image 0, layer 1: wrong (seed 3)" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["none.npz"], "none.npz does not exist; make a network with python -m sw.export\n"),
        ([str(SHIPPED), "--chunk", "0"], "--chunk must be at least 1, not 0\n"),
        ([str(SHIPPED), "--layers", "5"], "--layers must be in 0..1, not 5\n"),
        ([str(SHIPPED), "--layers", "a"], "--layers must be numbers with commas, not 'a'\n"),
        (
            [str(SHIPPED), "--spram", "4"],
            "layers alone have no loader; fold with --lanes instead of --spram\n",
        ),
        (
            [str(SHIPPED), "--jobs", "1", "--scheduler", "tcp://x:1"],
            "--jobs and --scheduler exclude each other; leave one out\n",
        ),
    ],
)
def test_bad_input(
    arguments: list[str],
    sentence: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture,
) -> None:
    monkeypatch.chdir(tmp_path)
    assert layers.main(arguments) == 2
    assert capsys.readouterr().err == f"sim.layers: {sentence}"
    assert not list(tmp_path.iterdir())

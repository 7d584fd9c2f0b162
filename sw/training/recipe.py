"""Recipes: everything that a training run depends on, as a file that a person can read.

A recipe is TOML with the sections below; `sw/recipes/` has those that come with Stairspike.  A recipe may name another
one as its `base` and then says only what differs.  Any value can be replaced on the command line by its dotted name,
`training.epochs=3`.

    [network]        kind, and the options of its builder in sw.models; neuron: fields of NeuronSpec; timesteps
    [data]           set, validation, and the options of its loader in sw.datasets
    [augmentation]   functions of sw.datasets.augment with their options, in the order in which they are applied
    [optimiser]      see sw.training.optimisers
    [schedule]       see sw.training.schedules
    [training]       see `Training`
"""

import dataclasses
import math
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sw.datasets.common import DataSet
from sw.models import Task, build, options_of
from sw.models.spec import NetworkSpec
from sw.models.trainable import Spec
from sw.training.conversion import without_batch_norm
from sw.training.optimisers import Optimiser
from sw.training.schedules import Schedule

FOLDER = Path(__file__).resolve().parent.parent / "recipes"
LOSSES = ("cross-entropy", "tet")
PRECISIONS = ("float32", "bfloat16")


class RecipeError(ValueError):
    """A recipe cannot be used; the message is one sentence with the value and the remedy."""


@dataclass(frozen=True, kw_only=True)
class Training:
    """The run itself.

    Parameters
        seed: of weights, order and augmentation.
        epochs, folded_epochs: all, and how many of them at the end train the folded integers.
        batch: images per step, over all processes.
        loss: "cross-entropy" of the mean over the timesteps, or "tet", of every timestep.
        smoothing: of the labels.
        mixup, cutmix: alpha of the two ways to mix images, 0 for none; mix_probability: share of the batches that are
            mixed; mix_epochs: the epochs after which it ends, 0 for never.
        activity: weight of the penalty on the mean level of each layer's (pooled) spikes.
        silence: weight of the penalty on biases that fire without input.
        average: decay of the moving average of the weights, 0 for none; the average is what is evaluated and kept.
        precision: "float32", or "bfloat16" for the synapses of the free phase; folded layers always have float32.
        compile: torch.compile the network.
        fuse: train without batch norm, with one bias a channel in its place (paper 2, after its ANN).
        start: checkpoint whose weights are the first ones, "" for random ones; fused if `fuse` says so.
        calibrate: percentile of each layer's current that becomes its highest threshold at the start, 0 for none.
        calibrate_factor: times this (paper 2: 0.2 to 0.6).
        calibrate_batches: batches from which a log-quantised ReLU takes its scale before every epoch.
        teacher, teacher_weight, temperature: checkpoint of a network to learn from, and how; "" for none.
        threads: of torch; the sums of two threads differ from those of one in the last bit.
    """

    seed: int = 0
    epochs: int = 20
    folded_epochs: int = 0
    batch: int = 128
    loss: str = "cross-entropy"
    smoothing: float = 0.0
    mixup: float = 0.0
    cutmix: float = 0.0
    mix_probability: float = 1.0
    mix_epochs: int = 0
    activity: float = 0.0
    silence: float = 0.0
    average: float = 0.0
    precision: str = "float32"
    compile: bool = False
    fuse: bool = False
    start: str = ""
    calibrate: float = 0.0
    calibrate_factor: float = 1.0
    calibrate_batches: int = 16
    teacher: str = ""
    teacher_weight: float = 0.5
    temperature: float = 4.0
    threads: int = 1

    def __post_init__(self) -> None:
        for name, low in (
            ("seed", 0),
            ("epochs", 1),
            ("folded_epochs", 0),
            ("batch", 2),
            ("mix_epochs", 0),
            ("calibrate_batches", 1),
            ("threads", 1),
        ):
            if getattr(self, name) < low:
                raise RecipeError(
                    f"training.{name} must be at least {low}, not {getattr(self, name)}"
                )
        for name, high in (
            ("smoothing", 1.0),
            ("average", 1.0),
            ("mixup", math.inf),
            ("cutmix", math.inf),
            ("mix_probability", math.nextafter(1, 2)),
            ("activity", math.inf),
            ("silence", math.inf),
            ("calibrate", 100.0),
            ("calibrate_factor", math.inf),
            ("temperature", math.inf),
        ):
            if not 0 <= getattr(self, name) < high:
                raise RecipeError(
                    f"training.{name} must be a number from 0 to below {high}, not {getattr(self, name)}"
                )
        for name, choices in (("loss", LOSSES), ("precision", PRECISIONS)):
            if getattr(self, name) not in choices:
                raise RecipeError(
                    f"training.{name} must be one of {', '.join(choices)}, not {getattr(self, name)!r}"
                )


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """A recipe; the sections are as in the module's docstring.

    bits: of the weights of every layer, in place of the network's own; () for those.
    """

    name: str
    network: Mapping[str, Any]
    data: Mapping[str, Any]
    augmentation: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    optimiser: Optimiser = field(default_factory=Optimiser)
    schedule: Schedule = field(default_factory=Schedule)
    training: Training = field(default_factory=Training)
    bits: tuple[int | None, ...] = ()

    def to_json(self) -> dict[str, Any]:
        return dataclasses.asdict(self)

    def spec(self, data: DataSet) -> Spec:
        """The network of this recipe for a data set.  Raises RecipeError with one sentence."""
        options = dict(self.network)
        kind, neuron = options.pop("kind", None), options.pop("neuron", {})
        timesteps = options.pop("timesteps", 1)
        shape = data.train.shape
        if len(shape) == 4:
            timesteps, shape = shape[0], shape[1:]
        if kind is None:
            raise RecipeError("the recipe has no network.kind")
        task = Task(
            classes=data.classes,
            input_shape=(shape[0], shape[1], shape[2]),
            input_scale=data.scale,
            input_coding=data.coding,
            timesteps=timesteps,
        )
        try:
            spec = build(str(kind), self.name, neuron, task, options)
            if self.bits and isinstance(spec, NetworkSpec):
                spec = spec.with_bits(self.bits)
            if self.training.fuse and isinstance(spec, NetworkSpec):
                spec = without_batch_norm(spec)
            return spec
        except ValueError as error:
            raise RecipeError(str(error)) from None

    def twin(self) -> "Recipe":
        """The ReLU network of the same architecture, trained in the same way, with weights that are not quantised."""
        network = {**self.network, "neuron": {"kind": "relu"}}
        network.update(
            {
                key: None
                for key in ("bits", "edge_bits")
                if key in options_of(str(self.network.get("kind")))
            }
        )
        if "residual" in network:
            network["residual"] = "spiking"  # the shortcut of the ordinary residual network
        network.pop("barrier", None)
        training = dataclasses.replace(
            self.training, folded_epochs=0, activity=0.0, silence=0.0, calibrate=0.0
        )
        return dataclasses.replace(
            self, name=f"{self.name}-relu", network=network, training=training
        )

    def with_bits(self, bits: Sequence[int | None]) -> "Recipe":
        """The same recipe with other weight bits, one for every layer with weights."""
        return dataclasses.replace(self, bits=tuple(bits))


# ------------------------------------------------------------------------------------------------------ reading


def shipped() -> list[str]:
    """Names of the recipes that come with Stairspike."""
    return sorted(path.stem for path in FOLDER.glob("*.toml"))


def load_recipe(name: str, overrides: Sequence[str] = ()) -> Recipe:
    """A recipe by its name or its path, with some of its values replaced.

    overrides: dotted names and values, "training.epochs=3"; a value is read as TOML, or else as a string.
    Raises RecipeError with one sentence.
    """
    path = Path(name)
    tree = _read(path, ())
    for override in overrides:
        key, separator, text = override.partition("=")
        if not separator or "." not in key:
            raise RecipeError(f"{override!r} is not SECTION.NAME=VALUE")
        _assign(tree, key.strip().split("."), _value(text.strip()))
    return make_recipe(path.stem, tree)


def make_recipe(name: str, tree: Mapping[str, Any]) -> Recipe:
    """A recipe from the contents of its file.  Raises RecipeError with one sentence."""
    sections = {f.name: f for f in dataclasses.fields(Recipe) if f.name not in ("name", "bits")}
    for key, value in tree.items():
        if key not in sections or not isinstance(value, Mapping):
            raise RecipeError(f"a recipe has the sections {', '.join(sections)}, not {key!r}")
    typed: dict[str, Any] = {
        key: dict(tree.get(key, {})) for key in ("network", "data", "augmentation")
    }
    for key, kind in (("optimiser", Optimiser), ("schedule", Schedule), ("training", Training)):
        typed[key] = _section(key, kind, tree.get(key, {}))
    if "set" not in typed["data"]:
        raise RecipeError("the recipe has no data.set")
    # TOML has no value for "nothing".
    typed["network"] = {k: None if v == "none" else v for k, v in typed["network"].items()}
    neuron = typed["network"].get("neuron", {})
    if isinstance(neuron, str):
        typed["network"]["neuron"] = {"kind": neuron}
    return Recipe(name=name, **typed)


def _read(path: Path, chain: tuple[Path, ...]) -> dict[str, Any]:
    """The contents of a recipe file over those of its base."""
    if not path.suffix:
        if not (FOLDER / f"{path}.toml").is_file():
            raise RecipeError(
                f"there is no recipe {str(path)!r}; there are {', '.join(shipped())}, or give a .toml file"
            )
        path = FOLDER / f"{path}.toml"
    if path in chain:
        raise RecipeError(f"{path} is its own base")
    try:
        tree = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise RecipeError(
            f"{path} does not exist; the shipped recipes are {', '.join(shipped())}"
        ) from None
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise RecipeError(f"{path} cannot be read as TOML: {error}") from None
    base = tree.pop("base", None)
    if base is None:
        return tree
    return _merge(_read(Path(str(base)), (*chain, path)), tree)


def _merge(base: dict[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """`over` laid over `base`; tables are merged, but an [augmentation] replaces its base's, order and all.

    Options belong to a kind of network: a new kind keeps only neuron and timesteps of its base.
    """
    result = dict(base)
    before, after = base.get("network", {}), over.get("network", {})
    if "kind" in after and after["kind"] != before.get("kind"):
        result["network"] = {k: v for k, v in before.items() if k in ("neuron", "timesteps")}
    for key, value in over.items():
        both = isinstance(value, dict) and isinstance(result.get(key), dict)
        result[key] = _merge(result[key], value) if both and key != "augmentation" else value
    return result


def _assign(tree: dict[str, Any], keys: Sequence[str], value: Any) -> None:
    for key in keys[:-1]:
        inner = tree.setdefault(key, {})
        if isinstance(inner, str) and key == "neuron":
            inner = tree[key] = {"kind": inner}
        if not isinstance(inner, dict):
            raise RecipeError(
                f"{'.'.join(keys)} names a value inside {key!r}, which is not a section"
            )
        tree = inner
    tree[keys[-1]] = value


def _value(text: str) -> Any:
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text


def _section(name: str, kind: type, given: Mapping[str, Any]) -> Any:
    """A dataclass from a table, its types checked."""
    known = {f.name: f for f in dataclasses.fields(kind)}
    values = {}
    for key, value in given.items():
        if key not in known:
            raise RecipeError(f"[{name}] has no {key!r}; it has {', '.join(known)}")
        default = known[key].default
        if isinstance(default, float) and isinstance(value, int) and not isinstance(value, bool):
            value = float(value)
        if isinstance(default, bool | int | float | str) and type(value) is not type(default):
            raise RecipeError(
                f"{name}.{key} must be of type {type(default).__name__}, not {value!r}"
            )
        values[key] = value
    try:
        return kind(**values)
    except (TypeError, ValueError) as error:
        raise RecipeError(
            f"[{name}]: {error}" if not isinstance(error, RecipeError) else str(error)
        ) from None

"""Energies as paper 1 and paper 2 print them, and what is known, or fitted, of the networks behind them.

Paper 1, tables 3 and 4: VGG16, energy of an inference in nJ.  The paper prints totals of the spikes, not their
distribution over the layers, and not every size of the network.

architecture   The tables come out for 13 convolutions of 3 x 3, 64 64 128 128 256 256 256 512 x 6 channels, halved in
               convolutions 2, 4 and 9 (so 32 16 8 4), dense 512 512 10; 16-bit words; FIFOs of 1000 words; a weight
               memory of one filter.  It is effective, found by trying, not stated in the paper.
spikes         Of two columns the text has the total; of the others it follows from in/out, 26.74 pJ a spike.
alpha          Spikes a neuron proportional to exp(-alpha * layer), scaled to the total: one number a column, FITTED.
fitted         Spikes of the 15 spiking layers, FITTED, not measured: damped least squares from the decaying profile to
               the printed potentials, weights, in/out, operations, addresses, total, and spikes where the text has
               them, relative errors, with a penalty on second differences of the logit of (spikes a neuron / T), as
               strong as leaves every cell within 0.7 %.  Spikes a neuron stay between 0 and T.  Fifteen unknowns meet
               six cells: other profiles fit as well, and their totals differ by +-2.5 %.

Paper 2: energy of the operations of an inference in uJ.
"""

from dataclasses import dataclass

ROWS = ("potentials", "weights", "bias", "in_out", "memory", "operations", "addresses", "total")

# nJ an inference.
_TABLE_3 = """
row         ANN     T=4,N=1 T=1,N=4 T=8,N=1 T=1,N=8
potentials  -       6.0e6   3.1e6   10.0e6  3.6e6
weights     5.58e6  2.4e6   1.3e6   4.1e6   1.54e6
bias        6.9e2   27.8e2  6.9e2   55.7e2  6.9e2
in_out      6.1e6   3.5e3   1.54e3  5.7e3   1.8e3
memory      -       8.4e6   4.38e6  14.2e6  5.19e6
operations  1.29e6  13.3e3  27.9e3  22.4e3  65.4e3
addresses   4.9e2   9.0e2   5.5e2   14.8e2  8.7e2
total       12.9e6  8.5e6   4.41e6  14.28e6 5.26e6
"""
_TABLE_4 = """
row         ANN     T=10,N=1 T=1,N=10
potentials  -       233.3e6  90.6e6
weights     52e6    32.2e6   12.8e6
bias        6.9e2   69.7e2   6.9e2
in_out      186.3e6 40.5e3   15.8e3
operations  12.1e6  170.8e3  664.6e3
addresses   6.2e3   10.3e3   7.7e3
total       250.4e6 265.7e6  104.1e6
"""

_FITTED_3 = """
layer         T=4,N=1  T=1,N=4  T=8,N=1  T=1,N=8
conv-1          82300    25880   119300    30270
conv-2           7847     4735    16330     5435
conv-3           5009     6655    15730     7549
conv-4          698.1     1290     2648     1412
conv-5           1799     2512     5963     2643
conv-6           5064     3064    10560     3164
conv-7          13440     3655    16730     3912
conv-8           6204     5229    12490     6576
conv-9          302.4    656.3    956.4    908.7
conv-10         119.6    393.7    463.9    567.8
conv-11           132    384.5    476.3    566.8
conv-12         448.2    667.6     1134     1001
conv-13          3830     1730     5467     2514
dense-1          1248    241.4     1543    308.2
dense-2          1947    386.3     3332    430.4
"""
_FITTED_4 = """
layer          T=10,N=1   T=1,N=10
conv-1           841100     258600
conv-2           102100      43320
conv-3           114100      57300
conv-4            17870      10130
conv-5            27300      16980
conv-6            26470      17070
conv-7            31970      18150
conv-8            89220      31340
conv-9            26360       5615
conv-10           31010       5277
conv-11           40470       8832
conv-12           61470      28040
conv-13          105000      88720
dense-1           682.6      482.1
dense-2            1093      507.9
"""

# Spikes of an inference: the text has 130e3, 57e3, 1.5e6 and 591e3; the digits beyond them are those of in/out.
_SPIKES_AND_ALPHA = {
    "T=4,N=1": (130.3e3, 0.21),
    "T=1,N=4": (57.5e3, 0.15),
    "T=8,N=1": (213.1e3, 0.19),
    "T=1,N=8": (67.3e3, 0.15),
    "T=10,N=1": (1.514e6, 0.15),
    "T=1,N=10": (591e3, 0.15),
}


@dataclass(frozen=True, kw_only=True)
class Column:
    """A column of table 3 or 4.

    Members
        printed: row -> nJ, as printed.
        timesteps, levels: T and N, 0 for the ReLU network.
        spikes, alpha, fitted: see the module; 0 and () for the ReLU network.
    """

    name: str
    printed: dict[str, str]
    timesteps: int = 0
    levels: int = 0
    spikes: float = 0.0
    alpha: float = 0.0
    fitted: tuple[float, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Table:
    """A table of paper 1 and the input (C, H, W) of its networks."""

    title: str
    input_shape: tuple[int, int, int]
    columns: tuple[Column, ...]


def _read(text: str) -> dict[str, dict[str, str]]:
    """Column -> row -> cell, without the empty ones."""
    (_, *names), *rows = (line.split() for line in text.strip().splitlines())
    return {
        name: {row[0]: row[place] for row in rows if row[place] != "-"}
        for place, name in enumerate(names, 1)
    }


def _columns(printed: str, fitted: str) -> tuple[Column, ...]:
    profiles = _read(fitted)
    columns = []
    for name, cells in _read(printed).items():
        if name not in profiles:
            columns.append(Column(name=name, printed=cells))
            continue
        timesteps, levels = (int(part.split("=")[1]) for part in name.split(","))
        spikes, alpha = _SPIKES_AND_ALPHA[name]
        columns.append(
            Column(
                name=name,
                printed=cells,
                timesteps=timesteps,
                levels=levels,
                spikes=spikes,
                alpha=alpha,
                fitted=tuple(float(count) for count in profiles[name].values()),
            )
        )
    return tuple(columns)


TABLES = {
    "3": Table(
        title="Paper 1, table 3: VGG16, CIFAR-10",
        input_shape=(3, 32, 32),
        columns=_columns(_TABLE_3, _FITTED_3),
    ),
    "4": Table(
        title="Paper 1, table 4: VGG16, DVS-CIFAR10",
        input_shape=(2, 128, 128),
        columns=_columns(_TABLE_4, _FITTED_4),
    ),
}

# Cells that no network of this kind explains.
BIAS = "bias: printed ten times too high; the digits are those of one read a channel and timestep"
OTHER_NETWORK = (
    "ANN of table 4: of another network or input size; its operations are 9.4 times table 3's, "
    "where 128 x 128 makes 16 times"
)


def inconsistent(table: str, column: str, row: str) -> str:
    """Why a cell contradicts the metric itself, "" if it does not."""
    if row == "bias":
        return BIAS
    return OTHER_NETWORK if (table, column) == ("4", "ANN") else ""


# Of the text, CIFAR-10: total of the spiking network over that of the ReLU network.
RATIOS = {"T=4,N=1": 0.65, "T=1,N=4": 0.34}

# ----------------------------------------------------------------------------------------------------------- paper 2


@dataclass(frozen=True, kw_only=True)
class Result:
    """A row of paper 2's results: lanes S (0 for the ReLU network), accuracy in per cent, uJ as printed."""

    data: str
    network: str
    lanes: int
    timesteps: int
    accuracy: float
    energy_uj: str


_PAPER_2 = """
CIFAR-10    ResNet20          0 1  94.31 9.97e2
CIFAR-10    ResNet20          3 1  93.19 55.5
CIFAR-10    VGG16             0 1  94.43 1.56e3
CIFAR-10    VGG16             3 1  93.34 52.4
CIFAR-10    Transformer-2-512 3 4  95.9  1.47e3
CIFAR-10    Transformer-2-512 3 2  95.5  484
CIFAR-10    Transformer-2-512 3 1  95.4  259
CIFAR-100   ResNet20          0 1  67.10 9.97e2
CIFAR-100   ResNet20          3 1  63.80 71.0
CIFAR-100   VGG16             0 1  74.50 1.56e3
CIFAR-100   VGG16             3 1  72.59 66.0
CIFAR-100   Transformer-2-512 3 4  78.9  1.68e3
CIFAR-100   Transformer-2-512 3 2  78.3  820
CIFAR-100   Transformer-2-512 3 1  78.2  478
ImageNet    VGG16             0 1  72.56 7.12e4
ImageNet    VGG16             3 1  71.05 3.37e3
ImageNet    Transformer-8-512 3 1  75.33 3.64e3
DVS-CIFAR10 VGGSNN            4 10 84.7  350
DVS-CIFAR10 VGGSNN            3 10 84.3  340
DVS-CIFAR10 VGGSNN            4 5  83.3  180
DVS-CIFAR10 VGGSNN            3 5  83.0  170
DVS-CIFAR10 VGGSNN            4 3  82.5  110
DVS-CIFAR10 VGGSNN            3 3  79.8  90
"""

PAPER_2 = tuple(
    Result(
        data=data,
        network=network,
        lanes=int(lanes),
        timesteps=int(timesteps),
        accuracy=float(accuracy),
        energy_uj=energy,
    )
    for data, network, lanes, timesteps, accuracy, energy in (
        line.split() for line in _PAPER_2.strip().splitlines()
    )
)

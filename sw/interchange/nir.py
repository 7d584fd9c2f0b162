"""Networks to and from NIR, the exchange format of spiking networks (HDF5; the nir package).

NIR knows binary neurons that fire above a threshold and start again from zero.  Whatever more an artefact says stands
in the file's metadata: read back here it is the same artefact, digest included.  Other programs see the stock graph;
they run it spike for spike if `to_nir` returns nothing that NIR cannot say, which `thermometer` achieves for any
network of one timestep without maxima of levels.

A graph of another program leaves much open, see `Convention`; real weights are rounded to integers.
"""

from dataclasses import replace
from pathlib import Path

import nir  # type: ignore[import-untyped]

from sw.files import beside
from sw.interchange.chain import Chain, chain_of, quantise
from sw.interchange.convention import Convention, InterchangeError
from sw.interchange.nir_export import beyond_nir, graph_of
from sw.interchange.nir_import import chain_from
from sw.network import Network, NetworkError


def to_nir(network: Network | Chain, path: Path) -> list[str]:
    """Write a network, or a chain of real numbers, as a NIR file; return what only its metadata say, a phrase each.

    Raises InterchangeError when a number has no float64, OSError when the file cannot be written.
    """
    chain = chain_of(network) if isinstance(network, Network) else network
    graph = graph_of(chain)
    path.parent.mkdir(parents=True, exist_ok=True)
    with beside(path) as partial:
        nir.write(partial, graph)
    return beyond_nir(chain)


def from_nir(path: Path, convention: Convention | None = None) -> Network:
    """Read a NIR file as an artefact.

    convention: for a graph of another program; a file of `to_nir` needs none, but bits if its weights are real.
    Raises InterchangeError with one sentence when the file is none, is not a chain, or leaves something open.
    """
    if not path.is_file():
        raise InterchangeError(f"{path} does not exist; name a NIR file")
    convention = Convention() if convention is None else convention
    try:
        graph = nir.read(path, type_check=False)
    except Exception as error:  # whatever h5py and nir raise for damaged files and unknown nodes
        reason = str(error) or type(error).__name__
        raise InterchangeError(f"{path} is not a NIR file that can be read ({reason})") from None
    try:
        chain = chain_from(graph, convention.dt)
        if not chain.provenance and chain.digest is None:
            chosen = {name: value for name, value in vars(convention).items() if value is not None}
            origin = {"name": path.stem, "imported": {"file": path.name, **chosen}}
            chain = replace(chain, provenance=origin)
        network = quantise(chain, convention)
    except (InterchangeError, NetworkError) as error:
        raise InterchangeError(f"{path}: {error}") from None
    except (KeyError, TypeError, ValueError) as error:
        raise InterchangeError(f"{path} has damaged metadata ({error}); export it again") from None
    if chain.digest not in (None, network.digest):
        raise InterchangeError(
            f"{path}: the content does not match its digest {str(chain.digest)[:12]}; the file was altered"
        )
    return network

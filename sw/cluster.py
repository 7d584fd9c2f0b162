"""Many independent pieces of work on the processes of a Dask cluster, of this machine or of many."""

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from typing import TypeVar

Task = TypeVar("Task")
Result = TypeVar("Result")


def finished(
    tasks: Sequence[Task],
    work: Callable[[Task], Result],
    *,
    workers: int = 0,
    scheduler: str = "",
) -> Iterator[tuple[Task, Result | Exception]]:
    """(task, what `work` returned or the exception that ended it), as they finish.

    Parameters
        work: can be pickled, as tasks and results can.
        workers: processes on this machine; 0 does one task after the other in this process, where an exception is
            not caught.
        scheduler: address of a Dask cluster to use instead.

    Raises ValueError when no scheduler answers.
    """
    if not tasks or not (workers or scheduler):
        yield from ((task, work(task)) for task in tasks)
        return
    from distributed import Client, LocalCluster, as_completed

    with ExitStack() as stack:
        if scheduler:
            try:
                client = stack.enter_context(Client(scheduler, timeout="10s"))
            except (OSError, ValueError):
                raise ValueError(f"no Dask scheduler answers at {scheduler!r}") from None
        else:
            cluster = LocalCluster(
                n_workers=min(workers, len(tasks)),
                threads_per_worker=1,
                host="127.0.0.1",
                dashboard_address=None,
                memory_limit=None,  # a task must not be killed by a guess of what it needs
                silence_logs=logging.ERROR,  # a worker that ends slowly is worth no line
            )
            client = stack.enter_context(Client(stack.enter_context(cluster)))
        futures = {client.submit(work, task, pure=False): task for task in tasks}
        for future in as_completed(futures):
            try:
                result = future.result()
            except Exception as error:  # of the work, or its worker was killed again and again
                yield futures[future], error
            else:
                yield futures[future], result

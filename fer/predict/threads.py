"""Work shared among the cores."""

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from typing import TypeVar

_Item = TypeVar("_Item")
_Result = TypeVar("_Result")


def cores() -> int:
    """Number of cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def in_order(
    do: Callable[[_Item], _Result],
    items: Iterable[_Item],
    workers: int,
    kind: Callable[[int], Executor] = ThreadPoolExecutor,
) -> Iterator[_Result]:
    """As `map`, by several threads or processes, which are at most twice their number ahead.

    They are made anew, as the threads of a pool do not live on in a forked process.
    """
    waiting: deque[Future[_Result]] = deque()
    pool = kind(workers)
    try:
        for item in items:
            waiting.append(pool.submit(do, item))
            if len(waiting) > 2 * workers:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)

"""Share work among the cores."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TypeVar

_Item = TypeVar("_Item")
_Result = TypeVar("_Result")


def map_in_order(
    function: Callable[[_Item], _Result], items: Iterable[_Item], workers: int
) -> Iterator[_Result]:
    """Map a function over items in several threads, and yield the results in order.

    At most twice as many items as workers, and one more, are in progress. Each call starts its own
    workers, because threads of an existing pool do not survive a fork. The items take turns where
    no thread can start, as after the end of the main thread.

    Examples:
        >>> list(map_in_order(abs, [-1, 2, -3], workers=2))
        [1, 2, 3]
    """
    pending: deque[Callable[[], _Result]] = deque()
    pool = ThreadPoolExecutor(workers)
    try:
        for item in items:
            try:
                pending.append(pool.submit(function, item).result)
            except RuntimeError:
                pending.append(partial(function, item))
            if len(pending) > 2 * workers:
                yield pending.popleft()()
        while pending:
            yield pending.popleft()()
    finally:
        pool.shutdown(cancel_futures=True)

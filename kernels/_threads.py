"""Compiled functions whose tasks threads share.

They are threads of this program: numba's own would need each function compiled twice, which takes seconds, and would
change how many threads torch has where both use one OpenMP.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from itertools import pairwise
from typing import Any

import numpy as np

from robspec import arrays

_WORTH_SHARING = 1 << 15
"""Entries of the largest array from which on more than one thread is worth waking."""


def share(function: Callable[..., Any], tasks: int, *args: Any) -> list[Any]:
    """Do all tasks of a compiled function, in as many threads as there are, and in this one where that is enough.

    Args:
        function: takes the first task, the one after the last, and `args`; lets other threads run meanwhile.
        tasks: how many there are; no answer may depend on who does which.
        args: of every task; the size of the largest array tells whether waking threads is worth it.

    Returns:
        What each part returned.
    """
    entries = max((a.size for a in args if isinstance(a, np.ndarray)), default=0)
    threads = 1 if entries < _WORTH_SHARING else min(arrays.threads(), tasks)
    if threads <= 1:
        return [function(0, tasks, *args)]
    ends = [tasks * n // threads for n in range(threads + 1)]
    others = [_pool(threads - 1).submit(function, *part, *args) for part in pairwise(ends[1:])]
    try:
        mine = function(0, ends[1], *args)
    finally:
        found = [other.result() for other in others]
    return [mine, *found]


@cache
def _pool(threads: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(threads, thread_name_prefix="robspec-kernels")


# A process that is forked off has none of the threads.
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_pool.cache_clear)

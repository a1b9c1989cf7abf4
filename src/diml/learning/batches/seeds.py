"""Seeds derived from the position in a run, so that a resumed run draws the same numbers as an uninterrupted one."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch


def derived(seed: int, *place: int) -> int:
    """A seed of 31 bits for one place, such as (epoch, step); seeds of different places are unrelated.

    >>> derived(0, 3, 7) == derived(0, 3, 7), derived(0, 3, 7) == derived(0, 7, 3)
    (True, False)
    """
    return int(np.random.SeedSequence([seed, *place]).generate_state(1)[0] >> 1)


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Seed the generators of PyTorch, NumPy and Python inside the context, and restore them afterwards.

    All three, because losses and miners of other libraries draw from any of them.

    >>> with seeded(1):
    ...     first = torch.rand(1)
    >>> with seeded(1):
    ...     first.equal(torch.rand(1))
    True
    """
    own, numpys = random.getstate(), np.random.get_state()
    devices = [torch.cuda.current_device()] if torch.cuda.is_available() else []
    with torch.random.fork_rng(devices):
        torch.manual_seed(seed)
        np.random.seed(seed)
        random.seed(seed)
        try:
            yield
        finally:
            random.setstate(own)
            np.random.set_state(numpys)

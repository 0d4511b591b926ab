"""Medians of many short batches. Contestants take turns, so a slow second of the machine hits them all alike."""

from __future__ import annotations

import gc
import statistics
import time
from collections.abc import Callable, Mapping

Batch = Callable[[int], None]
"""Do the thing that many times."""


def medians(contestants: Mapping[str, Batch], *, batch: int, rounds: int) -> dict[str, float]:
    """The median over `rounds` batches of the mean time of one turn in a batch, in microseconds, by contestant."""
    for run in contestants.values():
        run(batch)
    samples: dict[str, list[float]] = {name: [] for name in contestants}
    gc.collect()
    gc.disable()
    try:
        for _ in range(rounds):
            for name, run in contestants.items():
                began = time.perf_counter_ns()
                run(batch)
                samples[name].append((time.perf_counter_ns() - began) / batch / 1000)
            gc.collect()
    finally:
        gc.enable()
    return {name: statistics.median(times) for name, times in samples.items()}

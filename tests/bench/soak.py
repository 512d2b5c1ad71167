"""Steady state: the server's resident memory under mixed traffic over gRPC."""

import statistics
import time

from figures import Figure, Sample
from mixed import LONGEST, SHORTEST
from served import AT_ONCE
from server import rows_file

MOST_GROWTH_PERCENT = 2
SLICE_S = 10
# Share of the run that is warm-up, and of the rest that each end's memory is the median of.
WARM_UP, END = 0.2, 0.2


def soak(bench):
    if bench.soak_minutes <= 0:
        return
    file = rows_file("soak", bench.texts.some(2_000, SHORTEST, LONGEST))
    end = time.monotonic() + 60 * bench.soak_minutes
    resident = []
    server = bench.server()
    while time.monotonic() < end:
        for callers in AT_ONCE:
            server.load(file, callers, seconds=min(SLICE_S, 60 * bench.soak_minutes / 15))
            resident.append(server.resident_bytes() / 2**20)
    warm = resident[int(len(resident) * WARM_UP) :]
    edge = max(1, int(len(warm) * END))
    before, after = statistics.median(warm[:edge]), statistics.median(warm[-edge:])
    name = f"resident memory over {bench.soak_minutes:g} minutes, growth after warm-up"
    figure = Figure("soak", name, 100 * (after / before - 1), MOST_GROWTH_PERCENT, unit="%", at_most=True)
    figure.samples = [Sample("resident", resident, "MiB")]
    figure.note = f"{before:,.0f} MiB after warm-up, {after:,.0f} MiB at the end"
    bench.add(figure)

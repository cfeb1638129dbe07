"""Run every benchmark, one after the other; each prints a table and writes JSON to ``var/bench/``."""

from benchmarks import gateway_hits

for benchmark in (gateway_hits,):
    benchmark.main()

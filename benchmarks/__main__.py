"""Run every benchmark, one after the other; each prints a table and writes JSON to ``var/bench/``."""

from benchmarks import first_token, gateway_hits, gateway_misses, litellm, memory

for benchmark in (gateway_hits, gateway_misses, first_token, litellm, memory):
    benchmark.main()

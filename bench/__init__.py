"""The benchmark: flowd beside real peers, in one run, on one machine, with the same messages.

`python -m bench` measures and writes `docs/performance.md`. Nothing here is a timed test: a machine
that is twice as slow is twice as slow for everybody, so what counts are the ratios.
"""

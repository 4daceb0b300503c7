"""The fast way through stage 1: kernels that Numba compiles, for lines that are beyond doubt.

Everything else is read by `pipelines.records` and `pipelines.rows`; both ways give the same rows.
"""

"""Measures what a request costs: servers, clients and parsers, ours and other people's, side by side on one machine.

Run it with `python -m benchmarks`; `README.md` says what is measured and how to read it.
"""

"""Speed, size, start-up and exactness, measured: `python -m benchmarks --list`.

Each file is one benchmark; the first line of its docstring says what it measures. Where a figure is a
comparison, both sides run in turns, and what they compute is compared before anything is timed.
"""

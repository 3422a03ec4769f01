"""Benchmarks of speed, size, start-up and exactness: `python -m benchmarks --list`.

Each file is one benchmark; the first line of its docstring says what it measures. In a comparison both sides
run in turns, and their results are compared before anything is timed.
"""

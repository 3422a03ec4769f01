"""There is no optimiser: `tests/models/test_gmm.py` compares the steps with expectation maximisation."""

EQUATIONS = {"gmm": lambda model, batch: {}}

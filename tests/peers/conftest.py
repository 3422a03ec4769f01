"""Peers' suites are collected by `pytest -m slow` alone: even to collect them, PyTorch and ONNX must be imported."""


def pytest_ignore_collect(collection_path, config):
    """Leave the folder out of a run that leaves slow tests out."""
    return True if "not slow" in config.option.markexpr else None

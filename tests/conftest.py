"""What all tests share."""

import pytest

from tinygen import random


@pytest.fixture(autouse=True)
def process_streams():
    """Each test begins with the process's random streams at seed 0, and leaves them as they were."""
    before = random.get_state()
    random.seed(0)
    yield
    random.set_state(before)

"""What all tests share: oracles on the path, repeatable hypothesis, few threads, and where the shared data lies."""

import os
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

TESTS = Path(__file__).resolve().parent
if str(TESTS) not in sys.path:
    sys.path.insert(0, str(TESTS))

settings.register_profile(
    "repeatable",
    derandomize=True,
    database=None,
    deadline=None,
    max_examples=50,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("repeatable")


@pytest.fixture(scope="session", autouse=True)
def few_threads() -> None:
    """Two torch threads, shared by the processes of the tests, so that timings do not depend on the machine's size."""
    import torch

    torch.set_num_threads(max(1, 2 // int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))))


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real test pictures; the test is skipped where there is none."""
    named = os.environ.get("MVPLM_SHARED")
    folder = Path(named) if named else TESTS.parent.parent / "shared" / "data"
    if not folder.is_dir():
        pytest.skip(f"no real test pictures: {folder} is absent (MVPLM_SHARED names their folder)")
    return folder

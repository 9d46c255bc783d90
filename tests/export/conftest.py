"""Classifiers small enough to be exported in a moment: those of an earlier version."""

from pathlib import Path

import pytest

OLD = Path(__file__).parents[1] / "data_of_old_runs" / "0.1.0"


@pytest.fixture(params=["linear", "neural", "several_classes"])
def old_run(request: pytest.FixtureRequest) -> Path:
    """One class of two by a linear and by a neural head, and several classes an image."""
    return OLD / str(request.param)


@pytest.fixture
def linear() -> Path:
    return OLD / "linear"

"""Whether a figure is kept, and whether the images can tell."""

import pytest

from headstart.runs.check import Verdict


@pytest.mark.parametrize(
    ("figure", "interval", "least", "kept", "told"),
    [
        (0.97, (0.96, 0.98), 0.95, True, True),
        (0.97, (0.93, 0.98), 0.95, True, False),
        (0.94, (0.91, 0.96), 0.95, False, False),
        (0.90, (0.88, 0.92), 0.95, False, True),
        (0.29 - 0.3, (-0.05, 0.03), -0.01, True, False),  # a hundredth, but for a last digit
    ],
)
def test_a_verdict(
    figure: float, interval: tuple[float, float], least: float, kept: bool, told: bool
) -> None:
    verdict = Verdict(figure, interval, least)
    assert (verdict.kept, verdict.told) == (kept, told)
    assert str(verdict).startswith("kept" if kept else "missed")
    assert ("cannot tell" in str(verdict)) == (not told)

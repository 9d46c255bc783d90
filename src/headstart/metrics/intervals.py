"""The interval of a proportion."""

import math

Z = 1.959963984540054  # of a two-sided 95% interval


Interval = tuple[float, float]


def interval(successes: int, n: int) -> Interval | None:
    """Wilson's 95% score interval of a proportion (Wilson 1927,
    https://doi.org/10.1080/01621459.1927.10502953); None for no trials.
    """
    if n == 0:
        return None
    share, z2 = successes / n, Z * Z
    centre = (share + z2 / (2 * n)) / (1 + z2 / n)
    half = Z * math.sqrt(share * (1 - share) / n + z2 / (4 * n * n)) / (1 + z2 / n)
    low = 0.0 if successes == 0 else max(0.0, centre - half)
    high = 1.0 if successes == n else min(1.0, centre + half)
    return low, high

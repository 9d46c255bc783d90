"""Damaged images of every format: pixels or a BadImage, never a crash, a hang or a flood of memory.

python bench/attack/images.py [--tried 100000] [--seed 0]: each damaged copy is decoded in a process
that may take 2 GB more than it began with and 10 seconds an image. Prints one JSON line.
"""

import argparse
import io
import json
import multiprocessing
import multiprocessing.connection
import os
import resource
import signal
import struct
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from PIL import Image

MEMORY, SECONDS = 2 * 2**30, 10
OURS = 40  # numbers of the damage of one image, at most
EXTREMES = [b"\xff" * 4, b"\x7f\xff\xff\xff", bytes(4), b"\x80\0\0\0", b"\0\0\xff\xff", b"\1\0\0\0"]


def make_originals() -> dict[str, bytes]:
    """Whole images: every format, and the variants that take another way through its decoder."""
    rng = np.random.default_rng(0)
    small = Image.fromarray(rng.integers(0, 256, (5, 6, 3), dtype=np.uint8))
    colour = small.resize((61, 47), Image.Resampling.BICUBIC)
    grey, palette = colour.convert("L"), colour.convert("P")
    clear = colour.convert("RGBA")
    clear.putalpha(grey)
    deep = Image.fromarray(np.asarray(grey).astype(np.uint16) * 257)
    exif = Image.Exif()
    exif[0x0112] = 6
    frames = {"save_all": True, "append_images": [colour.rotate(90), colour.rotate(180)]}
    cases: dict[str, tuple[Image.Image, str, dict[str, object]]] = {
        "jpeg": (colour, "JPEG", {"exif": exif}),
        "jpeg progressive": (colour, "JPEG", {"progressive": True, "quality": 95}),
        "jpeg grey": (grey, "JPEG", {"optimize": True}),
        "jpeg cmyk": (colour.convert("CMYK"), "JPEG", {}),
        "jpeg restarts": (colour, "JPEG", {"restart_marker_blocks": 2, "subsampling": 0}),
        "png": (colour, "PNG", {}),
        "png clear": (clear, "PNG", {}),
        "png deep": (deep, "PNG", {}),
        "png palette": (palette, "PNG", {"bits": 8}),
        "webp": (colour, "WEBP", {}),
        "webp lossless": (clear, "WEBP", {"lossless": True}),
        "webp animated": (colour, "WEBP", frames),
        "gif": (palette, "GIF", {}),
        "gif animated": (palette, "GIF", {**frames, "append_images": [palette.rotate(90)]}),
        "bmp": (colour, "BMP", {}),
        "bmp palette": (palette, "BMP", {}),
        "ppm": (colour, "PPM", {}),
        "pgm deep": (deep, "PPM", {}),
        "avif": (colour, "AVIF", {"speed": 10}),
        "avif clear": (clear, "AVIF", {"speed": 10}),
    }
    for how in ("raw", "tiff_lzw", "tiff_adobe_deflate", "jpeg", "packbits"):
        cases[f"tiff {how}"] = (colour, "TIFF", {"compression": how})
    cases["tiff g4"] = (colour.convert("1"), "TIFF", {"compression": "group4"})
    cases["tiff deep"] = (deep, "TIFF", {"compression": "tiff_lzw"})
    cases["tiff float"] = (grey.convert("F"), "TIFF", {})
    originals = {}
    for name, (image, form, options) in cases.items():
        target = io.BytesIO()
        image.save(target, form, **options)  # type: ignore[arg-type]
        originals[name] = target.getvalue()
    import pillow_heif

    for name, image in (("heif", colour), ("heif clear", clear)):
        target = io.BytesIO()
        pillow_heif.from_pillow(image).save(target)
        originals[name] = target.getvalue()
    runs = (b"\x20\x01\x20\x02\0\0" * 40) + b"\0\1"  # two runs a row of 64 pixels
    header = struct.pack("<IiiHHIIiiII", 40, 64, 40, 1, 8, 1, len(runs), 0, 0, 256, 0)
    table = bytes(256 * 4)
    start = 14 + len(header) + len(table)
    size = struct.pack("<IHHI", start + len(runs), 0, 0, start)
    originals["bmp rle"] = b"BM" + size + header + table + runs
    originals["ppm plain"] = b"P3 4 3 255\n" + b"10 200 7 " * 12
    return originals


def damage(data: bytes, others: list[bytes], rng: np.random.Generator, kinds: int = 9) -> bytes:
    """The image with one to three kinds of harm, of the first so many."""
    harmed = bytearray(data)
    for _ in range(int(rng.integers(1, 4))):
        size = max(len(harmed), 8)
        # Headers are short and decide the most: half of the harm is done there.
        place = int(rng.integers(0, min(size, 128) if rng.random() < 0.5 else size))
        kind = rng.integers(0, kinds)
        if kind == 0:
            for at in rng.integers(0, size, int(rng.integers(1, OURS))):
                if at < len(harmed):
                    harmed[at] ^= 1 << int(rng.integers(0, 8))
        elif kind == 1:
            del harmed[place:]
        elif kind == 2:
            harmed[place : place + 4] = EXTREMES[int(rng.integers(0, len(EXTREMES)))]
        elif kind == 3:
            harmed[place : place + int(rng.integers(1, 200))] = bytes(int(rng.integers(0, 200)))
        elif kind == 4:
            harmed[place:place] = rng.bytes(int(rng.integers(1, OURS)))
        elif kind == 5:
            end = place + int(rng.integers(1, 300))
            harmed[place:place] = harmed[place:end] * int(rng.integers(1, 20))
        elif kind == 6:
            del harmed[place : place + int(rng.integers(1, OURS))]
        elif kind == 7:
            other = others[int(rng.integers(0, len(others)))]
            harmed[place:] = other[int(rng.integers(0, len(other))) :]
        else:
            harmed[place : place + 1] = bytes([int(rng.integers(0, 256))])
    return bytes(harmed)


def make(number: int, seed: int, originals: dict[str, bytes]) -> tuple[str, bytes]:
    """Damaged image `number` of a seed, by itself: what falls can be made again."""
    rng = np.random.default_rng([seed, number])
    names = list(originals)
    name = names[number % len(names)]
    return name, damage(originals[name], list(originals.values()), rng)


def look(first: int, last: int, seed: int, told: "multiprocessing.connection.Connection") -> None:
    """Decode the damaged images first..last; tells each number before it begins, and what fell."""
    os.environ["OPENBLAS_NUM_THREADS"] = "1"
    from headstart.errors import BadImage
    from headstart.images.geometry import Geometry, prepare

    originals, geometry = make_originals(), Geometry(24, 24)
    for data in originals.values():
        prepare(data, geometry)  # all decoders are loaded
    pages = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (pages + MEMORY, pages + MEMORY))
    signal.signal(signal.SIGALRM, signal.SIG_DFL)  # ends the process, wherever it hangs
    usable = 0
    for number in range(first, last):
        name, data = make(number, seed, originals)
        told.send(("at", number, name))
        signal.setitimer(signal.ITIMER_REAL, SECONDS)
        try:
            pixels = prepare(data, geometry)
            if pixels.shape != (24, 24, 3) or pixels.dtype != np.uint8:
                told.send(("fell", number, f"{name}: pixels {pixels.shape} {pixels.dtype}"))
            usable += 1
        except BadImage as error:
            if "memory" in error.reason:
                told.send(("fell", number, f"{name}: {error.reason}"))
        except BaseException as error:
            told.send(("fell", number, f"{name}: {type(error).__name__}: {error}"[:200]))
        signal.setitimer(signal.ITIMER_REAL, 0)
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    told.send(("end", usable, most))


class Worker:
    """A process on its part of the numbers; begun again behind what ended it."""

    def __init__(self, first: int, last: int, seed: int) -> None:
        self.first, self.last, self.seed = first, last, seed
        self.at, self.name, self.done = first, "", False
        self.begin()

    def begin(self) -> None:
        context = multiprocessing.get_context("spawn")
        self.ours, theirs = context.Pipe(duplex=False)
        self.process = context.Process(
            target=look, args=(self.first, self.last, self.seed, theirs), daemon=True
        )
        self.name = ""
        self.process.start()
        theirs.close()


def attack(tried: int, seed: int) -> dict[str, object]:
    """Decode so many damaged images on all cores; what fell, by number."""
    begun = time.perf_counter()
    cores = len(os.sched_getaffinity(0))
    ends = [tried * part // cores for part in range(cores + 1)]
    workers = [Worker(ends[k], ends[k + 1], seed) for k in range(cores)]
    fallen: list[str] = []
    usable, most = 0, 0
    while any(not worker.done for worker in workers):
        running = {worker.ours: worker for worker in workers if not worker.done}
        for connection in multiprocessing.connection.wait(list(running)):
            worker = running[connection]  # type: ignore[index]
            try:
                kind, number, text = worker.ours.recv()
            except EOFError:
                worker.process.join()
                if not worker.name:
                    raise RuntimeError("a worker ended before its first image") from None
                code = worker.process.exitcode or 0
                why = f"more than {SECONDS} s" if code == -signal.SIGALRM else f"ended with {code}"
                fallen.append(f"{worker.at} {worker.name}: {why}")
                worker.first = worker.at + 1
                worker.done = worker.first >= worker.last
                if not worker.done:
                    worker.begin()
                continue
            if kind == "at":
                worker.at, worker.name = number, text
            elif kind == "fell":
                fallen.append(f"{number} {text}")
            else:
                usable, most, worker.done = usable + number, max(most, text), True
    return {
        "attack": "images", "tried": tried, "held": tried - len(fallen), "fallen": fallen[:20],
        "usable": usable, "peak_mb": most, "seconds": round(time.perf_counter() - begun, 1),
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tried", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    with tempfile.TemporaryFile() as printed:  # what libraries print by themselves
        own = os.dup(2)
        os.dup2(printed.fileno(), 2)
        try:
            answer = attack(asked.tried, asked.seed)
        finally:
            os.dup2(own, 2)
        printed.seek(0)
        lines = printed.read().decode(errors="replace").splitlines()
    answer["printed_by_libraries"] = len(lines)
    print(json.dumps(answer))
    for line in lines[:5]:
        print(line, file=sys.stderr)
    sys.exit(bool(answer["fallen"]))


if __name__ == "__main__":
    main()

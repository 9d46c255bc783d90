"""The exported page in a real browser: headless Chromium, from the disk, driven by Playwright.

Letters: N images, C classes.
"""

import base64
import importlib.util
import io
import shutil
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from headstart.classifier import Classifier
from headstart.errors import BadImage, EngineError
from headstart.export.extras import import_extra
from headstart.export.parity import NAMED, TOLERANCE, compare, reference
from headstart.images.decode import decode

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "msedge")
QUIET = ("--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking")
OWN = ("file:", "blob:", "data:")  # what the page may ask for
ASK = """async (text) => {
  const blob = new Blob([Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0))]);
  try { return (await headstart.classify(blob)).probabilities; }
  catch (error) { return String(error.message || error); }
}"""


@dataclass
class Opened:
    """A page in the browser. page: Playwright's. ready: seconds until it could classify. requests:
    of anyone but itself. console: what it complained of.
    """

    page: Any
    version: str
    ready: float = 0.0
    requests: list[str] = field(default_factory=list)
    console: list[str] = field(default_factory=list)

    def ask(self, image: bytes) -> np.ndarray | str:
        """(C,) probabilities of an encoded image, or why there are none."""
        found = self.page.evaluate(ASK, base64.b64encode(image).decode("ascii"))
        return found if isinstance(found, str) else np.array(found, np.float64)


@contextmanager
def open_page(page: Path) -> Iterator[Opened]:
    """The page at `page`, once its network is ready. Raises MissingExtra without Playwright,
    EngineError where there is no browser or it cannot run the page.
    """
    driver = import_extra("playwright.sync_api", "the web, looked at in a browser", "web")
    with driver.sync_playwright() as playwright:
        browser = _start(playwright.chromium, driver.Error)
        try:
            opened = Opened(browser.new_page(), f"Chromium {browser.version}")
            opened.page.on("request", lambda asked: opened.requests.append(asked.url))
            opened.page.on("console", lambda message: opened.console.append(message.text))
            opened.page.on("pageerror", lambda error: opened.console.append(str(error)))
            began = time.perf_counter()
            opened.page.goto(page.absolute().as_uri())
            try:
                opened.page.evaluate("headstart.ready.then(() => 1)")
            except driver.Error as error:
                reason = next(iter(str(error).splitlines()), "")
                raise EngineError(
                    f"expected a page that {opened.version} can run, found {page}: {reason}. "
                    "Type: headstart export RUN --to web"
                ) from error
            opened.ready = time.perf_counter() - began
            yield opened
            opened.requests = [url for url in opened.requests if not url.startswith(OWN)]
        finally:
            browser.close()


def find_browser() -> str | None:
    """Chromium or one of its kind that the system has; Playwright may have one of its own."""
    return next(filter(None, map(shutil.which, NAMES)), None)


def _start(chromium: Any, kind: type[Exception]) -> Any:
    try:
        return chromium.launch(executable_path=find_browser(), args=QUIET)
    except kind as error:
        raise EngineError(
            "expected Chromium or Chrome to look at the page with, found none that starts. "
            "Type: playwright install chromium"
        ) from error


def is_driven() -> bool:
    """Whether there are Playwright and a browser here to look with."""
    if importlib.util.find_spec("playwright") is None:
        return False
    from playwright.sync_api import Error, sync_playwright

    try:
        with sync_playwright() as playwright:
            return bool(find_browser()) or Path(playwright.chromium.executable_path).exists()
    except Error:  # as within a notebook, whose loop it cannot share
        return False


def look(
    page: Path, classifier: Classifier, images: Sequence[tuple[str, bytes]], precision: str
) -> dict[str, Any]:
    """Ask the page of each named, encoded image as it is, and of its pixels without loss.

    Returns, for the page's card, `pixels`: how far it is from the classifier in f32 on the same
    pixels. files: on the images as they are, which the browser decodes in its own way. unread: how
    many it cannot.

    Raises EngineError where it asks anyone for anything, complains, or differs on the same pixels
    by more than `precision` allows; else as `open_page`.
    """
    names, usable, lossless = [], [], []
    for name, image in images:
        try:
            lossless.append(_encode(decode(image)))
            usable.append(image)
            names.append(name)
        except BadImage:  # nobody can use it
            continue
    with open_page(page) as opened:
        answers = [(opened.ask(image), opened.ask(pixels))
                   for image, pixels in zip(usable, lossless, strict=True)]  # fmt: skip
    for what, found in (("no request", opened.requests), ("no complaint", opened.console)):
        if found:
            raise EngineError(
                f"expected {what} of the page in {opened.version}, found {found[0]!r}. Nothing was "
                "kept. Type: headstart export RUN --to onnx"
            )

    def say(row: np.ndarray) -> object:
        return classifier.task.decide(row, classifier.thresholds)

    tolerance = TOLERANCE[precision]
    pixels = compare(names, reference(classifier, lossless), [row[1] for row in answers], tolerance,
                     say)  # fmt: skip
    if pixels.beyond or not pixels.images:
        raise EngineError(
            f"expected the page in {opened.version} to agree with the classifier on the same "
            f"pixels within {tolerance:g}, found {len(pixels.beyond)} of {len(usable)} images that "
            f"do not: {'; '.join(': '.join(row) for row in pixels.beyond[:NAMED])}. Nothing was "
            "kept. Type: --precision f32"
        )
    unread = [isinstance(row[0], str) for row in answers]
    read = [place for place, missed in enumerate(unread) if not missed]
    files = compare(
        [names[place] for place in read], reference(classifier, [usable[place] for place in read]),
        [answers[place][0] for place in read], tolerance, say,
    )  # fmt: skip
    return {
        "name": opened.version,
        "ready": round(opened.ready, 2),
        "pixels": pixels.to_dict(),
        "files": files.to_dict(),
        "unread": sum(unread),
    }


def verify_page(page: Path) -> dict[str, Any]:
    """What the page finds when it classifies its own golden pictures here, as `folder.verify`.

    Raises EngineError for a page without, else as `open_page`.
    """
    with open_page(page) as opened:
        told = opened.page.evaluate("headstart.verify ? headstart.verify() : null")
    if told is None:
        raise EngineError(
            f"expected a page with golden pictures, found none in {page}. "
            "Type: headstart export RUN --to web"
        )
    return dict(told)


def _encode(pixels: np.ndarray) -> bytes:
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG", compress_level=1)
    return buffer.getvalue()

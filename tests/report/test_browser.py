"""Pages in a real browser: no error, no request, read on a phone, by keyboard and screen reader.

Playwright drives the Chromium of the system; without either these tests are skipped.
"""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import headstart

playwright = pytest.importorskip(
    "playwright.sync_api", reason="needs Playwright: pip install playwright"
)
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))),
                None)  # fmt: skip
QUIET = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync",
         "--disable-background-networking", "--disable-component-update"]  # fmt: skip
# npm's axe-core, where somebody has it: HEADSTART_AXE=node_modules/axe-core/axe.min.js
AXE = os.environ.get("HEADSTART_AXE")

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium: apt-get install chromium")


@pytest.fixture(scope="module")
def page_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page of a run of three classes, some of whose images are told wrong."""
    import numpy as np
    from PIL import Image

    folder = tmp_path_factory.mktemp("browser")
    rng = np.random.default_rng(0)
    for number in range(120):
        name = ("red", "blue", "green; or <b>not</b>")[number % 3]
        hue = np.array([(190, 90, 90), (90, 90, 190), (120, 120, 120)][number % 3])
        pixels = np.clip(hue + rng.normal(0, 70, (3,)) + rng.normal(0, 60, (32, 40, 3)), 0, 255)
        target = folder / "photos" / name.replace("/", "∕") / f"{number}.png"
        target.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels.astype(np.uint8)).save(target)
    run = headstart.train(
        folder / "photos", out=folder / "run", cut="block1a_project_bn", size=64,
        validation_fraction=0.4,
    )  # fmt: skip
    return run.folder / "report.html"


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with playwright.sync_playwright() as driver:
        started = driver.chromium.launch(executable_path=CHROMIUM, args=QUIET)
        yield started
        started.close()


@pytest.fixture
def visit(browser: Any, page_file: Path) -> Iterator[Any]:
    """Opens the page as a visitor with these traits; in the end nothing may have gone wrong."""
    contexts, wrong, requests = [], [], []

    def go(**traits: Any) -> Any:
        contexts.append(browser.new_context(**traits))
        page = contexts[-1].new_page()
        page.on("console", lambda message: wrong.append(message.text))
        page.on("pageerror", lambda error: wrong.append(str(error)))
        page.on("request", lambda request: requests.append(request.url))
        page.goto(page_file.as_uri())
        return page

    yield go
    for context in contexts:
        context.close()
    assert wrong == []
    assert {url.partition("#")[0] for url in requests if not url.startswith("data:")} == {
        page_file.as_uri()
    }


def test_a_cell_of_the_matrix_shows_its_images(visit: Any) -> None:
    page = visit()
    assert page.locator(".cells details:visible").count() == 0
    links = page.locator(".matrix a")
    for number in (0, links.count() - 1):
        links.nth(number).click()
        shown = page.locator(".cells details:visible")
        assert shown.count() == 1  # the one before is closed
        assert shown.get_attribute("id") == links.nth(number).get_attribute("data-cell")
        assert shown.locator("svg:visible").count() >= 1
    page.reload()  # the address names the cell
    assert page.locator(".cells details:visible").count() == 1


def test_the_keyboard_suffices(visit: Any) -> None:
    page = visit()
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip"
    link = page.locator(".matrix a").first
    link.focus()
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.tagName") == "SUMMARY"


def test_pictures_are_drawn_and_described(visit: Any) -> None:
    page = visit()
    assert page.locator("svg[role=img]").count() >= 5
    assert page.evaluate(
        "[...document.querySelectorAll('svg[role=img]')].every("
        "one => one.getAttribute('aria-label') || one.querySelector('title').textContent)"
    )
    assert page.evaluate("[...document.images].every(one => one.alt && one.naturalWidth > 0)")


def test_a_phone_need_not_be_scrolled_sideways(visit: Any) -> None:
    page = visit(viewport={"width": 390, "height": 800})
    assert page.evaluate("document.documentElement.scrollWidth") == 390


def test_light_and_dark_as_the_system_is_or_as_is_chosen(visit: Any) -> None:
    paper = "getComputedStyle(document.body).backgroundColor"
    light, dark = "rgb(252, 252, 250)", "rgb(22, 24, 27)"
    assert visit(color_scheme="light").evaluate(paper) == light
    page = visit(color_scheme="dark")
    assert page.evaluate(paper) == dark
    page.locator("#theme").click()
    assert page.evaluate(paper) == light
    page.emulate_media(media="print")
    assert page.evaluate(paper) == light


def test_it_is_read_without_scripts_too(visit: Any) -> None:
    page = visit(java_script_enabled=False)
    assert page.locator("details summary").count() > 3
    assert page.locator("#theme").is_hidden()


def test_it_prints(visit: Any, tmp_path: Path) -> None:
    printed = visit().pdf(path=tmp_path / "report.pdf", format="A4")
    assert printed.startswith(b"%PDF")


@pytest.mark.skipif(AXE is None, reason="needs axe-core: HEADSTART_AXE=.../axe.min.js")
def test_axe_finds_no_fault(browser: Any, page_file: Path) -> None:
    with browser.new_context(bypass_csp=True) as context:
        page = context.new_page()
        page.goto(page_file.as_uri())
        page.evaluate(Path(AXE or "").read_text(encoding="utf-8"))
        found = page.evaluate("axe.run(document)")["violations"]
        assert [(fault["id"], fault["nodes"][0]["html"]) for fault in found] == []

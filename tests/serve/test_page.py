"""The page that the server gives out, in a real browser."""

import shutil
from pathlib import Path

import pytest
from serve.test_server import serving

from headstart.serve.app import make_app
from headstart.serve.keys import Keys
from headstart.serve.limits import Limits
from headstart.serve.models import Models

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))),
                None)  # fmt: skip


def test_it_offers_what_the_classifier_can_tell(models: Models, tmp_path: Path, red: bytes) -> None:
    playwright = pytest.importorskip(
        "playwright.sync_api", reason="needs Playwright: pip install playwright"
    )
    if CHROMIUM is None:
        pytest.skip("needs Chromium: apt-get install chromium")
    (tmp_path / "red.jpg").write_bytes(red)
    asked: list[str] = []
    limits = Limits()
    with playwright.sync_playwright() as driver, serving(make_app(models, limits), limits) as port:
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        page = browser.new_page()
        page.on("request", lambda request: asked.append(request.url))
        page.goto(f"http://127.0.0.1:{port}/")
        page.locator("#reject").wait_for()
        assert page.locator("#accuracy option").count() == 5
        rates = page.locator("#reject option").all_text_contents()
        assert rates == ["never", "5.0%", "10.0%"]  # 1% cannot be told by so few images
        assert page.locator("#key").is_hidden()  # nobody asks for one
        page.locator("#accuracy").select_option("0.9")
        page.locator("#reject").select_option("0.05")
        page.locator("#files").set_input_files(tmp_path / "red.jpg")
        page.locator("#rows > li").wait_for()
        assert any(url.endswith("?top_k=5&accuracy=0.9&reject=0.05") for url in asked)
        page.get_by_role("button", name="Why").click()
        drawn = page.get_by_role("img", name="What spoke for red")
        drawn.wait_for()
        assert drawn.evaluate("image => image.decode().then(() => image.naturalWidth)") > 0
        page.locator("#reject").select_option("")
        with page.expect_request("**/v1/predict?top_k=5"):  # another choice: all are asked again
            page.locator("#accuracy").select_option("")
        page.locator("#rows .answer:not(.silent)").wait_for()
        assert page.locator("#rows > li").count() == 1
        browser.close()


def test_it_asks_for_a_key_where_the_server_does(models: Models, tmp_path: Path) -> None:
    playwright = pytest.importorskip(
        "playwright.sync_api", reason="needs Playwright: pip install playwright"
    )
    if CHROMIUM is None:
        pytest.skip("needs Chromium: apt-get install chromium")
    limits, file = Limits(), tmp_path / "keys"
    file.write_text("a-secret-of-some-length\n")
    with (
        playwright.sync_playwright() as driver,
        serving(make_app(models, limits, keys=Keys(file)), limits) as port,
    ):
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        page = browser.new_page()
        page.goto(f"http://127.0.0.1:{port}/")
        page.locator("#key input").fill("a-secret-of-some-length")
        page.keyboard.press("Enter")
        page.locator("#reject").wait_for()  # what its classifier can tell
        assert page.url == f"http://127.0.0.1:{port}/"
        browser.close()

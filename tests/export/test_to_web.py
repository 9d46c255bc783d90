"""The exported page in a real browser, with a runtime of a few lines in the place of the real one:
its pixels, its answers, its rules. `python bench/web_page.py` asks the real one.
"""

import base64
import importlib.util
import io
import shutil
import sys
import tarfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import headstart.export.browser
from headstart.cli.app import main
from headstart.errors import EngineError, HeadstartError
from headstart.export import web_runtime
from headstart.export.browser import look
from headstart.export.to_web import write_page
from headstart.images.geometry import Geometry, prepare, prepare_pixels
from headstart.metrics.task import SingleLabel

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))),
                None)  # fmt: skip
QUIET = ["--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking",
         "--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream"]  # fmt: skip
# Says how red and how blue the image is, and how typical as it is not green.
RUNTIME = b"""
export const env = { wasm: {} };
export class Tensor { constructor(type, data, dims) { Object.assign(this, { type, data, dims }); } }
export const InferenceSession = { create: async (model) => ({ run: async ({ image }) => {
  if (model[0] !== 7 || env.wasm.wasmBinary.byteLength !== 3) throw new Error("another model");
  let red = 0, blue = 0, all = 0;
  for (let at = 0; at < image.data.length; at += 3) {
    red += image.data[at];
    blue += image.data[at + 2];
    all += image.data[at] + image.data[at + 1] + image.data[at + 2];
  }
  const shares = [red / (red + blue), blue / (red + blue)];
  return { probabilities: { data: Float32Array.from(shares) },
    typicality: { data: Float32Array.of((red + blue) / all) },
    map_0: { dims: [1, 2, 2, 2], data: Float32Array.from([9, 0, 0, 0, 0, 0, 0, 0]) } };
} }) };
"""


def png(colour: tuple[int, int, int]) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (80, 60), colour).save(file, "PNG")
    return file.getvalue()


NAMES = ["</script><b>red;", "blue"]
CARD = {
    "classes": NAMES, "thresholds": None, "bias": [0.0, 0.0], "precision": "f32",
    "not_sure": {"0.9": [0.75, 0.75], "0.99": [2.0, 2.0]},
    "none_of_these": {"rates": [0.02, 0.5]}, "backbone": "efficientnet_lite0",
    "geometry": {"height": 64, "width": 64, "resize": "squash", "interpolation": "antialias"},
    "cuts": ["last"], "licence": "Apache-2.0", "parity": {"images": 9, "difference": 1e-6},
    "provenance": {"headstart": "0.1.0", "run": "photos-1"}, "runtime": "a fake one",
    "tolerance": 0.01, "golden": [
        {"image": base64.b64encode(picture).decode(), "probabilities": shares}
        for picture, shares in (
            (png((200, 0, 100)), [2 / 3, 1 / 3]), (png((90, 0, 10)), [0.8, 0.2])
        )
    ],
}  # fmt: skip
PIXELS = """async ([text, geometry]) => {
  const blob = new Blob([Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0))]);
  const input = headstartPixels.prepare(await headstart.decode(blob), geometry);
  return [input.height, input.width, btoa(String.fromCharCode(...input.data))];
}"""


@pytest.fixture(scope="module", params=["folder", "single"])
def page_file(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("web")
    data = {"model": b"\7model", "script": RUNTIME, "wasm": b"abc"}
    write_page(folder, CARD, data, single=request.param == "single")
    assert (len(list(folder.iterdir())) == 1) == (request.param == "single")
    return folder / "index.html"


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    playwright = pytest.importorskip(
        "playwright.sync_api", reason="needs Playwright: pip install playwright"
    )
    if CHROMIUM is None:
        pytest.skip("needs Chromium: apt-get install chromium")
    with playwright.sync_playwright() as driver:
        started = driver.chromium.launch(executable_path=CHROMIUM, args=QUIET)
        yield started
        started.close()


@pytest.fixture
def page(browser: Any, page_file: Path) -> Iterator[Any]:
    """The page from the disk, on a phone; nothing may go wrong, and nothing be asked of anyone."""
    wrong: list[str] = []
    requests: list[str] = []
    with browser.new_context(viewport={"width": 390, "height": 800}) as context:
        opened = context.new_page()
        opened.on("console", lambda message: wrong.append(message.text))
        opened.on("pageerror", lambda error: wrong.append(str(error)))
        opened.on("request", lambda request: requests.append(request.url))
        opened.goto(page_file.as_uri())
        opened.evaluate("headstart.ready.then(() => 1)")
        yield opened
    assert wrong == []
    assert all(url.startswith(("file:", "blob:", "data:")) for url in requests)


def choose(page: Any, **files: bytes) -> None:
    page.locator("#files").set_input_files(
        [{"name": name, "mimeType": "image/png", "buffer": data} for name, data in files.items()]
    )
    page.locator("#rows > li").nth(len(files) - 1).wait_for()


def test_photos_are_answered(page: Any) -> None:
    choose(page, one=png((200, 0, 10)), two=png((0, 0, 200)), none=b"no image")
    assert page.locator("#rows .answer").all_text_contents() == [
        NAMES[0], "blue", "left out: no image that this browser can read"
    ]  # fmt: skip
    assert page.locator("#rows b").count() == 0  # a name is text
    assert page.locator("#rows .share").first.text_content() == "95.2%"
    assert page.evaluate("document.documentElement.scrollWidth") == 390
    with page.expect_download() as download:
        page.get_by_role("button", name="Download as CSV").click()
    rows = Path(download.value.path()).read_text().splitlines()
    assert rows[1].startswith('"one","</script><b>red;","0.95')
    assert rows[3].endswith('"no image that this browser can read"')


def test_it_is_not_sure_where_that_is_asked(page: Any) -> None:
    assert page.locator("#accuracy option").all_text_contents() == ["always", "90.0%"]
    page.locator("#accuracy").select_option("0.9")
    choose(page, sure=png((200, 0, 10)), unsure=png((100, 0, 90)))
    assert page.locator("#rows .answer").all_text_contents() == [NAMES[0], "not sure"]


def test_it_says_none_of_these_where_that_is_asked(page: Any) -> None:
    assert page.locator("#reject option").all_text_contents() == ["never", "5.0%", "10.0%"]
    page.locator("#reject").select_option("0.05")
    page.locator("#accuracy").select_option("0.9")
    choose(page, red=png((200, 100, 10)), green=png((5, 250, 5)))
    assert page.locator("#rows .answer").all_text_contents() == [NAMES[0], "none of these"]


def test_the_keyboard_suffices_and_what_spoke_is_shown(page: Any) -> None:
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.id") == "files"
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.id") == "camera"
    choose(page, one=png((200, 0, 10)))
    button = page.get_by_role("button", name="Why")
    button.focus()
    page.keyboard.press("Enter")
    assert page.locator("#rows canvas").is_visible()
    assert button.get_attribute("aria-pressed") == "true"
    assert "What spoke for" in page.locator("#rows canvas").get_attribute("aria-label")


def test_it_says_whether_it_classifies_its_own_pictures_as_it_should(page: Any) -> None:
    told = page.evaluate("headstart.verify()")
    assert told["difference"] == pytest.approx(0.1, abs=1e-6)
    assert [row.partition(":")[0] for row in told["beyond"]] == ["picture 2"]
    page.locator("#card summary").click()
    page.get_by_role("button", name="Check it on this device").click()
    page.locator("#verified", has_text="Not as it should be: 2 drawn pictures").wait_for()


def test_the_camera(page: Any) -> None:
    page.locator("#camera").click()
    page.locator("#seen .answer").wait_for()
    page.get_by_role("button", name="Keep this picture").click()
    page.locator("#rows > li").wait_for()
    page.get_by_role("button", name="Stop").click()
    assert page.locator("#live").is_hidden()


def test_pixels_are_those_of_training(page: Any) -> None:
    """To 1 of 255 at most, 0.1 in the mean; JPEGs turned by EXIF, transparency and blocks too."""
    rng = np.random.default_rng(0)
    small = rng.integers(0, 256, (5, 7, 3), np.uint8)
    photo = Image.fromarray(small).resize((131, 97), Image.Resampling.BICUBIC)
    exif = Image.Exif()
    exif[0x0112] = 6
    files: list[tuple[str, Any, dict[str, Any]]] = [
        ("PNG", photo, {}),
        ("PNG", photo.resize((40, 128)), {}),
        ("PNG", photo.resize((128, 96)), {}),
        ("PNG", photo.resize((1037, 811)), {}),
        ("JPEG", photo, {"quality": 90, "exif": exif}),
    ]
    for kind, image, options in files:
        file = io.BytesIO()
        image.save(file, kind, **options)
        for how in ("antialias", "bilinear", "bicubic", "nearest"):
            for resize in ("squash", "crop", "pad"):
                geometry = {"height": 48, "width": 64, "resize": resize, "interpolation": how}
                text = base64.b64encode(file.getvalue()).decode()
                height, width, found = page.evaluate(PIXELS, [text, geometry])
                pixels = np.frombuffer(base64.b64decode(found), np.uint8)
                own = prepare(file.getvalue(), Geometry(**geometry))  # type: ignore[arg-type]
                off = np.abs(own.astype(int) - pixels.reshape(height, width, 3))
                assert (off.max(), off.mean() <= 0.1) in ((0, True), (1, True)), (how, resize)


class RedOrBlue:
    """A classifier that says what the fake runtime says; `off` from it."""

    task, thresholds = SingleLabel(tuple(NAMES)), None

    def __init__(self, off: float) -> None:
        self.off = off

    def reference(self, _: object, images: list[bytes]) -> np.ndarray:
        sums = [prepare(image, Geometry(64, 64)).sum((0, 1), float) for image in images]
        shares = np.array([row[0] / (row[0] + row[2]) for row in sums]) + self.off
        return np.stack([shares, 1 - shares], axis=1)


@pytest.mark.parametrize("off", [0.0, 0.005])
def test_the_page_is_looked_at_before_it_is_kept(
    page_file: Path, off: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    classifier: Any = RedOrBlue(off)
    monkeypatch.setattr(headstart.export.browser, "reference", classifier.reference)
    if CHROMIUM is None or not importlib.util.find_spec("playwright"):
        pytest.skip("needs Playwright and Chromium")
    images = [("a", png((200, 0, 10))), ("b", png((10, 0, 200))), ("c", b"no image")]
    with ThreadPoolExecutor(1) as pool:  # Playwright's loop of this thread is taken
        asked = pool.submit(look, page_file, classifier, images, "f32")
        if off:
            with pytest.raises(EngineError, match="found 2 of 2 images that do not: a: dif"):
                asked.result()
        else:
            found = asked.result()
            assert (found["pixels"]["images"], found["unread"]) == (2, 0)
            assert found["pixels"]["difference"] < 1e-6


def test_transparency_is_over_white(page: Any) -> None:
    file = io.BytesIO()
    Image.new("RGBA", (64, 48), (255, 0, 0, 128)).save(file, "PNG")
    geometry = {"height": 48, "width": 64, "resize": "squash", "interpolation": "antialias"}
    text = base64.b64encode(file.getvalue()).decode()
    *_, found = page.evaluate(PIXELS, [text, geometry])
    own = prepare_pixels(Image.new("RGBA", (64, 48), (255, 0, 0, 128)), Geometry(48, 64))
    off = np.abs(own.reshape(-1).astype(int) - np.frombuffer(base64.b64decode(found), np.uint8))
    assert off.max() <= 1


def test_without_the_runtime_it_is_said_what_to_type() -> None:
    with pytest.raises(HeadstartError, match="Type once, with a network: headstart fetch web"):
        web_runtime.read_runtime()


def test_a_page_for_light_and_dark_that_allows_nothing_else(page_file: Path) -> None:
    text = page_file.read_text()
    assert "default-src 'none'" in text
    assert "unsafe-inline" not in text
    assert "prefers-color-scheme: dark" in text + (
        "" if "<style>" in text else (page_file.parent / "page.css").read_text()
    )
    assert "</script><b>red" not in text


@pytest.mark.parametrize(
    ("words", "text"),
    [("fetch everything", "or web-runtime alone, found 'everything'. Type: headstart fetch web"),
     ("export run --to web", "found none: it runs the model in the browser. Type once"),
     ("export run --to onnx --single-file", "expected --single-file with --to web")],
)  # fmt: skip
def test_the_commands_say_what_they_need(
    words: str, text: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["headstart", *words.split()])
    with pytest.raises(SystemExit):
        main()
    assert text in capsys.readouterr().err


def test_a_runtime_is_unpacked_and_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    packed = tmp_path / "ort.tgz"
    with tarfile.open(packed, "w:gz") as archive:
        for name in (web_runtime.SCRIPT, web_runtime.WASM):
            member = tarfile.TarInfo(f"package/dist/{name}")
            member.size = len(name)
            archive.addfile(member, io.BytesIO(name.encode()))
    asked = []

    def fetch(url: str, target: Path, **_: Any) -> None:
        asked.append(url)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(packed, target)

    monkeypatch.setattr(web_runtime, "fetch", fetch)
    monkeypatch.setenv("HEADSTART_CACHE", str(tmp_path / "cache"))
    for _ in range(2):
        web_runtime.fetch_runtime()
    assert asked == [web_runtime.URL]
    assert web_runtime.read_runtime() == (
        web_runtime.SCRIPT.encode(), web_runtime.WASM.encode()
    )  # fmt: skip

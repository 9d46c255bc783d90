"""A page that classifies photos and the camera's picture in any browser, offline: a folder, or one
file.

The model, the runtime's script and its WASM lie in the page as text (gzip, base64), for a page that
is opened from a disk may read no other file; the browser unpacks them (DecompressionStream).
"""

import base64
import gzip
import hashlib
import json
import tempfile
from collections.abc import Sequence
from importlib import resources
from pathlib import Path
from typing import Any

from headstart.classifier import Classifier
from headstart.export.browser import is_driven, look
from headstart.export.folder import check_new, export
from headstart.export.formats import Subject
from headstart.export.golden import make_small
from headstart.export.novelty_graph import add_typicality
from headstart.export.onnx_graph import to_onnx
from headstart.export.parity import reference
from headstart.export.web_maps import add_maps
from headstart.export.web_runtime import NOTICE, read_runtime
from headstart.system.atomic import folder_atomically
from headstart.system.progress import Progress

PAGE = "index.html"
FILES = ("page.css", "page.js", "pixels.js")
# What stands in the page as the server gives it out, where an export has its own.
POLICY, STYLES = "<!--policy-->", '<link rel="stylesheet" href="page.css">'
SCRIPTS = '<script src="page.js"></script>'
CARD = ("classes", "thresholds", "not_sure", "none_of_these", "geometry", "backbone", "cuts",
        "licence", "precision", "provenance", "parity", "tolerance")  # fmt: skip
LOOKED_AT = 40  # photos that the page itself is asked of


def export_web(
    subject: Subject,
    out: Path,
    *,
    precision: str = "f16",
    single: bool = False,
    images: Sequence[Path] = (),
    origin: dict[str, Any] | None = None,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Write the page to the new folder `out`; what its card tells. single: as one file there.

    Its model is first exported and checked as ONNX, as `export` does; then the page is looked at in
    a browser where there is one to drive, else `browser` in its card is None. Raises as both do,
    and HeadstartError where the runtime has not been fetched.
    """
    progress = progress or Progress()
    check_new(out)
    script, wasm = read_runtime()
    with tempfile.TemporaryDirectory() as place:
        scratch = Path(place) / "onnx"
        checked = export(
            subject, "onnx", scratch, precision=precision, images=images, origin=origin,
            progress=progress,
        )  # fmt: skip
        odd = [
            (path.name, path.read_bytes()) for path in sorted((scratch / "golden").glob("odd-*"))
        ]
    classifier = subject.classifier
    with progress.stage("write the page"):
        graph, bias = add_maps(classifier)
        graph.inputs[0].tensor.set_names({"image"})
        add_typicality(graph, classifier)
        model = to_onnx(graph, half=precision == "f16").SerializeToString(deterministic=True)
        card = {key: checked.record[key] for key in CARD} | {
            "bias": bias, "runtime": NOTICE, "golden": describe_golden(classifier), "browser": None
        }  # fmt: skip
        data = {"model": model, "script": script, "wasm": wasm}
    with folder_atomically(out) as folder:
        write_page(folder, card, data, single=single)
        if is_driven():
            with progress.stage("look at the page"):
                every = -(-len(images) // LOOKED_AT) or 1
                shown = [(str(path), path.read_bytes()) for path in images[::every]]
                card["browser"] = look(folder / PAGE, classifier, [*shown, *odd], precision)
            write_page(folder, card, data, single=single)
    return card


def describe_golden(classifier: Classifier) -> list[dict[str, Any]]:
    """Drawn pictures that the page carries, and what the classifier says of them in f32."""
    pictures = make_small()
    return [
        {"image": base64.b64encode(picture).decode("ascii"), "probabilities": row.tolist()}
        for picture, row in zip(pictures, reference(classifier, pictures), strict=True)
    ]


def write_page(folder: Path, card: dict[str, Any], data: dict[str, bytes], *, single: bool) -> None:
    """index.html and, unless it is the only file, what it loads."""
    texts = {name: read_text(name) for name in FILES}
    packed = {name: base64.b64encode(gzip.compress(part, 9, mtime=0)).decode("ascii")
              for name, part in data.items()}  # fmt: skip
    scripts = {
        "card.js": f"self.headstartCard = {_embed(card)};\n",
        **{f"{name}.js": f'(self.headstartData ??= {{}}).{name} = "{text}";\n'
           for name, text in packed.items()},
        "pixels.js": texts["pixels.js"],
        "page.js": texts["page.js"],
    }  # fmt: skip
    page = read_text(PAGE)
    if single:
        styles = f"<style>{texts['page.css']}</style>"
        loaded = "\n".join(f"<script>{text}</script>" for text in scripts.values())
        allowed = " ".join(_digest(text) for text in scripts.values())
        style = _digest(texts["page.css"])
    else:
        for name, text in {**scripts, "page.css": texts["page.css"]}.items():
            (folder / name).write_text(text, encoding="utf-8")
        styles = STYLES
        loaded = "\n".join(f'<script src="{name}"></script>' for name in scripts)
        allowed = style = "'self'"
    policy = (
        f"default-src 'none'; script-src {allowed} 'wasm-unsafe-eval' blob:; style-src {style}; "
        "img-src blob: data:; media-src blob:; connect-src blob:; base-uri 'none'; "
        "form-action 'none'"
    )
    told = f'<meta http-equiv="Content-Security-Policy" content="{policy}">'
    for mark, text in ((POLICY, told), (STYLES, styles), (SCRIPTS, loaded)):
        before, found, behind = page.partition(mark)
        assert found, mark
        page = before + text + behind
    (folder / PAGE).write_text(page, encoding="utf-8")


def read_text(name: str) -> str:
    """One of the page's own files, which `headstart serve` gives out too."""
    return (resources.files("headstart.serve") / "static" / name).read_text(encoding="utf-8")


def _embed(value: Any) -> str:
    """JSON that may stand within a script, whatever a class is called."""
    return json.dumps(value, ensure_ascii=True).replace("<", "\\u003c")


def _digest(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"

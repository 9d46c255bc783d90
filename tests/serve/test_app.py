"""Requests in every form, what each may cost, and what an answer never tells."""

import asyncio
import base64
import json
import threading
from pathlib import Path
from typing import Any

import pytest
from serve.conftest import JPEG, ask, ask_async

import headstart
from headstart.errors import ClassifierError, HeadstartError
from headstart.serve.app import make_app
from headstart.serve.guard import Guard
from headstart.serve.keys import Keys
from headstart.serve.limits import Limits
from headstart.serve.models import Models, open_models


def form(*files: tuple[str, bytes]) -> tuple[bytes, dict[str, str]]:
    parts = [
        f'--x\r\nContent-Disposition: form-data; name="images"; filename="{name}"\r\n'
        "Content-Type: image/jpeg\r\n\r\n".encode()
        + content
        + b"\r\n"
        for name, content in files
    ]
    return b"".join(parts) + b"--x--\r\n", {"content-type": "multipart/form-data; boundary=x"}


def test_an_image_gets_what_predict_says_of_it(app: Guard, run: Path, red: bytes) -> None:
    got = ask(app, "POST", "/v1/predict?accuracy=0.5&reject=0.2", red, JPEG)
    assert got.status == 200
    (row,) = got.json["predictions"]
    said = headstart.load(run).predict(red, accuracy=0.5, reject=0.2)
    assert row["probabilities"] == said.probabilities  # to the last digit
    assert (row["label"], row["typicality"]) == (said.label, said.typicality)
    assert got.json["model"] == "colours"


def test_forms_and_json_hold_several_images(app: Guard, red: bytes, blue: bytes) -> None:
    body, headers = form(("a.jpg", red), ("no.jpg", b"no"), ("b.png", blue))
    got = ask(app, "POST", "/v1/predict?top_k=1", body, headers)
    assert got.status == 200
    first, second, third = got.json["predictions"]
    assert (first["image"], first["label"]) == ("a.jpg", "red")
    assert list(first["probabilities"]) == ["red"]
    assert second["error"].startswith("not an image")
    assert third["label"] == "blue"
    entries = [
        base64.b64encode(red).decode(),
        {"name": "b", "data": base64.b64encode(blue).decode()},
    ]
    got = ask(app, "POST", "/v1/predict", json.dumps({"images": entries}).encode(),
              {"content-type": "application/json"})  # fmt: skip
    assert [row["label"] for row in got.json["predictions"]] == ["red", "blue"]


def test_a_broken_image_alone_is_422(app: Guard, red: bytes) -> None:
    got = ask(app, "POST", "/v1/predict", red[:200], JPEG)
    assert got.status == 422
    assert got.json["predictions"][0]["error"]


@pytest.mark.parametrize(
    ("path", "body", "kind", "status", "words"),
    [
        ("/v1/predict", b"", "image/png", 400, "an empty body"),
        ("/v1/predict", b"x", "text/plain", 415, "found 'text/plain'"),
        ("/v1/predict", b"x", "", 415, "no Content-Type"),
        ("/v1/predict", b"{", "application/json", 400, "found no JSON"),
        ("/v1/predict", b"[" * 10**5, "application/json", 400, "found no JSON"),
        ("/v1/predict", b'{"images":[]}', "application/json", 400, "at least one image"),
        ("/v1/predict", b'{"images":[3]}', "application/json", 400, "as image 1"),
        ("/v1/predict", b'{"images":["?"]}', "application/json", 400, "image 1 in base64"),
        ("/v1/predict", b"x", "multipart/form-data", 400, "whole form"),
        ("/v1/predict", b"x", "multipart/form-data; boundary=y", 400, ""),
        ("/v1/predict?model=no", b"x", "image/png", 404, "one of the models colours"),
        ("/v1/predict?accuracy=7", b"x", "image/png", 422, "accuracy: input should be less"),
        ("/v1/predict?reject=0.0001", b"x", "image/png", 422, "share of false alarms"),
        ("/v1/predict?top_k=x", b"x", "image/png", 422, "top_k"),
        ("/v1/nothing", b"x", "image/png", 404, "not found"),
    ],
)  # fmt: skip
def test_what_cannot_be_read_is_told(
    app: Guard, path: str, body: bytes, kind: str, status: int, words: str
) -> None:
    got = ask(app, "POST", path, body, {"content-type": kind} if kind else {})
    assert got.status == status, got.body
    assert words in got.json["error"]


def test_too_much_is_refused_before_it_is_read(models: Models, red: bytes) -> None:
    app = make_app(models, Limits(body=1000, images=2, bodies=1500))
    got = ask(app, "POST", "/v1/predict", b"", {**JPEG, "content-length": "1001"})
    assert (got.status, got.headers["connection"]) == (413, "close")
    got = ask(app, "POST", "/v1/predict", [b"x" * 600, b"x" * 600, b"x" * 10**6], JPEG)
    assert got.status == 413
    assert app.held == 0
    app.held = 1000  # of others
    got = ask(app, "POST", "/v1/predict", b"", {**JPEG, "content-length": "900"})
    assert (got.status, got.headers["retry-after"]) == (503, "1")
    app.held = 0
    body, headers = form(*[("a", b"x")] * 3)
    assert ask(app, "POST", "/v1/predict", body, headers).status == 413
    assert ask(app, "POST", "/v1/predict", b"x", {**JPEG, "content-encoding": "gzip"}).status == 415


def test_who_sends_too_slowly_is_told_so(models: Models) -> None:
    async def go() -> None:
        app = make_app(models, Limits(upload=0.05))
        parts: list[bytes] = [b"x" * 10, b""]

        async def receive() -> dict[str, Any]:
            if len(parts) == 1:
                await asyncio.sleep(60)
            return {"type": "http.request", "body": parts.pop(0), "more_body": True}

        sent: list[Any] = []

        async def send(message: Any) -> None:
            sent.append(message)

        scope = {"type": "http", "path": "/v1/predict", "method": "POST", "headers": []}
        await app(scope, receive, send)
        assert sent[0]["status"] == 408
        assert app.held == 0

    asyncio.run(go())


def test_a_full_queue_says_when_to_come_again(models: Models, red: bytes) -> None:
    """What is accepted is answered; the rest hears of it at once."""
    app = make_app(models, Limits(waiting=4))

    async def go() -> list[Any]:
        return await asyncio.gather(
            *(ask_async(app, "POST", "/v1/predict", red, JPEG) for _ in range(40))
        )

    got = asyncio.run(go())
    statuses = {answer.status for answer in got}
    assert statuses == {200, 503}
    assert all(a.headers["retry-after"] == "1" for a in got if a.status == 503)
    assert asyncio.run(go())  # and there is room again


def test_an_image_that_takes_too_long_costs_its_own_answer(
    models: Models, red: bytes, blue: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    served, go_on = models.first, threading.Event()
    prepare = served.classifier.prepare

    def slow(numbered: tuple[int, Any]) -> Any:
        if numbered[1] == blue:
            go_on.wait(10)
        return prepare(numbered)

    monkeypatch.setattr(served.classifier, "prepare", slow)
    app = make_app(models, Limits(decoding=0.2))
    body, headers = form(("a", red), ("b", blue), ("c", red))
    got = ask(app, "POST", "/v1/predict", body, headers)
    go_on.set()
    assert [row.get("error") for row in got.json["predictions"]] == [
        None, "takes more than 0.2 s", None,
    ]  # fmt: skip


def test_without_a_key_little_is_told(models: Models, red: bytes, tmp_path: Path) -> None:
    file = tmp_path / "keys.txt"
    file.write_text("# mine\nabcdefghijklmnop\n")
    app = make_app(models, keys=Keys(file))
    for path in ("/v1/models", "/metrics", "/openapi.json", "/v2", "/status"):
        got = ask(app, "GET", path)
        assert (got.status, got.headers["www-authenticate"]) == (401, "Bearer"), path
    assert ask(app, "GET", "/readyz").status == 200
    bearer = {"authorization": "Bearer abcdefghijklmnop"}
    assert ask(app, "POST", "/v1/predict", red, {**JPEG, **bearer}).status == 200
    assert ask(app, "GET", "/v1/models", headers={"x-api-key": "abcdefghijklmnop"}).status == 200
    assert ask(app, "GET", "/v1/models", headers={"x-api-key": "abcdefghijklmnoq"}).status == 401
    assert "security" in ask(app, "GET", "/openapi.json", headers=bearer).json
    with pytest.raises(HeadstartError, match=r"keys, one a line, found: .*Type: python3 -c"):
        Keys(tmp_path)
    file.write_text("short\n")
    with pytest.raises(HeadstartError, match="at least 16 letters"):
        Keys(file)


def test_the_server_is_called_by_its_names_alone(models: Models, red: bytes) -> None:
    app = make_app(models, hosts={"localhost", "127.0.0.1", "::1"})
    for host in ("localhost:8000", "127.0.0.1:1", "[::1]:8000", "LOCALHOST"):
        assert ask(app, "POST", "/v1/predict", red, {**JPEG, "host": host}).status == 200, host
    for host in ("evil.example:8000", "", "localhost.evil.example", "evil@localhost.b", "[::"):
        got = ask(app, "POST", "/v1/predict", red, {**JPEG, "host": host})
        assert got.status == 403, host
        assert "--allow-host NAME" in got.json["error"]
    assert ask(app, "GET", "/", headers={"host": "evil.example"}).status == 403


def test_other_sites_cannot_ask(app: Guard, red: bytes) -> None:
    for headers in ({"sec-fetch-site": "cross-site"}, {"origin": "http://a.b", "host": "me:1"}):
        assert ask(app, "POST", "/v1/predict", red, {**JPEG, **headers}).status == 403
    own = {"origin": "http://me:1", "host": "me:1", "sec-fetch-site": "same-origin"}
    got = ask(app, "POST", "/v1/predict", red, {**JPEG, **own})
    assert got.status == 200
    assert "access-control-allow-origin" not in got.headers
    assert got.headers["content-security-policy"].startswith("default-src 'none'")


def test_what_goes_wrong_here_stays_here(
    models: Models, red: bytes, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    lines: list[str] = []
    app = make_app(models, log=lines.append)

    def fail(*_: Any) -> None:
        raise RuntimeError("/secret/path")

    monkeypatch.setattr(models.first, "answer", fail)
    body, headers = form(("private name.jpg", red))
    got = ask(app, "POST", "/v1/predict", body, {**headers, "x-request-id": "mine"})
    assert got.status == 500
    assert b"secret" not in got.body
    assert "mine" in got.json["error"]
    assert "/secret/path" in capsys.readouterr().err
    row = json.loads(lines[0])
    assert (row["id"], row["status"], row["path"]) == ("mine", 500, "/v1/predict")
    assert "private" not in lines[0]


def test_explained(app: Guard, red: bytes) -> None:
    got = ask(app, "POST", "/v1/predict?explain=true", red, JPEG)
    told = got.json["predictions"][0]["explanation"]
    assert (told["class"], told["exact"]) == ("red", True)
    assert told["sum"] == pytest.approx(told["logit"], abs=1e-2)
    assert base64.b64decode(told["picture"].partition(",")[2]).startswith(b"\x89PNG")


def test_a_new_version_is_served_and_a_broken_one_is_not(
    tiny: Path, tmp_path: Path, red: bytes
) -> None:
    folder = tmp_path / "run"
    headstart.train(tiny, out=folder, cut="block2b_add", size=64)
    models = open_models([f"it={folder}"])
    app = make_app(models)
    before = models.first
    models.refresh()
    assert models.first is before
    other = headstart.load(folder)
    other.thresholds = None
    other.description = {**other.description, "note": "another"}
    other.save(folder / "classifier")
    models.refresh()
    after = ask(app, "POST", "/v1/predict", red, JPEG).json
    assert after["version"] != before.version
    record = folder / "classifier" / "classifier.json"
    record.write_text(record.read_text().replace('"red"', '"rad"'))
    models.refresh()
    assert ask(app, "POST", "/v1/predict", red, JPEG).json == after
    assert "it" in models.failures
    assert b'reload_failing{model="it"} 1.0' in ask(app, "GET", "/metrics").body
    assert ask(app, "GET", "/v1/status").json["models"][0]["newer_version_cannot_be_loaded"]


def test_names_are_told_apart(run: Path) -> None:
    with pytest.raises(ClassifierError, match="'colours' twice"):
        open_models([str(run), str(run)])
    with pytest.raises(ClassifierError, match="found nothing at"):
        open_models([f"{run}-not"])
    with pytest.raises(ClassifierError, match="address can hold"):
        open_models([f"a/b={run}"])


def test_counted(app: Guard, red: bytes) -> None:
    ask(app, "POST", "/v1/predict", red, JPEG)
    ask(app, "GET", "/made/up")
    text = ask(app, "GET", "/metrics").body.decode()
    assert 'headstart_answers_total{answer="red",model="colours"}' in text
    assert 'route="/v1/predict",status="200"' in text
    assert "made" not in text


def test_pages_and_documents(app: Guard) -> None:
    page = ask(app, "GET", "/")
    assert "script-src 'self'" in page.headers["content-security-policy"]
    assert b"http" not in page.body  # nothing foreign
    for path in ("/page.js", "/page.css", "/status", "/v1/status", "/healthz", "/v1/models"):
        assert ask(app, "GET", path).status == 200, path
    paths = ask(app, "GET", "/openapi.json").json["paths"]
    assert "/v1/predict" in paths
    assert "503" in paths["/v1/predict"]["post"]["responses"]


def test_what_would_be_passed_over_is_refused(app: Guard, red: bytes) -> None:
    got = ask(app, "POST", "/v1/predict?acuracy=0.99", red, JPEG)
    assert got.status == 422
    assert (
        "expected the options model, top_k, accuracy, reject, explain, found" in got.json["error"]
    )
    body = json.dumps({"accuracy": 0.99, "images": [base64.b64encode(red).decode()]}).encode()
    got = ask(app, "POST", "/v1/predict", body, {"content-type": "application/json"})
    assert (got.status, "found 'accuracy'. Options go into the address" in got.json["error"]) == (
        400, True,
    )  # fmt: skip
    form = (
        b'--x\r\nContent-Disposition: form-data; name="model"\r\n\r\nother\r\n'
        b'--x\r\nContent-Disposition: form-data; name="i"; filename="a.png"\r\n\r\n'
        + red + b"\r\n--x--\r\n"
    )  # fmt: skip
    got = ask(app, "POST", "/v1/predict", form, {"content-type": "multipart/form-data; boundary=x"})
    assert got.status == 400
    assert "found 'model'" in got.json["error"]


def test_errors_say_what_was_found(app: Guard, red: bytes) -> None:
    for path, found in (
        ("/v1/predict?accuracy=2", "found 2"),
        ("/v1/predict?explain=maybe", "found maybe"),
        ("/v1/predict?model=who", "found who"),
        ("/v1/nothing", "found POST /v1/nothing"),
        ("/healthz", "found POST /healthz"),
    ):
        got = ask(app, "POST", path, red, JPEG)
        assert 400 <= got.status < 500, path
        assert got.json["error"].endswith(found), got.json
        assert "expected" in got.json["error"] or "should" in got.json["error"]


def test_head_is_answered_where_get_is(app: Guard) -> None:
    for path in ("/", "/healthz", "/v1/models"):
        assert ask(app, "HEAD", path).status == 200, path


def test_keys_that_are_taken_away_are_gone(models: Models, tmp_path: Path) -> None:
    file = tmp_path / "keys.txt"
    for end in ("", "short\n", None):
        file.write_text("abcdefghijklmnop\n")
        keys = Keys(file)
        assert keys.knows("abcdefghijklmnop")
        file.unlink() if end is None else file.write_text(end)
        with pytest.raises(HeadstartError):
            keys.refresh()
        assert not keys.knows("abcdefghijklmnop")
        assert keys, "a server with a file of keys stays closed"
        file.write_text("abcdefghijklmnop\n")
        keys.refresh()
        assert keys.knows("abcdefghijklmnop")

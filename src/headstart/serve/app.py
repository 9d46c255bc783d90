"""The routes, as one ASGI application. Each reads a request, asks the service, and answers."""

import asyncio
import contextlib
import sys
from collections.abc import AsyncIterator, Callable, Collection
from importlib.resources import files
from typing import Annotated, Any

from fastapi import Depends, FastAPI, Query, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException

from headstart import __version__
from headstart.classifier import Prediction
from headstart.errors import HeadstartError
from headstart.serve import documents, v2
from headstart.serve.bodies import LONG, Refused, read_images
from headstart.serve.feedback import Feedback
from headstart.serve.guard import Guard, to_json, went_wrong
from headstart.serve.keys import Keys
from headstart.serve.limits import RETRY_AFTER, Limits
from headstart.serve.models import Answer, Models, Options, Served
from headstart.serve.service import Service
from headstart.system.text import escape

STATIC = {
    "/": ("index.html", "text/html; charset=utf-8"),
    "/page.js": ("page.js", "text/javascript; charset=utf-8"),
    "/page.css": ("page.css", "text/css; charset=utf-8"),
}
Name = Annotated[str | None, Query(max_length=200, description="Which model; by default the first")]
TopK = Annotated[int, Query(ge=0, le=10_000, description="How many classes to name; 0: all")]
Accuracy = Annotated[
    float | None,
    Query(ge=0.5, lt=1, description="Answer only where so many answers are right, such as 0.99"),
]
Reject = Annotated[
    float | None,
    Query(gt=0, le=0.5, description="Say none of these of images unlike all trained on, at this "
          "share of false alarms, such as 0.05"),
]  # fmt: skip
Label = Annotated[
    str, Query(min_length=1, max_length=200, description="The right one; a;b for several")
]
Explain = Annotated[
    bool, Query(description="A picture of what spoke for the class and against it; slow")
]


def make_app(
    models: Models,
    limits: Limits | None = None,
    keys: Keys | None = None,
    feedback: Feedback | None = None,
    log: Callable[[str], object] | None = None,
    hosts: Collection[str] | None = None,
) -> Guard:
    """The server as an ASGI application, for uvicorn or another. hosts: see Guard."""
    limits, keys = limits or Limits(), keys or Keys()
    service = Service(models, limits)

    @contextlib.asynccontextmanager
    async def live(_: FastAPI) -> AsyncIterator[None]:
        task = asyncio.create_task(service.look_for_versions(_Refreshing(keys)))
        try:
            yield
        finally:
            task.cancel()
            await asyncio.to_thread(service.close)

    # Without pages of documentation: they would ask other servers for their scripts.
    app = FastAPI(
        title="headstart", version=__version__, description=documents.ABOUT, lifespan=live,
        docs_url=None, redoc_url=None, redirect_slashes=False,
    )  # fmt: skip
    app.add_exception_handler(Refused, _refuse)
    app.add_exception_handler(HTTPException, _refuse)
    app.add_exception_handler(RequestValidationError, _refuse)
    app.add_exception_handler(Exception, _apologise)  # the guard tells the log
    _add_routes(app, service)
    v2.add_routes(app, service)
    if feedback is not None:
        _add_feedback(app, service, feedback)
    documents.complete(app, bool(keys))
    return Guard(app, limits, keys, log, service.metrics.observe, hosts)


class _Refreshing:
    """Reads the keys again, and tells once what is wrong with them."""

    def __init__(self, keys: Keys) -> None:
        self.keys, self.told = keys, ""

    def __call__(self) -> None:
        try:
            self.keys.refresh()
            self.told = ""
        except HeadstartError as error:
            if self.told != str(error):
                self.told = str(error)
                print(f"warning: no key is known: {error}", file=sys.stderr, flush=True)


def _check_query(request: Request) -> None:
    """Raises Refused for an option that there is not: a misspelt one would do nothing, silently."""
    known = [parameter.alias for parameter in request.scope["route"].dependant.query_params]
    for name in request.query_params:
        if name not in known:
            raise Refused(422, f"expected the options {', '.join(known)}, found "
                          f"{escape(name)[:LONG]!r}")  # fmt: skip


def _check_label(label: str, served: Served) -> str:
    """The label as a table for `train` may hold it. Raises Refused for another."""
    label = label.strip()
    if not label or label != escape(label):
        raise Refused(422, "expected a label of printable letters, found others")
    names = [name.strip() for name in label.split(";")]
    if len(names) > 1 and not served.classifier.task.multilabel:
        raise Refused(422, f"expected one class, for {served.name} has one an image, found {label}")
    if not all(names) or len(set(names)) < len(names):
        raise Refused(422, f"expected classes joined by ; each once, found {label}")
    return ";".join(names)


CHECKED = [Depends(_check_query)]


def _add_routes(app: FastAPI, service: Service) -> None:
    @app.post("/v1/predict", tags=["predict"], dependencies=CHECKED, **documents.PREDICT)
    async def predict(
        request: Request, model: Name = None, top_k: TopK = 0, accuracy: Accuracy = None,
        reject: Reject = None, explain: Explain = False,
    ) -> Response:  # fmt: skip
        """Say which class each image belongs to.

        An image that cannot be used has its own `error`, and the others their answers; where it is
        the only one the status is 422.
        """
        served = service.find(model)
        kind = request.headers.get("content-type", "")
        sent = await read_images(kind, request.state.body, service.limits)
        options = Options(top_k, accuracy, reject, explain)
        answers = await service.answer(served, [(one.name, one.content) for one in sent], options)
        failed = sum(answer.prediction.error is not None for answer in answers)
        request.state.notes.update(model=served.name, images=len(sent), failed=failed)
        rows = [describe(answer, options) for answer in answers]
        content = {"model": served.name, "version": served.version, "predictions": rows}
        return _json(content, 422 if failed == len(rows) == 1 else 200)

    @app.get("/v1/models", tags=["models"], **documents.MODELS)
    async def models() -> Response:
        """What is served: names, versions, classes, what each can tell."""
        return _json({"models": [served.describe() for served in service.models]})

    @app.get("/healthz", tags=["server"], **documents.OK)
    async def healthz() -> Response:
        """Whether the process is alive."""
        return _json({"status": "alive"})

    @app.get("/readyz", tags=["server"], **documents.READY)
    async def readyz() -> Response:
        """Whether it takes requests: 503 once it is being stopped."""
        return _json({"status": "ready" if service.ready else "stopping"},
                     200 if service.ready else 503)  # fmt: skip

    @app.get("/metrics", tags=["server"], **documents.METRICS)
    async def metrics() -> Response:
        """For Prometheus."""
        kind = "text/plain; version=0.0.4; charset=utf-8"
        return Response(service.metrics.show(), headers={"content-type": kind})

    @app.get("/v1/status", tags=["server"], **documents.OK)
    async def status() -> Response:
        """What `/status` shows: queues, versions, drift."""
        return _json(describe_status(service))

    @app.get("/status", include_in_schema=False)
    async def status_page() -> Response:
        from headstart.serve.status import draw_status

        return Response(draw_status(describe_status(service)), media_type="text/html")

    for path, (name, kind) in STATIC.items():
        content = files("headstart.serve").joinpath("static", name).read_bytes()
        app.add_api_route(path, _static(content, kind), include_in_schema=False)


def _add_feedback(app: FastAPI, service: Service, kept: Feedback) -> None:
    @app.post("/v1/feedback", tags=["feedback"], dependencies=CHECKED, **documents.FEEDBACK)
    async def feedback(request: Request, label: Label, model: Name = None) -> Response:
        """Keep images with their right label, which may be a new class, for the next training.

        Images that cannot be used are not kept.
        """
        served = service.find(model)
        label = _check_label(label, served)
        kind = request.headers.get("content-type", "")
        sent = await read_images(kind, request.state.body, service.limits)
        images = [(one.name, one.content) for one in sent]
        answers = await service.answer(served, images, Options(1))
        good = 0
        for one, answer in zip(sent, answers, strict=True):
            if answer.prediction.error is None:
                said = answer.prediction.label, answer.prediction.probability
                about = (*said, served.name, served.version)
                await asyncio.to_thread(kept.keep, one.content, label, about)
                good += 1
        request.state.notes.update(model=served.name, images=len(sent), kept=good)
        if not good:
            raise Refused(422, answers[0].prediction.error or "expected an image")
        return _json({"kept": good, "left_out": len(sent) - good})


def _static(content: bytes, kind: str) -> Callable[[], Any]:
    async def give() -> Response:
        return Response(content, headers={"content-type": kind})

    return give


def describe_status(service: Service) -> dict[str, Any]:
    """Plain JSON types."""
    models = []
    for served in service.models:
        drift = service.drift.get(served.name)
        models.append({
            "name": served.name, "version": served.version,
            "loaded_at": round(served.loaded_at, 3),
            "newer_version_cannot_be_loaded": served.name in service.models.failures,
            "drift": None if drift is None else {
                "window": drift.window, "level": drift.level, "windows": drift.windows,
                "alarms": drift.alarms, "now": drift.is_on,
                "p_values": [float(f"{p:.3g}") for p in drift.p_values],
            },
        })  # fmt: skip
    queue = {"quick": service.quick.accepted, "slow": service.slow.accepted}
    return {"models": models, "queue": queue, "ready": service.ready}


def describe(answer: Answer, options: Options) -> dict[str, Any]:
    """An image's row as plain JSON types."""
    prediction: Prediction = answer.prediction
    row: dict[str, Any] = {"image": prediction.name, "label": prediction.label}
    if prediction.error is not None:
        return {**row, "error": prediction.error}
    row["answer"] = prediction.silence or "answered"
    row["probability"] = prediction.probability
    if prediction.labels is not None:
        row["labels"] = list(prediction.labels)
    if prediction.typicality is not None:
        row["typicality"] = prediction.typicality
    row["probabilities"] = dict(prediction.top(options.top_k or len(prediction.probabilities)))
    if answer.explanation is not None:
        row["explanation"] = answer.explanation
    return row


def _json(content: Any, status: int = 200) -> Response:
    return Response(to_json(content), status, media_type="application/json")


async def _apologise(request: Request, _: Exception) -> Response:
    return _json({"error": went_wrong(request.state.id)}, 500)


async def _refuse(request: Request, error: Exception) -> Response:
    """Every error in one form, without a path of ours or a trace."""
    headers: dict[str, str] = {}
    match error:
        case Refused():
            status, text = error.status, str(error)
        case RequestValidationError():
            first = error.errors()[0]
            status = 422
            found = escape(str(first.get("input")))[:LONG]
            text = (
                f"{first['loc'][-1]}: {first['msg'][:1].lower()}{first['msg'][1:]}, found {found}"
            )
        case HTTPException():
            status, text = error.status_code, str(error.detail).lower()
            headers = dict(error.headers or {})
            if status in (404, 405):
                asked = escape(f"{request.method} {request.url.path}")[:LONG]
                text = f"{text}: expected what /openapi.json lists, found {asked}"
        case _:
            raise error
    if status == 503:
        headers["retry-after"] = str(RETRY_AFTER)
    return Response(to_json({"error": text}), status, headers, "application/json")

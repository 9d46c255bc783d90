"""What every protocol asks: a model by its name, and answers for images."""

import asyncio
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from headstart.classifier import Prediction
from headstart.errors import HeadstartError
from headstart.serve.bodies import LONG, Refused, is_quick
from headstart.serve.drift import Drift
from headstart.serve.limits import Limits
from headstart.serve.metrics import Metrics
from headstart.serve.models import THREADS, Answer, Models, Options, Served
from headstart.serve.pool import Busy, Job, Lane, gather
from headstart.system.text import escape

LOOK = 2.0  # seconds between looks for new versions


class Service:
    """The models, the threads that ask them, and what is counted."""

    def __init__(self, models: Models, limits: Limits) -> None:
        self.models, self.limits = models, limits
        self.quick = Lane("quick", THREADS, limits.waiting)
        self.slow = Lane("slow", max(1, THREADS // 4), max(8, limits.waiting // 8))
        self.ready = True
        self.drift: dict[str, Drift] = {}
        self.metrics = Metrics(self)
        models.changed = self.watch
        for served in models:
            self.watch(served)

    def watch(self, served: Served) -> None:
        """Begin to compare what comes in with what this version was trained on."""
        novelty = served.classifier.abstention.novelty
        if novelty is None:
            self.drift.pop(served.name, None)
        else:
            self.drift[served.name] = Drift(novelty)

    def find(self, name: str | None, version: str | None = None) -> Served:
        """By its name, the first where none is given. Raises Refused if there is none."""
        served = self.models.first if name is None else self.models.served.get(name)
        if served is None or version not in (None, served.version):
            known = ", ".join(one.name for one in self.models)
            asked = escape(f"{name or ''} {version or ''}".strip())[:LONG]
            raise Refused(404, f"expected one of the models {known}, found {asked}")
        return served

    async def answer(
        self, served: Served, images: Sequence[tuple[str, Any]], options: Options
    ) -> list[Answer]:
        """For each (name, bytes or pixels) in order. Raises Refused for options that this model
        cannot serve, 503 where there is no room.
        """
        if len(images) > self.limits.images:
            raise Refused(413, f"expected at most {self.limits.images} images a request, found "
                          f"{len(images)}")  # fmt: skip
        if options != Options(options.top_k):  # silently nothing would be worse
            try:
                await asyncio.to_thread(served.check, options)
            except HeadstartError as error:
                raise Refused(422, str(error)) from None
        jobs = []
        for name, source in images:
            slow = options.explain or (isinstance(source, bytes) and not is_quick(source))
            job = Job(partial(served.answer, source, name, options))
            jobs.append((self.slow if slow else self.quick, job))

        def late(number: int) -> Answer:
            most = self.limits.decoding
            return Answer(Prediction(images[number][0], None, {}, f"takes more than {most:g} s"))

        try:
            answers = await gather(jobs, late, self.limits.decoding, self.limits.deadline)
        except Busy:
            raise Refused(503, "expected room in the queue, found it full. Try again") from None
        self._count(served, answers)
        return answers

    def _count(self, served: Served, answers: Sequence[Answer]) -> None:
        drift = self.drift.get(served.name)
        for answer in answers:
            self.metrics.count(served, answer.prediction)
            if drift is not None and answer.features is not None:
                drift.add(answer.features)

    async def look_for_versions(self, more: Callable[[], object] = lambda: None) -> None:
        """Without end: load what has changed on disk, in a thread."""
        while True:
            await asyncio.sleep(LOOK)
            await asyncio.to_thread(self.models.refresh)
            await asyncio.to_thread(more)

    def close(self) -> None:
        """Finish what was accepted."""
        self.ready = False
        self.quick.close()
        self.slow.close()

"""Maps of what spoke for a class, for any classifier, old ones too: the maps before pooling become
further outputs of its graph when it is asked to explain.
"""

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np

from headstart.classifier import Classifier, Prediction
from headstart.errors import ClassifierError
from headstart.explain.evidence import (
    Evidence,
    activation_map,
    linear_form,
    log_odds,
    logits,
    masking_map,
)
from headstart.explain.parts import watch
from headstart.features.engine import OpenVinoEngine
from headstart.system.threads import cores, map_ahead


@dataclass(frozen=True)
class Explanation:
    """A prediction with its reasons. evidence, features (D,): None where the image could not be
    used; `prediction.error` then says why.
    """

    prediction: Prediction
    evidence: Evidence | None = None
    features: np.ndarray | None = None


class Explainer:
    """Explains what a classifier says. Compiled once, for any number of images.

    Raises ClassifierError where no feature has a place in the image, or the graph is of another
    make.
    """

    def __init__(self, classifier: Classifier) -> None:
        self.classifier = classifier
        about = classifier.description
        cuts = [cut.partition(":")[2] or str(about.get("pooling")) for cut in about["cuts"]]
        graph = classifier.graph()
        self.parts = watch(graph, cuts)
        width, head = self.parts[-1].where.stop, classifier.head
        if width != head.dimensions:
            raise ClassifierError(
                f"expected a head for the {width} features of its network, found one for "
                f"{head.dimensions}. Restore all of the classifier's folder, or train again"
            )
        if all(part.pooling == "none" for part in self.parts):
            raise ClassifierError(
                f"expected a cut whose features have places in the image, found "
                f"{' + '.join(about['cuts'])}, which has none, so nothing can be marked. Type: "
                "headstart layers, for another cut to train with"
            )
        self.linear = linear_form(head)
        self._engine = OpenVinoEngine(graph, classifier.precision)

    @property
    def exact(self) -> bool:
        """Whether maps add up by themselves: the head is linear."""
        return self.linear is not None

    def explain(
        self, sources: Iterable[Any], classes: Sequence[str | None] | None = None
    ) -> Iterator[Explanation]:
        """An Explanation of each source, in order; memory stays flat.

        sources: as `Classifier.stream` takes them. classes: of each the one to explain, by default
        the most probable.
        """
        names: deque[tuple[int, str, str | None]] = deque()

        def good(pool: ThreadPoolExecutor) -> Iterator[np.ndarray]:
            images = map_ahead(pool, self.classifier.prepare, enumerate(sources))
            for number, (name, pixels, error) in enumerate(images):
                names.append((number, name, error))
                if pixels is not None:
                    yield pixels

        def left_out() -> Iterator[Explanation]:
            while names and names[0][2] is not None:
                _, name, error = names.popleft()
                yield Explanation(Prediction(name, None, {}, error))

        with ThreadPoolExecutor(cores()) as pool:
            for outputs in self._engine.run_all(good(pool)):
                yield from left_out()
                number, name, _ = names.popleft()
                yield self._explain(name, outputs, classes[number] if classes else None)
            yield from left_out()

    def _explain(self, name: str, outputs: list[np.ndarray], wanted: str | None) -> Explanation:
        classifier = self.classifier
        probabilities, features, *_ = outputs
        prediction = classifier.decide(name, probabilities)
        label = wanted or next(iter(prediction.probabilities))
        chosen, head = classifier.classes.index(label), classifier.head
        maps = [part.arrange(outputs[part.output]) for part in self.parts]
        shape = classifier.geometry.height, classifier.geometry.width
        if self.linear is not None:
            values, constant = activation_map(
                head, self.linear, self.parts, maps, features, chosen, shape
            )
        else:
            values, constant = masking_map(head, self.parts, maps, features, chosen, shape)
        evidence = Evidence(
            label=label, probability=float(probabilities[chosen]),
            logit=float(log_odds(head, logits(head, features[None]), chosen)[0]),
            values=values.astype(np.float32), constant=constant, exact=self.exact,
        )  # fmt: skip
        return Explanation(prediction, evidence, features)


def maps(
    classifier: Classifier, sources: Iterable[Any], classes: Sequence[str | None] | None = None
) -> Iterator[Explanation]:
    """An Explanation of each source, in order. Arguments and errors as `Explainer` has them."""
    return Explainer(classifier).explain(sources, classes)

"""The linear head: logistic regression, its strength chosen by cross-validation.

Multinomial where an image is in one class, one regression a class where it may be in several: the
task's loss makes the difference. Only training images take part in the choice: each is predicted
by a head that has not seen it (nor any other view of it), and the strength with the lowest
out-of-fold log loss wins.
Letters: N images, R rows (their views), D features, C classes, K columns of logits, L strengths.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from headstart.errors import HeadError
from headstart.heads.calibration import temperature, temperature_by_others
from headstart.heads.examples import Examples
from headstart.heads.fusion import average, weigh
from headstart.heads.head import Dense, Head
from headstart.heads.solver import (
    BLOCK,
    Preconditioner,
    StandardisedFeatures,
    compute_logits,
    rotate,
    rotate_back,
    solve,
    standardise,
)
from headstart.metrics.task import Task
from headstart.system.memory import iterate_blocks, take_rows
from headstart.system.threads import algebra_for

STRENGTHS = tuple(float(10.0**k) for k in np.arange(1, -4.01, -0.5))
CHOOSING, FINAL = 3e-2, 1e-3  # tolerances: a choice needs less than a result
PATIENCE = 2  # strengths without gain before the search ends
SAID = 2**25  # numbers that are held of what is said of images
MANY = 200_000  # images of which strengths are tried on a sample first
SAMPLE = 2**25  # numbers in its features, 134 MB
FEWER, FEWEST = 4, 100  # times fewer images than there are, groups at least
WORK = 3e12  # multiplications that choosing may cost; beyond it fewer folds are tried


@dataclass(frozen=True)
class Trial:
    """One strength: its out-of-fold mean log loss and accuracy, with the loss' standard error."""

    strength: float
    log_loss: float
    log_loss_error: float
    accuracy: float


@dataclass(frozen=True)
class CrossValidation:
    """How heads do on images that they have not seen, at the best of the strengths tried.

    strengths, shares: of each of the K heads whose logits are averaged, most often one. trials: of
    the head with the largest share. logits: (N, C), of each image by heads that have not seen it;
    nan where no fold covered it and where no other fold has its class.
    """

    strengths: tuple[float, ...]
    shares: np.ndarray
    trials: tuple[Trial, ...]
    logits: np.ndarray

    @property
    def strength(self) -> float:
        """Of the head with the largest share."""
        return self.strengths[int(self.shares.argmax())]


@dataclass(frozen=True)
class LinearFit:
    """A trained linear head: weight (D, C) and bias (C,) on features as the extractor gives them.

    mean_of_folds: weight and bias of an ensemble, the mean of the folds' heads.
    temperature: what the logits were divided by to calibrate them.
    out_of_fold: (N, C) probabilities of images by heads that have not seen them, at the temperature
    of other images' logits; nan where the cross-validation has none. judged: None; or of which
    images these are, where those of all would be too many numbers to hold.
    """

    task: Task
    weight: np.ndarray
    bias: np.ndarray
    mean_of_folds: tuple[np.ndarray, np.ndarray]
    cross_validation: CrossValidation
    temperature: float
    out_of_fold: np.ndarray
    judged: np.ndarray | None
    iterations: int

    def head(self, *, of_folds: bool = False) -> Head:
        """The head as plain arrays, with its activation; or the mean of the folds' heads."""
        weight, bias = self.mean_of_folds if of_folds else (self.weight, self.bias)
        return Head((Dense(weight, bias, "sigmoid" if self.task.multilabel else "softmax"),))


def fit(examples: Examples, *, folds: int = 5, seed: int = 0) -> LinearFit:
    """Train on N images of V views each; views of an image and images of a group share a fold. Of
    examples in several parts a head for each, averaged.

    Deterministic for a seed. Raises HeadError for features that are not finite, targets that do
    not fit, or images of one group only.
    """
    _check(examples)
    parts: list[_Part] = []
    plan = _Plan.of(examples, STRENGTHS, folds)
    for part in examples.split_parts():
        near = parts[0].search.strength if parts else None
        with algebra_for(part.values.size):
            parts.append(_fit_part(part, plan, folds, seed, near))
    searches = [part.search for part in parts]
    shares = weigh([search.log_loss for search in searches])
    logits = average([search.logits for search in searches], shares)
    judged = searches[0].judged
    told = examples if judged is None else examples.take(judged)
    heat, out_of_fold = _calibrate(logits, told, told.folds(folds, seed + 1))
    return LinearFit(
        examples.task,
        *_join([(part.weight, part.bias) for part in parts], shares / heat, examples),
        _join([part.mean_of_folds for part in parts], shares / heat, examples),
        _crossed(searches, shares, logits, examples.views),
        temperature=heat,
        out_of_fold=out_of_fold,
        judged=judged,
        iterations=max(part.iterations for part in parts),
    )


def cross_validate(
    examples: Examples,
    *,
    folds: int = 5,
    seed: int = 0,
    strengths: Sequence[float] = STRENGTHS,
    near: Sequence[float] = (),
) -> CrossValidation:
    """What `fit` would choose and how well it does, without the final head; arguments as there.

    strengths: to choose from. near: for each part one that served it before, beside which its own
    is sought; else, as in `fit`, beside the first part's.
    """
    _check(examples)
    searches: list[_Search] = []
    tried = _affordable_folds(examples, strengths, folds)
    for number, part in enumerate(examples.split_parts()):
        beside = tuple(strengths)
        if near or searches:
            beside = _strengths_beside(near[number] if near else searches[0].strength, beside)
        with algebra_for(part.values.size):
            plan = _Plan(folds, tried)
            problem = _Problem.of(part, plan, seed, needs_weights=False)
            searches.append(_choose_strength(problem, beside, tried))
    shares = weigh([search.log_loss for search in searches])
    logits = average([search.logits for search in searches], shares)
    return _crossed(searches, shares, logits, examples.views)


def _strengths_beside(near: float, strengths: Sequence[float]) -> tuple[float, ...]:
    """Those worth a try where one near by serves."""
    return tuple(s for s in strengths if near / 11 < s < near * 4)


@dataclass(frozen=True)
class _Part:
    """One of the heads that are averaged, before it is calibrated."""

    weight: np.ndarray
    bias: np.ndarray
    mean_of_folds: tuple[np.ndarray, np.ndarray]
    search: "_Search"
    iterations: int


def _fit_part(
    examples: Examples, plan: "_Plan", folds: int, seed: int, near: float | None
) -> _Part:
    if near is None:
        strengths = _strengths_of_sample(examples, folds, seed)
    else:
        strengths = _strengths_beside(near, STRENGTHS)
    problem = _Problem.of(examples, plan, seed, needs_weights=True)
    search = _choose_strength(problem, strengths, plan.tried)
    row_weights = problem.weights
    final, iterations = solve(
        problem.data, problem.targets, (row_weights / row_weights.sum())[None],
        np.array([search.strength]), problem.columns, problem.preconditioner,
        loss=problem.task.loss, start=search.start, tolerance=FINAL, most=300,
    )  # fmt: skip
    weight, bias = _unstandardise(problem, final[0])
    mean_of_folds = _unstandardise(problem, search.start[0])
    return _Part(weight, bias, mean_of_folds, search, int(iterations[0]))


def _strengths_of_sample(examples: Examples, folds: int, seed: int) -> tuple[float, ...]:
    """Those worth a try of very many images: the more there are the weaker serves best, so none
    that is much stronger than what serves a sample of them.
    """
    if len(examples) <= MANY:
        return STRENGTHS
    step = -(-examples.values.size // SAMPLE)
    sample = examples.take(np.arange(0, len(examples), step))
    if step < FEWER or sample.group_count < FEWEST:
        return STRENGTHS
    plan = _Plan.of(sample, STRENGTHS, folds)
    problem = _Problem.of(sample, plan, seed, needs_weights=False)
    near = _choose_strength(problem, STRENGTHS, plan.tried).strength
    return tuple(s for s in STRENGTHS if s < near * 4)


def _join(
    heads: Sequence[tuple[np.ndarray, np.ndarray]], shares: np.ndarray, examples: Examples
) -> tuple[np.ndarray, np.ndarray]:
    """Weight (D, C) and bias (C,) of the sum of heads on the parts, each times its share."""
    shares = shares.astype(np.float32)
    weight = np.zeros((examples.dimensions, heads[0][0].shape[1]), np.float32)
    bias = np.zeros_like(heads[0][1])
    for part, (own, shift), share in zip(
        examples.parts or [slice(None)], heads, shares, strict=True
    ):
        weight[part], bias = share * own, bias + share * shift
    return weight, bias


@dataclass(frozen=True)
class _Problem:
    """Rows as the solver takes them: targets, weights (R,) and fold numbers (R,) of each, and
    which (R,) are of a class that the other folds have too.
    """

    task: Task
    data: StandardisedFeatures
    targets: np.ndarray
    weights: np.ndarray
    fold_of: np.ndarray
    learnable: np.ndarray
    preconditioner: Preconditioner
    some: bool

    @classmethod
    def of(cls, examples: Examples, plan: "_Plan", seed: int, *, needs_weights: bool) -> "_Problem":
        """needs_weights: whether they are asked for, or only predictions."""
        fold_of = examples.folds(plan.folds, seed)
        data = rotate(standardise(examples.rows()), weights=needs_weights)
        repeat = examples.repeat
        return cls(
            examples.task, data, repeat(examples.targets), repeat(examples.weights),
            repeat(fold_of), repeat(examples.learnable(fold_of)), Preconditioner(data),
            plan.some,
        )  # fmt: skip

    @property
    def columns(self) -> int:
        """K."""
        return self.task.loss.columns(len(self.task.classes))


@dataclass(frozen=True)
class _Search:
    """The best strength, what was tried, its (R, C) out-of-fold logits, and the mean of its folds'
    weights (1, D + 1, K), near which the final head lies. judged: as in LinearFit.
    """

    strength: float
    trials: tuple[Trial, ...]
    logits: np.ndarray
    start: np.ndarray
    judged: np.ndarray | None

    @property
    def log_loss(self) -> float:
        """Of the best strength."""
        return min(trial.log_loss for trial in self.trials)


def _check(examples: Examples) -> None:
    values, targets, classes = examples.values, examples.targets, len(examples.task.classes)
    if values.ndim != 3 or len(values) != len(targets):
        raise HeadError(
            f"expected (N, V, D) features and N targets, found {values.shape} and {targets.shape}"
        )
    if len(targets) < 2 or classes < 2:
        raise HeadError(f"expected two images of two classes at least, found {len(targets)}")
    if not examples.task.multilabel and (targets.min() < 0 or targets.max() >= classes):
        raise HeadError(f"expected labels 0..{classes - 1}, found {targets.min()}..{targets.max()}")
    bad = 0
    for _, block in iterate_blocks(values, BLOCK):
        bad += int((~np.isfinite(block)).any(axis=(1, 2)).sum())
    if bad:
        raise HeadError(
            f"expected finite features, found nan or infinity in {bad} of {len(values)} images. "
            "Type: --precision f32"
        )


def _affordable_folds(examples: Examples, strengths: Sequence[float], folds: int) -> int:
    """How many of the folds are tried, the same of all parts: else their heads would be averaged on
    what only some have said something of.
    """
    dimensions = max(part.dimensions for part in examples.split_parts())
    columns = examples.task.loss.columns(len(examples.task.classes))
    cost = 20 * 4.0 * len(examples) * examples.views * dimensions * columns * len(strengths)
    return int(np.clip(WORK // max(cost, 1), 1, folds))


@dataclass(frozen=True)
class _Plan:
    """How images are judged by heads that have not seen them: in so many folds, of which the first
    are tried. some: whether what is said is kept of the images in these alone.
    """

    folds: int
    tried: int
    some: bool = False

    @classmethod
    def of(cls, examples: Examples, strengths: Sequence[float], folds: int) -> "_Plan":
        """Of very many images and classes one fold is judged, of which all that is said is held."""
        said = len(examples) * len(examples.task.classes)
        if said > SAID and not examples.task.multilabel and examples.views == 1:
            return cls(max(folds, -(-said // SAID)), 1, some=True)
        return cls(folds, _affordable_folds(examples, strengths, folds))


def _choose_strength(problem: _Problem, strengths: tuple[float, ...], folds: int) -> _Search:
    """From the strongest down, until weaker ones only get worse. folds: of which, the first."""
    folds = min(folds, int(problem.fold_of.max()) + 1)
    fold_of, loss = problem.fold_of, problem.task.loss
    masks = np.stack([problem.weights * (fold_of != fold) for fold in range(folds)])
    masks /= masks.sum(axis=1, keepdims=True)
    covered = fold_of < folds
    if (covered & problem.learnable).any():  # else the mildest errors choose: the strongest
        covered &= problem.learnable
    judged = np.flatnonzero(fold_of < folds) if problem.some else None
    trials: list[Trial] = []
    best: _Search | None = None
    weights, waited = None, 0
    for strength in sorted(strengths, reverse=True):
        weights, _ = solve(
            problem.data, problem.targets, masks, np.full(folds, strength), problem.columns,
            problem.preconditioner, loss=loss, start=weights, tolerance=CHOOSING,
        )  # fmt: skip
        if judged is None:
            scores = predict_out_of_fold(problem.data, fold_of, weights, folds)
        else:
            scores = _predict_some(problem.data, judged, fold_of, weights)
        logits = loss.expand(scores)
        trials.append(_measure(problem, strength, logits, covered, judged))
        if best is None or trials[-1].log_loss <= trials[-1 - waited - 1].log_loss:
            start = weights.mean(axis=0, keepdims=True)
            best = _Search(strength, (), logits, start, judged)
            waited = 0
        else:
            waited += 1
            if waited == PATIENCE:
                break
    assert best is not None
    best.logits[~(problem.learnable if judged is None else problem.learnable[judged])] = np.nan
    return replace(best, trials=tuple(trials))


def predict_out_of_fold(
    data: StandardisedFeatures, fold_of: np.ndarray, weights: np.ndarray, folds: int
) -> np.ndarray:
    """(R, K) logits of each row by the head of its own fold; nan where that was not tried."""
    scores = np.full((len(fold_of), weights.shape[2]), np.nan, np.float32)
    for rows, _ in iterate_blocks(data.features, BLOCK):
        fold = fold_of[rows]
        inside = np.flatnonzero(fold < folds)
        scores[rows.start + inside] = compute_logits(data, weights, rows)[inside, fold[inside]]
    return scores


def _predict_some(
    data: StandardisedFeatures, judged: np.ndarray, fold_of: np.ndarray, weights: np.ndarray
) -> np.ndarray:
    """(n, K) logits of the rows judged, each by the head of its own fold."""
    scores = np.empty((len(judged), weights.shape[2]), np.float32)
    for start in range(0, len(judged), BLOCK):
        rows = judged[start : start + BLOCK]
        some = replace(data, features=take_rows(data.features, rows))
        logits = compute_logits(some, weights, slice(None))
        scores[start : start + BLOCK] = logits[np.arange(len(rows)), fold_of[rows]]
    return scores


def _measure(
    problem: _Problem, strength: float, logits: np.ndarray, covered: np.ndarray,
    judged: np.ndarray | None,
) -> Trial:  # fmt: skip
    targets, weight = problem.targets[covered], problem.weights[covered]
    task, logits = problem.task, logits[covered if judged is None else covered[judged]]
    losses = task.loss.of_logits(logits, targets)
    mean = float(np.average(losses, weights=weight))
    error = float(np.sqrt(np.average((losses - mean) ** 2, weights=weight) / len(targets)))
    right = task.are_right(task.loss.probabilities(logits), targets)
    return Trial(float(strength), mean, error, float(np.average(right, weights=weight)))


def _crossed(
    searches: Sequence[_Search], shares: np.ndarray, logits: np.ndarray, views: int
) -> CrossValidation:
    """Of the images themselves, which are the first of their views."""
    strengths = tuple(search.strength for search in searches)
    return CrossValidation(
        strengths, shares, searches[int(shares.argmax())].trials, logits[::views]
    )  # fmt: skip


def _calibrate(
    logits: np.ndarray, examples: Examples, fold_of: np.ndarray
) -> tuple[float, np.ndarray]:
    """The temperature of all (R, C) out-of-fold logits, and the (N, C) out-of-fold probabilities of
    the images themselves, each at the temperature of the (N,) folds that it is not in.
    """
    known = ~np.isnan(logits[:, 0])
    loss, targets = examples.task.loss, examples.repeat(examples.targets)[known]
    heats = np.ones(len(known))
    heats[known] = temperature_by_others(
        logits[known], targets, loss, examples.repeat(fold_of)[known]
    )
    own = slice(None, None, examples.views)
    probabilities = loss.probabilities(logits[own] / heats[own, None].astype(np.float32))
    return temperature(logits[known], targets, loss), probabilities


def _unstandardise(problem: _Problem, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Weights (D + 1, K) as (D, C) and (C,) on features that are not standardised."""
    data, weights = rotate_back(problem.data, weights)
    scaled = weights[:-1].astype(np.float64) * data.inverse_scale[:, None]
    bias = weights[-1] - data.mean.astype(np.float64) @ scaled
    expand = problem.task.loss.expand
    return expand(scaled).astype(np.float32), expand(bias[None])[0].astype(np.float32)

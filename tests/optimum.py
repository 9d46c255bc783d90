"""The optimum of a linear head, by scikit-learn in double precision: what ours is held against."""

import numpy as np
from sklearn.linear_model import LogisticRegression

from headstart.heads.head import Head
from headstart.metrics.task import Task


class Optimum:
    """Of penalised logistic regression on (N, D) features, Pareto-scaled as their training rows
    are; a regression a class where targets are (N, C). weights: (N,) what each image counts.
    """

    def __init__(
        self, values: np.ndarray, targets: np.ndarray, task: Task, strength: float,
        weights: np.ndarray | None = None,
    ) -> None:  # fmt: skip
        rows = values.astype("f8")
        self.mean, deviation = rows.mean(axis=0), rows.std(axis=0)
        scale = np.sqrt(deviation * np.sqrt((deviation**2).mean()))
        self.scale = np.where(deviation > 0, scale, np.inf)
        self.task, self.strength = task, strength
        self.rows, self.targets = (rows - self.mean) / self.scale, targets
        share = np.ones(len(rows)) if weights is None else weights
        self.share = share / share.sum()
        several = targets.T if targets.ndim == 2 else [targets]
        fits = [self._fit(column) for column in several]
        self.weight = np.hstack([fit.coef_.T for fit in fits])
        self.bias = np.hstack([fit.intercept_ for fit in fits])

    def _fit(self, targets: np.ndarray) -> LogisticRegression:
        fit = LogisticRegression(C=1 / self.strength, tol=1e-9, max_iter=5000)
        return fit.fit(self.rows, targets, sample_weight=self.share)

    def measure(self, weight: np.ndarray, bias: np.ndarray) -> tuple[float, float]:
        """Mean log loss, and what is minimised, of (D, K) weights on the scaled rows."""
        z, alike = self.rows @ weight + bias, 1
        if self.task.multilabel:
            losses = (np.logaddexp(0, z) - self.targets * z).sum(axis=1)
            alike = z.shape[1]  # the loss of an image is the mean, the solver's the sum
        else:
            z = np.hstack([np.zeros_like(z), z]) if z.shape[1] == 1 else z
            losses = np.logaddexp.reduce(z, axis=1) - z[np.arange(len(z)), self.targets]
        loss = float(self.share @ losses)
        return loss / alike, loss + self.strength / 2 * float((weight**2).sum())

    def compare(self, head: Head, temperature: float) -> tuple[float, float]:
        """By how much log loss and objective of our head lie above the optimum's."""
        (layer,) = head.layers
        weight, bias = (part.astype("f8") * temperature for part in (layer.weight, layer.bias))
        if weight.shape[1] == 2 and self.weight.shape[1] == 1:  # two classes, one column
            weight, bias = weight[:, 1:] - weight[:, :1], bias[1:] - bias[:1]
        bias = bias + self.mean @ weight
        weight = np.where(np.isfinite(self.scale)[:, None], weight * self.scale[:, None], 0)
        ours, best = self.measure(weight, bias), self.measure(self.weight, self.bias)
        return ours[0] - best[0], ours[1] - best[1]

"""Many multinomial logistic regressions at once, on the same features.

Problem p minimises over weights W (D, K) and intercepts b (K,)

    sum_n s[p, n] * logloss(softmax(x_n W + b), y_n)  +  strength[p] / 2 * ||W||^2

with row weights s[p] that sum to 1 (zero outside the problem's fold), x_n standardised, K = C
columns for C > 2 classes and K = 1 (a sigmoid) for two. All problems share each pass over the
features, so five folds of eight strengths cost little more than one fit, and nothing is copied:
standardisation is carried out on the weights, not on the features.

Method: L-BFGS (Nocedal & Wright, Numerical Optimization, alg. 7.4) whose initial matrix is the
inverse of c * Gram + strength: the Hessian with the rows' curvatures p (1 - p) replaced by their
mean c at the current weights. (With the constant bound of Böhning 1992,
https://doi.org/10.1007/BF00048682, in the place of c, weak strengths take twice the passes, for
there p is nearly 0 or 1.) A step of 1 is nearly always right, and ten passes suffice whatever the
correlations among the features.
Letters: N rows, D features, K columns, P problems.
"""

from collections import deque
from dataclasses import dataclass

import numpy as np

from headstart.metrics.losses import CrossEntropy, Loss
from headstart.system.memory import iterate_blocks

BLOCK = 4096  # rows at a time: temporary arrays stay small
MEMORY = 8  # pairs that L-BFGS remembers
LOGITS, SMALLEST = 2**23, 256  # numbers of a block's logits at most, rows of a block at least
PAIRS = 2**26  # numbers of these pairs at most
ARMIJO = 1e-4
MOST = 8_000_000  # numbers in features that may be held a second time
TELLING = 65_536  # rows that tell how features go together
FLATTEST = 1e-3  # curvature that steps reckon with at least
CROSS_ENTROPY = CrossEntropy()


@dataclass(frozen=True)
class StandardisedFeatures:
    """Features (N, D) with the mean (D,) and 1 / scale (D,; 0 where constant)."""

    features: np.ndarray
    mean: np.ndarray
    inverse_scale: np.ndarray

    @property
    def gram(self) -> np.ndarray:
        """(D, D) correlation matrix of the features; of very many rows that of some, for it only
        tells which way a step goes.
        """
        count, dimensions = self.features.shape
        step, seen = max(1, count // TELLING), 0
        total = np.zeros((dimensions, dimensions), np.float32)
        for _, block in iterate_blocks(self.features, BLOCK):
            block = (block[::step] - self.mean) * self.inverse_scale
            total += block.T @ block
            seen += len(block)
        return total / np.float32(seen)


def standardise(features: np.ndarray) -> StandardisedFeatures:
    """Mean and scale of (N, D) float32 features, computed in float64 blocks.

    The scale is the geometric mean of a feature's standard deviation and that of all (Pareto
    scaling: van den Berg et al. 2006, https://doi.org/10.1186/1471-2164-7-142). By its own alone,
    a feature that hardly any training image has would decide about a new image that has it, with
    logits in the thousands.
    """
    count = len(features)
    total = np.zeros(features.shape[1])
    for _, block in iterate_blocks(features, BLOCK):
        total += block.sum(axis=0, dtype=np.float64)
    mean = total / count
    squares = np.zeros(features.shape[1])
    for _, block in iterate_blocks(features, BLOCK):
        squares += np.square(block - mean.astype(np.float32)).sum(axis=0, dtype=np.float64)
    deviation = np.sqrt(squares / count)
    varying = deviation > 1e-6 * np.maximum(1e-6, np.abs(mean))
    scale = np.sqrt(deviation * np.sqrt(np.square(deviation).mean()))
    inverse = np.where(varying, 1 / np.where(varying, scale, 1), 0)
    return StandardisedFeatures(features, mean.astype(np.float32), inverse.astype(np.float32))


@dataclass(frozen=True)
class RotatedFeatures(StandardisedFeatures):
    """Standardised features in their principal axes: R <= min(N, D) numbers a row, uncorrelated.

    spectrum: (R,) sums of squares. basis: (D, R) orthonormal; weights on the standardised features
    are basis @ weights on these. None where nobody asks for them.
    """

    spectrum: np.ndarray
    origin: StandardisedFeatures
    basis: np.ndarray | None


def rotate(data: StandardisedFeatures, *, weights: bool) -> StandardisedFeatures:
    """The same problems in their principal axes, where a step costs less and curvature is known.

    Weights of a penalised regression lie in the span of the rows, so this changes no logit and no
    norm (the representer theorem), and where there are fewer rows than features there is less to
    compute. weights: whether they will be asked for. Features too large to be held twice stay.
    """
    count, dimensions = data.features.shape
    if count * dimensions > MOST:
        return data
    rows = (data.features - data.mean) * data.inverse_scale
    basis = None
    if count >= dimensions:
        _, basis = np.linalg.eigh(rows.T @ rows)
        rotated = rows @ basis
    elif weights:
        # Orthonormal to the last digit whatever the spectrum, as eigenvectors divided by the
        # root of their eigenvalues would not be.
        span, triangle = np.linalg.qr(rows.T)
        _, turn = np.linalg.eigh(triangle @ triangle.T)
        basis = span @ turn
        rotated = rows @ basis
    else:
        values, vectors = np.linalg.eigh(rows @ rows.T)
        rotated = vectors * np.sqrt(np.maximum(values, 0))
    spectrum = np.einsum("nr,nr->r", rotated, rotated, dtype=np.float64).astype(np.float32)
    zero = np.zeros(rotated.shape[1], np.float32)
    return RotatedFeatures(np.ascontiguousarray(rotated), zero, zero + 1, spectrum, data, basis)


def rotate_back(
    data: StandardisedFeatures, weights: np.ndarray
) -> tuple[StandardisedFeatures, np.ndarray]:
    """The data that was rotated, and the weights (D + 1, K) on its standardised features."""
    if not isinstance(data, RotatedFeatures):
        return data, weights
    assert data.basis is not None
    return data.origin, np.concatenate([data.basis @ weights[:-1], weights[-1:]])


class Preconditioner:
    """The inverse of (curvature * Gram + strength), for any curvature and strength.

    One eigendecomposition serves them all; where there are fewer rows than features it is taken
    in the rows (Woodbury's identity).
    """

    def __init__(self, data: StandardisedFeatures) -> None:
        self.rows: np.ndarray | None = None
        self.vectors: np.ndarray | None = None
        count, dimensions = data.features.shape
        if isinstance(data, RotatedFeatures):
            self.values = data.spectrum / np.float32(count)
            return
        if count < dimensions:
            rows = (data.features - data.mean) * data.inverse_scale
            self.rows = rows / np.float32(np.sqrt(count))
            matrix = self.rows @ self.rows.T
        else:
            matrix = data.gram
        values, self.vectors = np.linalg.eigh(matrix)
        self.values = np.maximum(values, 0)

    def apply(
        self, gradient: np.ndarray, strengths: np.ndarray, curvature: np.ndarray
    ) -> np.ndarray:
        """(P, D + 1, K) times the inverse; the last row is the intercept's. curvature (P, K)."""
        problems, rows, columns = gradient.shape
        result = np.empty_like(gradient)
        np.divide(gradient[:, -1], curvature, out=result[:, -1])
        if self.vectors is None:
            matrix = self.values[:, None] * curvature[:, None, :]
            matrix += strengths.astype(np.float32)[:, None, None]
            np.divide(gradient[:, :-1], matrix, out=result[:, :-1])
            return result
        strength = np.repeat(strengths, columns).astype(np.float32)
        flat = curvature.reshape(-1)
        matrix = self.values[:, None] * flat + strength
        part = gradient[:, :-1].transpose(1, 0, 2).reshape(rows - 1, -1)
        if self.rows is None:
            solved = self.vectors @ ((self.vectors.T @ part) / matrix)
        else:
            inner = self.vectors.T @ (self.rows @ part)
            solved = part - self.rows.T @ (self.vectors @ (inner * (flat / matrix)))
            solved /= strength
        result[:, :-1] = solved.reshape(rows - 1, problems, columns).transpose(1, 0, 2)
        return result


def compute_logits(data: StandardisedFeatures, weights: np.ndarray, rows: slice) -> np.ndarray:
    """(n, P, K) logits of some rows for weights (P, D + 1, K)."""
    problems, _, columns = weights.shape
    scaled, shift = weights[:, :-1], weights[:, -1]
    if not isinstance(data, RotatedFeatures):
        scaled = scaled * data.inverse_scale[:, None]
        shift = shift - np.einsum("d,pdk->pk", data.mean, scaled)
    flat = scaled.transpose(1, 0, 2).reshape(len(data.mean), -1)
    products = data.features[rows] @ np.ascontiguousarray(flat)
    result: np.ndarray = products.reshape(-1, problems, columns) + shift
    return result


def objective(
    data: StandardisedFeatures,
    targets: np.ndarray,
    row_weights: np.ndarray,
    strengths: np.ndarray,
    weights: np.ndarray,
    loss: Loss = CROSS_ENTROPY,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Value (P,) float64 and gradient (P, D + 1, K) float32 of every problem, in one pass, and
    the mean curvature p (1 - p) of each column's loss (P, K), at least FLATTEST.
    """
    problems, _, columns = weights.shape
    losses = np.zeros(problems)
    curvature = np.zeros((problems, columns))
    products = np.zeros((len(data.mean), problems * columns), np.float32)
    sums = np.zeros((problems, columns))
    size = min(BLOCK, max(SMALLEST, LOGITS // (problems * columns)))
    for rows, block in iterate_blocks(data.features, size):
        z = compute_logits(data, weights, rows)
        share = row_weights[:, rows].T  # (n, P)
        losses_of_rows, residual = loss.with_residual(z, targets[rows])
        losses += np.einsum("np,np->p", share, losses_of_rows, dtype=np.float64)
        weighed = share[:, :, None].astype(np.float32)
        off = np.abs(residual)  # p or 1 - p
        off -= off * off
        off *= weighed
        curvature += off.sum(axis=0)
        residual *= weighed
        sums += residual.sum(axis=0, dtype=np.float64)
        products += block.T @ residual.reshape(len(residual), -1)
    gradient = np.empty_like(weights)
    by_problem = products.reshape(len(data.mean), problems, columns).transpose(1, 0, 2)
    if isinstance(data, RotatedFeatures):
        gradient[:, :-1] = by_problem
    else:
        centred = by_problem - data.mean[None, :, None] * sums[:, None, :].astype(np.float32)
        gradient[:, :-1] = centred * data.inverse_scale[None, :, None]
    gradient[:, :-1] += strengths[:, None, None].astype(np.float32) * weights[:, :-1]
    gradient[:, -1] = sums
    squares = _dot(weights[:, :-1], weights[:, :-1])
    value = losses + 0.5 * strengths * squares
    return value, gradient, np.maximum(curvature, FLATTEST).astype(np.float32)


def solve(
    data: StandardisedFeatures,
    targets: np.ndarray,
    row_weights: np.ndarray,
    strengths: np.ndarray,
    columns: int,
    preconditioner: Preconditioner,
    *,
    loss: Loss = CROSS_ENTROPY,
    start: np.ndarray | None = None,
    tolerance: float = 1e-3,
    most: int = 100,
) -> tuple[np.ndarray, np.ndarray]:
    """Weights (P, D + 1, K), the last row the intercepts, and iterations (P,).

    targets: as the loss takes them, (N,) int or (N, K) of 0 and 1;
    row_weights (P, N), each row summing to 1; strengths (P,). Stops where the
    preconditioned gradient's norm falls below `tolerance` times the objective's root.
    """
    problems, dimensions = len(strengths), data.features.shape[1]
    weights = np.zeros((problems, dimensions + 1, columns), np.float32)
    if start is not None:
        weights[:] = start
    memory = int(np.clip(PAIRS // (2 * weights.size), 2, MEMORY))
    iterations = np.zeros(problems, int)
    active = np.arange(problems)
    value, gradient, curvature = objective(data, targets, row_weights, strengths, weights, loss)
    pairs: deque[tuple[np.ndarray, np.ndarray, np.ndarray]] = deque(maxlen=memory)
    for _ in range(most):
        direction = -_precondition(gradient, pairs, preconditioner, strengths[active], curvature)
        slope = _dot(direction, gradient)
        going = -slope > tolerance**2 * np.maximum(value, 1e-12)
        if not going.all():  # the rest goes on without those that are done
            active = active[going]
            if not active.size:
                break
            pairs = deque(((s[going], y[going], r[going]) for s, y, r in pairs), maxlen=memory)
            direction, slope = direction[going], slope[going]
            value, gradient, curvature = value[going], gradient[going], curvature[going]
        iterations[active] += 1
        current = weights[active]
        step = np.ones(len(active), np.float32)
        share, strength = row_weights[active], strengths[active]
        for _ in range(20):
            candidate = current + step[:, None, None] * direction
            new_value, new_gradient, curvature = objective(
                data, targets, share, strength, candidate, loss
            )
            # float32 noise of the loss must not be taken for a rise
            worse = new_value > value + ARMIJO * step * slope + 1e-7 * np.abs(value)
            if not worse.any():
                break
            step[worse] /= 2
        difference = new_gradient - gradient
        moved = candidate - current
        product = _dot(moved, difference)
        inverse = np.where(product > 0, 1 / np.where(product > 0, product, 1), 0)
        pairs.append((moved, difference, inverse))
        weights[active], value, gradient = candidate, new_value, new_gradient
    return weights, iterations


def _precondition(
    gradient: np.ndarray,
    pairs: deque[tuple[np.ndarray, np.ndarray, np.ndarray]],
    preconditioner: Preconditioner,
    strengths: np.ndarray,
    curvature: np.ndarray,
) -> np.ndarray:
    """The two-loop recursion, each problem by itself."""
    vector = gradient.copy()
    factors = []
    for moved, difference, inverse in reversed(pairs):
        factor = (inverse * _dot(moved, vector)).astype(np.float32)
        vector -= factor[:, None, None] * difference
        factors.append(factor)
    vector = preconditioner.apply(vector, strengths, curvature)
    if pairs:
        moved, difference, inverse = pairs[-1]
        solved = _dot(difference, preconditioner.apply(difference, strengths, curvature))
        usable = (inverse > 0) & (solved > 0)
        scale = np.where(usable, 1 / np.where(usable, inverse * solved, 1), 1)
        vector *= scale.astype(np.float32)[:, None, None]
    for (moved, difference, inverse), factor in zip(pairs, reversed(factors), strict=True):
        back = (inverse * _dot(difference, vector)).astype(np.float32)
        vector += (factor - back)[:, None, None] * moved
    return vector


def _dot(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """(P,) inner products."""
    return np.array([np.vdot(x, y) for x, y in zip(a, b, strict=True)], np.float64)

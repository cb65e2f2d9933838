"""Matrix factorisation: ALS (Hu et al. 2008) and BPR (Rendle et al. 2009).

Both are those of `implicit`. A candidate's score is the cosine of its factors
and those of the movie asked about: what `similar_items` of that library ranks
by.
"""

from collections.abc import Callable

import numpy as np
from jaxtyping import Float

from t5cr.progress import Progress
from t5cr.study.baselines.interactions import Index, Interactions
from t5cr.study.baselines.options import Options
from t5cr.study.baselines.probes import Candidates, Score


def als(
  interactions: Interactions,
  options: Options,
  progress: Progress | None = None,
) -> Score:
  """Scores by the factors of alternating least squares."""
  from implicit import als as implicit_als

  def make():
    # Rows are solved one by one, so threads do not change a bit.
    return implicit_als.AlternatingLeastSquares(
      factors=options.factors,
      regularization=options.als_regularization,
      alpha=options.als_alpha,
      iterations=options.als_iterations,
      random_state=options.seed,
      use_gpu=False,
    )

  fitted = _fit("als", make, options.als_iterations, interactions, progress)
  return _cosine(fitted, interactions)


def bpr(
  interactions: Interactions,
  options: Options,
  progress: Progress | None = None,
) -> Score:
  """Scores by the factors of Bayesian personalised ranking.

  The last column that `implicit` gives a movie is its bias: how popular it is
  with everybody. It says nothing about which movies are alike, and is left
  out.
  """
  from implicit import bpr as implicit_bpr

  def make():
    # Threads write over each other's steps (Hogwild): one gives equal bits.
    return implicit_bpr.BayesianPersonalizedRanking(
      factors=options.factors,
      regularization=options.bpr_regularization,
      learning_rate=options.bpr_learning_rate,
      iterations=options.bpr_iterations,
      random_state=options.seed,
      use_gpu=False,
      num_threads=1,
    )

  fitted = _fit("bpr", make, options.bpr_iterations, interactions, progress)
  return _cosine(fitted[:, :-1], interactions)


def _fit(
  name: str,
  make: Callable,
  iterations: int,
  interactions: Interactions,
  progress: Progress | None,
) -> Float[np.ndarray, "movies factors"]:
  """The factors of the movies."""
  import scipy.sparse
  import threadpoolctl

  def tell(iteration: int, *_) -> None:
    if progress:
      progress(f"fit {name}", iteration + 1, iterations, "iterations")

  liked = scipy.sparse.csr_matrix(interactions.by_user(), dtype=np.float32)
  if progress:
    progress(f"fit {name}", 0, iterations, "iterations")
  # Threads of the linear algebra get in the way of implicit's own.
  with threadpoolctl.threadpool_limits(1, "blas"):
    model = make()
    model.fit(liked, show_progress=False, callback=tell)
  return np.asarray(model.item_factors, np.float64)


def _cosine(
  factors: Float[np.ndarray, "movies factors"], interactions: Interactions
) -> Score:
  lengths = np.linalg.norm(factors, axis=1, keepdims=True)
  unit = factors / np.where(lengths > 0, lengths, 1)
  index = Index(interactions.titles)

  def score(asked: Candidates) -> Float[np.ndarray, " records"]:
    movie, candidate = index.find(asked.movie), index.find(asked.candidate)
    return np.einsum("ij,ij->i", unit[movie], unit[candidate])

  return score

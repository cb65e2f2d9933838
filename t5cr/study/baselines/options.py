"""The hyperparameters of the baselines."""

import dataclasses
import importlib.metadata

from t5cr import errors

# Goes up when a baseline of the same options and data gets other figures.
_VERSION = 1


def versions() -> dict[str, str | int]:
  """Of these baselines and of `implicit`: their figures depend on both."""
  return {"t5cr": _VERSION, "implicit": importlib.metadata.version("implicit")}


@dataclasses.dataclass(frozen=True)
class Options:
  """Hyperparameters, none of which was chosen by the score of a probe.

  They are those of `implicit`, but for the number of factors: few enough for
  the 170 movies of the sample corpus, by the rank of a liked movie that is
  held out of each user's (docs/baselines.md).

  Attributes:
    seed: of the factors' first values and of what BPR draws.
    factors: numbers that stand for a user or a movie, for ALS and BPR.
    als_regularization: of the factors.
    als_alpha: confidence in a movie that a user liked, where one that is not
      known to be liked has 1 (Hu et al. 2008, section 4).
    als_iterations: each solves for all users, then for all movies.
    bpr_regularization: of the factors.
    bpr_learning_rate: of the stochastic gradient.
    bpr_iterations: each draws as many pairs as there are interactions.
    bm25_k1: how soon more of the same word adds no more to a match.
    bm25_b: how much long contexts are held to their length, from 0 to 1.
  """

  seed: int = 0
  factors: int = 32
  als_regularization: float = 0.01
  als_alpha: float = 1.0
  als_iterations: int = 15
  bpr_regularization: float = 0.01
  bpr_learning_rate: float = 0.01
  bpr_iterations: int = 100
  bm25_k1: float = 1.2
  bm25_b: float = 0.75

  def __post_init__(self):
    """Raises UsageError for numbers that cannot be used."""
    errors.check_count("--seed", self.seed, least=0)
    for name in ("factors", "als_iterations", "bpr_iterations"):
      errors.check_count(f"--{name}", getattr(self, name))
    for name in ("als_alpha", "bpr_learning_rate", "bm25_k1"):
      if not getattr(self, name) > 0:
        raise errors.UsageError(
          f"--{name} is {getattr(self, name)}; it has to be above 0."
        )
    for name in ("als_regularization", "bpr_regularization"):
      if not getattr(self, name) >= 0:
        raise errors.UsageError(
          f"--{name} is {getattr(self, name)}; it has to be 0 or above."
        )
    if not 0 <= self.bm25_b <= 1:
      raise errors.UsageError(
        f"--bm25_b is {self.bm25_b}; it has to be from 0 to 1."
      )

  def of(self, *prefixes: str) -> dict[str, float]:
    """The options whose names begin so, by name."""
    return {
      name: value
      for name, value in dataclasses.asdict(self).items()
      if name.startswith(prefixes)
    }

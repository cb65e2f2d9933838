"""T5-CR: one T5 that holds a conversation and recommends.

`import t5cr` is light: neither JAX nor TensorFlow is imported until a command
or a function needs it.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
  from t5cr.recommender import load as load

__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
  """Imports `load`, and JAX with it, when it is first asked for."""
  if name == "load":
    from t5cr.recommender import load

    return load
  raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

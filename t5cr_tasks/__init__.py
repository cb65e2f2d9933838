"""T5-CR's data and language: seqio Tasks and Mixtures over TFDS data sets.

Importing this package registers the TFDS builders, the Tasks of `tasks` and the
Mixtures of `mixtures`. It reads no file and opens no connection; the data and
the vocabulary are read when a task is used.
"""

from __future__ import annotations

from collections.abc import Mapping

import seqio

from t5cr_tasks import datasets as datasets
from t5cr_tasks import mixtures, tasks
from t5cr_tasks.errors import DataError as DataError


def register(
  prefix: str = "",
  vocabulary: seqio.Vocabulary | None = None,
  feature_lengths: Mapping[str, int] | None = None,
) -> list[str]:
  """Registers another project's copies of all Tasks and Mixtures.

  Registering the same names again changes nothing.

  Args:
    prefix: put before each name.
    vocabulary: of inputs and targets; None for the one that `T5CR_VOCABULARY`
      names, else T5's public one.
    feature_lengths: limits in tokens that hold whatever lengths a run asks
      for, such as {'inputs': 512, 'targets': 128}; None for none.

  Returns:
    The names, Tasks first.

  Raises:
    DataError: a task of that name is registered with another vocabulary.
  """
  names = tasks.register(prefix, vocabulary, feature_lengths)
  return names + mixtures.register(prefix)


register()

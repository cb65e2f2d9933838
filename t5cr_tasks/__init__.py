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
    DataError: a task of that name is registered with another vocabulary or
      other lengths, or the lengths are none of inputs and targets.
    ValueError: seqio allows no such prefix.
  """
  names = tasks.register(prefix, vocabulary, feature_lengths)
  return names + mixtures.register(prefix)


def copy_of(
  name: str,
  prefix: str = "",
  vocabulary: seqio.Vocabulary | None = None,
  feature_lengths: Mapping[str, int] | None = None,
) -> str:
  """Registers copies as `register` does and gives the name of one of them.

  For gin, which calls a function only where its value is used:

      MIXTURE_OR_TASK_NAME = @t5cr_tasks.copy_of()
      t5cr_tasks.copy_of:
        name = 't5cr_all'
        prefix = 'mine_'

  Args:
    name: of the Task or Mixture that is copied, without prefix.
    prefix: see `register`, as for the rest.
    vocabulary: of inputs and targets.
    feature_lengths: limits in tokens.

  Returns:
    The copy's name.

  Raises:
    DataError: there is no such Task or Mixture here, or as `register`.
  """
  known = [*tasks.TASKS, *mixtures.MIXTURES]
  if name not in known:
    raise DataError(
      f"t5cr_tasks.copy_of: there is no task or mixture {name!r} to copy. There"
      f" are {', '.join(known)}."
    )
  register(prefix, vocabulary, feature_lengths)
  return prefix + name


register()

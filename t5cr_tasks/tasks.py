"""The seqio Tasks, declared in one table and registered by one loop.

| task | in the paper |
|---|---|
| `t5cr_redial_conversation` | ReDial Dialogues, Tables 1 and 2 |
| `t5cr_movielens_sequence` | ML Sequences, Table 1 |
| `t5cr_movielens_tags` | ML Tags, Table 1 |
| `t5cr_movielens_review` | ML Reviews, Table 1 |
| `t5cr_probe_recommendation` | Rec Probe, Tables 3 and 4 |
| `t5cr_probe_attribute` | Attr Probe, Tables 3 and 4 |
| `t5cr_probe_combination` | Combo Probe, Tables 3 and 4 |
| `t5cr_probe_description` | Desc Probe, Tables 3 and 4 |
| `t5cr_probe_recommendation_sequence` | end of section 4.1 |
| `t5cr_probe_*_phrasings`, of the first four probes | section 4.1, templates |
"""

from __future__ import annotations

import dataclasses
import functools
import numbers
from collections.abc import Callable, Mapping
from typing import Any, cast

import seqio
import tensorflow as tf

from t5cr_tasks import caching, metrics, postprocessors, preprocessors, sources
from t5cr_tasks import vocabulary as vocabulary_lib
from t5cr_tasks.errors import DataError

# Paper section 2.6: lengths in tokens, longer text is truncated.
FEATURE_LENGTHS: Mapping[str, int] = {"inputs": 512, "targets": 128}


@dataclasses.dataclass(frozen=True)
class TaskSpec:
  """What one Task is made of.

  Attributes:
    name: the Task's name, without prefix.
    tfds_name: the data set that it reads, with version.
    splits: the splits of that data set.
    preprocess: records to examples with the strings `inputs` and `targets`.
    summary: one line for lists of tasks.
    draws: whether `preprocess` draws at random, anew each epoch.
    postprocess: see `postprocessors`; None for tasks without metrics.
    metric_fns: seqio metric functions.
  """

  name: str
  tfds_name: str
  splits: tuple[str, ...]
  preprocess: Callable[[tf.data.Dataset], tf.data.Dataset]
  summary: str
  draws: bool = False
  postprocess: Callable[..., Any] | None = None
  metric_fns: tuple[Callable[..., Mapping[str, float]], ...] = ()

  def examples(
    self, split: str, data_dir: str | None = None, seed: int | None = None
  ) -> tf.data.Dataset:
    """The task's examples as text, in the order in which they are stored.

    Args:
      split: one of the task's splits.
      data_dir: the data directory; None for the one in use.
      seed: of what the preprocessor draws at random.

    Returns:
      A dataset with the strings `inputs` and `targets`.

    Raises:
      DataError: the data set is not built.
    """
    source = sources.BuiltDataSource(self.tfds_name, self.splits, data_dir)
    with seqio.map_seed_manager(seed):
      return self.preprocess(source.get_dataset(split, shuffle=False))


def _probe_spec(probe: str, summary: str, phrasings: bool = False) -> TaskSpec:
  return TaskSpec(
    name=f"t5cr_probe_{probe}",
    tfds_name=f"t5cr_probes/{probe}:1.1.0",
    splits=("validation",),
    preprocess=preprocessors.probe,
    summary=summary,
    postprocess=postprocessors.probe,
    metric_fns=(
      metrics.phrasing_accuracy if phrasings else metrics.probe_accuracy,
    ),
  )


TASKS: dict[str, TaskSpec] = {
  spec.name: spec
  for spec in (
    TaskSpec(
      name="t5cr_redial_conversation",
      tfds_name="t5cr_redial:1.0.0",
      splits=("train", "validation"),
      preprocess=preprocessors.conversation,
      summary="a ReDial dialogue to the recommender's next response",
      postprocess=postprocessors.conversation,
      metric_fns=(metrics.dialogue_metrics,),
    ),
    TaskSpec(
      name="t5cr_movielens_sequence",
      tfds_name="t5cr_movielens/sequences:1.0.0",
      splits=("train",),
      preprocess=preprocessors.sequence,
      summary="1-9 movies that a user rated highly to the next one",
    ),
    TaskSpec(
      name="t5cr_movielens_tags",
      tfds_name="t5cr_movielens/tags:1.0.0",
      splits=("train",),
      preprocess=preprocessors.tags,
      summary="1-5 tags of the tag genome to a movie that has them",
      draws=True,
    ),
    TaskSpec(
      name="t5cr_movielens_review",
      tfds_name="t5cr_reviews:1.0.0",
      splits=("train",),
      preprocess=preprocessors.review,
      summary="the beginning of a review to its next sentence",
    ),
    _probe_spec("recommendation", "a related or a popular movie?"),
    _probe_spec("attribute", "a movie with the tag or one without?"),
    _probe_spec("combination", "a related movie with the tag or neither?"),
    _probe_spec("description", "a review after its movie or another?"),
    _probe_spec(
      "recommendation_sequence", "the same pairs as a movie sequence"
    ),
    *(
      _probe_spec(
        f"{probe}_phrasings", f"some {probe} probes in every phrasing", True
      )
      for probe in ("recommendation", "attribute", "combination", "description")
    ),
  )
}


def register(
  prefix: str = "",
  vocabulary: seqio.Vocabulary | None = None,
  feature_lengths: Mapping[str, int] | None = None,
) -> list[str]:
  """Registers every Task; those that are registered already stay.

  Args:
    prefix: put before each name, so that a project can have its own copies.
    vocabulary: of inputs and targets; None for `default_vocabulary`.
    feature_lengths: limits in tokens that hold whatever lengths a run asks
      for, such as FEATURE_LENGTHS; None for none.

  Returns:
    The names of the Tasks.

  Raises:
    DataError: a task of that name has another vocabulary or other lengths, or
      the lengths are none of inputs and targets.
  """
  _check_lengths(feature_lengths or {})
  if vocabulary is not None and not isinstance(vocabulary, seqio.Vocabulary):
    raise DataError(
      f"t5cr_tasks.register: vocabulary is {vocabulary!r}; give an object, such"
      " as seqio.SentencePieceVocabulary(path)."
    )
  vocabulary = vocabulary or vocabulary_lib.default_vocabulary()
  feature = seqio.Feature(vocabulary, add_eos=True)
  names = []
  for spec in TASKS.values():
    name = prefix + spec.name
    names.append(name)
    if name in seqio.TaskRegistry.names():
      _check_same(name, vocabulary, feature_lengths)
      continue
    source = sources.BuiltDataSource(spec.tfds_name, spec.splits)
    seqio.TaskRegistry.add(
      name,
      source=cast(Any, source),
      output_features={"inputs": feature, "targets": feature},
      preprocessors=_preprocessors(name, spec, source, feature_lengths),
      postprocess_fn=spec.postprocess,
      metric_fns=list(spec.metric_fns),
    )
  return names


def _check_lengths(feature_lengths: Mapping[str, int]) -> None:
  """Raises DataError for lengths that would cut nothing."""
  unknown = sorted(map(repr, feature_lengths.keys() - FEATURE_LENGTHS.keys()))
  wrong = [
    f"{name!r} is {length!r}"
    for name, length in feature_lengths.items()
    if isinstance(length, bool)
    or not isinstance(length, numbers.Integral)
    or length <= 0
  ]
  if unknown or wrong:
    problem = ", ".join(wrong)
    if unknown:
      problem = f"the tasks have no feature {', '.join(unknown)}"
    raise DataError(
      f"feature_lengths of t5cr_tasks.register: {problem}. Give"
      " {'inputs': 512, 'targets': 128}, or one of the two, in whole tokens."
    )


def _preprocessors(
  name: str,
  spec: TaskSpec,
  source: sources.BuiltDataSource,
  feature_lengths: Mapping[str, int] | None,
) -> list[Callable[..., tf.data.Dataset]]:
  """All steps of a task; what stands before the placeholder can be cached."""
  # A cached draw would be the same in each epoch.
  before, behind = [spec.preprocess], []
  if spec.draws:
    before, behind = [], [spec.preprocess, seqio.preprocessors.tokenize]
  stamped = {"source": source, "tokenized": not spec.draws}
  return [
    *before,
    functools.partial(caching.stamp, **stamped),
    seqio.CacheDatasetPlaceholder(required=False),
    functools.partial(caching.check, task_name=name, **stamped),
    *behind,
    functools.partial(
      preprocessors.append_eos, feature_lengths=feature_lengths
    ),
  ]


def _check_same(
  name: str,
  vocabulary: seqio.Vocabulary,
  feature_lengths: Mapping[str, int] | None,
) -> None:
  """Raises DataError if the registered Task of that name is another."""
  task = seqio.TaskRegistry.get(name)
  registered = task.output_features["targets"].vocabulary
  # The default is another file tomorrow, so it equals none that names its file.
  if type(registered) is not type(vocabulary) or registered != vocabulary:
    differs = "vocabulary"
  elif _lengths(task) != dict(feature_lengths or {}):
    differs = "feature_lengths"
  else:
    return
  raise DataError(
    f"The task {name} is registered already, with another {differs}."
    " Register these tasks with another prefix."
  )


def _lengths(task: seqio.Task) -> dict[str, int]:
  settings = getattr(task.preprocessors[-1], "keywords", {})
  return dict(settings.get("feature_lengths") or {})

"""Examples in the very order in which seqio gives them, made in blocks.

seqio hands each example through some ten small functions, and each of them
costs an example more than the work in it. Steps that treat every example by
itself are run here on blocks: parsing cached records, tokenizing, truncating,
EOS. Nothing else changes: which examples there are, their order, their draws.

A preprocessor says with an attribute `on_blocks = True` that it may be given a
dataset of blocks: dicts whose values have the examples as their first axis,
ragged where lengths differ. Those of seqio that can are known here.
"""

import copy
import dataclasses
import json
from collections.abc import Mapping, Sequence
from typing import Any, cast

import seqio
import tensorflow as tf

# Examples of a block: the more, the less each costs, and the longer it takes
# until the first one.
_BLOCK = 64
_SEQIO_ON_BLOCKS = (
  seqio.preprocessors.tokenize,
  seqio.preprocessors.append_eos,
  seqio.preprocessors.append_eos_after_trim,
)
# Sources with fewer records than this are kept in memory, as seqio does.
_IN_MEMORY = 10_000
_WHOLE = seqio.ShardInfo(0, 1)


@dataclasses.dataclass(frozen=True)
class Request:
  """What is read: the arguments of `seqio.Task.get_dataset`.

  Attributes:
    split: of the data set.
    use_cached: read what seqio's caching wrote.
    shuffle: files and examples.
    seed: of shuffling, mixing and sampling preprocessors.
    num_epochs: None for endless examples.
    lengths: feature -> length to which longer text is truncated.
    threads: blocks to work on at once.
  """

  split: str
  use_cached: bool
  shuffle: bool
  seed: int
  num_epochs: int | None
  lengths: Mapping[str, int]
  threads: int


def examples(
  provider: seqio.Task | seqio.Mixture, request: Request
) -> tf.data.Dataset:
  """The examples of a Mixture or Task.

  Args:
    provider: the Mixture or Task.
    request: what to read of it.

  Returns:
    Dicts of the features in `request.lengths`, int32 [length], which may end
    in zeros.
  """

  def of_task(task: seqio.Task, *given: Any) -> tf.data.Dataset:
    del given  # What the request says.
    return _of_task(task, request)

  if not isinstance(provider, seqio.Mixture):
    return of_task(provider)
  # The registered Mixture, but for where it has its tasks' examples from.
  mixture: Any = copy.copy(provider)
  mixture.get_task_dataset = of_task
  return mixture.get_dataset(
    request.lengths, log_mixing_proportions=False, **_settings(request)
  )


def _settings(request: Request) -> dict[str, Any]:
  """The request as arguments for seqio."""
  return {
    "split": request.split,
    "use_cached": request.use_cached,
    "shuffle": request.shuffle,
    "seed": request.seed,
    "shard_info": _WHOLE,
    "num_epochs": request.num_epochs,
  }


def _of_task(task: seqio.Task, request: Request) -> tf.data.Dataset:
  """What `seqio.Mixture.get_task_dataset` gives."""
  blocks = _blocks(task, request)
  if blocks is None:
    dataset = task.get_dataset(request.lengths, **_settings(request))
    return dataset.map(
      lambda example: {name: example[name] for name in request.lengths}
    )
  dataset = blocks.unbatch()
  if request.shuffle:
    size = cast(int, task.shuffle_buffer_size)
    dataset = dataset.shuffle(size, seed=request.seed)
  return dataset.prefetch(_BLOCK)


def _blocks(task: seqio.Task, request: Request) -> tf.data.Dataset | None:
  """The examples of a Task in blocks, before they are shuffled.

  Args:
    task: the Task.
    request: what to read of it.

  Returns:
    Dicts of int32 [examples, length], as long as the longest of the block; None
    if this Task has to be read as seqio does.
  """
  if type(task) is not seqio.Task or task.shuffle_buffer_size is None:
    return None
  steps = list(task.preprocessors)
  # Of a cache, the steps behind it are left to do.
  begin = _placeholder(steps) + 1 if request.use_cached else 0
  if task.requires_caching and not begin:
    return None
  first = max(_first_on_blocks(steps), begin)
  records = _cached_records(task, request) if begin else _records(task, request)
  if records is None:
    return None
  single = records
  if begin:
    single = _parsed(records, tf.io.parse_single_example, task, request)
  single = _one_by_one(single, steps, begin, first, task, request)
  if not _fit_for_blocks(single.element_spec, task):
    return None
  if begin and first == begin:
    # Nothing has to be done one by one, so records are parsed in blocks too.
    blocks = _repeated(records, request).batch(_BLOCK)
    blocks = _parsed(blocks, tf.io.parse_example, task, request)
  else:
    blocks = single.ragged_batch(_BLOCK)
  blocks = _run(blocks, steps[first:], task, request)
  spec: Any = blocks.element_spec
  for name in request.lengths:
    if spec[name].dtype != tf.int32 or spec[name].shape.rank != 2:
      return None
  return _padded(blocks, request)


def _placeholder(steps: Sequence[Any]) -> int:
  """Where a cache comes in; -1 if nowhere."""
  found = [i for i, step in enumerate(steps) if _is_placeholder(step)]
  return found[0] if found else -1


def _is_placeholder(step: Any) -> bool:
  return isinstance(step, seqio.CacheDatasetPlaceholder)


def _first_on_blocks(steps: Sequence[Any]) -> int:
  """The step from which on all can be run on blocks."""
  first = len(steps)
  while first and _can_run_on_blocks(steps[first - 1]):
    first -= 1
  return first


def _can_run_on_blocks(step: Any) -> bool:
  function = getattr(step, "func", step)
  # Of a block, seqio's `tokenize` gives EOS to the last example only.
  if getattr(step, "args", ()) or getattr(step, "keywords", {}).get("with_eos"):
    return False
  return (
    _is_placeholder(step)
    or function in _SEQIO_ON_BLOCKS
    or getattr(function, "on_blocks", False)
  )


def _read(
  source: seqio.DataSource, count: int | None, request: Request
) -> tf.data.Dataset:
  """The records of a source; few of them are kept in memory."""
  dataset = source.get_dataset(
    split=request.split,
    shuffle=request.shuffle,
    seed=request.seed,
    shard_info=_WHOLE,
  )
  return dataset.cache() if count and count < _IN_MEMORY else dataset


def _records(task: seqio.Task, request: Request) -> tf.data.Dataset:
  """A Task's source."""
  count = task.source.num_input_examples(request.split)
  return _read(task.source, count, request)


def _cached_records(
  task: seqio.Task, request: Request
) -> tf.data.Dataset | None:
  """A Task's cache, unparsed: strings; None if its fields are unusual."""
  task.assert_cached()
  info = _cached_info(task, request.split)
  shapes = [feature["shape"] for feature in info["features"].values()]
  if any(shape not in ([], [None]) for shape in shapes):
    return None
  placeholder = task.preprocessors[_placeholder(task.preprocessors)]
  prefix = seqio.get_cached_tfrecord_prefix(task.cache_dir, request.split)
  source = seqio.FileDataSource(
    tf.data.TFRecordDataset,
    {request.split: f"{prefix}-*-of-*{info['num_shards']}"},
    file_shuffle_buffer_size=placeholder.file_shuffle_buffer_size,
  )
  count = int(task.get_cached_stats(request.split)["examples"])
  return _read(source, count, request)


def _cached_info(task: seqio.Task, split: str) -> dict[str, Any]:
  path = seqio.get_cached_info_path(task.cache_dir, split)
  with tf.io.gfile.GFile(path) as file:
    return json.load(file)


def _parsed(
  records: tf.data.Dataset, parse: Any, task: seqio.Task, request: Request
) -> tf.data.Dataset:
  """Cached records to their fields, by tf.io's parser of one or of many."""
  features = _cached_info(task, request.split)["features"]

  def stored(feature: Mapping[str, Any]) -> Any:
    kind = feature["dtype"]
    # TFRecords know no other integers.
    kind = "int64" if kind in ("int32", "bool") else kind
    if not feature["shape"]:
      return tf.io.FixedLenFeature([], kind)
    return tf.io.RaggedFeature(kind, row_splits_dtype=tf.int64)

  description = {name: stored(feature) for name, feature in features.items()}

  def fields(record: tf.Tensor) -> dict[str, tf.Tensor]:
    return {
      name: tf.cast(value, features[name]["dtype"])
      for name, value in parse(record, description).items()
    }

  return records.map(fields, num_parallel_calls=request.threads)


def _one_by_one(
  records: tf.data.Dataset,
  steps: Sequence[Any],
  begin: int,
  first: int,
  task: seqio.Task,
  request: Request,
) -> tf.data.Dataset:
  """Endless examples, up to the step `first`."""
  placeholder = _placeholder(steps)
  # seqio keeps the seeds of both sides of a cache apart in this way.
  behind = request.seed + 42 * max(placeholder, 0)
  if not begin and placeholder >= 0:
    with seqio.map_seed_manager(request.seed):
      before = steps[: min(placeholder, first)]
      records = _run(records, before, task, request)
  records = _repeated(records, request)
  with seqio.map_seed_manager(behind):
    rest = steps[placeholder + 1 : first]
    return _run(records, rest, task, request)


def _repeated(dataset: tf.data.Dataset, request: Request) -> tf.data.Dataset:
  epochs = request.num_epochs
  return dataset if epochs == 1 else dataset.repeat(epochs)


def _run(
  dataset: tf.data.Dataset,
  steps: Sequence[Any],
  task: seqio.Task,
  request: Request,
) -> tf.data.Dataset:
  """Applies preprocessors as a Task does."""
  for step in steps:
    if not _is_placeholder(step):
      ready: Any = seqio.utils.add_kwargs_to_transform(
        step,
        sequence_length=request.lengths,
        output_features=task.output_features,
      )
      dataset = ready(dataset)
  return dataset


def _fit_for_blocks(spec: Any, task: seqio.Task) -> bool:
  """Whether examples can be put together, and their text tokenized so."""
  if not isinstance(spec, Mapping) or not all(
    isinstance(value, tf.TensorSpec) and (value.shape.rank in (0, 1))
    for value in spec.values()
  ):
    return False
  return all(
    name in spec
    and (spec[name].dtype != tf.string or _tokenizes_blocks(feature.vocabulary))
    for name, feature in task.output_features.items()
  )


def _tokenizes_blocks(vocabulary: seqio.Vocabulary) -> bool:
  own = getattr(type(vocabulary), "_encode_tf", None)
  return own is seqio.SentencePieceVocabulary._encode_tf


def _padded(blocks: tf.data.Dataset, request: Request) -> tf.data.Dataset:
  """Only the tokens, truncated."""

  def padded(block: Mapping[str, Any]) -> dict[str, tf.Tensor]:
    rows = {
      name: block[name][:, :length] for name, length in request.lengths.items()
    }
    # Ragged rows cost much more to take apart again.
    return {
      name: row.to_tensor() if isinstance(row, tf.RaggedTensor) else row
      for name, row in rows.items()
    }

  return blocks.map(padded, num_parallel_calls=request.threads)

"""What feeds the engine: the one module that needs TensorFlow and seqio.

It is imported late, inside functions, so that training, scoring and decoding
also run where TensorFlow is not installed, from batches that something else
makes.
"""

import contextlib
import dataclasses
import difflib
import fnmatch
import hashlib
import importlib
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, cast

import numpy as np
import seqio
import tensorflow as tf
from absl import logging
from clu import data as clu_data
from clu import metric_writers
from etils import epath

from t5cr import errors
from t5cr.engine.train import Batches, TrainData

# TensorFlow only reads here; the accelerator's memory belongs to JAX.
for _kind in ("GPU", "TPU"):
  try:
    tf.config.set_visible_devices([], _kind)
  except (RuntimeError, ValueError):
    logging.info("TensorFlow was started before; its %ss stay visible.", _kind)

VOCABULARY_MULTIPLE = 128
_INPUTS, _TARGETS = "inputs", "targets"


def use_data_dir(tfds_data_dir: str | os.PathLike | None) -> None:
  """Reads TFDS data sets from this folder; None leaves TFDS's default."""
  if tfds_data_dir is None:
    return
  if not epath.Path(tfds_data_dir).is_dir():
    raise errors.UsageError(
      f"--tfds_data_dir: there is no folder {tfds_data_dir}. Write the data "
      "sets there first (`t5cr data build`), or name the folder that has them."
    )
  seqio.set_tfds_data_dir_override(str(tfds_data_dir))


def use_cache_dirs(folders: Sequence[str]) -> None:
  """Also looks for seqio's cached tasks in these folders."""
  if folders:
    seqio.add_global_cache_dirs(list(folders))


def import_tasks(module: str | None) -> None:
  """Imports the module whose import registers tasks, if one is named."""
  if not module:
    return
  try:
    importlib.import_module(module)
  except ModuleNotFoundError as error:
    if error.name and module.startswith(error.name):
      raise errors.UsageError(
        f"MIXTURE_OR_TASK_MODULE: there is no module {module!r}. Install the "
        "package that registers your tasks, or put it on PYTHONPATH."
      ) from error
    raise


def provider(name: str) -> seqio.Task | seqio.Mixture:
  """The registered Mixture or Task of that name.

  Args:
    name: as registered.

  Returns:
    The Mixture, or else the Task.

  Raises:
    UsageError: with the nearest known names.
  """
  known = [*seqio.MixtureRegistry.names(), *seqio.TaskRegistry.names()]
  if name in known:
    return seqio.get_mixture_or_task(name)
  near = difflib.get_close_matches(name, known, n=5, cutoff=0.5)
  hint = f"Nearest: {', '.join(near)}." if near else "No name is near."
  raise errors.UsageError(
    f"No seqio Task or Mixture is called {name!r}. {hint} `t5cr tasks list` "
    "shows all; MIXTURE_OR_TASK_MODULE names the module that registers yours."
  )


def task_names(name: str) -> list[str]:
  """Names of the Tasks of a Mixture, or of the Task itself."""
  return [task.name for task in seqio.get_subtasks(provider(name))]


def mixture(name: str, tasks: Sequence[str]) -> str:
  """Registers a Mixture of Tasks, in place of one of that name.

  Args:
    name: of the Mixture.
    tasks: names of its Tasks; each counts once, all equally often.

  Returns:
    The name.
  """
  if name in seqio.MixtureRegistry.names():
    seqio.MixtureRegistry.remove(name)
  seqio.MixtureRegistry.add(name, list(dict.fromkeys(tasks)), default_rate=1.0)
  return name


def is_built(task_name: str) -> bool:
  """Whether the data that a Task reads is there; true if it is not of TFDS."""
  source = seqio.TaskRegistry.get(task_name).source
  if not isinstance(source, seqio.TfdsDataSource):
    return True
  try:
    return source.tfds_dataset.builder.is_prepared()
  except (ValueError, ImportError):
    return False


def check_built(name: str) -> None:
  """Raises UsageError if data of a Mixture or Task is not there."""
  missing = [task for task in task_names(name) if not is_built(task)]
  if missing:
    sources = sorted({_tfds_name(task) for task in missing})
    others = sorted(set().union(*map(_other_versions, missing)))
    found = ""
    if others:
      found = (
        f" What is there is of another release (version {', '.join(others)}), "
        "so it has to be built anew."
      )
    raise errors.UsageError(
      f"{name} cannot be read: the data set(s) {', '.join(sources)} are not "
      f"built in the TFDS folder in use.{found} Build them with `t5cr data "
      "build` (probes: `t5cr probes build`) and pass the folder as "
      "--tfds_data_dir."
    )


def _other_versions(task_name: str) -> list[str]:
  """The versions of a Task's data that stand in place of the one it reads."""
  source = seqio.TaskRegistry.get(task_name).source
  return getattr(source, "other_versions", list)()


def check_trainable(name: str, split: str) -> None:
  """Raises UsageError if a Mixture or Task cannot be trained on."""
  check_built(name)
  splits = {s for task in task_names(name) for s in _splits(task)}
  if split not in splits:
    raise errors.UsageError(
      f"{name} cannot be trained on: it has no split {split!r}, only "
      f"{', '.join(sorted(splits))}. Set MIXTURE_OR_TASK_NAME to one that has."
    )


def check_split(task_name: str, split: str) -> None:
  """Raises UsageError if a Task has no such split or its data is missing."""
  check_built(task_name)
  splits = _splits(task_name)
  if split not in splits:
    raise errors.UsageError(
      f"The task {task_name} has no split {split!r}, only "
      f"{', '.join(splits)}. Set EVAL_SPLIT."
    )


def _splits(task_name: str) -> Sequence[str]:
  return list(seqio.TaskRegistry.get(task_name).splits)


def check_cached(names: Sequence[str], use_cached: bool) -> None:
  """Raises UsageError if caches of Mixtures and Tasks are asked for and absent.

  Args:
    names: of Mixtures and Tasks.
    use_cached: whether they are asked for.
  """
  if not use_cached:
    return
  members = dict.fromkeys(task for name in names for task in task_names(name))
  missing = [
    name
    for name in members
    if seqio.TaskRegistry.get(name).supports_caching
    and not seqio.TaskRegistry.get(name).cache_dir
  ]
  if missing:
    folders = seqio.get_global_cache_dirs() or ["no folder named"]
    raise errors.UsageError(
      f"USE_CACHED_TASKS is True, but there is no cache of {', '.join(missing)}"
      f" ({', '.join(folders)}). Cache them with `seqio_cache_tasks` and name "
      "the folder with --seqio_additional_cache_dirs, or set USE_CACHED_TASKS "
      "= False."
    )


def readable(name: str) -> list[str]:
  """Names of the Tasks of a Mixture or Task whose data is there.

  Raises:
    UsageError: the name is unknown, or data is missing.
  """
  check_built(name)
  return task_names(name)


def _tfds_name(task_name: str) -> str:
  source = seqio.TaskRegistry.get(task_name).source
  if isinstance(source, seqio.TfdsDataSource):
    try:
      return str(source.tfds_dataset.name)
    except ValueError:
      pass
  return f"of {task_name}"


def expand(patterns: Sequence[str], split: str) -> list[str]:
  """The Tasks that names and patterns mean.

  A plain name must be registered and its data there. A pattern (`*`, `?`)
  takes what there is: Tasks with metrics, built data and that split.

  Args:
    patterns: of Tasks and Mixtures, such as `t5cr_probe_*`.
    split: to evaluate on.

  Returns:
    Names of Tasks, each once, in the order asked for.

  Raises:
    UsageError: a name is unknown, its data missing, or it has no metrics.
  """
  found: list[str] = []
  for pattern in patterns:
    if any(mark in pattern for mark in "*?["):
      names = sorted(fnmatch.filter(seqio.TaskRegistry.names(), pattern))
      if not names:
        raise errors.UsageError(
          f"No seqio Task matches {pattern!r}. `t5cr tasks list` shows all."
        )
      left_out = [name for name in names if not is_built(name)]
      if left_out:
        logging.warning(
          "Not evaluated, their data is not built: %s", ", ".join(left_out)
        )
      found += [
        name
        for name in names
        if name not in left_out and not _cannot_evaluate(name, split)
      ]
    else:
      for name in readable(pattern):
        reason = _cannot_evaluate(name, split)
        if reason:
          raise errors.UsageError(
            f"The task {name} cannot be evaluated: {reason}."
          )
        found.append(name)
  return list(dict.fromkeys(found))


def _cannot_evaluate(task_name: str, split: str) -> str | None:
  task = seqio.TaskRegistry.get(task_name)
  splits = _splits(task_name)
  if split not in splits:
    return f"it has no split {split!r}, only {', '.join(splits)}"
  if not task.metric_fns and not task.metric_objs:
    return "it has no metrics"
  return None


def vocabulary_size(name: str, multiple: int = VOCABULARY_MULTIPLE) -> int:
  """Rows that an embedding needs for the tokens of a Mixture or Task.

  Args:
    name: of the Mixture or Task.
    multiple: rounded up to one of this; 128 suits accelerators.

  Returns:
    The number of rows.
  """
  features = provider(name).output_features
  size = max(
    features[_INPUTS].vocabulary.vocab_size,
    features[_TARGETS].vocabulary.vocab_size,
  )
  return -(-size // multiple) * multiple


def vocabulary_model(name: str) -> bytes | None:
  """The SentencePiece model of a Mixture's or Task's targets, if it is one."""
  vocabulary = provider(name).output_features[_TARGETS].vocabulary
  if isinstance(vocabulary, seqio.SentencePieceVocabulary):
    return vocabulary.sp_model
  return None


def fingerprints(names: Sequence[str]) -> dict[str, str]:
  """What identifies the data behind Mixtures and Tasks, and the vocabulary.

  Args:
    names: of Mixtures and Tasks.

  Returns:
    TFDS name -> what the source's own `fingerprint()` gives, or sha256 of the
    data set's description if it has no such method, and `vocabulary` -> sha256
    of a SentencePiece model. Sources that are not of TFDS and other
    vocabularies have none.
  """
  found: dict[str, str] = {}
  for name in dict.fromkeys(t for n in names for t in task_names(n)):
    task = seqio.TaskRegistry.get(name)
    if isinstance(task.source, seqio.TfdsDataSource):
      data_set = str(task.source.tfds_dataset.name)
      found[data_set] = _fingerprint(task.source)
    vocabulary = task.output_features[_TARGETS].vocabulary
    if isinstance(vocabulary, seqio.SentencePieceVocabulary):
      model = vocabulary.sp_model or b""
      found["vocabulary"] = hashlib.sha256(model).hexdigest()
  return found


def _fingerprint(source: seqio.TfdsDataSource) -> str:
  own = getattr(source, "fingerprint", None)
  if own is not None:
    return str(own())
  info = source.tfds_dataset.builder.info
  # The metadata is not part of the description.
  metadata = json.dumps(dict(info.metadata or {}), sort_keys=True, default=str)
  return hashlib.sha256((info.as_json + metadata).encode()).hexdigest()


def _options(threads: int) -> tf.data.Options:
  options = tf.data.Options()
  options.deterministic = True
  options.threading.private_threadpool_size = threads
  options.threading.max_intra_op_parallelism = 1
  # Tuning the parallelism costs more than it can gain with so few threads.
  options.autotune.enabled = threads > 2
  return options


def train_batches(
  data: TrainData, *, process_index: int = 0, process_count: int = 1
) -> Batches:
  """Endless training batches, reproducible from the seed.

  Args:
    data: what to read.
    process_index: this process.
    process_count: processes, each of which reads its own part.

  Returns:
    An iterator of dicts of int32 arrays [batch_size / process_count, length]
    with seqio's names; packed ones also carry segment ids and positions. Its
    `save` and `restore` keep the position after the batch last handed out,
    whatever the pipeline has prefetched.

  Raises:
    UsageError: unknown names, missing data, or a batch size that the
      processes cannot share.
  """
  mixture = provider(data.mixture_or_task_name)
  check_trainable(data.mixture_or_task_name, data.split)
  if data.batch_size % process_count:
    raise errors.UsageError(
      f"BATCH_SIZE is {data.batch_size}, which {process_count} processes "
      "cannot share evenly."
    )
  dataset = seqio.get_dataset(
    mixture,
    task_feature_lengths=dict(data.task_feature_lengths),
    # Features are trimmed before; checking their lengths again costs time.
    feature_converter=seqio.EncDecFeatureConverter(
      pack=data.pack, apply_length_check=False
    ),
    dataset_split=data.split,
    use_cached=data.use_cached,
    shuffle=data.shuffle,
    num_epochs=None,
    shard_info=seqio.ShardInfo(index=process_index, num_shards=process_count),
    seed=data.seed,
    batch_size=data.batch_size // process_count,
    verbose=False,
  )
  dataset = dataset.prefetch(2).with_options(_options(data.threads))
  iterator = clu_data.TfDatasetIterator(dataset, checkpoint=True)
  return cast(Batches, iterator)


def _tokens(rows: np.ndarray) -> list[list[int]]:
  """Rows without their padding."""
  lengths = np.count_nonzero(rows, axis=1)
  return [
    row[:length].tolist() for row, length in zip(rows, lengths, strict=True)
  ]


@dataclasses.dataclass(frozen=True)
class Examples:
  """Examples as token lists, in one order.

  Attributes:
    indices: number of each example in its data set.
    inputs: token ids without padding.
    targets: token ids without padding.
  """

  indices: list[int]
  inputs: list[list[int]]
  targets: list[list[int]]


def examples(enumerated: tf.data.Dataset) -> Examples:
  """Reads the enumerated model features that `seqio.Evaluator` hands over."""
  found = Examples([], [], [])
  for indices, batch in enumerated.batch(256).as_numpy_iterator():
    found.indices.extend(indices.tolist())
    found.inputs.extend(_tokens(batch["encoder_input_tokens"]))
    found.targets.extend(_tokens(batch["decoder_target_tokens"]))
  return found


class JSONLogger(seqio.JSONLogger):
  """seqio's JSONL files, each written under a temporary name and renamed.

  The predictions are there before the line of metrics that counts them, and a
  step that is evaluated again replaces its line.
  """

  def __call__(self, task_name, step, metrics, dataset, inferences, targets):
    """Writes `<task>-<step>.jsonl`, then `<task>-metrics.jsonl`."""
    folder = epath.Path(self.output_dir)
    folder.mkdir(parents=True, exist_ok=True)
    scratch = folder / f".{task_name}.tmp"
    if scratch.exists():
      scratch.rmtree()
    scratch.mkdir()
    inner = seqio.JSONLogger(
      str(scratch), self._write_n_results, self._json_encoder_cls
    )
    inner(
      task_name=task_name,
      step=step,
      metrics=metrics,
      dataset=dataset,
      inferences=inferences,
      targets=targets,
    )
    summary = f"{task_name}-metrics.jsonl"
    for path in scratch.iterdir():
      if path.name != summary:
        path.replace(folder / path.name)
    if (scratch / summary).exists():
      (new,) = (scratch / summary).read_text().splitlines()
      kept = [
        line
        for line in _lines(folder / summary)
        if json.loads(line)["step"] != step
      ]
      (scratch / summary).write_text("\n".join([*kept, new]) + "\n")
      (scratch / summary).replace(folder / summary)
    scratch.rmtree()


def _lines(path: epath.Path) -> list[str]:
  return path.read_text().splitlines() if path.exists() else []


def evaluator(
  task_name: str,
  *,
  output_dir: str | os.PathLike | None,
  task_feature_lengths: Mapping[str, int],
  split: str,
  num_examples: int | None = None,
  use_cached: bool = False,
  seed: int = 42,
) -> seqio.Evaluator:
  """A `seqio.Evaluator` of one Task that logs to JSONL and TensorBoard.

  Args:
    task_name: a registered Task.
    output_dir: where the loggers write; None writes nothing.
    task_feature_lengths: longer text is truncated.
    split: to evaluate on.
    num_examples: only the first so many; None for all.
    use_cached: read what seqio's caching wrote.
    seed: of sampling preprocessors, if any.

  Returns:
    The evaluator, its examples read.
  """
  loggers = (JSONLogger, seqio.TensorBoardLogger) if output_dir else ()
  with _quiet():
    return seqio.Evaluator(
      task_name,
      seqio.EncDecFeatureConverter(pack=False, apply_length_check=False),
      eval_split=split,
      use_cached=use_cached,
      seed=seed,
      sequence_length=dict(task_feature_lengths),
      num_examples=num_examples,
      logger_cls=loggers,
      log_dir=str(output_dir) if output_dir else None,
    )


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
  """Without warnings: seqio's are of padding, which the engine takes off."""
  verbosity = logging.get_verbosity()
  logging.set_verbosity(logging.ERROR)
  try:
    yield
  finally:
    logging.set_verbosity(verbosity)


def records(
  task_name: str,
  *,
  task_feature_lengths: Mapping[str, int],
  split: str,
  num_examples: int | None = None,
  use_cached: bool = False,
  seed: int = 42,
) -> tuple[list[dict[str, Any]], Examples]:
  """Examples of a Task with their text and whatever else they carry.

  Args:
    task_name: a registered Task.
    task_feature_lengths: longer text is truncated.
    split: to read.
    num_examples: only the first so many; None for all.
    use_cached: read what seqio's caching wrote.
    seed: of sampling preprocessors, if any.

  Returns:
    (fields of each example that are not tokens, the tokens), in the order of
    the data set.

  Raises:
    UsageError: the name is unknown, its data missing, or it has no such split.
  """
  check_split(task_name, split)
  task = seqio.TaskRegistry.get(task_name)
  dataset = task.get_dataset(
    sequence_length=dict(task_feature_lengths),
    split=split,
    shuffle=False,
    num_epochs=1,
    seed=seed,
    use_cached=use_cached,
  )
  dataset = dataset if num_examples is None else dataset.take(num_examples)
  fields: list[dict[str, Any]] = []
  tokens = Examples([], [], [])
  for index, example in enumerate(_numpy(dataset)):
    tokens.indices.append(index)
    tokens.inputs.append(example[_INPUTS].tolist())
    tokens.targets.append(example[_TARGETS].tolist())
    fields.append(
      {
        name: _plain(value)
        for name, value in example.items()
        if name not in task.output_features
      }
    )
  return fields, tokens


def _numpy(dataset: tf.data.Dataset) -> Iterator[dict[str, Any]]:
  for example in dataset:
    yield {
      name: value.to_list()
      if isinstance(value, tf.RaggedTensor)
      else value.numpy()
      for name, value in example.items()
    }


def _plain(value: Any) -> Any:
  """A value as JSON has it."""
  if isinstance(value, bytes):
    return value.decode("utf-8", errors="replace")
  if isinstance(value, (np.ndarray, np.generic)):
    return _plain(value.tolist())
  if isinstance(value, list):
    return [_plain(item) for item in value]
  return value


def detokenize(task_name: str, tokens: Sequence[Sequence[int]]) -> list[str]:
  """Token lists as text, cut at the end of sequence."""
  features = seqio.TaskRegistry.get(task_name).output_features
  vocabulary = features[_TARGETS].vocabulary
  return [vocabulary.decode(list(ids)) for ids in tokens]


def metric_writer(folder: str | os.PathLike) -> metric_writers.MetricWriter:
  """Writes scalars for TensorBoard from a thread of its own."""
  epath.Path(folder).mkdir(parents=True, exist_ok=True)
  return metric_writers.AsyncWriter(metric_writers.SummaryWriter(str(folder)))

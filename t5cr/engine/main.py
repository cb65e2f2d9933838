"""`t5cr train`, `eval`, `infer` and `score`: gin files to the engine.

The one place that reads gin. What the files describe becomes one frozen
dataclass; what is wrong with it is said before hours are spent.
"""

import dataclasses
import os
from collections.abc import Callable, Sequence
from typing import Any

import gin
import jax
from etils import epath

from t5cr import errors
from t5cr.engine import (
  checkpoints,
  compilation,
  decode,
  evaluate,
  events,
  formats,
  gin_config,
  inference,
  jobs,
  partitioning,
  processes,
  runs,
  stopping,
  vocabulary,
)
from t5cr.engine import train as training
from t5cr.engine.config import T5Config
from t5cr.engine.gin_config import gin_root
from t5cr.engine.train_config import TrainConfig, TrainData
from t5cr.progress import Progress

__all__ = ["eval", "gin_root", "infer", "score", "train"]

for _class in (
  T5Config,
  TrainData,
  TrainConfig,
  evaluate.EvalConfig,
  decode.Decoding,
  partitioning.MeshConfig,
):
  gin.external_configurable(_class, module="t5cr")
_TRAIN = gin.external_configurable(jobs.TrainRun, "train", module="t5cr")
_EVAL = gin.external_configurable(jobs.EvalRun, "eval", module="t5cr")
_INFER = gin.external_configurable(jobs.InferRun, "infer", module="t5cr")


def start(
  job: Callable[..., Any],
  *,
  gin_files: Sequence[str | os.PathLike],
  gin_bindings: Sequence[str] = (),
  gin_search_paths: Sequence[str | os.PathLike] = (),
  tfds_data_dir: str | os.PathLike | None = None,
  seqio_additional_cache_dirs: Sequence[str] = (),
) -> tuple[Any, str]:
  """Reads what a job is and opens its data: the flags of every command.

  Args:
    job: gin's version of a class in `jobs`.
    gin_files: read in order, later values replace earlier ones.
    gin_bindings: such as `TRAIN_STEPS = 100`; they come last.
    gin_search_paths: folders to look for gin files in.
    tfds_data_dir: where the TFDS data sets are.
    seqio_additional_cache_dirs: where seqio's cached tasks are.

  Returns:
    (the job, the whole configuration as a gin file).

  Raises:
    UsageError: something in the files is not as it has to be.
  """
  text = gin_config.parse(gin_files, gin_bindings, gin_search_paths)
  run = gin_config.build(job)
  processes.agree(
    "What the gin files and flags say",
    text,
    "Start all processes with the same command.",
  )
  # TensorFlow takes seconds to import; what is wrong above is said at once.
  from t5cr.engine import feed

  feed.use_data_dir(tfds_data_dir)
  feed.use_cache_dirs(seqio_additional_cache_dirs)
  feed.import_tasks(run.module)
  compilation.enable()
  return run, text


def read_train(
  *,
  gin_files: Sequence[str | os.PathLike],
  gin_bindings: Sequence[str] = (),
  gin_search_paths: Sequence[str | os.PathLike] = (),
) -> jobs.TrainRun:
  """Reads what a training is, and opens nothing; see `start`."""
  gin_config.parse(gin_files, gin_bindings, gin_search_paths)
  return gin_config.build(_TRAIN)


def train(
  *, progress: Progress | None = None, **flags: Any
) -> dict[str, dict[str, Any]]:
  """Trains a model, then evaluates it.

  The run folder gets `config.gin`, `run.json`, `checkpoint_<step>`, TensorBoard
  files in `train/` and results in `inference_eval/`. Started again, a run goes
  on where it stopped and leaves out what is done.

  Args:
    progress: called as progress(stage, done, total, unit).
    **flags: see `start`.

  Returns:
    Task name -> metric name -> value.

  Raises:
    UsageError: something in the files, the data or the run folder is not as it
      has to be; nothing is changed.
  """
  run, config = start(_TRAIN, **flags)
  from t5cr.engine import feed

  mixture = run.data.mixture_or_task_name
  feed.check_trainable(mixture, run.data.split)
  names = feed.expand(_listed(run.eval_tasks), run.evaluation.split)
  feed.check_cached([mixture], run.data.use_cached)
  feed.check_cached(names, run.evaluation.use_cached)
  run = dataclasses.replace(run, model=_sized(run.model, mixture, names))
  mesh = _mesh(
    run.mesh,
    BATCH_SIZE=run.data.batch_size,
    EVAL_BATCH_SIZE=run.evaluation.batch_size,
  )
  data = _same_data([mixture, *names])
  settings = run.settings(feed.fingerprints([mixture]))
  runs.check_same(run.model_dir, settings)
  if run.initial_checkpoint_path and not formats.steps(run.model_dir):
    _check_initial(run)
  with runs.locked(run.model_dir):
    runs.check_same(run.model_dir, settings)  # Another may just have ended.
    record = runs.Record(run.model_dir, _about(run, settings, data))
    runs.write(epath.Path(run.model_dir) / "config.gin", config)
    # With it, the folder is all that `t5cr.load` and `t5cr convert` need.
    pieces = feed.vocabulary_model(mixture)
    if pieces:
      runs.write(epath.Path(run.model_dir) / vocabulary.FILE, pieces)
    return _train(run, names, mesh, record, progress)


def eval(  # noqa: A001 (the command's name)
  *, progress: Progress | None = None, **flags: Any
) -> dict[str, dict[str, Any]]:
  """Evaluates a checkpoint; arguments and errors are those of `train`.

  Returns:
    Task name -> metric name -> value; also in OUTPUT_DIR/inference_eval.
  """
  run, text = start(_EVAL, **flags)
  from t5cr.engine import feed

  names = feed.expand(_listed(run.tasks), run.evaluation.split)
  feed.check_cached(names, run.evaluation.use_cached)
  model, step = _load(run, names, text)
  return evaluate.evaluate(
    model,
    names,
    run.evaluation,
    step=step,
    output_dir=epath.Path(run.output_dir) / "inference_eval",
    progress=progress,
  )


def infer(
  *, progress: Progress | None = None, **flags: Any
) -> list[epath.Path]:
  """Writes what a checkpoint predicts for tasks (or scores: `infer.mode`).

  Arguments and errors are those of `train`.

  Returns:
    The files, in the layout of `t5x.infer`.
  """
  return _infer(*start(_INFER, **flags), progress)


def score(
  *, progress: Progress | None = None, **flags: Any
) -> list[epath.Path]:
  """Writes the log-likelihoods of tasks' targets under a checkpoint.

  Arguments and errors are those of `train`.

  Returns:
    The files, in the layout of `t5x.infer`.
  """
  run, text = start(_INFER, **flags)
  return _infer(dataclasses.replace(run, mode="score"), text, progress)


def _check_initial(run: jobs.TrainRun) -> None:
  """Raises UsageError if a run cannot start from its initial checkpoint."""
  found = formats.find(run.initial_checkpoint_path or "")
  checkpoints.check_model(found, run.model)
  _check_same_vocabulary(found, [run.data.mixture_or_task_name])
  last = run.config.train_steps
  if 0 < last <= found.step:
    raise errors.UsageError(
      f"TRAIN_STEPS is {last}, but {found.path} is at step {found.step} "
      "already, which counts: nothing would be trained. Set TRAIN_STEPS to "
      f"{found.step} and the steps to take, or to 0 to evaluate it as it is."
    )


def _check_same_vocabulary(found: formats.Found, names: Sequence[str]) -> None:
  """Refuses tasks whose tokens are not those that a run was trained with."""
  from t5cr.engine import feed

  copy = found.run / vocabulary.FILE
  if not copy.exists():
    return
  content = copy.read_bytes()
  for name in names:
    pieces = feed.vocabulary_model(name)
    if pieces is not None and pieces != content:
      raise errors.UsageError(
        f"{name} has another vocabulary than the run was trained with, which "
        f"is {copy}. Set {vocabulary.ENVIRONMENT_VARIABLE} to that file."
      )


def _listed(names: str | Sequence[str]) -> list[str]:
  return [names] if isinstance(names, str) else list(names)


def _sized(config: T5Config, mixture: str, names: Sequence[str]) -> T5Config:
  """The model's shape with a vocabulary that holds all tasks' tokens."""
  from t5cr.engine import feed

  size = config.vocab_size
  if size is None:
    tokens = max(feed.vocabulary_size(name) for name in (mixture, *names))
    size = vocabulary.embedding_rows(tokens)
  _check_vocabulary(size, [mixture, *names])
  return dataclasses.replace(config, vocab_size=size)


def _check_vocabulary(size: int, names: Sequence[str]) -> None:
  from t5cr.engine import feed

  for name in names:
    tokens = feed.vocabulary_size(name)
    if size < tokens:
      raise errors.UsageError(
        f"The model has {size} rows in its vocabulary, but {name} uses "
        f"{tokens} tokens. Evaluate it with the vocabulary it was trained with "
        "(T5CR_VOCABULARY), or set VOCAB_SIZE = None when training."
      )


def _same_data(names: Sequence[str]) -> dict[str, str]:
  """Fingerprints of the data, which all processes have to read alike."""
  from t5cr.engine import feed

  data = feed.fingerprints(names)
  processes.agree(
    "The list of tasks, their data or their vocabulary",
    (names, data),
    "Give all of them the same data sets (--tfds_data_dir) and "
    f"{vocabulary.ENVIRONMENT_VARIABLE}.",
  )
  return data


def _mesh(config: partitioning.MeshConfig, **batch_sizes: int):
  """The mesh; batches of these sizes must fit it."""
  mesh = partitioning.make_mesh(config)
  parts = partitioning.batch_parts(mesh)
  for name, size in batch_sizes.items():
    if size % parts:
      raise errors.UsageError(
        f"{name} is {size}, which the {parts} parts of the mesh (MESH_DATA "
        "times MESH_FSDP) cannot share evenly."
      )
  return mesh


def _load(
  run: jobs.EvalRun | jobs.InferRun, names: Sequence[str], text: str
) -> tuple[evaluate.Model, int]:
  """Parameters to run on tasks, and their step; claims the output folder."""
  data = _same_data(names)
  mesh = _mesh(run.mesh, EVAL_BATCH_SIZE=run.evaluation.batch_size)
  found = formats.find(run.checkpoint_path)
  _check_vocabulary(found.config.vocab_size, names)
  _check_same_vocabulary(found, names)
  params, config, step = checkpoints.restore_params(found, mesh)
  if run.dtype is not None:
    config = dataclasses.replace(config, dtype=run.dtype)
  runs.claim_output(epath.Path(run.output_dir), text, found.run, data)
  return evaluate.Model(params, config, mesh), step


def _infer(
  run: jobs.InferRun, text: str, progress: Progress | None
) -> list[epath.Path]:
  from t5cr.engine import feed

  names = [task for name in _listed(run.tasks) for task in feed.readable(name)]
  for name in names:
    feed.check_split(name, run.evaluation.split)
  feed.check_cached(names, run.evaluation.use_cached)
  model, _ = _load(run, names, text)
  return inference.infer(
    model,
    names,
    run.evaluation,
    mode=run.mode,
    output_dir=run.output_dir,
    return_all_decodes=run.return_all_decodes,
    progress=progress,
  )


def _about(
  run: jobs.TrainRun, settings: dict[str, Any], data: dict[str, str]
) -> dict[str, Any]:
  """What `run.json` says of a run before it starts."""
  return {
    "engine": "t5cr",
    "settings": settings,
    "train_steps": run.config.train_steps,
    "eval_tasks": _listed(run.eval_tasks),
    "seed": run.config.seed,
    "data_seed": run.data.seed,
    "data": data,
    "data_fingerprint": runs.digest(data),
    **runs.environment(),
  }


def _train(
  run: jobs.TrainRun,
  names: Sequence[str],
  mesh: jax.sharding.Mesh,
  record: runs.Record,
  progress: Progress | None,
) -> dict[str, dict[str, Any]]:
  from t5cr.engine import feed

  folder = epath.Path(run.model_dir)
  results: dict[str, dict[str, Any]] = {}

  def evaluate_state(state: training.TrainState, step: int) -> None:
    parameters = sum(leaf.size for leaf in jax.tree.leaves(state.params))
    record.update(step=step, parameters=parameters)
    with record.spent("evaluate"):
      model = evaluate.Model(state.params, run.model, mesh)
      results.update(_evaluate_new(run, model, names, step, record, progress))

  mixture = run.data.mixture_or_task_name
  told = events.Events(folder, lambda batch: feed.texts(mixture, batch))
  stop = stopping.Request()
  with record.spent("total"), stop.on_sigterm():
    training.train(
      run.config,
      run.model,
      lambda: feed.train_batches(run.data),
      model_dir=folder,
      mesh=mesh,
      initial_checkpoint=run.initial_checkpoint_path,
      hooks=training.Hooks(
        metric_writer=feed.metric_writer(folder / "train")
        if processes.is_first()
        else None,
        evaluate=evaluate_state,
        progress=progress,
        note=told.note,
        stop=stop,
      ),
    )
  return results


def _evaluate_new(
  run: jobs.TrainRun,
  model: evaluate.Model,
  names: Sequence[str],
  step: int,
  record: runs.Record,
  progress: Progress | None,
) -> dict[str, dict[str, Any]]:
  """Evaluates the tasks that were not, at this step and in this way."""
  output_dir = epath.Path(run.model_dir) / "inference_eval"
  known = record.values.get("evaluated", {})
  # What a task's results depend on besides the parameters.
  way = runs.digest(
    [step, dataclasses.asdict(run.evaluation), record.values["data"]]
  )
  done = {
    name: metrics
    for name in names
    if known.get(name) == way
    and (metrics := evaluate.evaluated(name, step, output_dir))
  }
  processes.agree(
    f"The list of results in {output_dir}", sorted(done), "Start all again."
  )
  results = evaluate.evaluate(
    model,
    [name for name in names if name not in done],
    run.evaluation,
    step=step,
    output_dir=output_dir,
    progress=progress,
  )
  record.update(evaluated={**known, **dict.fromkeys(results, way)})
  return {**done, **results}

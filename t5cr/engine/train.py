"""Training: one jitted step and the loop around it.

Batches come from any iterator with seqio's feature names, so nothing here
needs TensorFlow. A run is a function of its configuration and its data: the
same seed gives the same parameters, whether or not it was interrupted.
"""

import dataclasses
import math
import os
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Protocol

import jax
import jax.numpy as jnp
import numpy as np
import optax
from absl import logging

from t5cr import errors
from t5cr.engine import (
  checkpoints,
  formats,
  losses,
  meter,
  model,
  optimizer,
  partitioning,
  processes,
  schedules,
)
from t5cr.engine.config import T5Config
from t5cr.engine.train_state import TrainState
from t5cr.progress import Progress

# What LOSS_NORMALIZING_FACTOR calls the number of target tokens in a batch;
# the word is t5x's.
REAL_TARGET_TOKENS = "NUM_REAL_TARGET_TOKENS"


@dataclasses.dataclass(frozen=True)
class TrainData:
  """What a model is trained on.

  Attributes:
    mixture_or_task_name: a registered seqio Mixture or Task.
    task_feature_lengths: most tokens of a row, `{"inputs": …, "targets": …}`;
      longer text is truncated.
    batch_size: rows of a batch over all devices; a packed row holds several
      examples.
    split: of the data sets.
    seed: of shuffling, mixing and sampling preprocessors.
    pack: put as many examples into a row as fit.
    shuffle: the examples.
    use_cached: read what seqio's caching wrote instead of preprocessing.
    threads: of the tf.data pipeline; few, so that training keeps its cores.
  """

  mixture_or_task_name: str
  task_feature_lengths: Mapping[str, int]
  batch_size: int
  split: str = "train"
  seed: int = 0
  pack: bool = True
  shuffle: bool = True
  use_cached: bool = False
  threads: int = 2

  def __post_init__(self):
    """Raises UsageError for numbers that cannot be used."""
    errors.check_count("BATCH_SIZE", self.batch_size)
    errors.check_count("SEED", self.seed, least=0)
    errors.check_count("DATA_THREADS", self.threads)


@dataclasses.dataclass(frozen=True)
class TrainConfig:
  """How a model is trained.

  Attributes:
    train_steps: the step to stop at, those of an initial checkpoint included.
    learning_rate: Adafactor's, relative to the scale of each parameter.
    learning_rate_schedule: 'constant', or how it falls to 0 at `train_steps`:
      'linear', 'cosine'; or 'rsqrt', as 1 / sqrt(step / warmup_steps).
    warmup_steps: over which it first rises from 0.
    loss_normalizing_factor: what the summed loss is divided by, a number or
      'NUM_REAL_TARGET_TOKENS', those of the batch; None leaves the sum.
    z_loss: coefficient of log(Z)^2.
    seed: of initial parameters and dropout.
    checkpoint_period: steps between checkpoints; the last step has one too.
    checkpoints_to_keep: the latest so many; None for all.
    log_period: steps between the metrics written.
    eval_period: steps between evaluations; None evaluates after the last step.
  """

  train_steps: int
  learning_rate: float = 0.003
  learning_rate_schedule: str = "constant"
  warmup_steps: int = 0
  loss_normalizing_factor: float | str | None = REAL_TARGET_TOKENS
  z_loss: float = 1e-4
  seed: int = 0
  checkpoint_period: int = 1000
  checkpoints_to_keep: int | None = 3
  log_period: int = 50
  eval_period: int | None = None

  def __post_init__(self):
    """Raises UsageError for values that cannot be used."""
    schedules.check(self.learning_rate_schedule)
    _check_factor(self.loss_normalizing_factor)
    if self.train_steps < 0:
      raise errors.UsageError(
        f"TRAIN_STEPS is {self.train_steps}; it cannot be negative."
      )
    for name in ("checkpoint_period", "log_period"):
      if getattr(self, name) < 1:
        raise errors.UsageError(f"{name.upper()} must be at least 1.")


def _check_factor(factor: Any) -> None:
  """Raises UsageError for a LOSS_NORMALIZING_FACTOR that cannot be used."""
  if factor is None or factor == REAL_TARGET_TOKENS:
    return
  number = isinstance(factor, (int, float)) and not isinstance(factor, bool)
  if not number or factor <= 0:
    raise errors.UsageError(
      f"LOSS_NORMALIZING_FACTOR is {factor!r}; it has to be a number above 0, "
      f"'{REAL_TARGET_TOKENS}' (those of the batch), or None (the sum)."
    )


class Batches(checkpoints.Positioned, Protocol):
  """Endless training batches whose position can be kept."""

  def __next__(self) -> Mapping[str, np.ndarray]:
    """The next batch, whole, the same in all processes."""
    ...


class MetricWriter(Protocol):
  """The part of `clu.metric_writers.MetricWriter` that training uses."""

  def write_scalars(self, step: int, scalars: Mapping[str, Any]) -> None:
    """Writes named numbers of a step."""

  def flush(self) -> None:
    """Waits until all is written."""


@dataclasses.dataclass(frozen=True)
class Hooks:
  """What a run calls while it goes on; all optional.

  Attributes:
    metric_writer: receives what `meter.Meter.read` tells of an interval.
    evaluate: called with (state, step) every `eval_period` steps and after
      the last.
    progress: called as progress("train", step, train_steps, "steps").
  """

  metric_writer: MetricWriter | None = None
  evaluate: Callable[[TrainState, int], None] | None = None
  progress: Progress | None = None


def _schedule(config: TrainConfig) -> optax.Schedule:
  return schedules.learning_rate_schedule(
    schedule=config.learning_rate_schedule,
    learning_rate=config.learning_rate,
    warmup_steps=config.warmup_steps,
    train_steps=config.train_steps,
  )


def make_optimizer(config: TrainConfig) -> optax.GradientTransformation:
  """Adafactor with the configured learning rate."""
  if config.learning_rate_schedule == "constant" and not config.warmup_steps:
    return optimizer.adafactor(config.learning_rate)
  return optimizer.adafactor(_schedule(config))


def initial_state(
  config: TrainConfig, model_config: T5Config, mesh: jax.sharding.Mesh
) -> TrainState:
  """Fresh parameters and optimizer state, made where they are to lie."""
  make = _state_maker(config, model_config)
  shapes = state_shapes(config, model_config)
  shardings = partitioning.state_shardings(shapes, mesh)
  return jax.jit(make, out_shardings=shardings)()


def state_shapes(config: TrainConfig, model_config: T5Config) -> TrainState:
  """The state of a run as shapes and dtypes; nothing is computed."""
  return jax.eval_shape(_state_maker(config, model_config))


def _state_maker(
  config: TrainConfig, model_config: T5Config
) -> Callable[[], TrainState]:
  def make() -> TrainState:
    params = model.init(model_config, jax.random.key(config.seed))
    return TrainState(
      step=jnp.zeros((), jnp.int32),
      params=params,
      opt_state=make_optimizer(config).init(params),
    )

  return make


def make_train_step(
  config: TrainConfig, model_config: T5Config, mesh: jax.sharding.Mesh
) -> Callable[[TrainState, Any], tuple[TrainState, dict[str, jax.Array]]]:
  """Compiles one step of training; its argument's buffers are reused.

  Args:
    config: how to train.
    model_config: the model's shape.
    mesh: where the state lies.

  Returns:
    A function from (state, batch) to (state after the step, sums over the
    batch: `loss` in nats with z-loss, `target_tokens`, `tokens` of both sides).
  """
  tx = make_optimizer(config)
  if model_config.scan_layers:
    tx = optimizer.layers_together(tx)
  seed = config.seed + 1  # The parameters were drawn from the seed itself.

  def step(state: TrainState, batch: Any):
    dropout_rng = jax.random.fold_in(jax.random.key(seed), state.step)

    def loss_fn(params):
      params = partitioning.gather(params, mesh)
      logits = model.apply(params, model_config, batch, dropout_rng)
      loss, weight = losses.cross_entropy(
        logits,
        batch["decoder_target_tokens"],
        batch["decoder_loss_weights"],
        z_loss=config.z_loss,
      )
      return loss / _divisor(config, weight), (loss, weight)

    gradients, (loss, weight) = jax.grad(loss_fn, has_aux=True)(state.params)
    updates, opt_state = tx.update(gradients, state.opt_state, state.params)
    params = optax.apply_updates(state.params, updates)
    inputs = jnp.sum(batch["encoder_input_tokens"] != 0)
    sums = {"loss": loss, "target_tokens": weight, "tokens": inputs + weight}
    return TrainState(state.step + 1, params, opt_state), sums

  shapes = state_shapes(config, model_config)
  shardings = partitioning.state_shardings(shapes, mesh)
  return jax.jit(
    step,
    donate_argnums=0,
    out_shardings=(shardings, partitioning.replicated(mesh)),
  )


def _divisor(
  config: TrainConfig, target_tokens: jax.Array
) -> jax.Array | float:
  """What the summed loss of a batch is divided by."""
  factor = config.loss_normalizing_factor
  if factor == REAL_TARGET_TOKENS:
    return jnp.maximum(target_tokens, 1.0)
  return 1.0 if factor is None else float(factor)


def _check_finite(metrics: Mapping[str, float], step: int) -> None:
  if not math.isfinite(metrics["loss"]):
    raise errors.UsageError(
      f"The loss is {metrics['loss']} at step {step}: training diverged. Lower "
      "LEARNING_RATE or set WARMUP_STEPS, with a new MODEL_DIR or from an "
      "earlier checkpoint."
    )


def restore_or_init(
  config: TrainConfig,
  model_config: T5Config,
  mesh: jax.sharding.Mesh,
  *,
  model_dir: str | os.PathLike,
  make_batches: Callable[[], Batches],
  initial_checkpoint: str | os.PathLike | None = None,
) -> tuple[TrainState, Batches | None]:
  """The state to go on from and the data at that position.

  Args:
    config: how to train.
    model_config: the model's shape.
    mesh: where to place the state.
    model_dir: the run folder; its latest checkpoint comes first.
    make_batches: called if there are steps left to train.
    initial_checkpoint: where a run without checkpoints starts from (its
      parameters, optimizer state and step); None starts from noise.

  Returns:
    (state, batches or None).
  """
  known = formats.steps(model_dir)
  processes.agree(
    f"The list of checkpoints in {model_dir}",
    known,
    "It has to be one folder for all processes.",
  )
  shapes = state_shapes(config, model_config)
  if known and known[-1] < config.train_steps:
    batches = make_batches()
    state = checkpoints.restore_state(
      model_dir, shapes, model_config, mesh, batches
    )
    return state, batches
  source = model_dir if known else initial_checkpoint
  if source:
    state = checkpoints.restore_state(source, shapes, model_config, mesh)
  else:
    state = initial_state(config, model_config, mesh)
  more = int(state.step) < config.train_steps
  return state, make_batches() if more else None


def train(
  config: TrainConfig,
  model_config: T5Config,
  make_batches: Callable[[], Batches],
  *,
  model_dir: str | os.PathLike,
  mesh: jax.sharding.Mesh,
  initial_checkpoint: str | os.PathLike | None = None,
  hooks: Hooks = Hooks(),  # noqa: B008 (frozen)
) -> TrainState:
  """Trains up to `config.train_steps`, from where the run folder stands.

  Args:
    config: how to train; `train_steps=0` only writes the first checkpoint.
    model_config: the model's shape.
    make_batches: makes the training data, from its start.
    model_dir: receives `checkpoint_<step>`.
    mesh: the devices.
    initial_checkpoint: see `restore_or_init`.
    hooks: metrics, evaluation, progress.

  Returns:
    The state after the last step.

  Raises:
    UsageError: a checkpoint does not fit, or the loss is no longer finite.
  """
  state, batches = restore_or_init(
    config,
    model_config,
    mesh,
    model_dir=model_dir,
    make_batches=make_batches,
    initial_checkpoint=initial_checkpoint,
  )
  with checkpoints.Writer(model_dir, keep=config.checkpoints_to_keep) as writer:
    if batches is None:
      writer.save(int(state.step), state, model_config, None)
    else:
      train_step = make_train_step(config, model_config, mesh)
      trained = _steps(config, state, batches, train_step, mesh, hooks)
      for state, step in trained:  # noqa: B020 (the old one is donated)
        writer.save(step, state, model_config, batches)
  if hooks.evaluate is not None:
    hooks.evaluate(state, int(state.step))
  return state


def _steps(
  config: TrainConfig,
  state: TrainState,
  batches: Batches,
  train_step: Callable,
  mesh: jax.sharding.Mesh,
  hooks: Hooks,
) -> Iterator[tuple[TrainState, int]]:
  """Trains, and yields (state, step) whenever a checkpoint is due."""
  first, last = int(state.step), config.train_steps
  logging.info("Training from step %d to %d.", first, last)
  clock = meter.Meter(_schedule(config))
  if hooks.progress:
    hooks.progress("train", first, last, "steps")
  for step in range(first + 1, last + 1):
    batch = partitioning.put_batch(clock.next_batch(batches), mesh)
    state, sums = train_step(state, batch)
    clock.add(sums)
    save = step % config.checkpoint_period == 0 or step == last
    evaluate = config.eval_period and step % config.eval_period == 0
    if save or evaluate or step % config.log_period == 0:
      metrics = clock.read(step)
      _check_finite(metrics, step)
      if hooks.metric_writer:
        hooks.metric_writer.write_scalars(step, metrics)
    if save:
      yield state, step
    if evaluate and hooks.evaluate and step < last:
      hooks.evaluate(state, step)
    if save or evaluate:
      clock.restart()
    if hooks.progress:
      hooks.progress("train", step, last, "steps")
  if hooks.metric_writer:
    hooks.metric_writer.flush()

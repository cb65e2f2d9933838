"""Training: one jitted step and the loop around it.

Batches come from any iterator with seqio's feature names, so nothing here
needs TensorFlow. A run is a function of its configuration and its data: the
same seed gives the same parameters, whether or not it was interrupted.
"""

import dataclasses
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
  losses,
  meter,
  model,
  optimizer,
  partitioning,
  positions,
  resume,
  sanity,
  saving,
  schedules,
  stopping,
)
from t5cr.engine.config import T5Config
from t5cr.engine.train_config import (
  REAL_TARGET_TOKENS,
  TrainConfig,
)
from t5cr.engine.train_state import TrainState
from t5cr.progress import Progress


class Batches(positions.Positioned, Protocol):
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
    note: called with what happens besides: `event`, `step`, and what belongs
      to it (see `events`).
    stop: whether the process was asked to end.
  """

  metric_writer: MetricWriter | None = None
  evaluate: Callable[[TrainState, int], None] | None = None
  progress: Progress | None = None
  note: Callable[[dict[str, Any]], None] = lambda event: None
  stop: stopping.Request = dataclasses.field(default_factory=stopping.Request)


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
    A function from (state, batch) to (state after the step, numbers of it).
    The numbers are sums over the batch, 0 where the step is not finite: `loss`
    in nats with z-loss, `target_tokens`, `tokens` of both sides; and
    `step_loss`, the loss of a target token, `gradient_norm`, and `finite`,
    whether both are. A step that is not finite leaves parameters and moments as
    they are.
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
    squares = [jnp.sum(jnp.square(g)) for g in jax.tree.leaves(gradients)]
    norm = jnp.sqrt(sum(squares))
    finite = jnp.isfinite(loss) & jnp.isfinite(norm)
    updates, opt_state = tx.update(gradients, state.opt_state, state.params)
    params = optax.apply_updates(state.params, updates)
    inputs = jnp.sum(batch["encoder_input_tokens"] != 0)
    sums = {"loss": loss, "target_tokens": weight, "tokens": inputs + weight}
    sums = {name: jnp.where(finite, total, 0) for name, total in sums.items()}
    sums["step_loss"] = loss / jnp.maximum(weight, 1.0)
    sums |= {"gradient_norm": norm, "finite": finite}

    def changed(new: jax.Array, old: jax.Array) -> jax.Array:
      # Counters go on, as the step does.
      return jnp.where(finite, new, old) if new.ndim else new

    params, opt_state = jax.tree.map(
      changed, (params, opt_state), (state.params, state.opt_state)
    )
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


def train(
  config: TrainConfig,
  model_config: T5Config,
  make_batches: Callable[[], Batches],
  *,
  model_dir: str | os.PathLike,
  mesh: jax.sharding.Mesh,
  initial_checkpoint: str | os.PathLike | None = None,
  hooks: Hooks | None = None,
) -> TrainState:
  """Trains up to `config.train_steps`, from where the run folder stands.

  Args:
    config: how to train; `train_steps=0` only writes the first checkpoint.
    model_config: the model's shape.
    make_batches: makes the training data, from its start; called if there are
      steps left to train.
    model_dir: receives `checkpoint_<step>`.
    mesh: the devices.
    initial_checkpoint: where a run without checkpoints starts from; None
      starts from noise.
    hooks: metrics, evaluation, progress.

  Returns:
    The state after the last step.

  Raises:
    UsageError: no checkpoint can be used or written, or a step is not finite
      and that is not to be borne.
    errors.Stopped: asked to end; a checkpoint was saved.
  """
  hooks = hooks or Hooks()
  start = resume.Start(
    model_dir=model_dir,
    initial_checkpoint=initial_checkpoint,
    shapes=state_shapes(config, model_config),
    model_config=model_config,
    mesh=mesh,
    fresh=lambda: initial_state(config, model_config, mesh),
    note=hooks.note,
  )
  state, found = start.state()
  batches = None
  if int(state.step) < config.train_steps:
    batches = make_batches()
    if found is not None:
      positions.restore(found, batches)
      # It may have been stopped before it was evaluated.
      if _evaluates_at(config, found.step) and hooks.evaluate:
        hooks.evaluate(state, found.step)
  with (
    hooks.stop.patience(True),
    saving.Writer(model_dir, keep=config.checkpoints_to_keep) as writer,
  ):
    if batches is None:
      writer.save(int(state.step), state, model_config, None)
    else:
      train_step = make_train_step(config, model_config, mesh)
      watch = _watch(config, model_config.vocab_size, hooks)
      while True:
        trained = _steps(config, state, batches, train_step, mesh, hooks, watch)
        try:
          for state, step in trained:  # noqa: B020 (the old one is donated)
            writer.save(step, state, model_config, batches)
          break
        except sanity.RollBack:
          pass
        # Outside of the handler, which would keep the state that is left.
        del state, trained
        writer.wait()
        state, _ = start.state()
        writer.reload()
  hooks.stop.leave(f"after step {int(state.step)}, which is saved")
  if hooks.evaluate is not None:
    hooks.evaluate(state, int(state.step))
  return state


def _evaluates_at(config: TrainConfig, step: int) -> bool:
  """Whether an evaluation is due after a step, before the last."""
  period = config.eval_period
  return bool(period) and step % period == 0 and 0 < step < config.train_steps


def _watch(
  config: TrainConfig, vocab_size: int | None, hooks: Hooks
) -> sanity.Watch:
  return sanity.Watch(
    policy=config.on_nonfinite,
    limit=config.nonfinite_limit,
    exploding=config.exploding_loss,
    vocab_size=vocab_size,
    note=hooks.note,
  )


def _steps(
  config: TrainConfig,
  state: TrainState,
  batches: Batches,
  train_step: Callable,
  mesh: jax.sharding.Mesh,
  hooks: Hooks,
  watch: sanity.Watch,
) -> Iterator[tuple[TrainState, int]]:
  """Trains, and yields (state, step) whenever a checkpoint is due.

  Raises:
    UsageError: a step is not finite, and that stops the run.
    sanity.RollBack: a step is not finite, and the latest checkpoint is to be
      gone back to.
    errors.Stopped: asked to end while evaluating.
  """
  first, last = int(state.step), config.train_steps
  logging.info("Training from step %d to %d.", first, last)
  clock = meter.Meter(_schedule(config))
  if hooks.progress:
    hooks.progress("train", first, last, "steps")
  try:
    for step in range(first + 1, last + 1):
      batch = clock.next_batch(batches)
      watch.before(step, batch)
      state, sums = train_step(state, partitioning.put_batch(batch, mesh))
      clock.add(sums)
      stop = hooks.stop.agree()
      save = step % config.checkpoint_period == 0 or step == last or stop
      evaluate = _evaluates_at(config, step)
      read = save or evaluate or step % config.log_period == 0
      watch.add(step, batch, sums)
      watch.check(wait=bool(read))
      if read and hooks.metric_writer:
        hooks.metric_writer.write_scalars(step, clock.read(step))
      if save:
        watch.begin_period()
        yield state, step
      if stop:
        break
      if evaluate and hooks.evaluate:
        try:
          # Several processes can only end together, at a step.
          with hooks.stop.patience(jax.process_count() > 1):
            hooks.evaluate(state, step)
        except errors.Stopped:
          if not save:
            yield state, step
          raise
      if save or evaluate:
        clock.restart()
      if hooks.progress:
        hooks.progress("train", step, last, "steps")
  finally:
    if hooks.metric_writer:
      hooks.metric_writer.flush()

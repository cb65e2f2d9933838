"""Adafactor as T5 sets it."""

import optax


def adafactor(
  learning_rate: float | optax.Schedule,
  *,
  decay_rate: float = 0.8,
  step_offset: int = 0,
) -> optax.GradientTransformation:
  """T5's Adafactor (https://arxiv.org/abs/1804.04235): no first moment.

  Updates are relative to the RMS of their parameter (at least 1e-3) and
  clipped at RMS 1; second moments are factored where both dims reach 128 and
  decay as 1 - t^-0.8. t5x's optimizer takes the same steps.

  Args:
    learning_rate: a constant (the paper: 0.003) or a schedule over steps.
    decay_rate: exponent of the second moments' decay.
    step_offset: first step of a finetuning that goes on from a pretrained
      optimizer state.

  Returns:
    An Optax transformation.
  """
  return optax.adafactor(
    learning_rate,
    min_dim_size_to_factor=128,
    decay_rate=decay_rate,
    decay_offset=step_offset,
    multiply_by_parameter_scale=True,
    clipping_threshold=1.0,
    momentum=None,
    weight_decay_rate=None,
    factored=True,
  )

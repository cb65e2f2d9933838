"""Operations that a T5 needs, counted from its shape."""

from __future__ import annotations

from t5cr.engine.config import T5Config


def forward_flops(config: T5Config, inputs: int, targets: int) -> float:
  """Operations of one row's forward pass.

  A product of an [m, k] and a [k, n] matrix counts 2 m k n. Counted are all
  products: projections, attention (all pairs of positions, masked or not), MLPs
  and the output layer; not counted are what is done element by element and the
  look-up of embeddings.

  Args:
    config: of the model.
    inputs: length of the encoder's side, padding included.
    targets: length of the decoder's side, padding included.

  Returns:
    Floating-point operations.
  """
  joined = config.num_heads * config.head_dim
  project = 2 * config.emb_dim * joined  # One token, one of q, k, v, out.
  mlp = 2 * config.emb_dim * config.mlp_dim * (len(config.mlp_activations) + 1)
  look = 4 * joined  # One query at one key: the weight and the weighted sum.
  encoder = inputs * (4 * project + look * inputs + mlp)
  decoder = targets * (4 * project + look * targets + mlp)
  cross = (
    targets * (2 * project + look * inputs)  # Queries and output.
    + inputs * 2 * project  # Keys and values.
  )
  logits = 2 * targets * config.emb_dim * config.vocab_size
  return float(
    config.num_encoder_layers * encoder
    + config.num_decoder_layers * (decoder + cross)
    + logits
  )


def step_flops(config: T5Config, rows: int, inputs: int, targets: int) -> float:
  """Operations of one training step: the backward pass needs twice the forward.

  Recomputed activations and the optimizer do not count, so that a share of the
  peak says how fast the model trains ("model FLOPs utilization", PaLM, appendix
  B, https://arxiv.org/abs/2204.02311).
  """
  return 3.0 * rows * forward_flops(config, inputs, targets)

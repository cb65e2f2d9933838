"""The shape of a T5."""

import dataclasses

DTYPES = ("float32", "bfloat16", "float16")

# Beyond these it is no T5 but a damaged or a hostile file, whose shapes alone
# would take hours and all memory to write down.
_MOST_LAYERS = 10_000
_MOST = 2**31 - 1
_SIZES = (
  "vocab_size",
  "emb_dim",
  "num_heads",
  "num_encoder_layers",
  "num_decoder_layers",
  "head_dim",
  "mlp_dim",
  "relative_attention_num_buckets",
  "relative_attention_max_distance",
)


@dataclasses.dataclass(frozen=True)
class T5Config:
  """Hyper-parameters of a T5, named as in t5x.

  Attributes:
    vocab_size: rows of the embedding, padding to a multiple of 128 included.
    emb_dim: width of the residual stream.
    num_heads: attention heads of each layer.
    num_encoder_layers: encoder blocks.
    num_decoder_layers: decoder blocks.
    head_dim: width of one head.
    mlp_dim: width of the hidden layer of an MLP.
    mlp_activations: `('relu',)` is T5 1.0, `('gelu', 'linear')` (gated) T5 1.1.
    dropout_rate: applied to embeddings, residual branches, attention weights.
    logits_via_embedding: share the embedding with the output layer (T5 1.0).
    dtype: of activations; parameters, norms and softmax stay float32.
    relative_attention_num_buckets: buckets of the relative position bias.
    relative_attention_max_distance: distances beyond share the last bucket.
    scan_layers: run the layers of a stack as one loop. The numbers are the
      same up to rounding; it compiles in less time, and on a CPU runs slower.
  """

  vocab_size: int
  emb_dim: int
  num_heads: int
  num_encoder_layers: int
  num_decoder_layers: int
  head_dim: int
  mlp_dim: int
  mlp_activations: tuple[str, ...] = ("relu",)
  dropout_rate: float = 0.1
  logits_via_embedding: bool = True
  dtype: str = "float32"
  relative_attention_num_buckets: int = 32
  relative_attention_max_distance: int = 128
  scan_layers: bool = False

  def __post_init__(self):
    """Raises ValueError for what no T5 has: sizes, activations, a dtype."""
    # gin and JSON hand over lists; a hashable config can be a static argument.
    object.__setattr__(self, "mlp_activations", tuple(self.mlp_activations))
    unknown = set(self.mlp_activations) - {"relu", "gelu", "silu", "linear"}
    if unknown:
      raise ValueError(
        f"mlp_activations: unknown {sorted(unknown)}; "
        "known are relu, gelu, silu and linear."
      )
    for name in _SIZES:
      size = getattr(self, name)
      most = _MOST_LAYERS if name.endswith("_layers") else _MOST
      if size is None and name == "vocab_size":
        continue  # The tasks' own; it is set before a model is made.
      if type(size) is not int or not 0 < size <= most:
        raise ValueError(
          f"{name} is {size!r:.40}; a T5 has a whole number from 1 to {most:,}."
        )
    if self.dtype not in DTYPES:
      raise ValueError(
        f"DTYPE: {self.dtype!r} is unknown; known are {', '.join(DTYPES)}."
      )

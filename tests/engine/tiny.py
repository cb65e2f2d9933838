"""A tiny model and tiny seqio tasks, shared by the engine's tests.

`tiny_*` tasks are made in memory, so no data set has to be built.
"""

import random

from t5cr.engine.config import T5Config

LENGTHS = {"inputs": 32, "targets": 16}

CONFIG = T5Config(
  vocab_size=384,  # seqio's bytes, rounded up to a multiple of 128
  emb_dim=16,
  num_heads=2,
  num_encoder_layers=1,
  num_decoder_layers=1,
  head_dim=8,
  mlp_dim=32,
)

# The same model and tasks for gin, but for the batch size.
RECIPE = """
EMB_DIM = 16
NUM_HEADS = 2
HEAD_DIM = 8
MLP_DIM = 32
NUM_ENCODER_LAYERS = 1
NUM_DECODER_LAYERS = 1
TASK_FEATURE_LENGTHS = {'inputs': 32, 'targets': 16}
EVAL_BATCH_SIZE = 8
CHECKPOINT_PERIOD = 2
LEARNING_RATE = 0.01
MIXTURE_OR_TASK_MODULE = None
MIXTURE_OR_TASK_NAME = 'tiny_mixture'
EVAL_TASKS = ('tiny_*',)
TRAIN_STEPS = 4
"""

_WORDS = ["ape", "bee", "cat", "dog", "eel", "fox", "gnu", "hen", "ibis", "jay"]


def pairs(split: str) -> list[tuple[str, str]]:
  """Example texts: two words, and the first of them."""
  generator = random.Random(split)
  count = {"train": 60, "validation": 7}[split]
  words = [generator.choices(_WORDS, k=2) for _ in range(count)]
  return [(" ".join(two), two[0]) for two in words]


def register() -> None:
  """Registers `tiny_copy`, `tiny_score`, `tiny_silent` and `tiny_mixture`."""
  import seqio
  import tensorflow as tf

  if "tiny_copy" in seqio.TaskRegistry.names():
    return

  def dataset_fn(split, shuffle_files, seed=None):
    del shuffle_files, seed
    inputs, targets = zip(*pairs(split), strict=True)
    return tf.data.Dataset.from_tensor_slices(
      {
        "inputs": list(inputs),
        "targets": list(targets),
        "number": list(range(len(inputs))),
      }
    )

  @seqio.map_over_dataset(num_seeds=1)
  def cut_at_random(example, seed):
    """A sampling preprocessor: drops up to two characters of the input."""
    cut = tf.random.stateless_uniform([], seed, 0, 3, tf.int32)
    text = tf.strings.substr(example["inputs"], cut, 100)
    return {**example, "inputs": text}

  def exact(targets, predictions):
    same = [t == p for t, p in zip(targets, predictions, strict=True)]
    return {"exact": sum(same) / len(same), "exact_count": len(same)}

  def mean_score(targets, scores):
    return {"mean_score": float(scores.mean()), "count": len(targets)}

  vocabulary = seqio.ByteVocabulary()
  features = {
    "inputs": seqio.Feature(vocabulary, add_eos=True),
    "targets": seqio.Feature(vocabulary, add_eos=True),
  }
  source = seqio.FunctionDataSource(dataset_fn, splits=["train", "validation"])
  tail = [
    seqio.preprocessors.tokenize,
    seqio.preprocessors.append_eos_after_trim,
  ]
  specs = {
    "tiny_copy": ([cut_at_random], [exact]),
    "tiny_score": ([], [mean_score]),
    "tiny_silent": ([], []),
  }
  for name, (head, metric_fns) in specs.items():
    seqio.TaskRegistry.add(
      name,
      source=source,
      preprocessors=[*head, *tail],
      output_features=features,
      metric_fns=metric_fns,
    )
  seqio.MixtureRegistry.add(
    "tiny_mixture", ["tiny_copy", "tiny_score"], default_rate=1.0
  )

"""What the gin files of upstream t5x need beyond what gin can express.

gin/t5x binds these functions, so that a macro means under upstream t5x what it
means to this engine. The library itself never calls them: upstream t5x is
imported inside functions, and only by its own jobs.
"""

import functools
import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import numpy as np

from t5cr import errors
from t5cr.engine import formats
from t5cr.engine.decode import Decoding
from t5cr.engine.vocabulary import embedding_rows

# A mixture made of what EVAL_TASKS or MIXTURE_OR_TASK_NAME name together.
SELECTION = "t5cr_selection"


def mixture_to_train(name: str, module: str | None = None) -> str:
  """The name of a Mixture or Task to train on, once it is registered.

  Args:
    name: MIXTURE_OR_TASK_NAME.
    module: imported to register tasks.

  Returns:
    The same name.

  Raises:
    UsageError: the name is unknown, or its data is not built.
  """
  from t5cr.engine import feed

  feed.import_tasks(module)
  feed.check_trainable(name, "train")
  return name


def mixture_to_evaluate(
  names: str | Sequence[str], split: str, module: str | None = None
) -> str:
  """The name of one Mixture or Task that stands for names and patterns.

  Args:
    names: of Tasks and Mixtures, or patterns (`t5cr_probe_*`), which take the
      Tasks that have metrics, built data and the split.
    split: to evaluate on.
    module: imported to register tasks.

  Returns:
    The name given, if it is one, or that of a new Mixture of what all mean.

  Raises:
    UsageError: a name is unknown, its data missing, or nothing can be
      evaluated.
  """
  from t5cr.engine import feed

  feed.import_tasks(module)
  listed = [names] if isinstance(names, str) else list(names)
  tasks = feed.expand(listed, split)
  if not tasks:
    raise errors.UsageError(
      f"{listed} match no task with metrics, data and a split {split!r}. Name "
      "one that has them (`t5cr tasks list`)."
    )
  if len(listed) == 1 and not any(mark in listed[0] for mark in "*?["):
    return listed[0]
  return feed.mixture(SELECTION, tasks)


def evaluation(
  names: str | Sequence[str], dataset: Callable[[], Any]
) -> Any | None:
  """What a training run is evaluated on.

  Args:
    names: EVAL_TASKS.
    dataset: makes the data set of what these name.

  Returns:
    The data set, or None, with which t5x evaluates nothing, for no names.
  """
  return dataset() if names else None


def mixture_to_infer(
  names: str | Sequence[str], split: str, module: str | None = None
) -> str:
  """As `mixture_to_evaluate`, for Tasks with metrics or without; no patterns.

  Raises:
    UsageError: a name is unknown, its data missing, or it has no such split.
  """
  from t5cr.engine import feed

  feed.import_tasks(module)
  listed = [names] if isinstance(names, str) else list(names)
  tasks = [task for name in listed for task in feed.readable(name)]
  for task in tasks:
    feed.check_split(task, split)
  return names if isinstance(names, str) else feed.mixture(SELECTION, tasks)


def vocabulary_rows(size: int | None, vocabulary: Any) -> int:
  """Rows of the embedding.

  Args:
    size: VOCAB_SIZE; None is the vocabulary's, rounded up to 128.
    vocabulary: the tasks' (a `seqio.Vocabulary`).

  Raises:
    UsageError: the vocabulary has more tokens than that.
  """
  tokens = vocabulary.vocab_size
  if size is None:
    return embedding_rows(tokens)
  if size < tokens:
    raise errors.UsageError(
      f"VOCAB_SIZE is {size}, but the vocabulary of the tasks has {tokens} "
      "tokens. Set T5CR_VOCABULARY to the one that the model was trained with, "
      "or VOCAB_SIZE = None to train a model with it."
    )
  return size


def decode_fn(
  decoding: Decoding,
  feature_lengths: Mapping[str, int],
  max_decode_length: int | None = None,
) -> Callable[..., Any]:
  """t5x's decoder that does what the decoding macros say.

  Args:
    decoding: the method and what it takes, but for the number of decodes.
    feature_lengths: TASK_FEATURE_LENGTHS; t5x decodes as far as the targets.
    max_decode_length: MAX_DECODE_LENGTH; None for that of the targets.

  Returns:
    The `decode_fn` of `t5x.models.EncoderDecoderModel`. Its scores are
    log-probabilities under the model, divided by the brevity penalty of beams.

  Raises:
    UsageError: the length is beyond t5x's.
  """
  from t5x import decoding as t5x_decoding  # pyright: ignore[reportMissingImports]

  targets = feature_lengths["targets"]
  if max_decode_length is not None and max_decode_length > targets:
    raise errors.UsageError(
      f"MAX_DECODE_LENGTH is {max_decode_length}, but t5x decodes no more than "
      f"the {targets} tokens that TASK_FEATURE_LENGTHS gives the targets. "
      "Raise that."
    )
  if decoding.method == "beam":
    return functools.partial(
      t5x_decoding.beam_search,
      alpha=decoding.alpha,
      max_decode_len=max_decode_length,
    )
  # t5x takes the likeliest token at temperature 0. Its default, a beam of one,
  # is not the same: it goes on when its first sequence has ended.
  greedy = decoding.method == "greedy"
  sample = functools.partial(
    t5x_decoding.temperature_sample,
    temperature=0.0 if greedy else decoding.temperature,
    topk=0 if greedy else decoding.top_k,
    topp=0.0 if greedy else decoding.top_p,
    max_decode_steps=max_decode_length,
    rescale_log_probs=False,
  )
  return _seeded(sample, decoding.seed) if decoding.seed else sample


def _seeded(sample: Callable[..., Any], seed: int) -> Callable[..., Any]:
  """Draws with a seed; t5x has none for its evaluations."""

  @functools.wraps(sample, assigned=())
  def draw(*args: Any, decode_rng: jax.Array | None = None, **kwargs: Any):
    rng = jax.random.PRNGKey(0) if decode_rng is None else decode_rng
    return sample(*args, decode_rng=jax.random.fold_in(rng, seed), **kwargs)

  return draw


def checkpoint(path: str | os.PathLike | None) -> str | None:
  """A checkpoint's own folder, which t5x wants.

  Args:
    path: a checkpoint_<step> folder, or a run folder, whose latest finished
      checkpoint is meant; None for none.

  Returns:
    The absolute path of a checkpoint_<step>, or None.

  Raises:
    UsageError: there is none that t5x can read.
  """
  if not path:
    return None
  given = formats.absolute(path)
  # What looks like a checkpoint is not looked for: t5x does that, and names it.
  if "://" in str(given) and formats.step_of(given) is not None:
    return os.fspath(given)
  convert = "`t5cr convert SOURCE DEST --to t5x` makes one of any other format."
  if formats.step_of(given) is None:
    try:
      given = formats.find(given).path
    except errors.UsageError as error:
      raise errors.UsageError(
        f"{error} t5x reads checkpoint_<step> folders of its own formats only: "
        f"{convert}"
      ) from error
  kind = formats.identify(given)
  if formats.step_of(given) is None or kind is formats.Format.HF:
    raise errors.UsageError(
      f"t5x cannot read {given} (format: {kind}): it wants a folder called "
      f"checkpoint_<step> of its own formats. {convert}"
    )
  return os.fspath(given)


def absolute(path: str) -> str:
  """An output folder as Orbax wants it: absolute, if it is local."""
  return os.fspath(formats.absolute(path))


def data_seed(seed: int, model_dir: str) -> int:
  """The seed of the training data: another one each time that a run goes on.

  t5x starts its data anew when a run goes on. With one seed, the examples that
  come first would come again, and those that come last would never be seen.

  Args:
    seed: SEED.
    model_dir: MODEL_DIR.

  Returns:
    The seed itself for a run that begins.
  """
  steps = formats.steps(model_dir)
  if not steps or steps[-1] == 0:
    return seed
  words = np.random.SeedSequence([seed, steps[-1]]).generate_state(1)
  return int(words[0] >> 1)  # t5x wants an int32.


def eval_period(
  period: int | None, checkpoint_period: int, train_steps: int
) -> int:
  """Steps between evaluations, as t5x counts them.

  Args:
    period: EVAL_PERIOD; None or 0 evaluates after the last step only.
    checkpoint_period: CHECKPOINT_PERIOD, which t5x wants to be a multiple or a
      part of the other.
    train_steps: TRAIN_STEPS.

  Returns:
    The period; for None and 0 the first multiple of `checkpoint_period` that
    is not reached before the end.

  Raises:
    UsageError: the periods do not fit.
  """
  if not period:
    return checkpoint_period * max(1, -(-train_steps // checkpoint_period))
  if max(period, checkpoint_period) % min(period, checkpoint_period):
    raise errors.UsageError(
      f"EVAL_PERIOD is {period} and CHECKPOINT_PERIOD {checkpoint_period}: t5x "
      "wants one to be a multiple of the other."
    )
  return period

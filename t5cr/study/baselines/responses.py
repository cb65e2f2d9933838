"""Responses without a model: the most frequent one, and a retrieved one."""

import collections
import dataclasses
import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import scipy.sparse
from jaxtyping import Float, Int

from t5cr.progress import Progress
from t5cr.study import variants
from t5cr.study.baselines.options import Options

# Queries whose scores with every training context are held at once: of 70,000
# contexts that is 18 MB.
_BLOCK_QUERIES = 32
_WORD = re.compile(r"\w+")

# From the contexts of the validation examples to a response for each.
Respond = Callable[[Sequence[str]], list[str]]


@dataclasses.dataclass(frozen=True)
class Examples:
  """Examples of the dialogue task, as columns.

  Attributes:
    contexts: the inputs.
    responses: the targets.
    targets: what the postprocessor makes of the targets.
  """

  contexts: list[str]
  responses: list[str]
  targets: list[Any]


def read(
  split: str, data_dir: str, progress: Progress | None = None
) -> Examples:
  """Reads a split of the dialogue task, as text.

  Raises:
    DataError: the data set is not built.
  """
  from t5cr_tasks import sources, tasks

  spec: Any = tasks.TASKS[variants.DIALOGUE_TASK]
  source = sources.BuiltDataSource(spec.tfds_name, spec.splits, data_dir)
  total = source.num_input_examples(split)
  found = Examples([], [], [])
  stage = f"read {spec.tfds_name}, {split}"
  # Any: the type that TensorFlow declares is that of a single array.
  examples: Any = spec.examples(split, data_dir).as_numpy_iterator()
  for done, example in enumerate(examples, start=1):
    found.contexts.append(example["inputs"].decode())
    text = example["targets"].decode()
    found.responses.append(text)
    found.targets.append(spec.postprocess(text, example, is_target=True))
    if progress and (done % 1000 == 0 or done == total):
      progress(stage, done, total, "examples")
  return found


def most_frequent(training: Examples) -> Respond:
  """Gives the response that is most frequent in training, whatever is asked.

  Of equally frequent ones it is the first in the order of the alphabet.
  """
  counted = collections.Counter(training.responses)
  best = min(counted, key=lambda text: (-counted[text], text))
  return lambda contexts: [best] * len(contexts)


def retrieval(
  training: Examples, options: Options, progress: Progress | None = None
) -> Respond:
  """Gives the response to the training context that is nearest.

  The nearest has the highest BM25 (Robertson and Zaragoza 2009) with the words
  of the whole dialogue so far as the query; of equally near ones it is the one
  that is stored first.
  """
  from implicit import nearest_neighbours

  columns: dict[str, int] = {}
  for context in training.contexts:
    for word in _words(context):
      columns.setdefault(word, len(columns))
  # Any, for the default of K1 happens to be a whole number.
  weigh: Any = nearest_neighbours.bm25_weight
  documents = weigh(
    word_counts(training.contexts, columns),
    K1=options.bm25_k1,
    B=options.bm25_b,
  )
  by_word = scipy.sparse.csr_array(documents.T)

  def respond(contexts: Sequence[str]) -> list[str]:
    queries = word_counts(contexts, columns)
    places = nearest(queries, by_word, progress)
    return [training.responses[place] for place in places.tolist()]

  return respond


def _words(context: str) -> list[str]:
  from t5cr_tasks import preprocessors

  said = context.removeprefix(preprocessors.CONVERSATION_PREFIX)
  return _WORD.findall(said)


def word_counts(
  contexts: Iterable[str], columns: Mapping[str, int]
) -> scipy.sparse.csr_array:
  """[contexts, words] how often each context has each word.

  Args:
    contexts: texts.
    columns: column of each word; other words do not count.
  """
  found: list[int] = []
  ends = [0]
  for context in contexts:
    found += [columns[word] for word in _words(context) if word in columns]
    ends.append(len(found))
  matrix = scipy.sparse.csr_array(
    (np.ones(len(found)), np.array(found, np.int64), np.array(ends, np.int64)),
    shape=(len(ends) - 1, len(columns)),
  )
  matrix.sum_duplicates()
  return matrix


def nearest(
  queries: scipy.sparse.csr_array,
  by_word: scipy.sparse.csr_array,
  progress: Progress | None = None,
) -> Int[np.ndarray, " queries"]:
  """The document that each query fits best, the first of equal ones.

  Args:
    queries: [queries, words] how often each query has each word.
    by_word: [words, documents] weight of each word in each document.
    progress: told of the queries.
  """
  count = len(queries.indptr) - 1
  places = np.zeros(count, np.int64)
  for start in range(0, count, _BLOCK_QUERIES):
    block = queries[start : start + _BLOCK_QUERIES]
    fits: Float[np.ndarray, "queries documents"] = (block @ by_word).toarray()
    places[start : start + _BLOCK_QUERIES] = fits.argmax(axis=1)
    if progress:
      done = min(start + _BLOCK_QUERIES, count)
      progress("find nearest contexts", done, count, "contexts")
  return places


def measure(
  validation: Examples, respond: Respond, write: Callable[[str], object]
) -> dict[str, float]:
  """Responds to the validation examples.

  Args:
    validation: the examples.
    respond: gives the responses.
    write: takes each line of the evaluation.

  Returns:
    The metrics that the task has.
  """
  from t5cr_tasks import tasks

  predictions = respond(validation.contexts)
  for context, target, prediction in zip(
    validation.contexts, validation.targets, predictions, strict=True
  ):
    line = {
      "input": {"inputs_pretokenized": context},
      "target": target,
      "prediction": prediction,
    }
    write(json.dumps(line) + "\n")
  metrics: dict[str, float] = {}
  for metric in tasks.TASKS[variants.DIALOGUE_TASK].metric_fns:
    metrics |= metric(validation.targets, predictions)
  return metrics

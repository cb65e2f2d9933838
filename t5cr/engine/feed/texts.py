"""A batch as the texts of its examples, for whoever has to look at them."""

from collections.abc import Iterator, Mapping

import numpy as np

from t5cr.engine.feed.names import provider


def texts(name: str, batch: Mapping[str, np.ndarray]) -> list[dict[str, str]]:
  """The examples of a training batch.

  Args:
    name: the Mixture or Task that it is of.
    batch: int arrays [batch_size, length] with seqio's names, packed or not.

  Returns:
    {"inputs": text, "targets": text} of each example, in the batch's order.
  """
  features = provider(name).output_features
  inputs = features["inputs"].vocabulary
  targets = features["targets"].vocabulary
  return [
    {
      "inputs": inputs.decode(ids.tolist()),
      "targets": targets.decode(wanted.tolist()),
    }
    for ids, wanted in _examples(batch)
  ]


def _examples(
  batch: Mapping[str, np.ndarray],
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
  """(input tokens, target tokens) of each example."""
  encoder = np.asarray(batch["encoder_input_tokens"])
  decoder = np.asarray(batch["decoder_target_tokens"])
  # Rows that are not packed hold one example, which has the number 1.
  in_encoder = np.asarray(batch.get("encoder_segment_ids", encoder != 0))
  in_decoder = np.asarray(batch.get("decoder_segment_ids", decoder != 0))
  for row in range(len(encoder)):
    last = max(in_encoder[row].max(initial=0), in_decoder[row].max(initial=0))
    for number in range(1, int(last) + 1):
      yield (
        encoder[row][in_encoder[row] == number],
        decoder[row][in_decoder[row] == number],
      )

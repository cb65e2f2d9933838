"""Reads TensorBoard's files back."""

from tensorboard.backend.event_processing import event_accumulator
from tensorboard.util import tensor_util


def _values(folder, numbers):
  """Tag -> step -> value."""
  found = event_accumulator.EventAccumulator(
    str(folder), {event_accumulator.TENSORS: 0}
  )
  found.Reload()
  values = {}
  for tag in found.Tags()["tensors"]:
    for event in found.Tensors(tag):
      value = tensor_util.make_ndarray(event.tensor_proto)
      if (value.dtype.kind == "f") == numbers:
        values.setdefault(tag, {})[event.step] = value.item()
  return values


def scalars(folder):
  """Tag -> step -> number."""
  return _values(folder, True)


def texts(folder):
  """Tag -> step -> text."""
  return {
    tag: {step: text.decode() for step, text in values.items()}
    for tag, values in _values(folder, False).items()
  }

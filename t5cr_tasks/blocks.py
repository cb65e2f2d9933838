"""Steps of a Task that can be run on many examples at once.

seqio runs each step on one example after the other, which costs an example more
than the work in it. A step that treats every example by itself may be marked
with `on_blocks`; whoever feeds a model may then hand it a dataset of blocks:
dicts whose values have the examples as their first axis, ragged where lengths
differ. Elsewhere the mark means nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

Step = TypeVar("Step", bound=Callable)


def on_blocks(step: Step) -> Step:
  """Marks a step that gives a block what it gives each of its examples."""
  vars(step)["on_blocks"] = True
  return step

"""What a reader read, kept and dropped, and why."""

from __future__ import annotations

import collections
import dataclasses
from typing import Any

from t5cr_tasks.errors import InternalError


@dataclasses.dataclass
class Tally:
  """Counts of one kind of thing in one data set: read = kept + dropped.

  Attributes:
    read: how many the raw files hold.
    kept: how many went on.
    dropped: how many did not, by reason.
    noted: how many had a peculiarity that did not stop them, by which one.
  """

  read: int = 0
  kept: int = 0
  dropped: collections.Counter[str] = dataclasses.field(
    default_factory=collections.Counter
  )
  noted: collections.Counter[str] = dataclasses.field(
    default_factory=collections.Counter
  )

  def keep(self, count: int = 1) -> None:
    """Counts things that were read and kept."""
    _check_count("kept", count)
    self.read += count
    self.kept += count

  def drop(self, reason: str, count: int = 1) -> None:
    """Counts things that were read and dropped."""
    _check_count(reason, count)
    if count:
      self.read += count
      self.dropped[reason] += count

  def note(self, peculiarity: str, count: int = 1) -> None:
    """Counts a peculiarity of things that are counted elsewhere."""
    if count:
      self.noted[peculiarity] += count

  def add(self, other: Tally) -> None:
    """Adds what was counted of other things of the same kind."""
    self.read += other.read
    self.kept += other.kept
    self.dropped += other.dropped
    self.noted += other.noted

  def to_dict(self) -> dict[str, Any]:
    """The counts as plain JSON types, reasons in alphabetical order.

    Raises:
      InternalError: they do not add up.
    """
    if self.read != self.kept + self.dropped.total():
      raise InternalError(
        f"Of {self.read} things read {self.kept} were kept and"
        f" {dict(self.dropped)} dropped, which does not add up. Nothing was"
        " written. This is a fault of t5cr: report it."
      )
    return {
      "read": int(self.read),
      "kept": int(self.kept),
      "dropped": {key: int(n) for key, n in sorted(self.dropped.items())},
      "noted": {key: int(n) for key, n in sorted(self.noted.items())},
    }


def _check_count(what: str, count: int) -> None:
  if count < 0:
    raise InternalError(
      f"{count} things counted as {what}: more came out of a step than went"
      " in. Nothing was written. This is a fault of t5cr: report it."
    )


class Tallies(collections.defaultdict[str, Tally]):
  """The tallies of one data set, by what is counted."""

  def __init__(self) -> None:
    """Begins with no tally; each is made when first asked for."""
    super().__init__(Tally)

  def __reduce__(self):
    """For pickle: a defaultdict would be made with an argument."""
    return Tallies, (), None, None, iter(self.items())

  def to_dict(self) -> dict[str, dict[str, Any]]:
    """All tallies as plain JSON types, in the order they were begun."""
    return {name: tally.to_dict() for name, tally in self.items()}

"""SIGTERM: a run that is asked to end saves what it has, then ends.

It is what schedulers and clouds send before they take a machine away.
"""

import collections
import contextlib
import functools
import signal
import threading
from collections.abc import Iterator
from typing import Any, NoReturn

import jax
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from t5cr import errors
from t5cr.engine import sanity


class Request:
  """Whether a process was asked to end.

  While it is `patient`, the request is noted and whoever asks `agree` is told;
  else it raises `errors.Stopped` at once.
  """

  def __init__(self):
    """Nobody has asked yet."""
    self._asked = False
    self._patient = False
    self._flags: collections.deque[jax.Array] = collections.deque()

  @contextlib.contextmanager
  def on_sigterm(self) -> Iterator[None]:
    """Takes SIGTERM while a block runs; only the main thread of Python can."""
    if threading.current_thread() is not threading.main_thread():
      yield
      return
    before = signal.signal(signal.SIGTERM, self._handle)
    try:
      yield
    finally:
      # None is a handler that Python does not know.
      signal.signal(
        signal.SIGTERM, signal.SIG_DFL if before is None else before
      )

  def _handle(self, number: int, frame: Any) -> None:
    del number, frame
    self._asked = True
    if not self._patient:
      _stop("at once")

  def leave(self, when: str) -> None:
    """Raises Stopped, in all processes, if one of them was asked to end.

    Args:
      when: what was reached, for the message.
    """
    asked = np.array(self._asked)
    if jax.process_count() > 1:
      asked = multihost_utils.process_allgather(asked)
    if asked.any():
      _stop(when)

  @contextlib.contextmanager
  def patience(self, patient: bool) -> Iterator[None]:
    """Whether a request waits until it is asked for, while a block runs."""
    before, self._patient = self._patient, patient
    try:
      if self._asked and not patient:
        _stop("at once")
      yield
    finally:
      self._patient = before

  def agree(self) -> bool:
    """Whether to end now, the same in all processes; call it once a step.

    Of several processes, some are asked sooner than others. What each knew two
    steps ago decides, so that the devices do not wait for the answer.
    """
    if jax.process_count() == 1:
      return self._asked
    self._flags.append(_any_process(self._asked))
    if len(self._flags) <= sanity.LOOKAHEAD:
      return False
    return bool(self._flags.popleft())


def _stop(when: str) -> NoReturn:
  raise errors.Stopped(
    f"Stopped by SIGTERM {when}. The same command goes on from the "
    "latest checkpoint."
  )


def _any_process(flag: bool) -> jax.Array:
  """Whether a flag is set in any process; computed by all, not waited for."""
  devices = np.array(jax.devices())
  mesh = Mesh(devices, ("all",))
  each = jax.make_array_from_callback(
    devices.shape,
    NamedSharding(mesh, PartitionSpec("all")),
    lambda index: np.full(devices[index].shape, flag),
  )
  return _any(NamedSharding(mesh, PartitionSpec()))(each)


@functools.lru_cache(maxsize=1)
def _any(sharding: NamedSharding) -> Any:
  return jax.jit(jax.numpy.any, out_shardings=sharding)

"""The stages of `accelerator.py`: what is computed, and what has to agree."""

from __future__ import annotations

import contextlib
import dataclasses
import gc
import signal
import threading
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks import contenders, decoding, flops, probes, side_by_side
from benchmarks.contenders import engine, tokens
from benchmarks.side_by_side import Contender, Timing
from t5cr.engine.config import T5Config

TOLERANCE = 0.02
STAGES = ("matmul", "train", "score", "greedy", "beam", "train_bfloat16")
_STEPS = 4  # A round of training; the host waits after them.
_PRODUCTS = 16  # A round of matmul.


@dataclasses.dataclass(frozen=True)
class Size:
  """How large the work is.

  Attributes:
    rows: of a training batch.
    lengths: of inputs and targets.
    micro_rows: that torch tries to take at once, most first.
    pairs: to score.
    score_batches: batch sizes tried.
    decode: (rows, input tokens, tokens decoded).
    square: side of the matrices.
  """

  rows: int
  lengths: tuple[int, int]
  micro_rows: tuple[int, ...]
  pairs: int
  score_batches: tuple[int, ...]
  decode: tuple[int, int, int]
  square: int


H100 = Size(
  rows=128,
  lengths=(512, 128),
  micro_rows=(128, 64, 32),
  pairs=4096,
  score_batches=(128, 512),
  decode=(32, 128, 64),
  square=8192,
)
TINY = Size(
  rows=4,
  lengths=(32, 16),
  micro_rows=(4, 2),
  pairs=16,
  score_batches=(8,),
  decode=(4, 16, 8),
  square=128,
)


class OutOfTime(Exception):
  """A contender or a stage took longer than it may."""


@contextlib.contextmanager
def limited(seconds: float) -> Iterator[None]:
  """Raises OutOfTime inside when the time is over.

  XLA's compilations are not interrupted: the error comes when they return.
  """
  if threading.current_thread() is not threading.main_thread():
    yield
    return

  def stop(*_: Any) -> None:
    raise OutOfTime(f"not done within {seconds:.0f} s")

  before = signal.signal(signal.SIGALRM, stop)
  signal.setitimer(signal.ITIMER_REAL, max(seconds, 1.0))
  try:
    yield
  finally:
    signal.setitimer(signal.ITIMER_REAL, 0)
    signal.signal(signal.SIGALRM, before)


def free() -> None:
  """Gives back the memory of models that are no longer used."""
  gc.collect()
  with contextlib.suppress(ImportError):
    import torch

    if torch.cuda.is_available():
      torch.cuda.empty_cache()


class Bench:
  """The stages, and what they share."""

  def __init__(
    self,
    config: T5Config,
    size: Size,
    *,
    rounds: int,
    torch_limit_s: float,
    compiled: bool,
  ):
    """Draws the weights.

    Args:
      config: of the model, in bfloat16.
      size: of the work.
      rounds: timed calls of each contender.
      torch_limit_s: for torch's first call, compilation included.
      compiled: whether torch compiles.
    """
    self.config, self.size, self.rounds = config, size, rounds
    self.limit, self.compiled = torch_limit_s, compiled
    self.params = engine.random_params(config)
    self.peaks: dict[str, float] = {}
    self.with_torch = "transformers" not in contenders.absent(["transformers"])
    self.device = "cpu"
    if self.with_torch:
      import torch

      self.device = "cuda" if torch.cuda.is_available() else "cpu"

  def _peer(self, config: T5Config, params: Any, **how: Any) -> Any:
    from benchmarks.contenders import hugging_face

    given = hugging_face.How(device=self.device, **how)
    return hugging_face.HuggingFace(config, params, given)

  def _tried(self, make: Callable[[], Callable]) -> Callable[[], Any]:
    """A contender that is made at its first call, which is limited in time."""
    run: list[Callable] = []

    def call() -> Any:
      if run:
        return run[0]()
      with limited(self.limit):
        made = make()
        result = made()
      run.append(made)
      return result

    return call

  def _timed(
    self, work: str, everyone: dict[str, Contender], check: Any, **amount: Any
  ) -> Timing:
    timing = side_by_side.measure(
      work,
      everyone,
      check,
      rounds=self.rounds,
      budget_s=60.0,
      guarded=True,
      **amount,
    )
    free()
    return timing

  def matmul(self) -> list[Timing]:
    """The peak of a large product, by both frameworks."""
    side = self.size.square
    scale = np.float32(side**-0.5)
    rng = np.random.default_rng(0)
    left, right = rng.standard_normal((2, side, side), np.float32)
    right *= scale  # So that products stay at the scale of the left side.

    jitted = jax.jit(
      lambda a, b: jax.lax.fori_loop(0, _PRODUCTS, lambda _, x: x @ b, a)
    )
    ours = [jnp.asarray(x, jnp.bfloat16) for x in (left, right)]
    everyone = {
      side_by_side.OURS: Contender(
        lambda: np.asarray(jitted(*ours)[0, :8], np.float32), note="JAX"
      )
    }
    if self.with_torch:
      import torch

      theirs = [
        torch.from_numpy(x).to(self.device, torch.bfloat16)
        for x in (left, right)
      ]

      def products() -> np.ndarray:
        x = theirs[0]
        for _ in range(_PRODUCTS):
          x = x @ theirs[1]
        return x[0, :8].float().cpu().numpy()

      everyone["torch"] = Contender(products)

    def check(found, expected):
      side_by_side.check_close(
        found, expected, "product", rtol=TOLERANCE, atol=0.1
      )

    timing = self._timed(
      f"{_PRODUCTS} products of {side} x {side}, bfloat16",
      everyone,
      check,
      amount=_PRODUCTS * 2 * side**3 / 1e12,
      unit="TFLOP",
    )
    self.peaks = {name: timing.rate(name) for name in timing.seconds}
    return [timing]

  def _check_gradients(self, **how: Any) -> None:
    """Raises Disagreement unless two-layer models of this width agree."""
    config = dataclasses.replace(
      self.config,
      num_encoder_layers=2,
      num_decoder_layers=2,
      dropout_rate=0.0,
    )
    params = engine.random_params(config)
    batch = tokens.random_batch(config, 4, *self.size.lengths)
    side_by_side.check_close(
      self._peer(config, params, **how).gradient(batch),
      engine.Engine(config, params).gradient(batch),
      "loss or gradient norm",
      rtol=TOLERANCE,
    )
    free()

  def train(self, **how: Any) -> list[Timing]:
    """Whole steps; torch takes as many rows at once as memory allows."""
    how = how or {"autocast": "bfloat16"}
    batch = tokens.random_batch(self.config, self.size.rows, *self.size.lengths)
    ours = engine.Engine(self.config, self.params).trainer()
    everyone = {side_by_side.OURS: Contender(lambda: ours(batch, _STEPS))}
    if self.with_torch:
      notes: list[str] = []

      def make() -> Callable:
        self._check_gradients(**how)
        return self._largest(batch, how, notes)

      everyone["torch"] = Contender(self._tried(make))

    def check(theirs, expected):
      side_by_side.check_close(
        theirs[0], expected[0], "first loss", rtol=TOLERANCE
      )

    lengths = "{}/{}".format(*self.size.lengths)
    timing = self._timed(
      f"train, {self.size.rows} x {lengths}",
      everyone,
      check,
      amount=_STEPS * self.size.rows * sum(self.size.lengths),
      unit="tokens",
    )
    found = {name: self._share(timing, name) for name in timing.seconds}
    if self.with_torch and "torch" in found:
      found["torch"] = ", ".join([*notes, found["torch"]])
    return [dataclasses.replace(timing, notes=found)]

  def _largest(self, batch: Any, how: Any, notes: list[str]) -> Callable:
    """torch's training with the most rows at once that memory holds."""
    import torch

    for rows in self.size.micro_rows:
      part = {} if rows == self.size.rows else {"micro_rows": rows}
      peer = self._peer(
        self.config, self.params, compiled=self.compiled, **how, **part
      )
      step = peer.trainer()
      try:
        first = step(batch, 1)
      except torch.cuda.OutOfMemoryError:
        del peer, step
        free()
        continue
      notes.append(peer.describe())
      results = [first]

      def run(step=step, results=results):
        # The first call's loss is the one that is compared.
        return results.pop() if results else step(batch, _STEPS)

      return run
    raise MemoryError(f"{self.size.micro_rows[-1]} rows do not fit")

  def _share(self, timing: Timing, name: str) -> str:
    """The share of the measured peak, in words."""
    work = _STEPS * flops.step_flops(
      self.config, self.size.rows, *self.size.lengths
    )
    rate = work / timing.median(name) / 1e12
    words = f"{rate:.3g} TFLOP/s"
    if self.peaks:
      words += f" = {rate / max(self.peaks.values()):.1%} of the matmul peak"
    return words

  def train_bfloat16(self) -> list[Timing]:
    """`train` with torch's weights in bfloat16."""
    return self.train(weights="bfloat16")

  def _engine(self, config: T5Config, params: Any) -> engine.Engine:
    """t5cr with its weights in bfloat16, as torch's are."""
    narrow = jax.tree.map(lambda x: x.astype(jnp.bfloat16), params)
    return engine.Engine(config, narrow)

  def _inference_peers(
    self, config: T5Config, params: Any, bound: Callable[[Any, bool], Callable]
  ) -> dict[str, Contender]:
    """torch with bfloat16 weights, eager and compiled.

    Args:
      config: of the model.
      params: its weights.
      bound: (contender, whether it compiles) -> does the work.
    """
    peers = {}
    for compiled in (False, True):
      if not self.with_torch or compiled > self.compiled:
        continue

      def make(compiled: bool = compiled) -> Callable:
        peer = self._peer(config, params, weights="bfloat16", compiled=compiled)
        return bound(peer, compiled)

      name = "torch, compiled" if compiled else "torch, eager"
      peers[name] = Contender(self._tried(make))
    return peers

  def score(self) -> list[Timing]:
    """Pairs to score; batch sizes are tried first."""
    config = dataclasses.replace(self.config, dropout_rate=0.0)
    rng = np.random.default_rng(0)
    lengths = rng.integers(17, 33, (2, self.size.pairs))
    sources = tokens.random_texts(rng, config, lengths[0].tolist())
    pairs = probes.Pairs(
      f"{self.size.pairs} pairs of 17 to 32 tokens",
      [sources[i // 2] for i in range(self.size.pairs)],
      tokens.random_texts(rng, config, lengths[1].tolist()),
    )

    def with_best(score: Callable, **more: Any) -> Callable:
      size = side_by_side.best(
        {
          size: lambda size=size: score(
            pairs.inputs, pairs.targets, size, **more
          )
          for size in self.size.score_batches
        }
      )
      return lambda: score(pairs.inputs, pairs.targets, size, **more)

    ours = self._engine(config, self.params)
    everyone = {side_by_side.OURS: Contender(with_best(ours.score))}
    # Compiled for one shape, so every batch is padded to it.
    everyone |= self._inference_peers(
      config,
      self.params,
      lambda peer, compiled: with_best(
        peer.score, **({"lengths": (32, 32)} if compiled else {})
      ),
    )

    def check(theirs, expected):
      side_by_side.check_close(theirs, expected, "score", rtol=TOLERANCE)

    work = f"scoring, {pairs.name}"
    return [self._timed(work, everyone, check, amount=len(pairs), unit="pairs")]

  def _decode(self, beams: int) -> list[Timing]:
    config = dataclasses.replace(self.config, dropout_rate=0.0)
    params = decoding.talkative(self.params)
    rows, inputs, length = self.size.decode
    case = decoding.full(config, rows, inputs, length)
    judge = decoding.Judge(dataclasses.replace(config, dtype="float32"), params)

    def bound(each: Any) -> Callable:
      return lambda: each.decode(case.inputs, length, rows, beams, case.alpha)

    everyone = {
      side_by_side.OURS: Contender(bound(self._engine(config, params)))
    }
    everyone |= self._inference_peers(
      config, params, lambda peer, _: bound(peer)
    )

    def check(theirs, expected):
      decoding.check_beams(judge, case, theirs, expected, same_search=False)

    name = "greedy" if beams == 1 else f"beam {beams}"
    return [
      self._timed(
        f"{name}, {case.name}",
        everyone,
        check,
        amount=rows * length,
        unit="tokens",
      )
    ]

  def greedy(self) -> list[Timing]:
    """Greedy decoding."""
    return self._decode(1)

  def beam(self) -> list[Timing]:
    """Beam search."""
    return self._decode(decoding.BEAMS)

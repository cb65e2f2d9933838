"""Start-up: commands, imports, and compiling the training step.

    python benchmarks/startup.py [--model base] [--json FILE]

Each is timed in a fresh process, in turn with its peers, median of the rounds:

  start     `t5cr --help`; `import t5cr_tasks` beside `import seqio`, and the
            imports of transformers and t5x where they are installed
  compile   lowering and compiling one training step (gradient with dropout,
            Adafactor) for 8 packed rows of 512/128, by this engine with its
            layers in a loop and without, and by t5x; nothing is computed and no
            compilation cache is read
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import pathlib
import subprocess
import sys
import time
from collections.abc import Iterable, Mapping

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

from benchmarks import side_by_side

ROOT = pathlib.Path(__file__).resolve().parents[1]
ROWS, LENGTHS = 8, {"inputs": 512, "targets": 128}

# What a fresh interpreter runs.
STARTS = {
  "t5cr --help": "from t5cr import cli; cli.main(['--help'])",
  "import t5cr_tasks": "import t5cr_tasks",
  "import seqio": "import seqio",
  "import t5cr.engine.train": "import t5cr.engine.train",
  "import transformers": "import transformers",
  "import t5x.train": "import t5x.train",
}


def process(arguments: list[str]) -> str:
  """Runs a fresh interpreter; what it prints."""
  path = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
  environment = {
    **os.environ,
    "PYTHONPATH": path,
    "TF_CPP_MIN_LOG_LEVEL": "3",
    "JAX_ENABLE_COMPILATION_CACHE": "false",
  }
  done = subprocess.run(
    [sys.executable, *arguments],
    env=environment,
    capture_output=True,
    text=True,
    check=False,
  )
  if done.returncode:
    raise SystemExit(f"{arguments[:2]} failed: {done.stderr[-2000:]}")
  return done.stdout


def available(code: str) -> bool:
  """Whether what is imported can be."""
  module = code.split()[1].split(".")[0]
  return importlib.util.find_spec(module) is not None


def starts(rounds: int) -> side_by_side.Timing:
  """Seconds from the start of an interpreter to its end."""
  seconds: dict[str, list[float]] = {}
  for number in range(rounds + 1):
    order = [name for name, code in STARTS.items() if available(code)]
    for name in reversed(order) if number % 2 else order:
      code = STARTS[name]
      begun = time.perf_counter()
      process(["-c", code])
      # The first run reads the files from disk.
      if number:
        seconds.setdefault(name, []).append(time.perf_counter() - begun)
  return side_by_side.Timing(
    "start", "starts", dict.fromkeys(seconds, 1.0), seconds
  )


def compiles(model: str, rounds: int) -> side_by_side.Timing:
  """Seconds of lowering and compiling a training step."""
  kinds = {side_by_side.OURS: "scan", "t5cr, layer by layer": "layers"}
  if importlib.util.find_spec("t5x"):
    kinds["t5x"] = "t5x"
  seconds: dict[str, list[float]] = {name: [] for name in kinds}
  for _ in range(rounds):
    for name, kind in kinds.items():
      out = process(
        [str(pathlib.Path(__file__)), "--model", model, "--compile", kind]
      )
      seconds[name].append(json.loads(out.splitlines()[-1])["seconds"])
  return side_by_side.Timing(
    f"compile, {model}", "steps", dict.fromkeys(seconds, 1.0), seconds
  )


def compile_once(model: str, kind: str) -> float:
  """Seconds to lower and compile a step; in this process, from nothing."""
  import dataclasses

  from benchmarks.contenders import SHAPES
  from t5cr.plan import compiling

  config = dataclasses.replace(SHAPES[model], dropout_rate=0.1)
  batch = compiling.batch_shapes(ROWS, LENGTHS, pack=True)
  if kind == "t5x":
    step, state = _step_of_t5x(config, batch)
  else:
    config = dataclasses.replace(config, scan_layers=kind == "scan")
    step, state = _step_of_ours(config)
  begun = time.perf_counter()
  step.lower(state, batch).compile()
  return time.perf_counter() - begun


def _step_of_ours(config):
  from t5cr.engine import partitioning, train

  how = train.TrainConfig(train_steps=1)
  mesh = partitioning.make_mesh()
  step = train.make_train_step(how, config, mesh)
  return step, train.state_shapes(how, config)


def _step_of_t5x(config, batch):
  import jax
  import jax.numpy as jnp
  from t5x import adafactor, models, train_state, trainer

  from benchmarks.contenders import upstream

  definition = adafactor.Adafactor(decay_rate=0.8, step_offset=0)
  model = models.EncoderDecoderModel(*upstream.parts(config), definition)
  shapes = {name: value.shape for name, value in batch.items()}

  def initial():
    variables = model.get_initial_variables(jax.random.key(0), shapes)
    return train_state.FlaxOptimTrainState.create(definition, variables)

  def step(state, batch):
    rate, key = jnp.float32(1e-3), jax.random.key(0)
    state, metrics = trainer.train_with_lr(state, batch, rate, key, model, None)
    return state, metrics["loss"].compute()

  return jax.jit(step, donate_argnums=0), jax.eval_shape(initial)


def measured(options: argparse.Namespace) -> Iterable[side_by_side.Timing]:
  """Both parts, or the one that is asked for."""
  found = []
  if options.part != "compile":
    found.append(starts(options.rounds))
  if options.part != "start":
    found.append(compiles(options.model, options.compile_rounds))
  return found


def absent() -> Mapping[str, str]:
  """Peers that take no part."""
  return {
    name: "not installed"
    for name in ("t5x", "transformers")
    if not importlib.util.find_spec(name)
  }


def main() -> None:
  """Prints the table."""
  from benchmarks.contenders import SHAPES

  parser = side_by_side.argument_parser(
    __doc__, list(SHAPES), "base", choose_peers=False
  )
  parser.add_argument("--part", choices=["start", "compile", "all"])
  parser.add_argument("--compile_rounds", type=int, default=3)
  parser.add_argument("--compile", choices=["scan", "layers", "t5x"])
  options = parser.parse_args()
  if options.compile:
    seconds = compile_once(options.model, options.compile)
    print(json.dumps({"seconds": seconds}))
    return
  side_by_side.run(lambda: measured(options), options, absent())


if __name__ == "__main__":
  main()

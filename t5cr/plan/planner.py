"""From gin files to a plan: the run, its meshes, what each of them takes."""

import dataclasses
import os
import pathlib
import tempfile
from collections.abc import Sequence
from typing import Any

from t5cr import errors
from t5cr.engine import formats, jobs, main, vocabulary
from t5cr.engine.partitioning import AXES, MeshConfig, mesh_sizes
from t5cr.plan import asking, chips, roofline
from t5cr.plan.request import Request
from t5cr.progress import Progress

# Tokens of T5's public vocabulary, the extra ids included.
_T5_VOCABULARY = 32100

# Macros that run files require and that change nothing here.
_UNUSED = "MODEL_DIR = 'unused'\nMIXTURE_OR_TASK_NAME = 'unused'\n"


@dataclasses.dataclass(frozen=True)
class Settings:
  """What is asked besides the run.

  Attributes:
    topologies: such as `v5e:4x4`, `cpu:8`, `gpu`.
    meshes: None takes those of `default_meshes`.
    steps: to train; None takes the run's.
    price: of a chip for an hour; None leaves costs out.
    rates: of a chip; they replace those that are known.
  """

  topologies: Sequence[str]
  meshes: Sequence[MeshConfig] | None = None
  steps: int | None = None
  price: float | None = None
  rates: chips.Rates = chips.Rates()


def read_run(
  gin_files: Sequence[str | os.PathLike],
  gin_bindings: Sequence[str] = (),
  gin_search_paths: Sequence[str | os.PathLike] = (),
) -> tuple[jobs.TrainRun, list[str]]:
  """Reads what a run is; its data and vocabulary may be missing.

  Args:
    gin_files: those of `t5cr train`.
    gin_bindings: such as `BATCH_SIZE = 64`.
    gin_search_paths: folders.

  Returns:
    (the run, what was assumed).

  Raises:
    UsageError: something in the files is not as it has to be.
  """
  with tempfile.TemporaryDirectory() as folder:
    unused = pathlib.Path(folder) / "unused.gin"
    unused.write_text(_UNUSED)
    run = main.read_train(
      gin_files=[*gin_files, unused],
      gin_bindings=gin_bindings,
      gin_search_paths=gin_search_paths,
    )
  if run.model.vocab_size is not None:
    return run, []
  size, assumed = _vocab_size()
  model = dataclasses.replace(run.model, vocab_size=size)
  return dataclasses.replace(run, model=model), assumed


def _vocab_size() -> tuple[int, list[str]]:
  """Rows for the tasks' vocabulary, and what was assumed about it."""
  path = os.environ.get(vocabulary.ENVIRONMENT_VARIABLE)
  if path:
    return vocabulary.embedding_rows(vocabulary.Vocabulary(path).size), []
  rows = vocabulary.embedding_rows(_T5_VOCABULARY)
  return rows, [
    f"VOCAB_SIZE is None and {vocabulary.ENVIRONMENT_VARIABLE} is not set: "
    f"{rows:,} rows, those of T5's public vocabulary, are assumed."
  ]


def _steps(run: jobs.TrainRun, settings: Settings) -> int:
  """Steps that are paid for; those of an initial checkpoint are done."""
  if settings.steps is not None:
    return settings.steps
  initial = run.initial_checkpoint_path
  done = (initial and formats.step_of(initial)) or 0
  return max(run.config.train_steps - done, 0)


def parse_mesh(text: str) -> MeshConfig:
  """Reads `data=4,fsdp=4`; axes that are not named have size 1.

  Raises:
    UsageError: it is something else.
  """
  sizes = dict.fromkeys(AXES, 1)
  for part in text.split(","):
    axis, _, size = part.strip().partition("=")
    if axis not in sizes or not size.removeprefix("-").isdecimal():
      raise errors.UsageError(
        f"--mesh {text} is none: name the sizes of {', '.join(AXES)}, such as "
        "--mesh data=4,fsdp=4; -1 takes all devices that are left."
      )
    sizes[axis] = int(size)
  return MeshConfig(**sizes)


def mesh_name(sizes: Sequence[int]) -> str:
  """`data=4,fsdp=4`, without the axes of size 1."""
  named = [
    f"{axis}={size}"
    for axis, size in zip(AXES, sizes, strict=True)
    if size != 1
  ]
  return ",".join(named) or "data=1"


def default_meshes(
  run: MeshConfig, devices: int, batch_size: int
) -> list[MeshConfig]:
  """The run's own mesh and the common ones, if the batch can be shared."""
  meshes = [run] if _fits(run, devices) else []
  meshes += [MeshConfig(devices), MeshConfig(1, devices)]
  if devices % 2 == 0:
    meshes += [MeshConfig(devices // 2, 1, 2), MeshConfig(1, devices // 2, 2)]
  usable: dict[tuple[int, ...], MeshConfig] = {}
  for mesh in meshes:
    sizes = mesh_sizes(mesh, devices)
    if batch_size % (sizes[0] * sizes[1]) == 0:
      usable.setdefault(tuple(sizes), mesh)
  return list(usable.values())


def _fits(mesh: MeshConfig, devices: int) -> bool:
  try:
    mesh_sizes(mesh, devices)
  except errors.UsageError:
    return False
  return True


def _check_batch(topology: str, sizes: Sequence[int], batch_size: int) -> None:
  parts = sizes[0] * sizes[1]
  if batch_size % parts:
    raise errors.UsageError(
      f"--mesh {mesh_name(sizes)} on {topology}: BATCH_SIZE is {batch_size}, "
      f"which its {parts} parts (data times fsdp) cannot share evenly. Set "
      "BATCH_SIZE to a multiple of them, or make model larger."
    )


def plan(
  run: jobs.TrainRun, settings: Settings, progress: Progress | None = None
) -> dict[str, Any]:
  """Compiles a run's train step for each topology and mesh.

  Args:
    run: from `read_run`.
    settings: what to compile it for.
    progress: called as progress("compile", done, total, "programs").

  Returns:
    `run`, what it is; `topologies`, a list with a `meshes` list in each.

  Raises:
    UsageError: a topology, mesh or batch size that cannot be used.
    RunError: the compiler failed.
  """
  for topology in settings.topologies:
    chips.check_topology(topology)
    asking.check_compiler(topology)
  work = [_prepare(run, settings, name) for name in settings.topologies]
  total = sum(len(meshes) for _, meshes in work)
  done = 0
  for about, meshes in work:
    for mesh in meshes:
      if progress:
        progress("compile", done, total, "programs")
      about["meshes"].append(_compile(run, settings, about, mesh))
      done += 1
  if progress:
    progress("compile", done, total, "programs")
  topologies = [about for about, _ in work]
  parameters = [about.pop("parameters") for about in topologies][0]
  return {
    "run": {"parameters": parameters, **describe(run, settings)},
    "topologies": topologies,
  }


def _request(
  run: jobs.TrainRun, topology: str, mesh: MeshConfig | None
) -> Request:
  return Request(
    topology,
    mesh,
    run.model,
    run.config,
    run.data.batch_size,
    dict(run.data.task_feature_lengths),
    run.data.pack,
  )


def _prepare(
  run: jobs.TrainRun, settings: Settings, topology: str
) -> tuple[dict[str, Any], list[MeshConfig]]:
  """A topology's devices and rates, and the meshes to compile for."""
  about = asking.ask(_request(run, topology, None))
  if "crashed" in about:
    raise errors.RunError(f"--topology {topology}: {about['crashed']}")
  devices, batch = about["devices"], run.data.batch_size
  meshes = settings.meshes or default_meshes(run.mesh, devices, batch)
  if not meshes:
    raise errors.UsageError(
      f"--topology {topology}: BATCH_SIZE is {batch}, which {devices} devices "
      "cannot share evenly. Set BATCH_SIZE to a multiple of them, or give a "
      "--mesh whose data times fsdp divides it."
    )
  for mesh in meshes:
    _check_batch(topology, mesh_sizes(mesh, devices), batch)
  memory = about.pop("device_memory")
  known = chips.rates(topology)
  if memory and known.memory is None:
    known = dataclasses.replace(known, memory=memory)
  given = {k: v for k, v in vars(settings.rates).items() if v is not None}
  rates = dataclasses.replace(known, **given)
  per_chip = about["devices_per_chip"]
  described = {
    "topology": topology,
    **about,
    "chips": devices // per_chip,
    "rates": dataclasses.asdict(rates),
    "meshes": [],
  }
  return described, list(meshes)


def _compile(
  run: jobs.TrainRun,
  settings: Settings,
  about: dict[str, Any],
  mesh: MeshConfig,
) -> dict[str, Any]:
  """One column of the table."""
  sizes = mesh_sizes(mesh, about["devices"])
  answer = asking.ask(_request(run, about["topology"], mesh))
  rates = chips.Rates(**about["rates"])
  per_chip = about["devices_per_chip"]
  peak = answer.get("memory", {}).get("peak")
  limit = answer.pop("compiler_limit", None)
  if limit is None and rates.memory is not None:
    limit = int(rates.memory) // per_chip
  fits = None if peak is None or limit is None else peak <= limit
  column = {
    "mesh": dict(zip(AXES, sizes, strict=True)),
    "name": mesh_name(sizes),
    "fits": False if "refused" in answer else fits,
    "memory_limit": limit,
    **answer,
  }
  if "flops" in answer:
    seconds = roofline.times(answer, rates, per_chip)
    column["step_seconds"] = seconds
    column["bound"] = roofline.bound(seconds)
    if column["bound"]:
      column |= roofline.cost(
        seconds[column["bound"]],
        _steps(run, settings),
        about["chips"],
        settings.price,
      )
  return column


def describe(run: jobs.TrainRun, settings: Settings) -> dict[str, Any]:
  """What of a run a plan depends on."""
  return {
    "T5Config": dataclasses.asdict(run.model),
    "batch_size": run.data.batch_size,
    "task_feature_lengths": dict(run.data.task_feature_lengths),
    "pack": run.data.pack,
    "steps": _steps(run, settings),
    "price_per_chip_hour": settings.price,
  }

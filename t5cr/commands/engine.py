"""`t5cr train`, `eval`, `infer` and `score`: gin files to the engine."""

from collections.abc import Callable
from typing import Annotated

import typer

from t5cr import progress, quiet
from t5cr.commands import options

GinFiles = Annotated[
  list[str],
  typer.Option("--gin_file", help="A gin file; repeat the flag for several."),
]
GinBindings = Annotated[
  list[str] | None,
  typer.Option(
    "--gin_bindings",
    metavar="NAME=VALUE",
    help="A gin binding; --gin.NAME=VALUE is the same, as in t5x.",
  ),
]
GinSearchPaths = Annotated[
  str | None,
  typer.Option("--gin_search_paths", help="Folders, comma-separated."),
]
CacheDirs = Annotated[
  str | None,
  typer.Option(
    "--seqio_additional_cache_dirs", help="Folders, comma-separated."
  ),
]
Multiprocess = Annotated[
  bool,
  typer.Option(
    "--multiprocess",
    help="One of several processes, which JAX finds by itself (Cloud TPU, "
    "SLURM, Open MPI, Kubernetes). T5CR_COORDINATOR, T5CR_NUM_PROCESSES and "
    "T5CR_PROCESS_ID name them elsewhere, without this flag.",
  ),
]

ACTIONS = {
  "train": "Train a model, as gin files say; then evaluate it.",
  "eval": "Evaluate a checkpoint on tasks.",
  "infer": "Write a checkpoint's predictions for tasks.",
  "score": "Write the log-likelihoods of tasks' targets under a checkpoint.",
}


def command(action: str) -> Callable[..., None]:
  """The command of an action; all four have the same flags.

  Args:
    action: one of ACTIONS.

  Returns:
    A function for typer.
  """

  def run(
    gin_file: GinFiles,
    gin_bindings: GinBindings = None,
    gin_search_paths: GinSearchPaths = None,
    tfds_data_dir: options.SomeDataDir = None,
    cache_dirs: CacheDirs = None,
    multiprocess: Multiprocess = False,
  ) -> None:
    from t5cr.engine import gin_config, processes
    from t5cr.engine import main as engine

    gin = (gin_file, gin_bindings or [], commas(gin_search_paths))
    # What is wrong with the gin files is said before TensorFlow's seconds.
    gin_config.parse(*gin)
    quiet.import_tensorflow()
    with processes.joined(multiprocess):
      mode = None if processes.is_first() else "quiet"
      with progress.Reporter(mode) as reporter:
        getattr(engine, action)(
          gin_files=gin[0],
          gin_bindings=gin[1],
          gin_search_paths=gin[2],
          tfds_data_dir=tfds_data_dir,
          seqio_additional_cache_dirs=commas(cache_dirs),
          progress=reporter,
        )

  run.__doc__ = ACTIONS[action]
  return run


def commas(value: str | None) -> list[str]:
  """The parts of a value with commas between them."""
  return [part for part in (value or "").split(",") if part]

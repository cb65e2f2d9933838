"""`t5cr plan`: what a training takes, compiled for devices not yet paid for."""

import pathlib
import signal
from typing import Annotated

import typer

from t5cr import errors, progress, terminal
from t5cr.commands import engine

_RATE = "Of a chip, instead of the published one."


def plan(
  gin_file: engine.GinFiles,
  topology: Annotated[
    list[str],
    typer.Option(
      help="v5e:4x4, v4:2x2x1, cpu:8, gpu, …; repeat the flag for several."
    ),
  ],
  mesh: Annotated[
    list[str] | None,
    typer.Option(
      help="data=4,fsdp=4; repeat it. By default the run's and common ones."
    ),
  ] = None,
  steps: Annotated[
    int | None,
    typer.Option(
      help="Of the run; by default TRAIN_STEPS less the initial checkpoint's."
    ),
  ] = None,
  price: Annotated[
    float | None, typer.Option(help="Of a chip for an hour.")
  ] = None,
  json_file: Annotated[
    pathlib.Path | None,
    typer.Option("--json", metavar="FILE", help="Write all figures here."),
  ] = None,
  peak_flops: Annotated[
    float | None, typer.Option("--peak_flops", help=f"FLOP/s. {_RATE}")
  ] = None,
  hbm_bandwidth: Annotated[
    float | None, typer.Option("--hbm_bandwidth", help=f"Bytes/s. {_RATE}")
  ] = None,
  ici_bandwidth: Annotated[
    float | None,
    typer.Option("--ici_bandwidth", help=f"Bytes/s that leave it. {_RATE}"),
  ] = None,
  memory: Annotated[
    float | None, typer.Option("--memory", help=f"Bytes. {_RATE}")
  ] = None,
  gin_bindings: engine.GinBindings = None,
  gin_search_paths: engine.GinSearchPaths = None,
) -> None:
  """Say what a training takes on a TPU slice, before paying for one.

  The run's train step is compiled here for a topology that need not be there:
  whether it fits, memory, FLOPs, bytes, communication, the step time that peak
  rates allow. Neither data nor vocabulary is needed.
  """
  numbers = {
    "--steps": steps,
    "--price": price,
    "--peak_flops": peak_flops,
    "--hbm_bandwidth": hbm_bandwidth,
    "--ici_bandwidth": ici_bandwidth,
    "--memory": memory,
  }
  for flag, value in numbers.items():
    if value is not None and not value > 0:
      raise errors.UsageError(f"{flag} {value:g} is not above 0.")
  from t5cr.plan import chips, page, planner
  from t5cr.study import stages

  meshes = [planner.parse_mesh(text) for text in mesh or ()]
  settings = planner.Settings(
    topologies=list(dict.fromkeys(topology)),
    meshes=meshes or None,
    steps=steps,
    price=price,
    rates=chips.Rates(peak_flops, hbm_bandwidth, ici_bandwidth, memory),
  )
  run, assumed = planner.read_run(
    gin_file, gin_bindings or [], engine.commas(gin_search_paths)
  )
  for line in assumed:
    terminal.say(line, error=True)
  # Ends as Ctrl-C does: the process that compiles is ended too.
  signal.signal(signal.SIGTERM, signal.default_int_handler)
  with progress.Reporter() as reporter:
    planned = planner.plan(run, settings, reporter)
  page.show(planned)
  if json_file:
    stages.write_json(json_file, planned)

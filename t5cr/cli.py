"""The command line: `t5cr --help`.

Commands import what they need when they run, so that help is instant. Flags
are spelled as t5x spells them, with underscores; `--max-bad-lines` is taken
for `--max_bad_lines`.
"""

import os
import sys
from collections.abc import Sequence
from typing import Annotated

import typer

import t5cr
from t5cr import errors, terminal
from t5cr.commands import convert, data, engine, plan, study

app = typer.Typer(
  name="t5cr",
  help="One T5 that holds a conversation and recommends movies.",
  no_args_is_help=True,
  add_completion=False,
  pretty_exceptions_enable=False,
)
app.command()(study.reproduce)
app.command()(study.report)
app.command()(study.baselines)
app.add_typer(data.data_app, name="data")
app.add_typer(data.tasks_app, name="tasks")
app.add_typer(data.probes_app, name="probes")
for _action in engine.ACTIONS:
  app.command(_action)(engine.command(_action))
app.command()(plan.plan)
app.command()(convert.convert)
app.command()(study.doctor)


def _version(wanted: bool) -> None:
  if wanted:
    typer.echo(f"t5cr {t5cr.__version__}")
    raise typer.Exit()


@app.callback()
def _globals(
  debug: Annotated[
    bool, typer.Option("--debug", help="Show tracebacks.")
  ] = False,
  version: Annotated[
    bool,
    typer.Option(
      "--version",
      help="Print the version and exit.",
      callback=_version,
      is_eager=True,
    ),
  ] = False,
) -> None:
  # `main` and `_version` see to these, wherever they stand; here they are for
  # the help.
  del debug, version


def rewrite(argument: str) -> str:
  """Spells a flag as typer knows it.

  >>> rewrite('--gin.TRAIN_STEPS=100')
  '--gin_bindings=TRAIN_STEPS = 100'
  >>> rewrite('--max-bad-lines=3')
  '--max_bad_lines=3'

  Args:
    argument: one argument of the command line.

  Returns:
    The same for typer.

  Raises:
    UsageError: `--gin.NAME` without a value.
  """
  if argument.startswith("--gin."):
    name, equals, value = argument.removeprefix("--gin.").partition("=")
    if not equals or not name:
      raise errors.UsageError(
        f"{argument} is no gin binding: write --gin.NAME=VALUE, without spaces "
        "around the equals sign."
      )
    return f"--gin_bindings={name} = {value}"
  if not argument.startswith("--"):
    return argument
  name, equals, value = argument.partition("=")
  return "--" + name.removeprefix("--").replace("-", "_") + equals + value


# What typer makes of Ctrl-C.
_INTERRUPTED = 130


def main(arguments: Sequence[str] | None = None) -> int:
  """Runs the command line.

  Args:
    arguments: without the program's name; by default those of this process.

  Returns:
    The exit status: 0; 1 where a run failed; 2 for what the user can mend; 130
    after Ctrl-C; 143 after SIGTERM.
  """
  given = list(sys.argv[1:] if arguments is None else arguments)
  terminal.guard()
  debug = "--debug" in given
  # TensorFlow greets with a page of log otherwise.
  os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
  try:
    rewritten = [rewrite(item) for item in given if item != "--debug"]
    app(rewritten, prog_name="t5cr")
  except errors.Stopped as stopped:
    print(f"t5cr: {stopped.message}", file=sys.stderr)
    return stopped.STATUS
  except SystemExit as ended:
    status = int(ended.code or 0)
    if status == _INTERRUPTED:
      print("Interrupted. The same command goes on from here.", file=sys.stderr)
    return status
  except Exception as error:
    if debug or not errors.is_expected(error):
      raise
    terminal.say(f"t5cr: {error}", error=True)
    return 1 if isinstance(error, errors.RunError) else 2
  return 0


if __name__ == "__main__":
  sys.exit(main())

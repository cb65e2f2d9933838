"""`t5cr convert`: a checkpoint from one format to another."""

import enum
import pathlib
from typing import Annotated

import typer

from t5cr import errors, progress, terminal


class Target(enum.StrEnum):
  """The formats, as `t5cr.engine.formats` names them."""

  T5CR = "t5cr"
  T5X = "t5x"
  T5X_LEGACY = "t5x_legacy"
  HF = "hf"


def convert(
  source: Annotated[
    str,
    typer.Argument(
      metavar="SOURCE",
      help="A run folder, a checkpoint of any format, a Hugging Face folder.",
    ),
  ],
  destination: Annotated[
    str, typer.Argument(metavar="DEST", help="The folder to write.")
  ],
  to: Annotated[Target, typer.Option("--to", help="The format to write.")],
  dtype: Annotated[
    str | None,
    typer.Option("--dtype", help="Of the parameters: float32, bfloat16, …"),
  ] = None,
  step: Annotated[
    int | None, typer.Option("--step", help="Instead of the source's.")
  ] = None,
  params_only: Annotated[
    bool, typer.Option("--params_only", help="Leave the optimizer out.")
  ] = False,
  vocabulary: Annotated[
    pathlib.Path | None,
    typer.Option(
      "--vocabulary",
      help="SentencePiece model; by default the one beside the checkpoint.",
    ),
  ] = None,
  base_model: Annotated[
    str | None,
    typer.Option("--base_model", help="Hub name for the card of --to hf."),
  ] = None,
) -> None:
  """Convert a checkpoint: this engine's, t5x's (both), Hugging Face's."""
  from t5cr.engine import convert as engine
  from t5cr.engine import formats
  from t5cr.engine import vocabulary as vocabulary_lib
  from t5cr.study import model_card

  found = formats.find(source)
  config = found.config
  to_hf = to is Target.HF
  pieces = card = None
  # Hugging Face's tokenizer has to have one; elsewhere it goes along.
  if to_hf or vocabulary or vocabulary_lib.beside(found):
    pieces = vocabulary_lib.find_vocabulary(
      found, config.vocab_size, vocabulary
    )
  own = vocabulary_lib.beside(found)
  if vocabulary and pieces and own and own.read_bytes() != pieces.content:
    raise errors.UsageError(
      f"--vocabulary: {vocabulary} is not the vocabulary that the model was "
      f"trained with, which lies beside it: {own}. Leave the flag out."
    )
  if to_hf:
    run = model_card.read_run(found.run, found.step)
    name = pathlib.Path(destination).name
    card = model_card.model_card(name, config, run, base_model=base_model)
  options = engine.Options(
    dtype=dtype,
    step=step,
    params_only=params_only,
    vocabulary=pieces.content if pieces else None,
    card=card,
  )
  with progress.Reporter() as reporter:
    place = engine.convert(
      found, destination, formats.Format(to.value), options, reporter
    )
  terminal.say(f"Wrote {place}")

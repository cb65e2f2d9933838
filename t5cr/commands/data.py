"""`t5cr data`, `t5cr tasks` and `t5cr probes`."""

import pathlib
import shlex
from typing import Annotated, Any

import typer

from t5cr import errors, progress, quiet, terminal
from t5cr.commands import options

data_app = typer.Typer(help="Raw files to data sets.", no_args_is_help=True)
tasks_app = typer.Typer(help="Tasks and mixtures.", no_args_is_help=True)
probes_app = typer.Typer(help="Probe studies.", no_args_is_help=True)


@data_app.command("sample")
def data_sample(
  raw: options.Raw,
  seed: Annotated[int, typer.Option(help="Of the invented world.")] = 0,
) -> None:
  """Write the raw files of a small invented movie world."""
  quiet.import_tensorflow()
  from t5cr_tasks import sample

  for name, count in sample.write_corpus(raw, seed=seed).items():
    terminal.say(f"{name}: {count}")
  terminal.say(
    f"Build its data sets with `t5cr data build --raw {shlex.quote(str(raw))}`."
  )


@data_app.command("fetch")
def data_fetch(
  raw: options.Raw,
  only: Annotated[
    list[str] | None,
    typer.Option(help="redial or movielens; repeat for several."),
  ] = None,
) -> None:
  """Download ReDial and MovieLens 25M, checked; say how to get the rest."""
  quiet.import_tensorflow()
  from t5cr_tasks.raw import download

  for name in only or ():
    if name not in download.SOURCES:
      raise errors.UsageError(
        f"--only {name!r} cannot be fetched: give "
        f"{' or '.join(download.SOURCES)}."
      )
  with progress.Reporter() as reporter:
    for name in only or download.SOURCES:
      source = download.SOURCES[name]
      fetched = download.fetch(source, raw, progress=reporter)
      what = "fetched and verified" if fetched else "already there"
      reporter.say(f"{raw / name}: {what}. {source.terms}")
  reviews = raw / "reviews" / "reviews.csv"
  if not only and not reviews.is_file():
    terminal.say(
      f"{reviews}: not there. {_REVIEWS_HELP} --raw {shlex.quote(str(raw))}"
    )


_REVIEWS_HELP = """The reviews cannot be fetched for you: they have no stable
address and no licence, and their texts belong to third parties, so do not
redistribute them. Penha and Hauff (2020) link imdb_reviews.csv.zip in
download_data.sh of https://github.com/Guzpenha/ConvRecProbingBERT: a file on
Google Drive that may be gone. Once you have it:
  t5cr data convert_reviews --crawl imdb_reviews.csv.zip"""


@data_app.command("convert_reviews")
def data_convert_reviews(
  crawl: Annotated[
    pathlib.Path,
    typer.Option(help="imdb_reviews.csv.zip, or the file in it."),
  ],
  raw: options.Raw,
) -> None:
  """Make RAW/reviews/reviews.csv from the published crawl of reviews."""
  quiet.import_tensorflow()
  from t5cr_tasks.datasets import build
  from t5cr_tasks.raw import crawl as raw_crawl

  with progress.Reporter() as reporter:
    tally = raw_crawl.convert(crawl, raw, progress=reporter)
  result = {"status": "converted", "counts": {"reviews": tally.to_dict()}}
  terminal.show(build.summary({"reviews.csv": result}))


@data_app.command("build")
def data_build(
  raw: options.Raw,
  tfds_data_dir: options.DataDir,
  max_bad_lines: options.MaxBadLines = 0,
  only: Annotated[
    list[str] | None,
    typer.Option(help="Only this data set; repeat for several."),
  ] = None,
  merge_turns: Annotated[
    bool,
    typer.Option(
      "--merge_turns/--nomerge_turns",
      help="Join consecutive messages of one speaker.",
    ),
  ] = True,
  recommended_from: Annotated[
    str, typer.Option("--recommended_from", help="messages or questions.")
  ] = "messages",
  rating_above: Annotated[float, typer.Option("--rating_above")] = 4.0,
  run_length: Annotated[int, typer.Option("--run_length")] = 10,
  relevance_above: Annotated[float, typer.Option("--relevance_above")] = 0.8,
  beam_runner: options.BeamRunner = None,
  beam_pipeline_options: options.BeamPipelineOptions = None,
) -> None:
  """Build the TFDS data sets whose raw files are there."""
  quiet.import_tensorflow()
  from t5cr_tasks.datasets import build

  if recommended_from not in ("messages", "questions"):
    raise errors.UsageError(
      f"--recommended_from {recommended_from!r} must be 'messages' or "
      "'questions'."
    )
  runner = _runner(beam_runner, beam_pipeline_options)
  how = build.BuildOptions(
    merge_turns=merge_turns,
    recommended_from=recommended_from,
    rating_above=rating_above,
    run_length=run_length,
    relevance_above=relevance_above,
  )
  with progress.Reporter() as reporter:
    results = build.build(
      raw,
      tfds_data_dir,
      options=how,
      max_bad_lines=max_bad_lines,
      only=only,
      progress=reporter,
      runner=runner,
    )
  terminal.show(build.summary(results))


def _runner(name: str | None, pipeline_options: str | None) -> Any:
  """The Beam runner that the flags name, None where they do not."""
  from t5cr_tasks.pipelines import runner

  return runner.Runner.parse(name, pipeline_options)


@data_app.command("vocabulary")
def data_vocabulary(
  tfds_data_dir: options.DataDir,
  out: Annotated[pathlib.Path, typer.Option(help="The model file to write.")],
  size: Annotated[int, typer.Option(help="Pieces wanted.")] = 32000,
  seed: Annotated[int, typer.Option(help="Of the text that is drawn.")] = 0,
) -> None:
  """Train a SentencePiece vocabulary on the text of the tasks."""
  quiet.import_tensorflow()
  from t5cr_tasks import vocabulary

  with progress.Reporter() as reporter:
    ids = vocabulary.train(tfds_data_dir, out, size, seed, progress=reporter)
  terminal.say(
    f"{out}: {ids:,} ids. Use it with T5CR_VOCABULARY={shlex.quote(str(out))}"
  )


@tasks_app.command("list")
def tasks_list() -> None:
  """List the tasks and mixtures."""
  quiet.import_tensorflow()
  import t5cr_tasks.show

  terminal.show(t5cr_tasks.show.overview())


@tasks_app.command("show")
def tasks_show(
  name: str,
  split: Annotated[str | None, typer.Option()] = None,
  num_examples: Annotated[int, typer.Option("--num_examples")] = 3,
  tfds_data_dir: options.SomeDataDir = None,
) -> None:
  """Show real examples of a task: text, tokens, lengths, truncation."""
  quiet.import_tensorflow()
  import t5cr_tasks.show

  _use_data_dir(tfds_data_dir)
  terminal.show(t5cr_tasks.show.describe(name, split, num_examples))


def _use_data_dir(tfds_data_dir: pathlib.Path | None) -> None:
  """Makes tasks read from a data directory."""
  if tfds_data_dir is None:
    return
  import seqio

  if not tfds_data_dir.is_dir():
    raise errors.UsageError(
      f"--tfds_data_dir {tfds_data_dir} is no folder. Build the data sets "
      "there with `t5cr data build`."
    )
  seqio.set_tfds_data_dir_override(str(tfds_data_dir))


@probes_app.command("build")
def probes_build(
  tfds_data_dir: options.DataDir,
  min_count: Annotated[
    int,
    typer.Option("--min_count", help="Probe movies in more runs than this."),
  ] = 30,
  related: Annotated[int, typer.Option(help="Related movies of each.")] = 10,
  popular_share: Annotated[
    float, typer.Option("--popular_share", help="That negatives are from.")
  ] = 0.1,
  template: Annotated[str, typer.Option(help="The phrasing.")] = "paper",
  max_probes: Annotated[
    int | None, typer.Option("--max_probes", help="Of each kind.")
  ] = None,
  phrased_probes: Annotated[
    int,
    typer.Option("--phrased_probes", help="Of each kind, in every phrasing."),
  ] = 300,
  seed: Annotated[int, typer.Option(help="Of the negatives.")] = 0,
  beam_runner: options.BeamRunner = None,
  beam_pipeline_options: options.BeamPipelineOptions = None,
) -> None:
  """Build the probe sets from the data sets in a data directory."""
  quiet.import_tensorflow()
  from t5cr_tasks.datasets import build as datasets
  from t5cr_tasks.probes import build

  runner = _runner(beam_runner, beam_pipeline_options)
  with progress.Reporter() as reporter:
    results = build.build(
      tfds_data_dir,
      min_count=min_count,
      related=related,
      popular_share=popular_share,
      template=template,
      max_probes=max_probes,
      phrased_probes=phrased_probes,
      seed=seed,
      progress=reporter,
      runner=runner,
    )
  terminal.show(datasets.summary(results))
  for name, entry in results.items():
    leak = entry["leak"]
    if leak:
      terminal.say(
        f"{name}: training dialogues name {leak['named']:,} of "
        f"{leak['pairs']:,} pairs ({leak['share']:.1%})."
      )

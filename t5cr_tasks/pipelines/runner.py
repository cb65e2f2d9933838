"""Which Beam runner a pipeline goes to, and with which options."""

from __future__ import annotations

import dataclasses
import importlib.util
from typing import TYPE_CHECKING

from t5cr_tasks.errors import DataError

if TYPE_CHECKING:
  import apache_beam as beam
  from apache_beam.options.pipeline_options import PipelineOptions


@dataclasses.dataclass(frozen=True)
class Runner:
  """A Beam runner; the pipeline itself is the same for all of them.

  Attributes:
    name: such as DirectRunner, DataflowRunner or FlinkRunner; None leaves the
      choice to `options`.
    options: Beam's pipeline options, as flags.
  """

  name: str | None = None
  options: tuple[str, ...] = ()

  def __post_init__(self):
    """Raises DataError where Beam is missing or cannot do as it is told."""
    if not importlib.util.find_spec("apache_beam"):
      raise DataError(
        "A Beam runner is asked for and Apache Beam is not installed. Install"
        " it with `pip install 't5cr[beam]'`, or do without --beam_runner and"
        " --beam_pipeline_options."
      )
    try:
      self.pipeline()
    except (ValueError, ImportError, AttributeError) as error:
      problem = " ".join(str(error).split()).rstrip(".")
      raise DataError(
        f"Beam makes no pipeline for --beam_runner={self.name or ''} with the"
        f" options {' '.join(self.options) or '(none)'}: {problem}. Correct"
        " them; a runner in a cloud needs its extra too, such as"
        " `pip install 'apache-beam[gcp]'`."
      ) from error

  @classmethod
  def parse(
    cls, name: str | None = None, options: str | None = None
  ) -> Runner | None:
    """A runner as command lines name it, None where they do not.

    >>> Runner.parse('FlinkRunner', 'flink_master=localhost:8081').options
    ('--flink_master=localhost:8081',)

    Args:
      name: `--beam_runner`.
      options: `--beam_pipeline_options`: names and values with commas between
        them, as TFDS takes them; leading dashes, which seqio wants, may stand.

    Raises:
      DataError: Beam is not installed, or refuses the runner or the options.
    """
    if not name and not options:
      return None
    flags = [flag.strip().lstrip("-") for flag in (options or "").split(",")]
    return cls(name or None, tuple(f"--{flag}" for flag in flags if flag))

  def pipeline_options(self) -> PipelineOptions:
    """The options as Beam wants them."""
    from apache_beam.options import pipeline_options

    options = pipeline_options.PipelineOptions(list(self.options))
    standard = options.view_as(pipeline_options.StandardOptions)
    name = self.name or standard.runner or "DirectRunner"
    if name.lower().removesuffix("runner") == "direct":
      # Beam would first fetch the Prism runner from the network.
      name = "FnApiRunner"
    standard.runner = name
    # Our collections hold what Beam's types have no names for.
    types = options.view_as(pipeline_options.TypeOptions)
    types.pipeline_type_check = False
    return options

  def builder(self, builder_class: type) -> type:
    """The class that makes a builder's data set in a pipeline.

    Args:
      builder_class: a TFDS builder of this project.

    Returns:
      It, or the builder itself where the data set is too small for one.
    """
    from t5cr_tasks.pipelines import movielens, probes

    pipelines = (movielens.BeamMovielens, probes.BeamProbes)
    made = {kind.__bases__[1]: kind for kind in pipelines}
    return made.get(builder_class, builder_class)

  def pipeline(self) -> beam.Pipeline:
    """An empty pipeline for this runner."""
    import apache_beam as beam

    return beam.Pipeline(options=self.pipeline_options())

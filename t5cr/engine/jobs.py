"""What the commands are told to do: one frozen dataclass for each."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from t5cr import errors
from t5cr.engine.config import T5Config
from t5cr.engine.evaluate import EvalConfig
from t5cr.engine.inference import check_mode
from t5cr.engine.partitioning import MeshConfig
from t5cr.engine.train_config import TrainConfig, TrainData

# Settings that may change from one start of a run to the next.
_FREE_TRAIN_FIELDS = (
  "train_steps",
  "checkpoint_period",
  "checkpoints_to_keep",
  "log_period",
  "eval_period",
  "on_nonfinite",
  "nonfinite_limit",
  "exploding_loss",
)


def _check_lengths(lengths: Mapping[str, int]) -> None:
  if (
    not isinstance(lengths, Mapping)
    or set(lengths) != {"inputs", "targets"}
    or not all(isinstance(n, int) and n > 0 for n in lengths.values())
  ):
    raise errors.UsageError(
      f"TASK_FEATURE_LENGTHS is {lengths!r}; it has to give the most tokens of "
      "both sides, such as {'inputs': 512, 'targets': 128}."
    )


@dataclasses.dataclass(frozen=True)
class TrainRun:
  """What `t5cr train` does; gin knows it as `train`.

  Attributes:
    model_dir: the run folder.
    model: shape of the model; `vocab_size=None` takes the tasks' own.
    data: what it is trained on.
    config: how it is trained.
    evaluation: how tasks are evaluated.
    eval_tasks: names and patterns of what is evaluated.
    initial_checkpoint_path: where training starts; None for noise.
    module: imported to register tasks.
    mesh: how devices are arranged.
  """

  model_dir: str
  model: T5Config
  data: TrainData
  config: TrainConfig
  evaluation: EvalConfig
  eval_tasks: Sequence[str] = ()
  initial_checkpoint_path: str | None = None
  module: str | None = None
  mesh: MeshConfig = MeshConfig()

  def __post_init__(self):
    """Raises UsageError for lengths that cannot be used."""
    _check_lengths(self.data.task_feature_lengths)
    _check_lengths(self.evaluation.task_feature_lengths)

  def settings(self, data: Mapping[str, str]) -> dict[str, Any]:
    """All that a run's parameters are a function of, but for its length.

    (And but for what it does at steps that are not finite, if there are any.)

    Args:
      data: fingerprints of what it is trained on.

    Returns:
      What has to be the same when a run goes on.
    """
    config = dataclasses.asdict(self.config)
    falls = self.config.learning_rate_schedule in ("linear", "cosine")
    for name in _FREE_TRAIN_FIELDS:
      if not (name == "train_steps" and falls):
        del config[name]
    trained_on = dataclasses.asdict(self.data)
    del trained_on["threads"]
    return {
      "T5Config": dataclasses.asdict(self.model),
      "TrainData": trained_on,
      "TrainConfig": config,
      "initial_checkpoint_path": self.initial_checkpoint_path,
      "data": dict(data),
    }


@dataclasses.dataclass(frozen=True)
class EvalRun:
  """What `t5cr eval` does; gin knows it as `eval`.

  Attributes:
    checkpoint_path: a run folder or one of its checkpoints.
    output_dir: results go to its `inference_eval`.
    tasks: names and patterns of what is evaluated.
    evaluation: lengths, split, batch size.
    module: imported to register tasks.
    mesh: how devices are arranged.
    dtype: of activations; None is that of the training where the checkpoint
      records it, else float32.
  """

  checkpoint_path: str
  output_dir: str
  tasks: str | Sequence[str]
  evaluation: EvalConfig
  module: str | None = None
  mesh: MeshConfig = MeshConfig()
  dtype: str | None = None

  def __post_init__(self):
    """Raises UsageError for lengths that cannot be used."""
    _check_lengths(self.evaluation.task_feature_lengths)


@dataclasses.dataclass(frozen=True)
class InferRun:
  """What `t5cr infer` and `t5cr score` do; gin knows it as `infer`.

  Attributes:
    checkpoint_path: a run folder or one of its checkpoints.
    output_dir: where the JSONL files go.
    tasks: names of what is predicted or scored.
    evaluation: lengths, split, batch size.
    mode: 'predict', 'predict_with_aux' or 'score'.
    return_all_decodes: write all decodes of an example, not only the best.
    module: imported to register tasks.
    mesh: how devices are arranged.
    dtype: of activations; None is that of the training where the checkpoint
      records it, else float32.
  """

  checkpoint_path: str
  output_dir: str
  tasks: str | Sequence[str]
  evaluation: EvalConfig
  mode: str = "predict"
  return_all_decodes: bool = False
  module: str | None = None
  mesh: MeshConfig = MeshConfig()
  dtype: str | None = None

  def __post_init__(self):
    """Raises UsageError for lengths or a mode that cannot be used."""
    _check_lengths(self.evaluation.task_feature_lengths)
    check_mode(self.mode, self.return_all_decodes)

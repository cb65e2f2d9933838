"""Parses t5x jobs as `python -m t5x.train` does, in a process of its own.

    python t5x_jobs.py standin|real < cases.json > results.json

What gin registers while it parses stays registered, and the files import
`__main__`; so the tests run this script instead of importing it. A case is
{"function", "files", "bindings"}; its result is {"value"}, what the function
is called with, or {"error"}.

`standin`: the modules of t5x hold no more than the names and parameters that
the gin files bind, so that a misspelt one fails where t5x is not installed.
`real`: t5x itself.
"""

import json
import sys
import types
from typing import Any, cast

import gin

STAND_INS = {
  "t5x.adafactor": {
    "Adafactor": "decay_rate, step_offset, logical_factor_rules",
    "standard_logical_factor_rules": "",
  },
  "t5x.decoding": {
    "beam_search": "inputs, alpha, max_decode_len",
    "temperature_sample": "inputs, temperature, topk, topp, max_decode_steps, "
    "rescale_log_probs",
  },
  "t5x.examples.t5.network": {
    "T5Config": "vocab_size, dtype, emb_dim, num_heads, num_encoder_layers, "
    "num_decoder_layers, head_dim, mlp_dim, mlp_activations, dropout_rate, "
    "logits_via_embedding",
    "Transformer": "config",
  },
  "t5x.gin_utils": {"summarize_gin_config": "model_dir, summary_writer, step"},
  "t5x.models": {
    "DecoderParams": "num_decodes, return_all_decodes",
    "EncoderDecoderModel": "module, input_vocabulary, output_vocabulary, "
    "optimizer_def, decode_fn, default_decoder_params, "
    "loss_normalizing_factor, z_loss, label_smoothing",
  },
  "t5x.partitioning": {
    "PjitPartitioner": "num_partitions, model_parallel_submesh, "
    "logical_axis_rules",
    "standard_logical_axis_rules": "",
  },
  "t5x.trainer": {"Trainer": "num_microbatches, learning_rate_fn"},
  "t5x.utils": {
    "CheckpointConfig": "restore, save",
    "DatasetConfig": "mixture_or_task_name, task_feature_lengths, split, "
    "batch_size, shuffle, seed, use_cached, pack",
    "RestoreCheckpointConfig": "path, mode, dtype",
    "SaveCheckpointConfig": "period, dtype, keep, save_dataset",
  },
  "__main__": {
    "train": "model, model_dir, train_dataset_cfg, train_eval_dataset_cfg, "
    "infer_eval_dataset_cfg, checkpoint_cfg, partitioner, trainer_cls, "
    "total_steps, eval_steps, eval_period, stats_period, random_seed, "
    "use_hardware_rng, summarize_config_fn, inference_evaluator_cls",
    "evaluate": "model, dataset_cfg, partitioner, restore_checkpoint_cfg, "
    "output_dir, inference_evaluator_cls",
    "infer": "mode, model, output_dir, dataset_cfg, partitioner, "
    "restore_checkpoint_cfg, write_fn, checkpoint_period, shard_id, num_shards",
    "write_inferences_to_file": "path, input_fields_to_include",
  },
}


class Called:
  """A call of a stand-in: its name and arguments."""

  def __init__(self, name: str, arguments: dict[str, Any]):
    self.name = name
    self.arguments = arguments


def install_stand_ins() -> None:
  for name, members in STAND_INS.items():
    parts = name.split(".")
    for end in range(1, len(parts) + 1):
      path = ".".join(parts[:end])
      if path not in sys.modules:
        sys.modules[path] = types.ModuleType(path)
        if end > 1:
          parent = sys.modules[".".join(parts[: end - 1])]
          setattr(parent, parts[end - 1], sys.modules[path])
    for function, parameters in members.items():
      scope: dict[str, Any] = {"__name__": name, "Called": Called}
      star = "*, " if parameters else ""
      exec(  # gin reads the signature, so it has to be a real one.
        f"def {function}({star}{parameters}):\n"
        f"  return Called({function!r}, dict(locals()))",
        scope,
      )
      setattr(sys.modules[name], function, scope[function])


def install_upstream() -> None:
  """Puts what t5x's scripts have in `__main__` there, as running them does."""
  from t5x import eval as eval_script  # pyright: ignore[reportMissingImports]
  from t5x import infer as infer_script  # pyright: ignore[reportMissingImports]
  from t5x import train as train_script  # pyright: ignore[reportMissingImports]

  for function in (
    train_script.train,
    eval_script.evaluate,
    infer_script.infer,
    infer_script.write_inferences_to_file,
  ):
    function.__module__ = "__main__"
    setattr(sys.modules["__main__"], function.__name__, function)


def plain(value: Any) -> Any:
  """A value as JSON; what has no such form is named by its type."""
  if isinstance(value, Called):
    return {"called": value.name, **plain(value.arguments)}
  if isinstance(value, dict):
    return {str(key): plain(item) for key, item in value.items()}
  if isinstance(value, (list, tuple)):
    return [plain(item) for item in value]
  if value is gin.REQUIRED:
    return "REQUIRED"
  if hasattr(value, "func"):  # functools.partial
    return {"partial": value.func.__name__, **plain(value.keywords)}
  if value is None or isinstance(value, (bool, int, float, str)):
    return value
  return f"<{getattr(value, '__name__', type(value).__name__)}>"


def resolve(case: dict[str, Any], real: bool) -> dict[str, Any]:
  """What the case's function would be called with."""
  gin.clear_config()
  function = gin.configurable(
    getattr(sys.modules["__main__"], case["function"])
  )
  gin.parse_config_files_and_bindings(case["files"], case["bindings"])
  if real:
    return {"called": case["function"], **plain(gin.get_bindings(function))}
  called = cast(Any, function)().arguments
  value = {"called": case["function"], **plain(called)}
  if "trainer_cls" in called:
    rate = called["trainer_cls"]().arguments["learning_rate_fn"]
    value["rates"] = [float(rate(step)) for step in case.get("steps", ())]
    value["evaluator"] = plain(gin.get_bindings("seqio.Evaluator"))
  if "write_fn" in called:
    value["written"] = plain(called["write_fn"](path="").arguments)
  return value


def main(kind: str) -> None:
  install_upstream() if kind == "real" else install_stand_ins()
  from t5cr.engine.feed import names

  names.is_built = lambda name: True  # No data set is read here.
  request = json.load(sys.stdin)
  for folder in request["search_paths"]:
    gin.add_config_file_search_path(folder)
  results = {}
  for name, case in request["cases"].items():
    try:
      results[name] = {"value": resolve(case, kind == "real")}
    except Exception as error:  # Whatever it is, it is what a user would see.
      results[name] = {"error": f"{type(error).__name__}: {error}"}
  json.dump(results, sys.stdout)


if __name__ == "__main__":
  main(sys.argv[1])

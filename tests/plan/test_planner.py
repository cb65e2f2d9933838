"""`t5cr plan` from gin files to figures, on devices that the CPU plays."""

import importlib.util
import json

import pytest

from t5cr import cli, errors
from t5cr.engine.partitioning import MeshConfig
from t5cr.plan import asking, compiling, page, planner, roofline

TINY = """
EMB_DIM = 16
NUM_HEADS = 2
HEAD_DIM = 8
MLP_DIM = 32
NUM_ENCODER_LAYERS = 1
NUM_DECODER_LAYERS = 1
VOCAB_SIZE = 128
TASK_FEATURE_LENGTHS = {'inputs': 16, 'targets': 8}
BATCH_SIZE = 8
DROPOUT_RATE = 0.0
TRAIN_STEPS = 1500
INITIAL_CHECKPOINT_PATH = 'gs://bucket/run/checkpoint_500'
"""


@pytest.fixture(scope="module")
def recipe(tmp_path_factory):
  path = tmp_path_factory.mktemp("gin") / "tiny.gin"
  path.write_text(TINY)
  return path


@pytest.fixture
def plan(recipe):
  def run(*flags):
    return cli.main(
      ["plan", "--gin_file=t5cr/finetune.gin", f"--gin_file={recipe}", *flags]
    )

  return run


def test_a_plan_says_what_a_run_takes(plan, tmp_path, capsys):
  out = tmp_path / "plan.json"
  status = plan(
    "--topology=cpu:4",
    "--mesh=data=4",
    "--mesh=fsdp=4",
    "--gin.BATCH_SIZE=64",
    "--price=3",
    "--peak_flops=1e9",
    "--hbm_bandwidth=1e9",
    "--ici_bandwidth=1e9",
    "--memory=1e6",
    f"--json={out}",
  )
  printed = capsys.readouterr().out
  assert status == 0
  planned = json.loads(out.read_text())
  # Those of the initial checkpoint are done.
  assert planned["run"]["steps"] == 1000
  (about,) = planned["topologies"]
  assert about["devices"] == about["chips"] == 4
  data, fsdp = about["meshes"]
  assert data["mesh"] == {"data": 4, "fsdp": 1, "model": 1}
  # Sums of gradients, those of the shared embedding in parts, and of the loss.
  assert set(data["collectives"]) == {"all-reduce"}
  gradients = 4 * planned["run"]["parameters"]
  assert gradients <= data["collectives"]["all-reduce"]["bytes"]
  assert data["collectives"]["all-reduce"]["bytes"] < 2 * gradients
  assert data["flops"] > 0 and data["bytes"] > data["memory"]["arguments"]
  # All devices together multiply the same matrices.
  assert fsdp["flops"] == pytest.approx(data["flops"], rel=0.3)
  # A quarter of most parameters, and they travel, not the activations.
  assert fsdp["memory"]["arguments"] < 0.7 * data["memory"]["arguments"]
  assert roofline.sent(fsdp) < 2 * roofline.sent(data)
  seconds = data["step_seconds"]
  assert seconds["compute"] == data["flops"] / 1e9
  assert seconds[data["bound"]] == max(seconds.values())
  assert data["cost"] == pytest.approx(data["hours"] * 4 * 3)
  assert data["fits"] is (data["memory"]["peak"] <= 1e6)
  assert "fsdp=4" in printed
  assert "cost at 3 a chip and hour" in printed


def test_without_a_vocabulary_t5s_is_assumed(recipe, monkeypatch):
  monkeypatch.delenv("T5CR_VOCABULARY", raising=False)
  run, assumed = planner.read_run(
    ["t5cr/finetune.gin", recipe], ["VOCAB_SIZE = None"]
  )
  assert run.model.vocab_size == 32128
  assert "32,128" in assumed[0]


def test_what_does_not_fit_is_a_column(capsys):
  refused = {
    "name": "data=4",
    "fits": False,
    "memory": {"peak": 20 * 2**30},
    "memory_limit": 16 * 2**30,
  }
  died = {"name": "fsdp=4", "fits": None, "crashed": "ended by SIGKILL"}
  rates = {"flops": 1.0, "hbm_bandwidth": 1.0, "ici_bandwidth": 1.0}
  page.show(
    {
      "run": {
        "parameters": 1,
        "T5Config": {"dtype": "bfloat16"},
        "batch_size": 4,
        "task_feature_lengths": {"inputs": 8, "targets": 4},
        "pack": True,
        "steps": 10,
        "price_per_chip_hour": None,
      },
      "topologies": [
        {
          "topology": "v5e:2x2",
          "devices": 4,
          "device_kind": "TPU v5 lite",
          "devices_per_chip": 1,
          "chips": 4,
          "rates": {**rates, "memory": 16 * 2**30},
          "meshes": [refused, died],
        }
      ],
    }
  )
  printed = capsys.readouterr().out
  assert "NO: needs 20.00 GiB of 16.00 GiB" in printed
  assert "ended by SIGKILL" in printed


@pytest.mark.parametrize(
  ("words", "needed", "there"),
  [
    (
      "Ran out of memory on HBM, the total memory required for HLO temporaries "
      "(41.73G) exceeds available HBM (15.75G).",
      41.73,
      15.75,
    ),
    (
      "XLA:TPU compile permanent error. Ran out of memory in memory space hbm. "
      "Used 20.50G of 15.75G hbm. Exceeded hbm capacity by 4.75G.",
      20.5,
      15.75,
    ),
  ],
)
def test_a_compiler_that_refuses_says_by_how_much(words, needed, there):
  answer = compiling.refused(RuntimeError(f"RESOURCE_EXHAUSTED: {words}"))
  assert answer["memory"]["peak"] == int(needed * 2**30)
  assert answer["compiler_limit"] == int(there * 2**30)


def test_another_error_of_the_compiler_is_raised():
  with pytest.raises(RuntimeError, match="INTERNAL"):
    compiling.refused(RuntimeError("INTERNAL: a bug"))


@pytest.mark.parametrize(
  ("flags", "words"),
  [
    (["--topology=v5e-16"], "v5e:4x4"),
    (["--topology=gpu"], "JAX sees no GPU"),
    (["--topology=cpu:4", "--mesh=rows=4"], "data, fsdp, model"),
    (["--topology=cpu:4", "--mesh=data=three"], "--mesh data=three"),
    (["--topology=cpu:4", "--mesh=data=3"], "does not fit 4 device"),
    (
      ["--topology=cpu:4", "--mesh=data=4", "--gin.BATCH_SIZE=6"],
      "BATCH_SIZE is 6",
    ),
    (["--topology=cpu:4", "--gin.EMB_DIN=4"], "EMB_DIM"),
    (["--topology=cpu:4", "--price=0"], "--price 0 is not above 0"),
  ],
)
def test_what_cannot_be_used_is_said(plan, flags, words, capsys, monkeypatch):
  monkeypatch.setenv("JAX_PLATFORMS", "cpu")  # whatever this machine has
  assert plan(*flags) == 2
  assert words in capsys.readouterr().err


def test_a_missing_compiler_is_named(plan, monkeypatch, capsys):
  monkeypatch.delenv("TPU_LIBRARY_PATH", raising=False)
  monkeypatch.setattr(asking.importlib.util, "find_spec", lambda name: None)
  assert plan("--topology=v5e:4x4") == 2
  printed = capsys.readouterr().err
  assert "libtpu" in printed and "t5cr[tpu]" in printed


def test_common_meshes_share_the_batch():
  def sizes(batch):
    return [
      (m.data, m.fsdp, m.model)
      for m in planner.default_meshes(MeshConfig(-1, 2, 2), 16, batch)
    ]

  assert sizes(128) == [
    (-1, 2, 2),
    (16, 1, 1),
    (1, 16, 1),
    (8, 1, 2),
    (1, 8, 2),
  ]
  assert sizes(8) == [(-1, 2, 2), (8, 1, 2), (1, 8, 2)]
  assert sizes(3) == []


def test_a_mesh_is_named_by_its_axes():
  assert planner.parse_mesh("fsdp=4, model=2") == MeshConfig(1, 4, 2)
  assert planner.mesh_name((1, 4, 2)) == "fsdp=4,model=2"
  assert planner.mesh_name((1, 1, 1)) == "data=1"
  with pytest.raises(errors.UsageError, match="data=4,fsdp=4"):
    planner.parse_mesh("4x4")


@pytest.mark.slow
@pytest.mark.skipif(
  importlib.util.find_spec("libtpu") is None,
  reason="needs libtpu, the TPU compiler (pip install 't5cr[tpu]')",
)
def test_a_tpu_that_is_not_there_is_compiled_for(plan, tmp_path):
  out = tmp_path / "plan.json"
  flags = ["--topology=v5e:2x2", "--mesh=fsdp=4", f"--json={out}"]
  assert plan(*flags) == 0
  (about,) = json.loads(out.read_text())["topologies"]
  (column,) = about["meshes"]
  assert about["device_kind"] == "TPU v5 lite"
  assert column["fits"]
  assert column["bound"] in ("compute", "hbm", "ici")
  assert "all-gather" in column["collectives"]


@pytest.mark.slow
@pytest.mark.skipif(
  importlib.util.find_spec("libtpu") is None,
  reason="needs libtpu, the TPU compiler (pip install 't5cr[tpu]')",
)
def test_a_run_that_the_compiler_refuses_is_a_column(plan, tmp_path, capsys):
  out = tmp_path / "plan.json"
  flags = ["--topology=v5e:1x1", "--mesh=data=1", f"--json={out}"]
  assert plan(*flags, "--gin.VOCAB_SIZE=100000000") == 0
  assert "NO: needs" in capsys.readouterr().out
  (about,) = json.loads(out.read_text())["topologies"]
  (column,) = about["meshes"]
  assert column["fits"] is False
  assert column["memory"]["peak"] > column["memory_limit"]

"""transformers computes with an exported folder what the engine computes."""

import golden
import jax
import numpy as np
import pytest
import spm_models

from t5cr.engine import decode, huggingface, model

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

NAMES = ("t5_1_0_tiny", "t5_1_1_tiny")
LENGTH = 12


def load(path):
  found = transformers.AutoModelForSeq2SeqLM.from_pretrained(path).eval()
  assert isinstance(found, transformers.T5ForConditionalGeneration)
  return found


def logits(their_model, batch) -> np.ndarray:
  inputs = torch.from_numpy(np.int64(batch["encoder_input_tokens"]))
  with torch.no_grad():
    return their_model(
      input_ids=inputs,
      attention_mask=(inputs > 0).long(),
      decoder_input_ids=torch.from_numpy(
        np.int64(batch["decoder_input_tokens"])
      ),
    ).logits.numpy()


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("shard_bytes", [1 << 30, 60_000])
def test_logits_agree(name, shard_bytes, tmp_path):
  known = golden.load(name)
  huggingface.write(
    tmp_path / "hf", known.params, known.config, shard_bytes=shard_bytes
  )
  theirs = load(tmp_path / "hf")
  tied = theirs.lm_head.weight.data_ptr() == theirs.shared.weight.data_ptr()
  assert tied == known.config.logits_via_embedding
  batch = known.group("batch")
  with jax.default_matmul_precision("highest"):
    ours = np.asarray(model.apply(known.params, known.config, batch))
  real = batch["decoder_target_tokens"] > 0
  np.testing.assert_allclose(
    logits(theirs, batch)[real], ours[real], rtol=0, atol=1e-5
  )


@pytest.mark.parametrize("name", NAMES)
def test_greedy_tokens_agree(name, tmp_path):
  known = golden.load(name)
  huggingface.write(tmp_path / "hf", known.params, known.config)
  theirs = load(tmp_path / "hf")
  rows = known.group("batch")["encoder_input_tokens"]
  rows = [row[row > 0].tolist() for row in rows if row.any()]
  ours = decode.decode_examples(
    known.params, known.config, rows, LENGTH, len(rows)
  )
  assert any(ours)
  for row, tokens in zip(rows, ours, strict=True):
    output = theirs.generate(
      input_ids=torch.tensor([row]), max_new_tokens=LENGTH, do_sample=False
    )[0, 1:].tolist()
    assert [t for t in output if t not in (0, 1)] == tokens


@pytest.mark.parametrize("name", NAMES)
def test_what_transformers_saves_is_read(name, tmp_path):
  known = golden.load(name)
  huggingface.write(tmp_path / "hf", known.params, known.config)
  load(tmp_path / "hf").save_pretrained(tmp_path / "again")
  assert huggingface.read_config(tmp_path / "again") == known.config
  read = huggingface.read_params(tmp_path / "again")
  assert jax.tree.all(jax.tree.map(np.array_equal, read, known.params))


def test_bfloat16_is_loaded_as_such(tmp_path):
  known = golden.load("t5_1_1_tiny")
  params = jax.tree.map(lambda x: jax.numpy.bfloat16(x), known.params)
  huggingface.write(tmp_path / "hf", params, known.config)
  theirs = transformers.AutoModelForSeq2SeqLM.from_pretrained(
    tmp_path / "hf", torch_dtype="auto"
  )
  assert theirs.dtype == torch.bfloat16
  np.testing.assert_array_equal(
    theirs.lm_head.weight.float().detach().numpy().T,
    np.float32(params["decoder"]["logits_dense"]["kernel"]),
  )


def test_the_example_of_the_card_runs(tmp_path, monkeypatch, capsys):
  from test_huggingface import random_params
  from tiny import CONFIG

  from t5cr.study import model_card

  config = CONFIG.__class__(**{**vars(CONFIG), "vocab_size": 1024})
  card = model_card.model_card("tiny", config)
  huggingface.write(
    tmp_path / "hf",
    random_params(config),
    config,
    vocabulary=spm_models.with_sentinels("bpe"),
    card=card,
  )
  written = (tmp_path / "hf" / "README.md").read_text()
  code = written.partition("```python\n")[2].partition("```")[0]
  monkeypatch.chdir(tmp_path / "hf")
  names = {}
  exec(code, names)
  assert names["tokens"].shape[1] > 1
  assert names["inputs"].input_ids[0, -1] == 1
  assert capsys.readouterr().out.strip()

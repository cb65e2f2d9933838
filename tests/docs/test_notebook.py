"""The notebook runs from top to bottom."""

import nbclient
import nbformat
import pytest
from blocks import ROOT

NOTEBOOK = ROOT / "docs" / "dialogue_to_score.ipynb"


# Cells before any training: their outputs are the same everywhere.
MADE_ALIKE = (3, 5, 7)


def _printed(cell) -> str:
  return "".join(
    output.text
    for output in cell.get("outputs", ())
    if output.output_type == "stream" and output.name == "stdout"
  )


@pytest.mark.long
def test_the_notebook_runs(tmp_path, monkeypatch):
  monkeypatch.setenv("PYTHONPATH", str(ROOT))
  monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
  monkeypatch.setenv("TMPDIR", str(tmp_path))
  notebook = nbformat.read(NOTEBOOK, as_version=4)
  stored = [_printed(cell) for cell in notebook.cells]
  nbclient.NotebookClient(notebook, timeout=300).execute()
  for place in MADE_ALIKE:
    assert _printed(notebook.cells[place]) == stored[place], (
      f"Cell {place} prints something else than the site shows. Where that is "
      "meant, run the notebook, and store its outputs."
    )
  code = [cell for cell in notebook.cells if cell.cell_type == "code"]
  printed = "".join(map(_printed, code))
  for line in ("seeker:", "[user]", "pieces:", "bleu_count", "recall "):
    assert line in printed
  assert printed.rstrip().endswith(("won", "lost"))


def test_outputs_are_small():
  """The site shows the outputs that are stored."""
  notebook = nbformat.read(NOTEBOOK, as_version=4)
  nbformat.validate(notebook)
  for cell in notebook.cells:
    for output in cell.get("outputs", ()):
      assert output.output_type == "stream" and output.name == "stdout"
      assert len(output.text) < 2000

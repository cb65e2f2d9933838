"""The tables of docs/reliability.md: each row names a test that is there."""

import re

import pytest


@pytest.fixture
def page(repository):
  return (repository / "docs" / "reliability.md").read_text()


def test_every_test_is_there(page, repository):
  named = set(re.findall(r"`(\w+/test_\w+\.py)`", page))
  assert len(named) > 15
  assert not [
    name for name in named if not (repository / "tests" / name).exists()
  ]


def test_what_is_called_long_is(page, repository):
  for line in page.splitlines():
    if line.startswith("|") and "*long*" in line:
      for name in re.findall(r"`(\w+/test_\w+\.py)`", line):
        text = (repository / "tests" / name).read_text()
        assert "mark.long" in text, name


def test_no_cell_of_a_count_is_empty(page):
  counted = page.split("## Steps that are not finite")[0]
  rows = [line for line in counted.splitlines() if line.startswith("| ")]
  for row in rows:
    assert all(cell.strip() for cell in row.strip("|").split("|")), row

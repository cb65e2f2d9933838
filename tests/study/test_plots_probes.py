"""What the figures about the probes show, read off their axes."""

import pytest

from t5cr.study import drawing, plots_parts, plots_probes


def entry(value, **fields):
  ends = {"low": value - 0.05, "high": value + 0.05, "count": 20}
  return {"value": value} | ends | fields


def row(name="all", **fields):
  scores = {"recommendation": entry(0.6), "recommendation_sequence": entry(0.8)}
  made = {"name": name, "label": name, "probes": scores, "phrasings": {}}
  return made | {"transfer": entry(0.2)} | fields


def report(*rows, **fields):
  paper = {
    "table3": {"all": {"recommendation": 0.6599}},
    "recommendation_sequence": {
      "all": 0.7711,
      "matrix_factorization": 0.8096,
    },
  }
  return {"rows": list(rows), "paper": paper, "paired": {}} | fields


def vertical_lines(axes):
  """Where lines are that go from the bottom of the axes to their top."""
  return [
    line.get_xdata()[0]
    for line in axes.lines
    if list(line.get_ydata()) == [0, 1] and len(set(line.get_xdata())) == 1
  ]


def points(axes):
  return {
    round(float(x), 4)
    for line in axes.lines
    if line.get_marker() not in ("None", "none", "")
    for x in line.get_xdata()
  }


def test_transfer_shows_both_scores_and_the_papers():
  figure = plots_probes.transfer(report(row(), row("x")), drawing.LIGHT)
  (axes,) = figure.axes
  assert points(axes) == {0.6, 0.8, 0.6599, 0.7711}
  assert sorted(vertical_lines(axes)) == [0.5, 0.8096]


def test_a_measured_factorisation_has_a_line():
  als = {"name": "als", "probes": {"recommendation": entry(0.7)}}
  other = {"name": "popularity", "probes": {"recommendation": entry(0.1)}}
  drawn = report(row("x"), baselines=[als, other])
  (axes,) = plots_probes.transfer(drawn, drawing.LIGHT).axes
  assert sorted(vertical_lines(axes)) == [0.5, 0.7, 0.8096]
  # The paper's scores are those of its row of all tasks.
  assert points(axes) == {0.6, 0.8}


def test_phrasings_show_each_and_the_mean():
  by = {"paper": entry(0.7), "short": entry(0.5)}
  phrased = {"mean": 0.6, "spread": 0.14, "least": 0.5, "most": 0.7, "by": by}
  drawn = report(row(phrasings={"attribute": phrased}))
  (axes,) = plots_probes.phrasings(drawn, drawing.DARK).axes
  assert points(axes) == {0.7, 0.5}
  bars = [line for line in axes.lines if list(line.get_xdata()) == [0.6, 0.6]]
  assert len(bars) == 1


def test_parts_are_drawn_where_they_are_measured():
  groups = [entry(0.9, key=1), entry(0.7, key=2, low=None, high=None)]
  scores = {"attribute": entry(0.8, by={"decile": groups})}
  (axes,) = plots_parts.deciles(report(row(probes=scores)), drawing.LIGHT).axes
  curve = next(
    line
    for line in axes.lines
    if len(line.get_xdata()) == 2 and list(line.get_ydata()) == [0.9, 0.7]
  )
  assert list(curve.get_xdata()) == [1, 2]
  (band,) = axes.collections
  # A part without an interval has no band.
  assert {round(x) for x in band.get_paths()[0].vertices[:, 0]} == {1}


def test_tags_at_both_ends_are_those_with_enough_probes():
  groups = [
    entry(place / 100, key=f"tag {place}", count=plots_parts.LEAST_TAG_COUNT)
    for place in range(20)
  ]
  groups.append(entry(1.0, key="rare", count=plots_parts.LEAST_TAG_COUNT - 1))
  scores = {"attribute": entry(0.5, by={"tag": groups})}
  most, least = plots_parts.ends_of_tags(row(probes=scores), "attribute")
  assert [group["key"] for group in most] == [
    f"tag {place}" for place in (19, 18, 17, 16, 15, 14)
  ]
  assert [group["key"] for group in least] == [
    f"tag {place}" for place in (5, 4, 3, 2, 1, 0)
  ]


@pytest.mark.parametrize(
  ("p_adjusted", "low", "high", "expected"),
  [
    (0.01, 0.02, 0.1, True),
    (0.01, -0.1, -0.02, True),
    (0.01, -0.01, 0.1, False),  # the movies do not tell them apart
    (0.06, 0.02, 0.1, False),
  ],
)
def test_told_apart_takes_both(p_adjusted, low, high, expected):
  test = {"p_adjusted": p_adjusted, "difference": {"low": low, "high": high}}
  assert plots_probes.is_told_apart(test) is expected


def test_paired_cells_are_the_row_minus_the_column():
  test = {
    "first": "x",
    "second": "y",
    "p_adjusted": 0.001,
    "difference": {"value": -0.25, "low": -0.3, "high": -0.2},
  }
  drawn = report(row("x"), row("y"), paired={"attribute": [test]})
  (axes,) = plots_probes.paired(drawn, drawing.LIGHT).axes
  cells = {text.get_position(): text.get_text() for text in axes.texts}
  # (column, row) of the second row and of the first.
  assert cells == {(1, 0): "−25", (0, 1): "+25"}
  less, more = axes.patches
  assert (less.get_xy(), more.get_xy()) == ((0.5, -0.5), (-0.5, 0.5))


def test_nothing_is_drawn_of_what_was_not_measured(tmp_path):
  bare = row(transfer=None, probes={"recommendation": entry(0.6)})
  assert plots_probes.write(report(bare), tmp_path) == {}
  assert not list(tmp_path.iterdir())

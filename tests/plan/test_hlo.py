"""Loops and communication of a program, read from its text.

`tpu_step.hlo` is a small program in the words of the TPU compiler, libtpu
0.0.42: no trip counts, collectives spread over fusions, groups as mesh axes.
"""

import pathlib

import pytest

from t5cr.plan import costs, groups, hlo

TEXT = (pathlib.Path(__file__).parent / "tpu_step.hlo").read_text()
MATRIX = 64 * 64 * 2


@pytest.fixture(scope="module")
def program():
  return hlo.Program(TEXT)


def test_a_loop_on_tpu_runs_as_often_as_its_condition_allows(program):
  assert list(program.loops("main")) == [hlo.Loop("body", 4)]
  assert program.times["body"] == program.times["fused_matmul"] == 4
  assert program.times["main"] == 1
  assert program.unknown_loops == 0


def test_a_loop_with_a_trip_count_needs_no_condition():
  text = TEXT.replace(
    "condition=%condition, body=%body",
    'condition=%condition, body=%body, backend_config={"known_trip_count":'
    '{"n":"7"}}',
  )
  assert list(hlo.Program(text).loops("main")) == [hlo.Loop("body", 7)]


def test_a_limit_that_the_loop_carries_is_found():
  text = (
    TEXT.replace(
      "%limit = s32[]{:T(128)} constant(4)",
      "%limit = s32[]{:T(128)} get-tuple-element(%param.2), index=3",
    )
    .replace("%param.4, %param.3)", "%param.4, %param.3, %trips)")
    .replace(
      "  %first = s32",
      "  %trips = s32[]{:T(128)} constant(5)\n  %first = s32",
    )
  )
  assert list(hlo.Program(text).loops("main")) == [hlo.Loop("body", 5)]


def test_a_doubled_body_runs_half_as_often():
  text = TEXT.replace(
    "  %next = s32[]{:T(128)} add(%counter, %one)",
    "  %half = s32[]{:T(128)} add(%counter, %one)\n"
    "  %next = s32[]{:T(128)} add(%half, %one)",
  )
  assert list(hlo.Program(text).loops("main")) == [hlo.Loop("body", 2)]


def test_a_loop_of_unknown_length_is_told():
  text = TEXT.replace("%limit = s32[]{:T(128)} constant(4)", "")
  program = hlo.Program(text)
  assert program.unknown_loops == 1
  assert program.times["body"] == 1


def test_collectives_are_counted_once_and_weighed(program):
  found = {(c.kind, c.times, c.bytes, c.groups) for c in program.collectives()}
  pairs = ((0, 1), (2, 3), (4, 5), (6, 7))
  assert found == {
    ("all-reduce", 4, MATRIX, pairs),
    # A fusion that sums and keeps a part.
    ("reduce-scatter", 1, MATRIX, ((0, 2), (1, 3), (4, 6), (5, 7))),
    # Its start and the fusion that hides it are one.
    ("all-gather", 1, MATRIX // 2, ((0, 2), (4, 6), (1, 3), (5, 7))),
    ("collective-permute", 1, MATRIX, ((0, 1), (1, 0), (2, 3), (3, 2))),
    ("all-reduce", 1, MATRIX, ()),
  }


def test_bytes_are_sent_in_rings(program):
  chips = [(i,) for i in range(8)]
  kinds = costs.communication(program, chips)
  assert kinds["all-reduce"] == {
    "count": 5,
    "bytes": 5 * MATRIX,
    "sent": 4 * MATRIX + 2 * 7 / 8 * MATRIX,
  }
  assert kinds["reduce-scatter"]["sent"] == MATRIX / 2
  assert kinds["all-gather"]["sent"] == MATRIX / 2
  assert kinds["collective-permute"]["sent"] == MATRIX


def test_what_stays_on_a_chip_is_not_sent(program):
  two_cores = [(i // 2,) for i in range(8)]
  kinds = costs.communication(program, two_cores)
  # Pairs of cores on one chip send nothing; in the sum over all, the two cores
  # of a chip share what the chip sends to the three others.
  assert kinds["all-reduce"]["sent"] == 2 * 3 / 4 * MATRIX / 2
  assert kinds["collective-permute"]["sent"] == 0


@pytest.mark.parametrize(
  ("text", "expected"),
  [
    ("replica_groups={{0,1},{2,3}}", ((0, 1), (2, 3))),
    ("replica_groups=[2,2]<=[4]", ((0, 1), (2, 3))),
    ("replica_groups=mesh['x'=2,'y'=2] {'x'}", ((0, 2), (1, 3))),
    ("replica_groups=mesh['x'=2,'y'=2] {'x','y'}", ((0, 1, 2, 3),)),
    ("replica_groups=mesh['x'=4] {'x':(1)2}", ((0, 2), (1, 3))),
    ("replica_groups=mesh['x'=4] {'x':(2)2}", ((0, 1), (2, 3))),
    ("replica_groups={}", ()),
  ],
)
def test_groups_are_read_in_every_spelling(text, expected):
  assert groups.read(f"%x), channel_id=1, {text}, dimensions={{0}}") == expected


@pytest.mark.parametrize(
  ("shape", "expected"),
  [
    ("bf16[4,8]{1,0:T(8,128)(2,1)S(1)}", 64),
    ("(f32[3]{0}, /*index=1*/s8[5], pred[2], u32[]{:S(2)})", 12 + 5 + 2 + 4),
    ("f8e4m3fn[16]", 16),
    ("s4[3]", 2),
    ("token[]", 0),
  ],
)
def test_shapes_have_bytes(shape, expected):
  assert hlo.shape_bytes(shape) == expected

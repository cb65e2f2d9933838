"""Reads the text of a compiled program: its loops and its communication.

XLA prints a program as computations, one instruction a line. A computation
runs once for each place that calls it, and the body of a `while` as often as
it loops, so what is found in it is weighed by that.

A loop's trip count is in its `backend_config` on CPU and GPU. The TPU compiler
leaves it out; there it follows from where the loop's counter starts, what a
turn adds to it, and the constant that the condition compares it with.
"""

import collections
import dataclasses
import functools
import math
import re
from collections.abc import Iterator, Mapping

from t5cr.plan import groups

# name, shape, opcode, and the rest of the line from the operands on.
_INSTRUCTION = re.compile(
  r"^\s+(?:ROOT )?%?(?P<name>[\w.\-]+) = (?P<shape>.*?) "
  r"(?P<opcode>[a-z][\w\-]*)\((?P<rest>.*)$"
)
_COMPUTATION = re.compile(r"^(?P<entry>ENTRY )?%?(?P<name>[\w.\-]+) .*\{$")
_CALLED = re.compile(
  r"\b(?:calls|to_apply|called_computations|branch_computations"
  r"|true_computation|false_computation)=(\{[^}]*\}|%?[\w.\-]+)"
)
_BODY = re.compile(r"\bbody=%?([\w.\-]+)")
_CONDITION = re.compile(r"\bcondition=%?([\w.\-]+)")
_TRIP_COUNT = re.compile(r'"known_trip_count":\{"n":"(\d+)"\}')
_NAME = re.compile(r"%([\w.\-]+)")
_ARRAY = re.compile(r"\b([a-z]+\d*[a-z0-9]*)\[([\d,]*)\]")
# Of a collective that TPUs spread over other work: its start, the fusions that
# it is spread over and its end repeat it, with the same number.
_CHAIN = re.compile(r'\bchain_id="(\d+)"')

# Opcodes whose `to_apply` adds two numbers and is no call of its own.
_REDUCERS = re.compile(r"^(all-reduce|reduce|scatter|select-and|sort|map)")
_COLLECTIVES = (
  "all-gather",
  "all-reduce",
  "all-to-all",
  "collective-broadcast",
  "collective-permute",
  "ragged-all-to-all",
  "reduce-scatter",
)


@dataclasses.dataclass(frozen=True)
class Instruction:
  """One line of a computation.

  Attributes:
    name: without its percent sign.
    shape: as printed.
    opcode: such as `fusion`.
    operands: names.
    text: the line after the opcode.
  """

  name: str
  shape: str
  opcode: str
  operands: tuple[str, ...]
  text: str


@dataclasses.dataclass(frozen=True)
class Loop:
  """A `while`.

  Attributes:
    body: name of its computation.
    trips: how often it runs; None if the program does not say.
  """

  body: str
  trips: int | None


@dataclasses.dataclass(frozen=True)
class Collective:
  """One instruction that communicates.

  Attributes:
    kind: such as `all-reduce`.
    times: how often it runs in a step.
    bytes: of its operands on one device.
    groups: devices that take part together; for `collective-permute` the
      pairs (from, to). Empty: all devices in one group.
  """

  kind: str
  times: int
  bytes: int
  groups: tuple[tuple[int, ...], ...]


def shape_bytes(shape: str) -> int:
  """Bytes of an array or tuple as HLO prints it, without padding.

  >>> shape_bytes('(bf16[4,8]{1,0:T(8,128)(2,1)}, f32[])')
  68
  """
  total = 0
  for kind, dimensions in _ARRAY.findall(shape):
    sizes = [int(size) for size in dimensions.split(",") if size]
    total += math.ceil(math.prod(sizes) * _bits(kind) / 8)
  return total


def _bits(kind: str) -> int:
  """Bits of an element type; 0 for tokens and the like."""
  if kind == "pred":
    return 8
  width = re.match(r"(?:bf|f|s|u|c)(\d+)", kind)
  return int(width[1]) if width else 0


class Program:
  """A compiled program.

  Attributes:
    entry: name of the computation that runs.
    computations: name -> its instructions, callees before callers.
    texts: name -> its text.
  """

  def __init__(self, text: str):
    """Parses what `compiled.as_text()` gives."""
    self.entry = ""
    self.computations: dict[str, list[Instruction]] = {}
    self.texts: dict[str, str] = {}
    name = None
    lines: list[str] = []
    for line in text.splitlines():
      if name is None:
        match = _COMPUTATION.match(line)
        if match:
          name, lines = match["name"], [line]
          self.entry = name if match["entry"] else self.entry
          self.computations[name] = []
        continue
      lines.append(line)
      if line.startswith("}"):
        self.texts[name] = "\n".join(lines)
        name = None
        continue
      instruction = _instruction(line)
      if instruction:
        self.computations[name].append(instruction)

  def calls(self, name: str) -> Iterator[str]:
    """Computations that one calls once each, loops left out."""
    for instruction in self.computations.get(name, ()):
      if _REDUCERS.match(instruction.opcode):
        continue
      for called in _CALLED.findall(instruction.text):
        yield from _names(called)

  def references(self, name: str) -> Iterator[str]:
    """All computations that one mentions, however they are used."""
    for instruction in self.computations[name]:
      found = [*_CALLED.findall(instruction.text)]
      found += _BODY.findall(instruction.text)
      found += _CONDITION.findall(instruction.text)
      for called in found:
        yield from _names(called)

  def loops(self, name: str) -> Iterator[Loop]:
    """The loops in a computation, not those in what it calls."""
    for instruction in self.computations.get(name, ()):
      body = _BODY.search(instruction.text)
      if instruction.opcode == "while" and body:
        yield Loop(body[1], self._trips(name, instruction))

  def _trips(self, name: str, loop: Instruction) -> int | None:
    counted = _TRIP_COUNT.search(loop.text)
    if counted:
      return int(counted[1])
    found = _CONDITION.search(loop.text)
    condition = self.computations.get(found[1], []) if found else []
    compare = next((i for i in condition if i.opcode == "compare"), None)
    if compare is None or "direction=LT" not in compare.text:
      return None
    inside = {i.name: i for i in condition}
    counter = inside.get(compare.operands[0])
    limit = inside.get(compare.operands[1])
    last = _constant(limit)
    if last is None:
      last = self._before(name, loop, limit)
    first = self._before(name, loop, counter)
    step = self._step(loop, counter)
    if last is None or first is None or not step:
      return None
    return max(0, math.ceil((last - first) / step))

  def _before(
    self, name: str, loop: Instruction, carried: Instruction | None
  ) -> int | None:
    """What something that a loop carries along was before the loop."""
    index = _index(carried)
    around = {i.name: i for i in self.computations[name]}
    start = around.get(loop.operands[0]) if loop.operands else None
    if index is None or start is None or start.opcode != "tuple":
      return None
    source = around.get(start.operands[index])
    while source and source.opcode in ("copy", "bitcast") and source.operands:
      source = around.get(source.operands[0])
    return _constant(source)

  def _step(self, loop: Instruction, counter: Instruction | None) -> int | None:
    """What each turn of a loop adds to its counter."""
    found, index = _BODY.search(loop.text), _index(counter)
    body = self.computations.get(found[1], []) if found else []
    if index is None or not body or body[-1].opcode != "tuple":
      return None
    inside = {i.name: i for i in body}
    value = inside.get(body[-1].operands[index])
    step = 0
    # A body that was doubled adds twice.
    while value and value.opcode in ("add", "copy"):
      amounts = [_constant(inside.get(o)) for o in value.operands]
      step += sum(amount or 0 for amount in amounts)
      rest = [
        o
        for o, amount in zip(value.operands, amounts, strict=True)
        if amount is None
      ]
      value = inside.get(rest[0]) if len(rest) == 1 else None
    return step if value and _index(value) == index else None

  @functools.cached_property
  def times(self) -> Mapping[str, int]:
    """Computation -> how often it runs in a step; unknown loops count once."""
    times: collections.Counter[str] = collections.Counter({self.entry: 1})
    # Callees are printed before their callers.
    for name in reversed(self.computations):
      for called in self.calls(name):
        times[called] += times[name]
      for loop in self.loops(name):
        times[loop.body] += times[name] * (loop.trips or 1)
    return times

  @property
  def unknown_loops(self) -> int:
    """Loops that run, of which the program does not say how often."""
    return sum(
      loop.trips is None
      for name in self.computations
      if self.times[name]
      for loop in self.loops(name)
    )

  def collectives(self) -> list[Collective]:
    """All that communicates in a step."""
    found: list[Collective] = []
    chains: set[tuple[str, str]] = set()
    for name, instructions in self.computations.items():
      shapes = {i.name: i.shape for i in instructions}
      for instruction in instructions if self.times[name] else ():
        kind = instruction.opcode.removesuffix("-start")
        if kind not in _COLLECTIVES:
          continue
        chain = _CHAIN.search(instruction.text)
        if chain and (kind, chain[1]) in chains:
          continue
        if chain:
          chains.add((kind, chain[1]))
        # On TPU a fusion of this name stands for a reduce-scatter.
        if kind == "all-reduce" and name.startswith("all-reduce-scatter"):
          kind = "reduce-scatter"
        found.append(
          Collective(
            kind,
            self.times[name],
            sum(shape_bytes(shapes.get(o, "")) for o in instruction.operands),
            groups.read(instruction.text),
          )
        )
    return found


def _constant(instruction: Instruction | None) -> int | None:
  """The value of a whole number; None for anything else."""
  if instruction is None or instruction.opcode != "constant":
    return None
  value = re.match(r"(-?\d+)\)", instruction.text)
  return int(value[1]) if value else None


def _index(instruction: Instruction | None) -> int | None:
  """Which element of a tuple an instruction takes."""
  if instruction is None or instruction.opcode != "get-tuple-element":
    return None
  found = re.search(r"index=(\d+)", instruction.text)
  return int(found[1]) if found else None


def _instruction(line: str) -> Instruction | None:
  match = _INSTRUCTION.match(line)
  if match is None:
    return None
  rest = match["rest"]
  operands = tuple(_NAME.findall(rest[: _closing(rest)]))
  return Instruction(
    match["name"], match["shape"], match["opcode"], operands, rest
  )


def _closing(text: str) -> int:
  """Where the parenthesis that is open at the start of a text closes."""
  depth = 1
  for i, character in enumerate(text):
    depth += (character == "(") - (character == ")")
    if depth == 0:
      return i
  return len(text)


def _names(called: str) -> list[str]:
  return [name.strip(" %") for name in called.strip("{}").split(",") if name]

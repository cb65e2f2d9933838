"""A plan as a table: a column for each mesh."""

from collections.abc import Callable, Mapping
from typing import Any

from rich import box, table, text

from t5cr import progress, terminal

Column = Mapping[str, Any]

_WORDS = {"compute": "compute", "hbm": "memory", "ici": "interconnect"}
_REST = "-"


def number(value: float, unit: str = "") -> str:
  """`7.07e+12` reads `7.07 T`, with a unit behind it.

  >>> number(9.2e10, 'B')
  '92 GB'
  """
  for factor, prefix in ((1e15, "P"), (1e12, "T"), (1e9, "G"), (1e6, "M")):
    if value >= factor:
      return f"{value / factor:.3g} {prefix}{unit}"
  return f"{value / 1e3:.3g} k{unit}" if value else f"0 {unit}".strip()


def size(count: float | None) -> str:
  """Bytes of memory, in GiB or MiB."""
  if count is None:
    return _REST
  if count < 2**30 / 10:
    return f"{count / 2**20:.2f} MiB"
  return f"{count / 2**30:.2f} GiB"


def seconds(value: float | None) -> str:
  """Seconds or milliseconds."""
  if value is None:
    return _REST
  return f"{value:.3g} s" if value >= 1 else f"{value * 1e3:.3g} ms"


def _fits(column: Column) -> str:
  if "crashed" in column:
    return column["crashed"]
  if column["fits"] is None:
    return "not known"
  if column["fits"]:
    return "yes"
  if "memory" not in column:
    return f"NO: {column['refused']}"
  needs, limit = column["memory"]["peak"], column["memory_limit"]
  return f"NO: needs {size(needs)} of {size(limit)}"


def _memory(name: str) -> Callable[[Column], str]:
  return lambda column: size(column.get("memory", {}).get(name))


def _collective(kind: str) -> Callable[[Column], str]:
  def cell(column: Column) -> str:
    found = column.get("collectives", {}).get(kind)
    if not found:
      return _REST
    return f"{found['count']:,} x, {number(found['sent'], 'B')}"

  return cell


def _time(name: str) -> Callable[[Column], str]:
  return lambda column: seconds(column.get("step_seconds", {}).get(name))


def step(column: Column) -> str:
  """The step time that peak rates allow, and what it waits for."""
  if not column.get("bound"):
    return _REST
  value = column["step_seconds"][column["bound"]]
  return f"{seconds(value)} ({_WORDS[column['bound']]})"


def _hours(column: Column) -> str:
  if "hours" not in column:
    return _REST
  return progress.duration(column["hours"] * 3600)


def _money(column: Column) -> str:
  return f"{column['cost']:,.2f}" if "cost" in column else _REST


def _compile(column: Column) -> str:
  spent = column.get("seconds")
  return seconds(spent["trace"] + spent["compile"]) if spent else _REST


def _rows(
  about: Mapping[str, Any], run: Mapping[str, Any]
) -> list[tuple[str, Callable[[Column], str]]]:
  """(label, what a column says) of each line."""
  columns = about["meshes"]
  kinds = sorted({k for c in columns for k in c.get("collectives", {})})
  rows = [
    ("fits in a device's memory", _fits),
    ("memory of a device, peak", _memory("peak")),
    ("  arguments", _memory("arguments")),
    ("  temporaries", _memory("temporaries")),
    ("  output", _memory("output")),
    ("  of it in the arguments' place", _memory("aliased")),
    ("  program", _memory("program")),
    (
      "FLOPs of a step and device",
      lambda c: number(c["flops"]) if "flops" in c else _REST,
    ),
    (
      "bytes accessed",
      lambda c: number(c["bytes"], "B") if "bytes" in c else _REST,
    ),
    *((f"{kind}, bytes sent", _collective(kind)) for kind in kinds),
    ("step, if only compute counts", _time("compute")),
    ("  only memory", _time("hbm")),
    ("  only the interconnect", _time("ici")),
    ("step at peak rates", step),
    (f"{run['steps']:,} steps at peak rates", _hours),
  ]
  if run["price_per_chip_hour"] is not None:
    price = run["price_per_chip_hour"]
    rows.append((f"cost at {price:g} a chip and hour", _money))
  return [*rows, ("compiled here in", _compile)]


def _heading(about: Mapping[str, Any]) -> str:
  kind, devices = about["device_kind"], about["devices"]
  words = f"{about['topology']}: {devices:,} devices ({kind})"
  if about["chips"] != devices:
    words += f", {about['devices_per_chip']} to a chip"
  memory = about["rates"]["memory"]
  if memory is not None:
    words += f", {size(memory / about['devices_per_chip'])} each"
  return words


def _described(run: Mapping[str, Any]) -> str:
  lengths = run["task_feature_lengths"]
  packed = "packed" if run["pack"] else "not packed"
  return (
    f"{number(run['parameters'])} parameters, {run['T5Config']['dtype']}, "
    f"batch {run['batch_size']} x {lengths['inputs']}/{lengths['targets']}, "
    f"{packed}"
  )


def remarks(plan: Mapping[str, Any]) -> list[str]:
  """What a reader has to know about some of the figures."""
  found = []
  for about in plan["topologies"]:
    unknown = [name for name, rate in about["rates"].items() if rate is None]
    if unknown:
      flags = ", ".join(f"--{_FLAGS[name]}" for name in unknown)
      found.append(
        f"{about['topology']}: its peak rates are not known here; {flags} "
        "would set them."
      )
    if any(c.get("unknown_loops") for c in about["meshes"]):
      found.append(
        f"{about['topology']}: the program has loops that do not say how often "
        "they run; they are counted once, so the figures are too low."
      )
  return found


_FLAGS = {
  "flops": "peak_flops",
  "hbm_bandwidth": "hbm_bandwidth",
  "ici_bandwidth": "ici_bandwidth",
  "memory": "memory",
}


def show(plan: Mapping[str, Any]) -> None:
  """Prints a plan: a table on a terminal, plain columns elsewhere."""
  terminal.show(_described(plan["run"]))
  for about in plan["topologies"]:
    terminal.show("", _table(about, plan["run"]))
  for remark in remarks(plan):
    terminal.show("", remark)


def _table(about: Mapping[str, Any], run: Mapping[str, Any]) -> table.Table:
  shown = table.Table(
    title=_heading(about), title_justify="left", box=box.SIMPLE
  )
  shown.add_column("")
  for column in about["meshes"]:
    shown.add_column(column["name"], justify="right")
  for label, cell in _rows(about, run):
    cells = [cell(column) for column in about["meshes"]]
    if set(cells) != {_REST}:
      bold = "bold" if label.startswith("step at peak") else ""
      shown.add_row(
        text.Text(label, bold),
        *(
          text.Text(cell, "red" if cell.startswith("NO") else bold)
          for cell in cells
        ),
      )
  return shown

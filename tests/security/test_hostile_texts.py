"""Titles, labels and names that would act on a terminal, a page or a plot."""

import html.parser
import json
import logging
import pathlib
import re
import subprocess
import sys

import markdown_it
import pytest
import yaml

from t5cr import cli, errors, progress, terminal
from t5cr.engine import config
from t5cr.study import against, markdown, model_card, report, variants

SCRIPT = "<script>alert(1)</script><img src=x onerror=alert(2)>"
LINKS = "![x](http://127.0.0.1:9/x.png)\n\n![y](../../precious)\n\n[z](a:b)"
MARKS = "|`*_#~\\ $\\frac{$ $x^$ & &lt;b&gt; --- 1. x"
# Clears the screen, sets the title, hides behind a link; C1; turned around.
TERMINAL = (
  "\x1b[2J\x1b]0;owned\x07\x1b]8;;http://x\x1b\\\x9b31m\r\b\u202e\u2066"
)
HOSTILE = f"{TERMINAL}{SCRIPT}\n\n# {LINKS}\n\n{MARKS}"

ACTIVE = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")


def write_lines(path: pathlib.Path, lines: list) -> None:
  path.parent.mkdir(parents=True, exist_ok=True)
  path.write_text("".join(json.dumps(line) + "\n" for line in lines))


def write_run(folder: pathlib.Path) -> pathlib.Path:
  """A run with hostile text wherever a run may have text."""
  evaluated = folder / "inference_eval"
  write_lines(
    evaluated / f"{variants.DIALOGUE_TASK}-metrics.jsonl",
    [{"step": 7, "bleu": 9, f"x: {HOSTILE}": 1.0, "y": float("nan")}],
  )
  dialogues = [
    {
      "input": {"inputs_pretokenized": f"[user] {HOSTILE} [assistant] hi"},
      "target": {
        "text": f"see @ {HOSTILE} @",
        "dialogue_id": f"{HOSTILE}{number}",
        "turn": number,
        "recommended": [HOSTILE],
      },
      "prediction": f"{HOSTILE} @ heat (1995) @",
    }
    for number in range(4)
  ]
  write_lines(evaluated / f"{variants.DIALOGUE_TASK}-000007.jsonl", dialogues)
  for probe in ("attribute", "attribute" + variants.PHRASINGS):
    task = variants.PROBE_TASK_PREFIX + probe
    write_lines(evaluated / f"{task}-metrics.jsonl", [{"step": 7}])
    write_lines(
      evaluated / f"{task}-000007.jsonl",
      [
        {
          "input": {"inputs_pretokenized": HOSTILE},
          "target": {
            "probe_id": number,
            "candidate": candidate,
            "rank": 1,
            "tag": f"{number % 2}{HOSTILE}",
            "movie": "",
            "related": HOSTILE,
            "negative": HOSTILE,
            "template": f"{number % 2}{HOSTILE}",
            "decile": 1,
            "named": 0,
            "target_tokens": 3,
          },
          "score": -1.0 - candidate,
        }
        for number in range(24)
        for candidate in (0, 1)
      ],
    )
  about = {"label": HOSTILE, "engine": HOSTILE, "parameters": HOSTILE}
  about["versions"] = {HOSTILE: HOSTILE}
  about["settings"] = {
    "initial_checkpoint_path": f"gs://{HOSTILE}",
    "data": {"t5cr_redial`|" + SCRIPT: HOSTILE},
    HOSTILE: HOSTILE,
    "TrainData": {"task_feature_lengths": {"targets": "8)\nimport evil"}},
  }
  (folder / "run.json").write_text(json.dumps(about))
  (folder / "config.gin").write_text(
    f"# Macros:\nSEED = 1\nX = '```{SCRIPT}'\n# Parameters for x\n"
  )
  return folder


class Page(html.parser.HTMLParser):
  """Notes what would act on a reader of a page."""

  def __init__(self):
    super().__init__()
    self.acting: list[tuple] = []

  def handle_starttag(self, tag, attrs):
    given = dict(attrs)
    handlers = [name for name in given if name.startswith("on")]
    sources = [given.get(name) or "" for name in ("src", "srcset", "action")]
    remote = [s for s in sources if s and not s.startswith("data:image/png")]
    links = given.get("href") or "https://"
    if tag in ("script", "iframe", "object", "form", "base") or handlers:
      self.acting.append((tag, given))
    if remote or not links.startswith(("https://arxiv.org", "https://", "#")):
      self.acting.append((tag, given))


@pytest.fixture(scope="module")
def written(tmp_path_factory):
  """The report of the hostile run: (its folder, what it holds)."""
  place = tmp_path_factory.mktemp("reported")
  (place / "precious.png").write_bytes(b"PRECIOUS")
  run = write_run(place / "a" / "run")
  return run / "report", report.write(run)


def test_a_page_shows_text_as_text(written):
  text = (written[0] / "report.html").read_text("utf-8")
  page = Page()
  page.feed(text)
  assert not page.acting
  assert "&lt;script&gt;" in text, "the texts of the run are on the page"
  assert not ACTIVE.search(text)
  assert "PRECIOUS" not in text and "UFJFQ0lPVV" not in text


def test_markdown_shows_text_as_text_in_any_viewer(written):
  text = (written[0] / "report.md").read_text("utf-8")
  assert not ACTIVE.search(text)
  # This viewer takes HTML and pictures from everywhere.
  viewer = markdown_it.MarkdownIt("commonmark", {"html": True}).enable("table")
  page = Page()
  page.feed(re.sub(r'src="[\w-]+\.png"', "", viewer.render(text)))
  assert not page.acting
  headings = re.findall("^#+ .*", text, re.MULTILINE)
  assert len(headings) < 20 and not any("precious" in h for h in headings)


def test_plots_are_drawn_of_any_text(written):
  names = {path.name for path in written[0].glob("*.png")}
  assert {"figure3.png", "tags.png", "phrasings.png"} <= names


def test_the_model_card_shows_text_as_text(tmp_path):
  run = model_card.read_run(write_run(tmp_path / "run"), 7)
  shape = config.T5Config(8, 8, 1, 1, 1, 8, 8)
  card = model_card.model_card(HOSTILE, shape, run)
  assert not ACTIVE.search(card)
  _, front, _ = card.split("---\n", 2)
  (index,) = yaml.safe_load(front)["model-index"]
  result = index["results"][0]
  assert set(result) == {"task", "dataset", "metrics"}
  told = [m["type"] for r in index["results"] for m in r["metrics"] or ()]
  assert set(told) == {"bleu", f"x: {HOSTILE}"}
  viewer = markdown_it.MarkdownIt("commonmark", {"html": True}).enable("table")
  page = Page()
  page.feed(viewer.render(card.split("---\n", 2)[2]))
  assert not page.acting
  assert "max_new_tokens=128)" in card and "import evil" not in card


@pytest.mark.parametrize("is_terminal", [True, False])
def test_tables_and_messages_leave_the_terminal_alone(
  written, is_terminal, capsys, monkeypatch
):
  monkeypatch.setattr(sys.stdout, "isatty", lambda: is_terminal)
  monkeypatch.setenv("TERM", "dumb")
  there = json.loads((written[0] / "report.json").read_text())
  comparison = against.compare(written[1], there, f"{HOSTILE}.json")
  from t5cr.study import against_page, summary

  terminal.show(summary.overview(written[1]), HOSTILE)
  against_page.show(comparison)
  reporter = progress.Reporter("plain")
  reporter.say(HOSTILE)
  reporter(HOSTILE, 1, 1, "steps")
  terminal.guard()
  logging.getLogger("absl").warning("a batch: %s", HOSTILE)
  assert cli.main(["report", f"no-such-{TERMINAL}"]) == 2
  captured = capsys.readouterr()
  assert "owned" in captured.out and "owned" in captured.err
  assert not ACTIVE.search(captured.out + captured.err)


def test_what_nobody_sees_is_shown():
  unseen = "\u00ad\u034f\u115f\u1160\u180e\u200b\u2066\u3164\ufeff\U000e0041"
  assert terminal.clean(unseen).isascii()
  # Persian, Hindi, emoji of several, accents, spaces that do not break.
  seen = "می\u200cخواهم क्\u200dष 👩\u200d👧 ❤️ e\u0301 \u00a0 Amélie\t\n"
  assert terminal.clean(seen) == seen


def test_logs_and_tracebacks_leave_the_terminal_alone():
  code = (
    "import logging\nfrom absl import logging as absl\n"
    "from t5cr import terminal\nterminal.guard()\n"
    "import sys\ntext = sys.stdin.read()\n"
    "absl.error('a batch: %s', text)\nlogging.error('%s', text)\n"
    "import threading\n"
    "def fail():\n  raise RuntimeError(text)\n"
    "thread = threading.Thread(target=fail, name=text)\n"
    "thread.start()\nthread.join()\nfail()"
  )
  ended = subprocess.run(
    [sys.executable, "-c", code],
    input=HOSTILE.encode(),
    capture_output=True,
    check=False,
  )
  said = ended.stderr.decode()
  # Of the thread, its name too.
  assert said.count("owned") == 5 and ended.returncode == 1
  assert not ACTIVE.search(said)


@pytest.mark.parametrize(
  "text",
  ["- x", "1. x", "=", "---", "# x", "<b>", "a|b", "a\n\nb", "`x", "$x$"],
)
def test_literal_markdown_is_one_paragraph_that_says_it(text):
  viewer = markdown_it.MarkdownIt("commonmark", {"html": True})
  page = viewer.render(f"before\n{markdown.literal(text)}")
  assert page.startswith("<p>before\n") and page.count("<") == 2
  shown = html.unescape(page.removeprefix("<p>before\n").removesuffix("</p>\n"))
  assert shown == " ".join(text.split())


# What run folders and reports of others may hold in place of what is expected.
JSON = {
  "no JSON": "{",
  "a list": "[1]",
  "too deep": '{"a":' * 50_000,
  "no UTF-8": "\udcff",
  "label": '{"label": {"a": [1]}, "settings": 3}',
  "numbers": '{"settings": {"data": [1, 2]}, "data": 7, "parameters": 1e999}',
  "not numbers": '{"parameters": NaN, "seconds": [NaN], "settings": null}',
  "digits": '{"parameters": ' + "9" * 9_999 + "}",
}


@pytest.mark.parametrize("file", ["run.json", "results_of.json", "report"])
@pytest.mark.parametrize("content", JSON)
def test_json_of_others_is_read_or_told(tmp_path, file, content):
  """Of other errors than these there would be tracebacks."""
  run = tmp_path / "run"
  task = variants.PROBE_TASK_PREFIX + "attribute"
  write_lines(run / f"inference_eval/{task}-metrics.jsonl", [{"step": 1}])
  path = tmp_path / "report.json" if file == "report" else run / file
  path.write_bytes(JSON[content].encode("utf-8", "surrogateescape"))
  try:
    if file == "report":
      there = against.read(path)
      against.compare(there, there, "x")
    else:
      from t5cr.study import sources

      report.of([sources.Source(run)])
      model_card.model_card("x", None, model_card.read_run(run, 1))  # pyright: ignore
  except errors.UsageError as error:
    assert str(tmp_path) in str(error)
  except AttributeError as error:
    # The card of a model without a shape; all of the run was read.
    assert "'NoneType' object has no attribute 'logits_via" in str(error)


LINES = {
  "step climbs out": [{"step": "/../../../precious"}],
  "step is a list": [{"step": [1]}],
  "no step": [{"bleu": 1}],
  "step below 0": [{"step": -1}],
}


@pytest.mark.parametrize("attack", LINES)
def test_metrics_lead_to_no_other_file(tmp_path, attack):
  folder = tmp_path / "run"
  evaluated = folder / "inference_eval"
  write_lines(evaluated / "x-metrics.jsonl", LINES[attack])
  (evaluated / "x-").mkdir()
  with pytest.raises(errors.UsageError, match="x-metrics.jsonl"):
    report.write(folder)


@pytest.mark.parametrize(
  "line",
  [
    {"input": 3},
    {"input": {}, "target": []},
    {"target": {"text": 3}, "prediction": 4},
    {"target": {"dialogue_id": [1], "text": "x"}, "prediction": "x"},
    {"target": {}, "prediction": []},
  ],
)
def test_results_that_are_none_are_told(tmp_path, line):
  folder = tmp_path / "run"
  task = variants.DIALOGUE_TASK
  write_lines(folder / f"inference_eval/{task}-metrics.jsonl", [{"step": 1}])
  write_lines(folder / f"inference_eval/{task}-000001.jsonl", [line])
  with pytest.raises(errors.UsageError, match=str(folder)):
    report.write(folder)


def test_a_report_is_not_written_through_links(watched):
  """Not of its folder, nor of the names that files have while written."""
  run = write_run(watched.inside / "run")
  precious = watched.root / "precious.json"
  (run / "report").symlink_to(watched.root)
  with pytest.raises(errors.UsageError, match="is a link"):
    report.write(run)
  (run / "report").unlink()
  (run / "report").mkdir()
  for name in ("report.json", "report.html", "figure3.png"):
    (run / "report" / name).symlink_to(precious)
  for name in ("figure3.png", "figure3-dark.png"):
    (run / "report" / f".{name}.tmp").symlink_to(precious)
  report.write(run)
  assert not (run / "report/report.json").is_symlink()

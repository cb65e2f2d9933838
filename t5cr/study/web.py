"""The report as one HTML page, made from its Markdown."""

import base64
import html
import pathlib
import re
import string
from collections.abc import Mapping
from typing import Any

import markdown_it

_INTERVAL = r"\((?:[\d.]+–[\d.]+|[+−][\d.]+ to [+−][\d.]+)\)"


def render(
  text: str, report: Mapping[str, Any], directory: pathlib.Path
) -> str:
  """The Markdown report as one page that needs no other file.

  Args:
    text: the report as Markdown.
    report: what report.json holds.
    directory: where the figures are; they are put into the page.

  Returns:
    The page.
  """
  parser = markdown_it.MarkdownIt("commonmark", {"html": False})
  body = parser.enable("table").render(text)
  body = body.replace("<table>", '<div class="scroll"><table>')
  body = body.replace("</table>", "</table></div>")
  body = re.sub(_INTERVAL, r"<small>\g<0></small>", body)
  body = re.sub(
    r'<p><img src="([\w-]+)\.png" alt="([^"]*)"\s*/?></p>',
    lambda match: _picture(directory, match[1], match[2]),
    body,
  )
  template = pathlib.Path(__file__).with_name("report_template.html")
  corpus = "invented corpus" if report["corpus"]["invented"] else "report"
  return string.Template(template.read_text(encoding="utf-8")).substitute(
    title=html.escape(f"T5-CR, {corpus}"), body=body
  )


def _picture(directory: pathlib.Path, name: str, alternative: str) -> str:
  """A figure as data, the dark one where the page is dark."""
  light, dark = (
    "data:image/png;base64,"
    + base64.b64encode(
      (directory / f"{name}{suffix}.png").read_bytes()
    ).decode()
    for suffix in ("", "-dark")
  )
  return (
    "<figure><picture>"
    f'<source media="(prefers-color-scheme: dark)" srcset="{dark}">'
    f'<img src="{light}" alt="{alternative}"></picture></figure>'
  )

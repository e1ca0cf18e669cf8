"""The few pieces of HTML that pages are made of, and the page around them.

In: texts and numbers. Out: HTML that asks for nothing: no script, no font, no picture from elsewhere.
Leaves out: what the pages say (`sections.py`, `page.py`).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from html import escape

STYLE = """
:root { color-scheme: light dark; --ink: #1c2430; --muted: #5b6675; --paper: #f6f7f9; --card: #ffffff;
  --line: #d9dee5; --accent: #1d5fd1; --second: #b4540a; }
@media (prefers-color-scheme: dark) { :root { --ink: #e6e9ee; --muted: #9aa5b4; --paper: #14181e; --card: #1c222b;
  --line: #343d4a; --accent: #7fb0ff; --second: #f0a35c; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--paper); color: var(--ink); line-height: 1.5;
  font-family: system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", Arial, "Liberation Sans", sans-serif; }
main { max-width: 72rem; margin: 0 auto; padding: 2rem 1.25rem 4rem; }
h1 { font-size: 1.9rem; line-height: 1.2; margin: 0; overflow-wrap: anywhere; }
h2 { font-size: 1.15rem; margin: 0 0 .75rem; }
p { margin: .5rem 0; max-width: 46rem; }
section { background: var(--card); border: 1px solid var(--line); border-radius: .6rem; padding: 1.1rem 1.25rem;
  margin-top: 1.25rem; }
.about { color: var(--muted); margin-top: .35rem; }
.headline { font-size: 1.45rem; font-weight: 650; line-height: 1.25; margin: 0 0 .6rem; max-width: none; }
.answer { border-left: .35rem solid var(--accent); }
.note, .missing { color: var(--muted); }
.wide { overflow-x: auto; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; font-size: .95rem; }
th, td { text-align: left; padding: .35rem 1.1rem .35rem 0; border-bottom: 1px solid var(--line); vertical-align: top; }
th { font-weight: 600; color: var(--muted); white-space: nowrap; vertical-align: bottom; }
tr:last-child td { border-bottom: 0; }
th:last-child, td:last-child { padding-right: 0; }
td.number, th.number { text-align: right; white-space: nowrap; }
td.text { max-width: 28rem; }
.strong td { font-weight: 650; }
.bar { display: inline-block; width: 12rem; }
.bar span { display: block; height: .7rem; background: var(--accent); border-radius: .15rem; min-width: 1px; }
.panels { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(19rem, 100%), 1fr)); gap: .75rem 1.25rem; }
figure { margin: 0; }
figcaption { color: var(--muted); font-size: .9rem; margin-top: .25rem; max-width: 46rem; }
figure svg { display: block; width: 100%; height: auto; }
.plot svg text { font-family: inherit !important; }
.single svg { max-width: 46rem; }
.picture { background: #ffffff; border-radius: .4rem; overflow-x: auto; }
.picture svg { min-width: 44rem; }
code, pre { font-family: ui-monospace, "SF Mono", Menlo, Consolas, "Liberation Mono", monospace; font-size: .88rem; }
code { overflow-wrap: anywhere; }
pre { overflow-x: auto; margin: .75rem 0 0; line-height: 1.4; }
summary { cursor: pointer; font-weight: 600; }
@media (max-width: 40rem) { section { padding: 1rem .9rem; } th, td { padding-right: .8rem; } }
@media print { body { background: #ffffff; } section { break-inside: avoid; } }
"""

POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"
CODE = re.compile(r"`([^`]+)`")


class Html(str):
    """Text that is HTML already."""

    __slots__ = ()


def text(value: str) -> Html:
    """Escaped text; what stands between backticks becomes code."""
    return value if isinstance(value, Html) else Html(CODE.sub(r"<code>\1</code>", escape(value, quote=True)))


def paragraph(value: str, kind: str = "") -> Html:
    """A paragraph of a class of the style."""
    return Html(f"<p{_class(kind)}>{text(value)}</p>")


def section(title: str, *parts: str, kind: str = "") -> Html:
    """A card with a title."""
    heading = f"<h2>{text(title)}</h2>\n" if title else ""
    return Html(f"<section{_class(kind)}>\n{heading}{chr(10).join(text(part) for part in parts)}\n</section>")


def table(header: Sequence[str], rows: Sequence[Sequence[str]], *, numbers: Sequence[int] = (), last: str = "") -> Html:
    """A table that scrolls by itself where it is too wide.

    Args:
        header: titles of the columns.
        rows: cells.
        numbers: columns that stand on the right.
        last: a class for the last row.
    """
    kinds = ["number" if column in numbers else "text" for column in range(len(header))]
    head = "".join(f'<th class="{kind}">{text(cell)}</th>' for kind, cell in zip(kinds, header, strict=True))
    lines = []
    for index, row in enumerate(rows):
        cells = "".join(f'<td class="{kind}">{_breakable(cell)}</td>' for kind, cell in zip(kinds, row, strict=True))
        lines.append(f"<tr{_class(last if index == len(rows) - 1 else '')}>{cells}</tr>")
    body = "\n".join(lines)
    return Html(f'<div class="wide"><table>\n<thead><tr>{head}</tr></thead>\n<tbody>\n{body}\n</tbody></table></div>')


def _breakable(cell: str) -> Html:
    """A cell in which a long name may go on in the next line, where the table has no room."""
    return cell if isinstance(cell, Html) else Html(text(cell).replace("_", "_<wbr>"))


def figure(svg: str, caption: str, kind: str) -> Html:
    """An inlined picture."""
    return Html(f"<figure><div{_class(kind)}>{svg}</div><figcaption>{text(caption)}</figcaption></figure>")


def panels(figures: Sequence[str]) -> Html:
    """Pictures beside each other, as many as fit."""
    return Html(f'<div class="panels">\n{chr(10).join(figures)}\n</div>')


def bar(share: float) -> Html:
    """A bar that is `share` (0 to 1) of the longest one."""
    return Html(f'<span class="bar"><span style="width: {100 * share:.1f}%"></span></span>')


def folded(title: str, content: str) -> Html:
    """Preformatted text that opens on demand."""
    return Html(f"<details><summary>{text(title)}</summary><pre>{escape(content)}</pre></details>")


def folded_table(
    title: str, header: Sequence[str], rows: Sequence[Sequence[str]], *, numbers: Sequence[int] = ()
) -> Html:
    """A table that opens on demand."""
    return Html(f"<details><summary>{text(title)}</summary>{table(header, rows, numbers=numbers)}</details>")


def page(title: str, about: str, parts: Sequence[str]) -> str:
    """A whole page.

    Args:
        title: plain text.
        about: a line below the title.
        parts: sections.
    """
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f'<title>{escape(title)}</title>\n<link rel="icon" href="data:,">\n<style>{STYLE}</style>\n</head>\n'
        f"<body>\n<main>\n<h1>{escape(title)}</h1>\n{paragraph(about, 'about')}\n"
        f"{chr(10).join(parts)}\n</main>\n</body>\n</html>\n"
    )


def _class(kind: str) -> str:
    return f' class="{kind}"' if kind else ""

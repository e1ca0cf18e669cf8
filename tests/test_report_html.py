"""The pieces of pages: escaped, self-contained, well-formed."""

from __future__ import annotations

from html.parser import HTMLParser

from tdspec.report import html

VOID = {"meta", "link", "br", "wbr"}


class _Balance(HTMLParser):
    """Collects elements that are closed in the wrong order or not at all."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.wrong: list[str] = []

    def handle_starttag(self, tag: str, attrs: object) -> None:
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if not self.open or self.open.pop() != tag:
            self.wrong.append(tag)


def unbalanced(text: str) -> list[str]:
    parser = _Balance()
    parser.feed(text)
    return parser.wrong + parser.open


def test_text_is_escaped_and_backticks_make_code() -> None:
    assert html.text("a < b & `x < 1`") == "a &lt; b &amp; <code>x &lt; 1</code>"


def test_what_is_html_already_stays() -> None:
    assert html.paragraph(html.bar(0.5)) == ('<p><span class="bar"><span style="width: 50.0%"></span></span></p>')


def test_a_table_puts_numbers_on_the_right_and_escapes_cells() -> None:
    text = html.table(("name", "count"), [("<a>", "1"), ("b", "2")], numbers=(1,), last="strong")
    assert '<td class="text">&lt;a&gt;</td><td class="number">1</td>' in text
    assert '<tr class="strong"><td class="text">b</td>' in text
    assert unbalanced(text) == []


def test_a_long_name_in_a_table_may_break_after_an_underscore_and_html_is_left_alone() -> None:
    link = html.Html('<a href="one_two">x</a>')
    text = html.table(("name", "link"), [("one_way_control", link)])
    assert '<td class="text">one_<wbr>way_<wbr>control</td><td class="text"><a href="one_two">x</a></td>' in text
    assert unbalanced(text) == []


def test_a_page_is_balanced_and_allows_no_request() -> None:
    page = html.page("a <b>", "c & d", [html.section("T", html.folded("more", "x < y"))])
    assert unbalanced(page) == []
    assert "<h1>a &lt;b&gt;</h1>" in page
    assert "default-src 'none'" in page
    assert "<script" not in page

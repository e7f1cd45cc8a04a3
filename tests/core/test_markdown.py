"""Markdown that holds whatever users wrote."""

from __future__ import annotations

import pytest
from folded import check_each
from markdown_it import MarkdownIt

from counterpoise.core.markdown import LONGEST, escape, flatten, format_block, format_code
from counterpoise.core.markdown import format_table as table

PARSER = MarkdownIt("commonmark").enable(["table", "strikethrough"])

NASTY = (
    "plain",
    "a|b",
    r"a\|b",
    "a\\\\|b",
    "`code`",
    "``` \n# head",
    "<script>alert(1)</script>",
    "**bold** _it_ ~~gone~~",
    "[link](http://x.y)",
    "![img](x)",
    "&lt; & &#124;",
    "a\nb\r\nc\u2028d\x00e",
    "\\",
    "a`b``c",
    "| --- |",
    "-->",
    "snake_case",
    "$x$",
)


def read(markdown: str) -> str:
    """The text that a reader sees in the only cell of a table; checks that it is text only."""
    tokens = PARSER.parse(table([["head", "next"], [markdown, "end"]]))
    cells = [t for t, before in zip(tokens[1:], tokens, strict=False) if before.type == "td_open"]
    assert [c.content for c in cells[1:]] == ["end"] and tokens[-1].type == "table_close"
    kinds = {child.type for child in cells[0].children or []}
    assert kinds <= {"text", "text_special", "code_inline", "html_inline"}, kinds
    html = {c.content for c in cells[0].children or [] if c.type == "html_inline"}
    assert html <= {"<code>", "</code>"}, html
    return "".join(c.content for c in cells[0].children or [] if c.type != "html_inline")


def test_a_table_shows_any_text_as_it_is_and_nothing_else() -> None:
    def check(text: str) -> None:
        assert read(escape(text)) == flatten(text)
        assert read(format_code(text)) == flatten(text)

    check_each(NASTY, check)


def test_a_line_has_no_control_characters_and_an_end() -> None:
    assert flatten("a\x00b\u202ec\nd") == "abc d"
    assert len(flatten("x" * 1000)) == LONGEST


@pytest.mark.parametrize("text", ["x", "```\nx", "````\n```\ny"])
def test_no_line_ends_a_block(text: str) -> None:
    (token,) = PARSER.parse(format_block(text, "sh"))
    assert token.type == "fence" and token.content == f"{text}\n" and token.info == "sh"

from __future__ import annotations

import polars as pl
import pytest

from pipelines.text import PLAIN_SINCE_UTC, cleaned, one_line, without_own_names


def clean(text: str, created_utc: int = 1_570_000_000) -> str:
    frame = pl.DataFrame({"text": [text], "created_utc": [created_utc]})
    found: str = frame.select(cleaned(pl.col("text"), pl.col("created_utc"))).item()
    return found


@pytest.mark.parametrize(
    ("text", "escaped", "plain"),
    [
        ("a &gt; b &lt; c &amp; d", "a > b < c & d", "a &gt; b &lt; c &amp; d"),
        ("&amp;gt;", "&gt;", "&amp;gt;"),
        ("&amp;amp;", "&amp;", "&amp;amp;"),
        ("a&amp;#x200B;b &amp;nbsp;", "ab", "a&amp;#x200B;b &amp;nbsp;"),
        ("a&#x200B;b", "ab", "ab"),
        ("&copy; &quot;", "&copy; &quot;", "&copy; &quot;"),
    ],
)
def test_texts_are_unescaped_once_and_only_before_2023_04(
    text: str, escaped: str, plain: str
) -> None:
    assert clean(text, PLAIN_SINCE_UTC - 1) == escaped
    assert clean(text, PLAIN_SINCE_UTC) == plain


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a\0b\x07c\x7fd\x85e", "abcde"),
        ("one\r\ntwo\rthree\tfour", "one\ntwo\nthree\tfour"),
        ("\u202egnp.exe\u2066\u200b\ufeff", "gnp.exe"),
        ("family \U0001f468\u200d\U0001f469\u200d\U0001f467 größe", None),
        ("  padded \n", "padded"),
        ("", ""),
    ],
)
def test_what_cannot_be_seen_is_left_out(text: str, expected: str | None) -> None:
    assert clean(text) == (text if expected is None else expected)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("thanks u/Some_One-1!", "thanks u/[user]!"),
        ("/u/Some_One", "u/[user]"),
        ("(/u/Some_One, u/x)", "(u/[user], u/[user])"),
        ("U/SHOUT and /User/name", "u/[user] and u/[user]"),
        ("escaped u/some\\_one\\_else.", "escaped u/[user]."),
        ("https://www.reddit.com/user/some_one/comments", None),
        ("[me](https://old.reddit.com/u/some_one)", None),
        ("by @some_one on 12", "by u/[user] on 12"),
        ("u/&lt;b&gt;", "u/<b>"),
        ("hidden u/so\u200bme", "hidden u/[user]"),
        ("and/or thou/sand r/pics mail@example.org 5 @ 3", "="),
    ],
)
def test_no_mention_keeps_its_name(text: str, expected: str | None) -> None:
    shown = clean(text)
    if expected is None:
        assert "some_one" not in shown and "u/[user]" in shown
    else:
        assert shown == (text if expected == "=" else expected)


def test_an_authors_own_name_goes_from_the_authors_texts_alone() -> None:
    texts = pl.Series(["I am FOO_bar, foo\\_bar! not foo_bars", "foo_bar", "a.b", ""])
    names = pl.Series(["Foo_Bar", "other", "a", "x"])
    assert without_own_names(texts, names).to_list() == [
        "I am u/[user], u/[user]! not foo_bars",
        "foo_bar",
        "u/[user].b",
        "",
    ]
    assert texts[0] == "I am FOO_bar, foo\\_bar! not foo_bars"


def test_one_line_has_no_breaks_and_a_limit() -> None:
    frame = pl.DataFrame({"text": ["  a \n\n b\tc  ", "äöü" * 9, ""]})
    assert frame.select(one_line(pl.col("text"), 7))["text"].to_list() == ["a b c", "äöüäöüä", ""]

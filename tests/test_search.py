"""Search finds what people mean, wherever they search."""

from __future__ import annotations

import unicodedata

import pytest

from appliance.config.search import folded, found


@pytest.mark.parametrize(
    ("name", "queries"),
    [
        ("Jürgen Groß", ("jurgen", "JÜRGEN", "gross", "groß", "GROSS", "ju\u0308rgen")),
        ("Łukasz Wałęsa", ("lukasz", "łukasz", "walesa", "WAŁĘSA")),
        ("Søren Kærgård", ("soren", "SØREN", "kaergard")),
        ("Đặng Thị Ngọc", ("dang", "đặng", "ngoc thi")),
        ("Ægir Þór Œuvré", ("aegir", "thor", "oeuvre")),
        ("İpek Ilgın", ("ipek", "ilgin", "ILGIN")),
        ("Ελένη", ("ελενη", "ΕΛΈΝΗ")),
        ("王小明", ("小明",)),
        ("Anna 100% B_c", ("100%", "b_c", "anna b")),
    ],
)
def test_marks_case_and_letters_of_other_keyboards_do_not_matter(name: str, queries: tuple[str, ...]) -> None:
    for query in queries:
        assert found(query, name), query
        assert found(query, "101", unicodedata.normalize("NFD", name)), query
    assert not found("nobody", name)


def test_folding_folds_nothing_twice_and_leaves_plain_text_alone() -> None:
    every = "".join(map(chr, range(0x21, 0x2000)))
    assert folded(folded(every)) == folded(every)
    assert folded("Plain Text 123 %_") == "plain text 123 %_"

"""Cuts as they are written."""

import pytest

from headstart.backbones.cut import POOLINGS, Cut
from headstart.recipe import load_recipe


def test_a_layer_with_or_without_a_pooling_of_its_own() -> None:
    assert Cut.parse("mixed7") == Cut("mixed7") == Cut("mixed7", None)
    assert Cut.parse("mixed7:grid") == Cut("mixed7", "grid")
    assert Cut("mixed7") != Cut("mixed7", "avg")  # the recipe's pooling may be another
    assert len({Cut.parse("a"), Cut.parse("a"), Cut.parse("a:max")}) == 2


@pytest.mark.parametrize("text", ["mixed7", *(f"mixed7:{pooling}" for pooling in POOLINGS)])
def test_what_is_read_is_written_again(text: str) -> None:
    assert str(Cut.parse(text)) == text


@pytest.mark.parametrize("text", ["", ":avg", "mixed7:", "mixed7:mean", "a:avg:max"])
def test_what_names_no_cut_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"expected LAYER or LAYER:POOLING") as caught:
        Cut.parse(text)
    assert f"found {text!r}" in str(caught.value)
    assert "avg+max" in str(caught.value)


def test_a_recipe_reads_its_cuts() -> None:
    recipe = load_recipe("quick", cut="block5c_add+block6d_add:max")
    assert recipe.cuts == (Cut("block5c_add"), Cut("block6d_add", "max"))
    assert load_recipe("quick", cut=[Cut("a", "grid"), "b"]).cut == ("a:grid", "b")
    assert load_recipe("quick", cut="auto").cuts == (Cut("last"),)  # until it is measured

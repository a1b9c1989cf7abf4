"""The names that `import diml` offers, and what a misspelt one says."""

import subprocess
import sys

import pytest

import diml


def test_every_public_name_can_be_used():
    for name in diml.__all__:
        assert getattr(diml, name).__name__ == name
    assert set(diml.__all__) <= set(dir(diml))


@pytest.mark.parametrize(
    ("misspelt", "meant"),
    [("Compare", "compare"), ("structuralmodel", "StructuralModel"), ("Indx", "Index"), ("draw_hit", "draw_hits")],
)
def test_a_misspelt_name_gets_a_suggestion(misspelt, meant):
    with pytest.raises(AttributeError, match=f"has no attribute '{misspelt}'; did you mean '{meant}'"):
        getattr(diml, misspelt)


def test_an_unknown_name_gets_no_suggestion():
    with pytest.raises(AttributeError, match=r"has no attribute 'zebra'$"):
        _ = diml.zebra
    assert not hasattr(diml, "zebra")


def test_importing_the_package_does_not_import_torch():
    code = "import sys, diml, diml.cli.app; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0

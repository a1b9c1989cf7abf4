"""Engines of the command line: what Ray prints does not reach standard output, which is for the answer."""

from diml.cli.engines import running_engine


def test_what_ray_prints_is_not_the_answer(monkeypatch, capsys):
    class Loud:
        def __init__(self, address, workers):
            self.asked = address, workers

        def __enter__(self):
            print("(raylet) A worker started")
            return self

        def __exit__(self, *_):
            print("(raylet) A worker died")

    monkeypatch.setattr("diml.search.ray_engine.RayEngine", Loud)
    with running_engine("ray", None, 2) as engine:
        assert engine.asked == (None, 2)
        print("(raylet) A worker died")
    print("30 added")
    assert capsys.readouterr().out == "30 added\n"

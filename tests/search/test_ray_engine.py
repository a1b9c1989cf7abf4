"""The Ray engine: its plan, what travels between processes, and the same index as one process makes."""

from __future__ import annotations

import logging
import os
import re
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path

import pyarrow as pa
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from torch import nn

from diml.data.collection import open_folder
from diml.embedding import Preprocessing
from diml.errors import ImageError, ModelError, StoreError, UsageError
from diml.model import StructuralModel
from diml.search import Index, RayEngine
from diml.search.blocks import Block, blocks
from diml.search.codes import parse_codes
from diml.search.codes.sketches import Sketches
from diml.search.engine import Work
from diml.search.items import examine, examined, items
from diml.search.ray_engine import BATCHES, Pool, _failure, _parts
from diml.search.ray_worker import Embedder, SentModel, Setup, task
from diml.search.row_block import Answer
from diml.search.row_form import RowForm

# Read when Ray is imported, which the engine refuses to start after otherwise: it would listen on the network.
os.environ["RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"] = "0"
SHAPE = {"dim": 12, "parts": 16, "columns": ["designer"], "weighted": False}


def small_model(seed: int = 0) -> StructuralModel:
    """Of a module that every process can import."""
    torch.manual_seed(seed)
    backbone = nn.Sequential(nn.Conv2d(3, 12, 8, 8), nn.ReLU())
    return StructuralModel.wrap(backbone, Preprocessing(size=(32, 32)), name="small")


# --- the plan ---


@given(st.integers(1, 5000), st.integers(1, 64), st.integers(1, 300))
def test_tasks_are_all_images_in_order(count, batch_size, workers):
    parts = _parts(range(count), batch_size, workers)
    assert [item for part in parts for item in part] == list(range(count))
    assert max(map(len, parts)) <= BATCHES * batch_size
    assert len({len(part) for part in parts[:-1]}) <= 1
    if count >= workers * BATCHES * batch_size:
        assert len(parts) >= workers


machines = st.lists(
    st.fixed_dictionaries({"CPU": st.integers(0, 32).map(float)}, optional={"GPU": st.integers(0, 8).map(float)}),
    min_size=1,
    max_size=6,
)


@given(machines, st.one_of(st.none(), st.integers(1, 64)))
def test_all_workers_of_a_pool_fit_on_the_machines(machines, workers):
    try:
        pool = Pool.of(machines, workers)
    except UsageError:
        return
    assert workers in (None, pool.workers)
    fits = sum(min(int(m["CPU"]) // pool.cpus, int(m.get("GPU", 0)) if pool.gpus else 10**9) for m in machines)
    assert fits >= pool.workers >= 1
    assert pool.gpus == any(m.get("GPU", 0) for m in machines)


@pytest.mark.parametrize("workers", [0, 9, -1])
def test_more_workers_than_fit_are_refused(workers):
    with pytest.raises(UsageError, match=f"expected 1 to 8 workers, one for each CPU of the cluster, got {workers}"):
        Pool.of([{"CPU": 6.0}, {"CPU": 2.0}], workers)


# --- what travels ---


def embedded(folder: Path, model: StructuralModel) -> Block:
    (block,) = blocks(model, examined(items(open_folder(folder))), 100)
    return block


@pytest.mark.parametrize("form", ["float16", "int8", "pool4+int4", "sketches", "no thumbnails"])
def test_rows_that_were_computed_elsewhere_are_those_of_the_block(form, make_folder):
    block = embedded(make_folder(7), small_model())
    codec = None if form in ("float16", "sketches", "no thumbnails") else parse_codes(form, 16, 12)
    form = RowForm(codec, form != "no thumbnails", Sketches(16, 12) if form == "sketches" else None)
    schema = form.schema(**SHAPE)
    parts = [block.part([0, 1, 2]), block.part([3, 4, 5, 6])]
    received, left, backends = Answer.of(block.items, parts, form, [], ["x"]).read(block.items)
    assert (left, backends, len(received)) == ([], ["x"], 7)
    for keep in ([0, 1, 2, 3, 4, 5, 6], [5, 2], []):
        metas = [{"label": f"l{i}", "designer": None} for i in keep]
        assert received.rows(keep, metas, schema, form).equals(block.rows(keep, metas, schema, form))


def test_an_error_travels_as_what_it_is():
    for error in (ModelError("the model is broken"), ImageError("x.png: is broken"), UsageError("no")):
        with pytest.raises(type(error), match=str(error)):
            Answer.failed(error).read([])


def test_a_model_travels_with_all_that_its_maps_depend_on(photos):
    model = small_model().fit_head(sorted(photos.rglob("*.png")), dim=3).with_weights("norm*rarity")
    model.fit_weights(sorted(photos.rglob("*.png")))
    # A matcher that no file can hold: it stays behind.
    model = model.with_matcher(marginals=lambda maps_a, maps_b: None).with_backend("torch")
    sent = SentModel.of(model).load("cpu")
    assert sent.fingerprint == model.fingerprint
    assert sent.encoder.inference.backend == "torch"
    image = Image.open(next(photos.rglob("*.png")))
    assert torch.equal(sent.encode(image).local, model.encode(image).local)
    assert torch.equal(sent.encode(image).weights, model.encode(image).weights)


def embedder(setup: Setup) -> Embedder:
    """A worker that has its setup already."""
    worker = Embedder([None])
    worker._loaded = setup, setup.model.load("cpu")
    return worker


def work_of(folder: Path, model: StructuralModel) -> Work:
    wanted = items(open_folder(folder))
    return Work(model, RowForm(), wanted, 4, lambda item: "", lambda item, state: None, lambda backends: None)


def test_a_worker_embeds_leaves_and_reports(make_folder):
    folder, model = make_folder(9), small_model()
    (folder / "a" / "0000.png").write_bytes(b"\x89PNG\r\n\x1a\nbroken")
    work = work_of(folder, model)
    known = examine(work.items[5].file).hash
    hashes = [known if at == 5 else "another" for at in range(9)]
    out = embedder(Setup.of(work, 1))(pa.table({"number": [3], "task": [task(work.items, hashes)]}))
    (row,) = out.to_pylist()
    assert row["number"] == 3
    received, left, backends = Answer(row["about"], row["columns"]).read(work.items)
    assert backends == ["torch"]
    assert [item.path for item in received.items] == [
        item.path for at, item in enumerate(work.items) if at not in (0, 5)
    ]
    assert left == [(work.items[5], examine(work.items[5].file))]
    ((failed, reason),) = received.failures
    (local,) = blocks(model, examined(work.items[:1]), 4)
    assert (failed.path, str(reason)) == ("a/0000.png", str(local.failures[0][1]))


def test_an_error_of_the_model_is_the_answer_of_a_worker(photos):
    model = small_model()
    torch.nn.init.constant_(model.encoder.backbone[0].bias, float("nan"))
    work = work_of(photos, model)
    out = embedder(Setup.of(work, 1))(pa.table({"number": [0], "task": [task(work.items, [""] * 12)]}))
    with pytest.raises(ModelError, match="NaN or infinite"):
        Answer(out["about"][0].as_py(), out["columns"][0].as_py()).read(work.items)


def test_every_worker_has_to_have_the_same_version(photos, monkeypatch):
    import ray

    work = work_of(photos, small_model())
    setup = Setup.of(work, 1)
    monkeypatch.setattr(ray, "get", lambda reference: reference)
    monkeypatch.setattr("diml.search.ray_worker.VERSION", "99")
    out = Embedder([setup])(pa.table({"number": [0], "task": [task(work.items, [""] * 12)]}))
    with pytest.raises(ModelError, match=r"expected diml .* on every machine of the cluster, as here, got 99"):
        Answer(out["about"][0].as_py(), out["columns"][0].as_py()).read(work.items)


# --- refusals ---


@pytest.mark.parametrize("address", ["10.0.0.1", "ray://10.0.0.1:10001", ":6379", "10.0.0.1:0", "10.0.0.1:x", ""])
def test_an_address_is_a_host_and_a_port(address):
    with pytest.raises(UsageError, match="expected the address of a Ray cluster as HOST:PORT"):
        RayEngine(address)


def test_less_than_one_worker_is_refused():
    with pytest.raises(UsageError, match="expected at least 1 worker, got 0"):
        RayEngine(workers=0)


def test_a_cluster_that_does_not_answer_is_named_at_once():
    import ray  # so that the time is that of the refusal

    assert not ray.is_initialized()
    started = time.monotonic()
    with pytest.raises(StoreError, match=r"^no Ray cluster answers at 127\.0\.0\.1:9 \(.*\); start it there") as caught:
        RayEngine("127.0.0.1:9").__enter__()
    assert time.monotonic() - started < 10
    assert "\n" not in str(caught.value)


def test_without_the_extra_it_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(UsageError, match=r"^the engine ray needs more packages: pip install 'diml\[ray\]'$"):
        RayEngine().__enter__()


@pytest.mark.parametrize(
    ("raised", "said"),
    [
        (
            "The actor died unexpectedly\nbefore",
            "the workers of the cluster ended 4 times at one task, .* 3 images are",
        ),
        ("ModuleNotFoundError: No module named 'diml'", "diml is not installed on a machine of the cluster"),
        ("traceback\n  of many lines\nMemoryError: no more\n", r"the cluster failed \(MemoryError: no more\); run it"),
    ],
)
def test_what_ray_raises_becomes_a_sentence(raised, said, make_folder):
    wanted = items(open_folder(make_folder(3)))
    error = _failure(RuntimeError(raised), [wanted[:2], wanted[2:]])
    assert isinstance(error, StoreError)
    assert re.match(said, str(error))
    assert "\n" not in str(error)


def test_an_engine_that_does_not_run_stores_nothing(photos, tmp_path):
    index = Index.create(tmp_path / "x.diml", small_model(), dim=0)
    with pytest.raises(UsageError, match="expected a Ray engine that is running; use it as a context manager"):
        index.add(photos, engine=RayEngine())
    assert not (tmp_path / "x.diml" / "manifest.json").exists()


# --- a cluster of two workers ---


class Progress:
    def __init__(self) -> None:
        self.calls: list[tuple[int, int]] = []

    def __call__(self, done: int, total: int) -> None:
        self.calls.append((done, total))


@pytest.fixture(scope="module")
def engine(tmp_path_factory):
    ray = pytest.importorskip("ray")
    tmp_path_factory.getbasetemp()  # is made now, not in the place below, which does not last
    environment = dict(os.environ)
    # Of its own, as other test processes start clusters too; short, as the names of sockets in it have to be.
    with tempfile.TemporaryDirectory(prefix="dr-", dir="/tmp") as place, pytest.MonkeyPatch.context() as patch:
        patch.setattr(tempfile, "tempdir", place)
        yield from running_engine(ray, environment, Path(place))


def running_engine(ray, environment, place):
    with RayEngine(workers=2) as running:
        assert [node["NodeManagerAddress"] for node in ray.nodes()] == ["127.0.0.1"]
        assert {name: value for name, value in os.environ.items() if name in environment} == environment
        assert len(list(place.glob("diml-ray-*"))) == 1
        yield running
    assert not ray.is_initialized()
    assert not list(place.glob("diml-ray-*"))
    assert logging.getLogger("ray.data").level != logging.CRITICAL


def rows(index: Index) -> list[dict[str, object]]:
    """All that is stored of each image but numbers of its map; every row."""
    store = index._state.require().store
    maps = ("map", "map_code", "pooled", "part_weights", "map_sketch")
    return store.scan([name for name in store.schema.names if name not in maps]).sort_by("id").to_pylist()


def check_equal(found: Index, wanted: Index) -> None:
    assert rows(found) == rows(wanted)
    maps, expected = found.maps(found.paths), wanted.maps(wanted.paths)
    torch.testing.assert_close(maps.local, expected.local, atol=1e-3, rtol=0)
    torch.testing.assert_close(maps.pooled, expected.pooled, atol=1e-3, rtol=0)
    torch.testing.assert_close(maps.weights_or_uniform, expected.weights_or_uniform, atol=1e-3, rtol=0)


class WorkerHere(RayEngine):
    """Without a cluster: one worker, in this process, answers all tasks."""

    def __enter__(self):
        self.pool, self._open = Pool(2, 1, 0), ExitStack()
        return self

    def _answers(self, work, tasks):
        worker = embedder(Setup.of(work, 1))
        for number, part in enumerate(tasks):
            hashes = [work.stored_hash(item) for item in part]
            (row,) = worker(pa.table({"number": [number], "task": [task(part, hashes)]})).to_pylist()
            yield row["number"], Answer(row["about"], row["columns"])


@pytest.fixture(params=["here", pytest.param("cluster", marks=pytest.mark.long)])
def any_engine(request):
    """The tests in which this process, the driver, does the work run without a cluster; with one they take long."""
    if request.param == "cluster":
        yield request.getfixturevalue("engine")
    else:
        pytest.importorskip("ray")
        with WorkerHere() as running:
            yield running


PLAIN = {"dim": 0}
# All that workers have to be told.
FULL = {"dim": 4, "weights": "norm*rarity", "codes": "pool8+int8", "thumbnails": False}


@pytest.mark.slow
def test_it_makes_the_index_that_one_process_makes(engine, make_folder, tmp_path, monkeypatch):
    check_made(FULL, engine, make_folder, tmp_path, monkeypatch)


@pytest.mark.slow
@pytest.mark.parametrize("made", [PLAIN, FULL], ids=["plain", "head, weights and codes"])
def test_its_driver_makes_the_index_that_one_process_makes(made, any_engine, make_folder, tmp_path, monkeypatch):
    check_made(made, any_engine, make_folder, tmp_path, monkeypatch)


def check_made(made, engine, make_folder, tmp_path, monkeypatch):
    folder, settings = make_folder(40), dict(made)
    (folder / "a" / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\nbroken")
    monkeypatch.chdir(folder.parent)  # reasons name files as they were given
    model = small_model().with_weights(settings.pop("weights", None))
    reports, indices, seen = [], [], []
    for name, by in (("local", None), ("ray", engine)):
        index = Index.create(tmp_path / f"{name}.diml", model, **settings)
        index.add(open_folder("photos/b"))  # the rest is not what a head is fitted on
        progress = Progress()
        reports.append(index.add(folder.name, labels_from="folder", batch_size=4, engine=by, progress=progress))
        indices.append(Index.open(tmp_path / f"{name}.diml", backbone=model.encoder.backbone))
        seen.append((progress.calls[0], progress.calls[-1]))
    local, ray = reports
    assert (ray.added, ray.skipped) == (local.added, local.skipped) == (40, local.skipped)
    assert [skipped.reason[:19] for skipped in ray.skipped] == ["photos/a/broken.png"]
    assert seen[0] == seen[1] == ((0, 41), (41, 41))
    check_equal(indices[1], indices[0])
    assert indices[1].stats().backends == ("torch",)


@pytest.mark.slow
def test_it_goes_on_prunes_and_relabels_as_one_process(any_engine, make_folder, tmp_path, write_image):
    folder, model = make_folder(20), small_model()
    indices = [Index.create(tmp_path / f"{name}.diml", model, dim=0) for name in ("local", "ray")]
    for index in indices:
        index.add(folder)
    write_image(folder / "a" / "0003.png", "changed")
    write_image(folder / "a" / "new.png", "new")
    os.utime(folder / "a" / "0000.png", (1, 1))  # touched, not changed
    (folder / "b" / "0001.png").unlink()
    reports = [
        index.add(folder, labels_from="folder", prune=True, batch_size=2, engine=by)
        for index, by in zip(indices, (None, any_engine), strict=True)
    ]
    counts = [(r.added, r.changed, r.unchanged, r.removed, r.relabelled, r.skipped) for r in reports]
    assert counts[0] == counts[1] == (1, 1, 18, 1, 18, [])
    check_equal(indices[1], indices[0])


@pytest.mark.slow
def test_errors_leave_what_was_embedded_and_free_the_workers(any_engine, make_folder, tmp_path):
    folder, model = make_folder(20), small_model()
    (folder / "c" / "zzz.png").write_bytes(b"\x89PNG\r\n\x1a\nbroken")
    index = Index.create(tmp_path / "x.diml", model, dim=0)
    with pytest.raises(ImageError, match=r"zzz\.png"):
        index.add(folder, strict=True, batch_size=1, engine=any_engine)
    (folder / "c" / "zzz.png").unlink()
    known = {row["path"] for row in rows(index)} if (tmp_path / "x.diml" / "manifest.json").exists() else set()
    assert index.add(folder).unchanged == len(known)
    if isinstance(any_engine, WorkerHere):
        assert known
        return
    import ray

    end = time.monotonic() + 30
    while ray.available_resources().get("CPU") != ray.cluster_resources()["CPU"] and time.monotonic() < end:
        time.sleep(0.1)
    assert ray.available_resources()["CPU"] == ray.cluster_resources()["CPU"]


@pytest.mark.slow
def test_a_connection_of_the_caller_is_used_and_kept(engine):
    import ray

    with RayEngine(workers=1) as inner:
        assert inner.pool == Pool(1, int(ray.cluster_resources()["CPU"]), 0)
    assert ray.is_initialized()


@pytest.mark.slow
def test_more_workers_than_the_cluster_has_room_for_are_refused(engine):
    with pytest.raises(UsageError, match=r"expected 1 to \d+ workers, one for each CPU of the cluster, got 9999"):
        RayEngine(workers=9999).__enter__()


@pytest.mark.slow
def test_an_index_that_is_up_to_date_needs_no_worker(engine, photos, tmp_path):
    index = Index.create(tmp_path / "x.diml", small_model(), dim=0)
    index.add(photos)
    started = time.monotonic()
    assert index.add(photos, engine=engine).unchanged == 12
    assert time.monotonic() - started < 2.0  # starting workers takes longer


@pytest.mark.slow
def test_an_index_on_an_object_store(any_engine, make_folder, s3, tmp_path):
    folder, model, place = make_folder(20), small_model(), f"{s3({})}/x.diml"
    local = Index.create(tmp_path / "local.diml", model, dim=0)
    local.add(folder, labels_from="folder")
    index = Index.create(place, model, dim=0)
    assert index.add(folder, labels_from="folder", batch_size=4, engine=any_engine).added == 20
    check_equal(Index.open(place, backbone=model.encoder.backbone), local)
    assert index.add(folder, labels_from="folder", engine=any_engine).unchanged == 20


@pytest.mark.long
def test_images_and_index_on_an_object_store(make_folder, s3):
    """Workers have to read the images; a cluster that `diml index` starts has its environment."""
    folder = make_folder(20)
    bucket = s3({f"photos/{file.relative_to(folder).as_posix()}": file.read_bytes() for file in folder.rglob("*.png")})
    command = [
        sys.executable,
        "-c",
        "from diml.cli import main; main()",
        "index",
        f"{bucket}/photos",
        "--into",
        f"{bucket}/x.diml",
    ]
    with tempfile.TemporaryDirectory(prefix="dr-", dir="/tmp", ignore_cleanup_errors=True) as place:
        done = subprocess.run(
            [*command, "--labels-from", "folder", "--engine", "ray", "--workers", "2"],
            env={**os.environ, "TMPDIR": place, "OMP_NUM_THREADS": "1"},
            check=False,
            capture_output=True,
            text=True,
            timeout=300,
        )
    assert done.returncode == 0, done.stderr
    local = Index.create(f"{bucket}/local.diml", StructuralModel.from_pretrained("lite0"))
    local.add(f"{bucket}/photos", labels_from="folder")
    check_equal(Index.open(f"{bucket}/x.diml"), local)

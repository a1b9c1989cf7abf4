"""Cameras, z-buffer correspondences and the renderer, on a cube whose geometry is known."""

import io
import zipfile

import numpy as np
import pytest
from PIL import Image

from benchmarks.errors import BuildError
from benchmarks.furniture.cameras import DISTANCE, Camera, around
from benchmarks.furniture.catalogue import read_files, read_models
from benchmarks.furniture.correspondences import surface_points

SIZE = 96
HALF = 0.5  # of the cube's edge, which lies in the unit sphere


def cube_depth(camera):
    """The exact depth buffer of the cube, by intersecting each pixel's ray with its slabs; 0 where it misses."""
    ys, xs = (axis.ravel() + 0.5 for axis in np.mgrid[:SIZE, :SIZE])
    origin = camera.pose[:3, 3]
    rays = camera.unproject(np.stack([xs, ys], axis=1), np.ones(SIZE * SIZE)) - origin
    with np.errstate(divide="ignore"):
        one, two = (-HALF - origin) / rays, (HALF - origin) / rays
    enters, leaves = np.minimum(one, two).max(axis=1), np.maximum(one, two).min(axis=1)
    return np.where(enters < leaves, enters, 0).reshape(SIZE, SIZE).astype(np.float32)


def test_the_front_is_seen_at_azimuth_0_and_the_top_of_the_image_is_up():
    camera = Camera(0, 0, SIZE)
    np.testing.assert_allclose(camera.pose[:3, 3], [0, 0, DISTANCE], atol=1e-12)
    pixels, depth = camera.project([[0, 0, 0], [0.5, 0, 0], [0, 0.5, 0]])
    np.testing.assert_allclose(pixels[0], [SIZE / 2, SIZE / 2])
    assert pixels[1, 0] > SIZE / 2  # right is right
    assert pixels[2, 1] < SIZE / 2
    np.testing.assert_allclose(depth, DISTANCE)


@pytest.mark.parametrize("camera", around(3, [-20, 15, 60], SIZE))
def test_unproject_leads_back(camera):
    points = np.random.default_rng(0).uniform(-0.5, 0.5, (20, 3))
    pixels, depth = camera.project(points)
    np.testing.assert_allclose(camera.unproject(pixels, depth), points, atol=1e-12)
    np.testing.assert_allclose(camera.pose[:3, :3].T @ camera.pose[:3, :3], np.eye(3), atol=1e-12)
    assert (pixels >= 0).all()
    assert (pixels < SIZE).all()


def test_points_of_a_cube_are_on_its_faces_and_visible_where_they_face_the_camera():
    cameras = around(4, [15, 40], SIZE)
    depths = [cube_depth(camera) for camera in cameras]
    found = surface_points(cameras, depths, [depth > 0 for depth in depths])
    points = found.points.astype(np.float64)
    np.testing.assert_allclose(np.abs(points).max(axis=1), HALF, atol=1e-5)
    assert found.visible.any(axis=0).all()  # each was taken from a view that sees it
    axis = np.abs(points).argmax(axis=1)
    second = np.sort(np.abs(points), axis=1)[:, 1]
    for view, camera in enumerate(cameras):
        np.testing.assert_allclose(found.pixels[view], camera.project(points)[0], atol=1e-3)
        normal = np.sign(points) * (np.arange(3) == axis[:, None])
        towards = camera.pose[:3, 3] - points
        facing = (towards * normal).sum(axis=1) / np.linalg.norm(towards, axis=1)  # cosine
        pixel = DISTANCE / camera.focal / np.abs(facing)  # on the face
        inner = second < HALF - 1.5 * pixel  # closer to an edge, a pixel beside the point is on another face
        assert inner.mean() > 0.5
        np.testing.assert_array_equal(found.visible[view][inner], facing[inner] > 0)


def test_a_point_of_a_view_lies_at_its_own_pixel():
    cameras = around(2, [30], SIZE)
    depths = [cube_depth(camera) for camera in cameras]
    found = surface_points(cameras, depths, [depth > 0 for depth in depths])
    first = int((depths[0][6::12, 6::12] > 0).sum())
    np.testing.assert_allclose(found.pixels[0, :first] % 12, 6.5, atol=1e-3)


CUBE = (
    "mtllib c.mtl\nusemtl red\n"
    + "".join(f"v {x} {y} {z}\n" for x in (2, 4) for y in (0, 2) for z in (-1, 1))
    + "f 1 3 4 2\nf 5 6 8 7\nf 1 2 6 5\nf 3 7 8 4\nf 1 5 7 3\nf 2 4 8 6\n"
)


def test_the_renderer_draws_the_cube_where_the_camera_says():
    pytest.importorskip("pyrender")
    pytest.importorskip("trimesh")
    from benchmarks.furniture.render import GROUND, Renderer, load

    meshes = load({"c.obj": CUBE.encode(), "c.mtl": b"newmtl red\nKd 0.9 0.1 0.1\nd 1\n"}, "c.obj")
    try:
        renderer = Renderer(SIZE)
    except BuildError as error:
        pytest.skip(str(error))
    cameras = around(3, [20, 50], SIZE)
    views = renderer.views(meshes, cameras)
    again = renderer.views(meshes, cameras)
    renderer.close()
    scale = np.sqrt(3) * HALF  # the renderer's cube reaches the unit sphere
    for camera, view, repeated in zip(cameras, views, again, strict=True):
        ys, xs = np.nonzero(view.opaque)
        points = camera.unproject(np.stack([xs, ys], axis=1) + 0.5, view.depth[ys, xs])
        np.testing.assert_allclose(np.abs(points).max(axis=1) * scale, HALF, atol=0.02)
        corners = np.stack(np.meshgrid(*[[-HALF / scale, HALF / scale]] * 3), axis=-1).reshape(-1, 3)
        pixels, _ = camera.project(corners)
        np.testing.assert_allclose([xs.min(), ys.min()], pixels.min(axis=0), atol=1)
        np.testing.assert_allclose([xs.max() + 1, ys.max() + 1], pixels.max(axis=0), atol=1)
        colour, mask = np.asarray(view.image).astype(int), np.asarray(view.mask)
        assert (colour[mask == 0] == GROUND).all()
        assert (colour[mask == 255][:, 0] > colour[mask == 255][:, 1] + 30).all()
        assert view.image.tobytes() == repeated.image.tobytes()
        assert view.mask.tobytes() == repeated.mask.tobytes()


def test_a_model_without_faces_is_one_sentence():
    pytest.importorskip("trimesh")
    from benchmarks.furniture.render import load

    with pytest.raises(BuildError, match=r"c\.obj: has no faces"):
        load({"c.obj": b"v 0 0 0\n"}, "c.obj")


def test_a_catalogue_lists_its_models():
    text = (
        "id#1=S#a\nname#1=Arm chair\nmodel#1=/s/arm/arm.obj\ncreator#1=Ann\n"
        "name#2=Bed\nmodel#2=/s/bed/bed.obj\nmodelRotation#2=1 0 0 0 0 -1 0 1 0\nname#3=No model\n"
    )
    held = io.BytesIO()
    with zipfile.ZipFile(held, "w") as archive:
        archive.writestr("PluginFurnitureCatalog.properties", text)
        archive.writestr("s/arm/arm.obj", "v 0 0 0")
        archive.writestr("s/arm/arm.mtl", "newmtl a")
        archive.writestr("s/arm.png", "icon")
    chair, bed = read_models("Scopia", held.getvalue())
    assert (chair.label, chair.name, chair.creator, chair.license) == ("scopia-arm", "Arm chair", "Ann", "CC-BY-3.0")
    assert chair.rotation is None
    assert bed.rotation == (1, 0, 0, 0, 0, -1, 0, 1, 0)
    assert read_files(held.getvalue(), chair).keys() == {"arm.obj", "arm.mtl"}
    with pytest.raises(BuildError, match=r"Scopia.sh3f: expected a zip with PluginFurnitureCatalog.properties, got"):
        read_models("Scopia", b"not a zip")


def test_the_order_of_meshes_does_not_show():
    pytest.importorskip("pyrender")
    pytest.importorskip("trimesh")
    from benchmarks.furniture.render import Renderer, load

    # Two materials on the same faces: the one that is drawn first hides the other.
    files = {"c.obj": (CUBE + CUBE[CUBE.index("f ") :].replace("f 1 3", "usemtl blue\nf 1 3", 1)).encode()}
    files["c.mtl"] = b"newmtl red\nKd 0.9 0.1 0.1\nnewmtl blue\nKd 0.1 0.1 0.9\n"
    try:
        renderer = Renderer(SIZE)
    except BuildError as error:
        pytest.skip(str(error))
    cameras = around(3, [20], SIZE)
    drawn = {b"".join(view.image.tobytes() for view in renderer.views(load(files, "c.obj"), cameras)) for _ in range(8)}
    renderer.close()
    assert len(drawn) == 1


def test_a_texture_without_coordinates_is_one_sentence():
    pytest.importorskip("trimesh")
    from benchmarks.furniture.render import load

    held = io.BytesIO()
    Image.new("RGB", (4, 4), "red").save(held, "PNG")
    material = b"newmtl red\nKd 1 1 1\nmap_Kd t.png\n"
    with pytest.raises(BuildError, match=r"c\.obj: has a texture without texture coordinates"):
        load({"c.obj": CUBE.encode(), "c.mtl": material, "t.png": held.getvalue()}, "c.obj")

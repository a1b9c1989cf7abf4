"""Rendering an OBJ model without a display: pyrender on EGL (or OSMesa, by PYOPENGL_PLATFORM), meshes by trimesh."""

from __future__ import annotations

import io
import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from benchmarks.errors import BuildError
from benchmarks.furniture.cameras import FAR, FIELD_OF_VIEW, NEAR, Camera

GROUND = 236
"""The grey value behind the object."""

_LIGHTS = ((35.0, 45.0, 2.6), (-120.0, 35.0, 1.6))  # azimuth, elevation, intensity: fixed to the object
_AMBIENT = 0.45


@dataclass(frozen=True)
class View:
    """A rendered view: image and mask, and as numbers (size, size) the depth and whether the object is there."""

    image: Image.Image
    mask: Image.Image
    depth: npt.NDArray[np.float32]
    opaque: npt.NDArray[np.bool_]


class Renderer:
    """Draws square images of `size` pixels.

    Raises:
        BuildError: pyrender or trimesh is not installed, or neither EGL nor OSMesa draws without a display.
    """

    def __init__(self, size: int) -> None:
        os.environ.setdefault("PYOPENGL_PLATFORM", "egl")
        os.environ.setdefault("LP_NUM_THREADS", "1")  # a process for each core is faster than threads
        try:
            import pyrender
        except ImportError as error:
            raise BuildError(f"expected pyrender and trimesh ({error}); pip install 'diml[furniture]'") from None
        try:
            self._target = pyrender.OffscreenRenderer(size, size)
        except Exception as error:  # PyOpenGL raises errors of many types where a library is missing
            raise BuildError(
                f"expected an OpenGL that draws without a display ({error}); on Debian, apt-get install libegl-mesa0"
            ) from None
        self._pyrender: Any = pyrender

    def views(self, meshes: list[Any], cameras: list[Camera]) -> list[View]:
        """What the cameras see of the meshes of `load`."""
        scene = self._pyrender.Scene(bg_color=[GROUND / 255] * 3 + [0], ambient_light=[_AMBIENT] * 3)
        # One node: pyrender draws nodes in the order of a set, which differs between runs, and where surfaces coincide
        # the order shows. Opaque surfaces come first, so that they are seen through transparent ones.
        drawn = self._pyrender.Mesh.from_trimesh(sorted(meshes, key=_is_transparent), smooth=True)
        for primitive in drawn.primitives:
            primitive.material.doubleSided = True
        scene.add(drawn)
        for azimuth, elevation, intensity in _LIGHTS:
            light = self._pyrender.DirectionalLight(intensity=intensity)
            scene.add(light, pose=Camera(azimuth, elevation, 1).pose)
        lens = self._pyrender.PerspectiveCamera(FIELD_OF_VIEW, znear=NEAR, zfar=FAR, aspectRatio=1.0)
        node = scene.add(lens)
        drawn_views = []
        for camera in cameras:
            scene.set_pose(node, camera.pose)
            colour, depth = self._target.render(scene, self._pyrender.RenderFlags.RGBA)
            drawn_views.append(_view(np.asarray(colour), np.asarray(depth, np.float32)))
        return drawn_views

    def close(self) -> None:
        self._target.delete()


def load(files: Mapping[str, bytes], obj: str, rotation: tuple[float, ...] | None = None) -> list[Any]:
    """The meshes of an OBJ model, one for each material, centred and scaled into the unit sphere.

    Args:
        files: OBJ, MTL and textures by name.
        obj: the name of the OBJ file.
        rotation: nine numbers, row by row, applied before.

    Raises:
        BuildError: the model has no faces, or a texture without the coordinates that place it.
    """
    import trimesh

    archive = {name: io.BytesIO(content) for name, content in files.items()}
    loaded = trimesh.load_scene(
        archive[obj], file_type="obj", resolver=trimesh.resolvers.ZipResolver(archive), process=False
    )
    meshes = [mesh for mesh in loaded.geometry.values() if len(getattr(mesh, "faces", ()))]
    if not meshes:
        raise BuildError(f"{obj}: has no faces")
    for mesh in meshes:
        uv = getattr(mesh.visual, "uv", None)
        if getattr(getattr(mesh.visual, "material", None), "image", None) is not None and (uv is None or not len(uv)):
            raise BuildError(f"{obj}: has a texture without texture coordinates")
    turn = np.eye(4)
    if rotation is not None:
        turn[:3, :3] = np.reshape(rotation, (3, 3))
    for mesh in meshes:
        mesh.apply_transform(turn)
    corners = np.concatenate([mesh.vertices[mesh.faces.ravel()] for mesh in meshes])
    centre = (corners.min(axis=0) + corners.max(axis=0)) / 2
    radius = float(np.linalg.norm(corners - centre, axis=1).max())
    if not (np.isfinite(radius) and radius > 0):
        raise BuildError(f"{obj}: has no extent")
    for mesh in meshes:
        mesh.apply_translation(-centre)
        mesh.apply_scale(1 / radius)
    return meshes


def _is_transparent(mesh: Any) -> bool:
    material = getattr(mesh.visual, "material", None)
    texture, colour = getattr(material, "image", None), getattr(material, "diffuse", None)
    by_texture = texture is not None and "A" in texture.getbands() and texture.getchannel("A").getextrema()[0] < 255
    return by_texture or (colour is not None and len(colour) == 4 and colour[3] < 255)


def _view(colour: npt.NDArray[np.uint8], depth: npt.NDArray[np.float32]) -> View:
    opaque = (colour[..., 3] >= 128) & (depth > 0)
    return View(Image.fromarray(colour[..., :3].copy()), Image.fromarray(colour[..., 3].copy()), depth, opaque)

"""Pictures of one simulation: off screen through EGL or OSMesa, or in a window."""

from __future__ import annotations

import atexit
import copy
import importlib
import os
import sys
import weakref
from typing import Any

import mujoco
import numpy as np
from gymnasium.error import DependencyNotInstalled

from dynrl.physics.batch import Simulations
from dynrl.physics.task import MujocoTask

SIZE = 480
"""Width and height of pictures, in pixels."""

_OFF_SCREEN = {"egl": "mujoco.egl", "osmesa": "mujoco.osmesa", "glfw": "mujoco.glfw"}


class Screen:
    """Draws simulations of a task; what it needs of OpenGL is made on first use, and not copied with it.

    Args:
        task: whose model and camera.
    """

    def __init__(self, task: MujocoTask):
        self._task = task
        self._off_screen: _OffScreen | None = None
        self._window: _Window | None = None

    def picture(self, simulations: Simulations, index: int) -> np.ndarray:
        """Return simulation `index` as it stands, `[480, 480, 3]` uint8.

        Raises:
            gymnasium.error.DependencyNotInstalled: neither EGL nor OSMesa works here.
        """
        if self._off_screen is None:
            self._off_screen = _OffScreen(self._task)
        return self._off_screen.picture(simulations, index)

    def show(self, simulations: Simulations, index: int) -> None:
        """Show simulation `index` in the window.

        Raises:
            gymnasium.error.DependencyNotInstalled: there is no display.
        """
        if self._window is None:
            self._window = _Window(self._task)
        self._window.show(simulations, index)

    def close(self) -> None:
        """Free the window and what is held of OpenGL."""
        for each in (self._off_screen, self._window):
            if each is not None:
                each.close()
        self._off_screen = self._window = None

    def __getstate__(self) -> dict[str, Any]:
        return {"_task": self._task, "_off_screen": None, "_window": None}


class _OffScreen:
    def __init__(self, task: MujocoTask):
        self._model = copy.copy(task.model)
        view = self._model.vis.global_
        view.offwidth, view.offheight = max(view.offwidth, SIZE), max(view.offheight, SIZE)
        self._gl = _gl_context()
        self._gl.make_current()
        self._context = mujoco.MjrContext(self._model, mujoco.mjtFontScale.mjFONTSCALE_150.value)
        mujoco.mjr_setBuffer(mujoco.mjtFramebuffer.mjFB_OFFSCREEN.value, self._context)
        self._scene = mujoco.MjvScene(self._model, maxgeom=1000)
        self._options, self._camera = mujoco.MjvOption(), _camera(task)
        self._frame = mujoco.MjrRect(0, 0, SIZE, SIZE)
        # At the latest when the interpreter begins to go: later OpenGL is half gone itself. Not by `finalize`'s own
        # hook, which another package (JAX) may have set before OpenGL's, and which then runs after it.
        self.close = weakref.finalize(self, _free, self._gl, self._context)
        self.close.atexit = False
        atexit.register(self.close)

    def picture(self, simulations: Simulations, index: int) -> np.ndarray:
        data = _forwarded(simulations, index, self._model)
        everything = mujoco.mjtCatBit.mjCAT_ALL.value
        mujoco.mjv_updateScene(self._model, data, self._options, None, self._camera, everything, self._scene)
        self._gl.make_current()
        mujoco.mjr_render(self._frame, self._scene, self._context)
        pixels = np.empty((SIZE, SIZE, 3), np.uint8)
        mujoco.mjr_readPixels(pixels, None, self._frame, self._context)
        return pixels[::-1].copy()  # OpenGL counts rows from the bottom


class _Window:
    def __init__(self, task: MujocoTask):
        if not _has_display():
            raise DependencyNotInstalled(
                "render_mode 'human' needs a display, and neither DISPLAY nor WAYLAND_DISPLAY is set; "
                "use render_mode 'rgb_array', or `dynrl evaluate RUN --video FILE`."
            )
        viewer = importlib.import_module("mujoco.viewer")
        self._model, self._data = copy.copy(task.model), mujoco.MjData(task.model)
        self._viewer = viewer.launch_passive(self._model, self._data, show_left_ui=False, show_right_ui=False)
        with self._viewer.lock():
            _aim(self._viewer.cam, task)

    def show(self, simulations: Simulations, index: int) -> None:
        if not self._viewer.is_running():
            return
        with self._viewer.lock():
            simulations.model_of(index, self._model)
            mujoco.mj_copyData(self._data, self._model, _forwarded(simulations, index, self._model))
        self._viewer.sync()

    def close(self) -> None:
        self._viewer.close()


def _forwarded(simulations: Simulations, index: int, model: mujoco.MjModel) -> mujoco.MjData:
    simulations.model_of(index, model)
    data = simulations.data_of(index)
    mujoco.mj_forward(model, data)
    return data


def _has_display() -> bool:
    return sys.platform != "linux" or bool({"DISPLAY", "WAYLAND_DISPLAY"} & os.environ.keys())


def _gl_context() -> Any:
    wish = os.environ.get("MUJOCO_GL", "").lower()
    names = [wish] if wish in _OFF_SCREEN else ["egl", "osmesa"]
    reasons = []
    for name in names:
        if name == "glfw" and not _has_display():  # there it would end the process
            reasons.append("glfw: no display, neither DISPLAY nor WAYLAND_DISPLAY is set")
            continue
        try:
            return importlib.import_module(_OFF_SCREEN[name]).GLContext(SIZE, SIZE)
        # What a missing driver raises depends on the driver: ImportError, AttributeError, or an error of OpenGL's own.
        except Exception as error:
            reasons.append(f"{name}: {error or type(error).__name__}")
    raise DependencyNotInstalled(
        "there is no OpenGL to draw with off screen. Install EGL (apt-get install libegl1 libgl1-mesa-dri) or OSMesa "
        f"(apt-get install libosmesa6), and PyOpenGL (pip install pyopengl). Tried {'; '.join(reasons)}."
    )


def _free(gl: Any, context: mujoco.MjrContext) -> None:
    gl.make_current()
    context.free()
    gl.free()


def _camera(task: MujocoTask) -> mujoco.MjvCamera:
    camera = mujoco.MjvCamera()
    mujoco.mjv_defaultFreeCamera(task.model, camera)
    _aim(camera, task)
    return camera


def _aim(camera: mujoco.MjvCamera, task: MujocoTask) -> None:
    track = mujoco.mj_name2id(task.model, mujoco.mjtObj.mjOBJ_CAMERA, "track")
    if track >= 0:
        camera.type, camera.fixedcamid = mujoco.mjtCamera.mjCAMERA_FIXED, track
        return
    for name, value in task.camera.items():
        if name == "lookat":
            camera.lookat[:] = value
        else:
            setattr(camera, name, value)

"""A built wheel works where the checkout is not."""

import os
import shutil
import subprocess
import sys
import sysconfig
import zipfile
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = {
    "dynrl": "dynrl",
    "envs": "dynrl/envs",
    "agents": "dynrl/agents",
    "robots": "dynrl/robots",
    "configs": "dynrl/configs",
}
"""Folders of the checkout and where the wheel puts them."""
SHORT = ["bandits/short", "horizon=200", "seeds=2"]


@dataclass(frozen=True)
class Installed:
    """A virtual environment, and a folder away from the checkout to work in."""

    environment: Path
    folder: Path

    def run(self, *command, status=0):
        """Standard output (and error) of a command of the environment."""
        program = str(self.environment / "bin" / command[0])
        keep = {key: value for key, value in os.environ.items() if not key.startswith("PYTHON")}
        done = subprocess.run(
            [program, *command[1:]],
            cwd=self.folder,
            env={**keep, "MPLBACKEND": "agg"},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=600,
        )
        assert done.returncode == status, f"{' '.join(command)}\n{done.stdout[-3000:]}"
        return done.stdout


def call(*command):
    done = subprocess.run(command, capture_output=True, text=True, timeout=1800)
    assert done.returncode == 0, (
        f"{' '.join(map(str, command))}\n{done.stdout[-2000:]}\n{done.stderr[-3000:]}"
    )


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """Built from a copy, so that nothing is written into the checkout."""
    copy, out = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("wheel")
    for folder in PACKAGES:
        shutil.copytree(ROOT / folder, copy / folder, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md"):
        shutil.copy(ROOT / name, copy)
    call(sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", out, copy)
    (built,) = out.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def installed(wheel, tmp_path_factory):
    """The wheel alone in a new environment that borrows this one's dependencies, but not its dynrl."""
    environment = tmp_path_factory.mktemp("environment")
    call(sys.executable, "-m", "venv", "--without-pip", environment)
    python = environment / "bin" / "python"
    call(sys.executable, "-m", "pip", "--python", python, "install", "--quiet", "--no-deps", wheel)
    (site,) = environment.glob("lib/python*/site-packages")
    # A folder named in a .pth file has its own .pth files ignored, and with them the editable install.
    (site / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return Installed(environment, tmp_path_factory.mktemp("work"))


def test_every_file_is_in_the_wheel(wheel):
    inside = set(zipfile.ZipFile(wheel).namelist())
    expected = {
        f"{target}/{path.relative_to(ROOT / folder).as_posix()}"
        for folder, target in PACKAGES.items()
        for pattern in ("*.py", "*.yaml", "py.typed")
        for path in (ROOT / folder).rglob(pattern)
    }
    assert expected <= inside, sorted(expected - inside)
    assert not [name for name in inside if not name.startswith(("dynrl/", "dynrl-"))]


def test_it_works_away_from_the_checkout(installed):
    where = installed.run(
        "python", "-c", "import dynrl, dynrl.envs; print(dynrl.__file__, dynrl.envs.__file__)"
    )
    assert all(path.startswith(str(installed.environment)) for path in where.split())
    listed = installed.run("dynrl", "list").splitlines()
    assert any(line.startswith("environments\tdynrl/DLBAds-v0\t") for line in listed)
    configs = {
        path.relative_to(ROOT / "configs").with_suffix("").as_posix()
        for path in ROOT.glob("configs/*/*.yaml")
    }
    assert {line.split("\t")[1] for line in listed if line.startswith("configs\t")} == configs
    made = installed.run(
        "python",
        "-c",
        "import gymnasium, dynrl; e = gymnasium.make('dynrl/DLBAds-v0'); e.reset(seed=0); print(e.action_space.n)",
    )
    assert made.split()[-1] == "6"
    assert "done; results: run" in installed.run("dynrl", "train", *SHORT, "--out", "run")
    rows = (installed.folder / "run" / "metrics.csv").read_text().splitlines()
    assert rows[0].startswith("step,agent,round,") and rows[-1].startswith("1000,uniform,200,")
    installed.run("dynrl", "plot", "run", "--out", "curves.png")
    assert "error" in installed.run("dynrl", "train", "bandits/none", status=2)


@pytest.mark.slow
def test_it_brings_its_own_dependencies(wheel, tmp_path):
    environment, folder = tmp_path / "environment", tmp_path / "work"
    folder.mkdir()
    call(sys.executable, "-m", "venv", environment)
    constraints = ROOT / "constraints.txt"
    call(environment / "bin" / "python", "-m", "pip", "install", "--quiet", "-c", constraints, wheel)
    alone = Installed(environment, folder)
    alone.run("python", "-c", "import torch", status=1)
    alone.run("python", "-c", "import dynrl, gymnasium; gymnasium.make('dynrl/DLBAds-v0').reset(seed=0)")
    assert "done; results: run" in alone.run("dynrl", "train", *SHORT, "--out", "run")
    asked = alone.run("python", "-c", "import dynrl; dynrl.SB3VecEnv('dynrl/DLBAds-v0', 2)", status=1)
    assert "pip install dynrl[sb3]" in asked

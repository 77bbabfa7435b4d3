"""Every block of code in the README runs: python blocks as scripts, bash blocks as commands.

A bash block whose first line is `# not run in tests: REASON` is left out.
"""

import os
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

README = Path(__file__).parents[1] / "README.md"
TIME_LIMIT = 300
NOT_RUN = "# not run in tests:"
LONGEST = 40  # lines, not blank, of "your own environment" and "your own agent"


@dataclass(frozen=True)
class Block:
    """A fenced block of code.

    Attributes:
        language: `"python"` or `"bash"`.
        line: of the README, where the code begins.
        section: the `##` heading above.
        code: the text.
    """

    language: str
    line: int
    section: str
    code: str


def blocks(text):
    """The python and bash blocks of a Markdown text."""
    found = []
    for fence in re.finditer(r"^```(python|bash)\n(.*?)^```$", text, re.MULTILINE | re.DOTALL):
        before = text[: fence.start()]
        sections = re.findall(r"^## (.*)$", before, re.MULTILINE)
        found.append(Block(fence[1], before.count("\n") + 2, sections[-1] if sections else "", fence[2]))
    return found


BLOCKS = blocks(README.read_text(encoding="utf-8"))


def run(block, folder):
    """The finished process of a block, started in `folder`."""
    if block.language == "python":
        script = folder / "block.py"
        script.write_text(block.code, encoding="utf-8")
        command = [sys.executable, str(script)]
    else:
        command = ["bash", "-euo", "pipefail", "-c", block.code]
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = {**os.environ, "PATH": path, "MPLBACKEND": "agg"}
    return subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, timeout=TIME_LIMIT
    )


def trains(block):
    """Whether a block trains from the command line, which takes most of a minute: then it runs in the slow tests."""
    return block.language == "bash" and "dynrl train" in block.code and not block.code.startswith(NOT_RUN)


@pytest.mark.parametrize(
    "block",
    [
        pytest.param(
            block,
            marks=[pytest.mark.slow] * trains(block),
            id=f"line{block.line}-{block.language}",
        )
        for block in BLOCKS
    ],
)
def test_block_runs(block, tmp_path):
    first = block.code.lstrip().splitlines()[0]
    if block.language == "bash" and first.startswith(NOT_RUN):
        assert len(first.removeprefix(NOT_RUN).strip()) > 10, "say why the block is not run"
        return
    done = run(block, tmp_path)
    assert done.returncode == 0, (
        f"README.md, line {block.line}:\n{done.stdout[-1500:]}\n{done.stderr[-3000:]}"
    )


@pytest.mark.parametrize("section", ["Write your own environment", "Write your own agent"])
def test_your_own_is_short(section):
    own = [block for block in BLOCKS if block.section == section and block.language == "python"]
    assert own, f"the README has no python block in {section!r}"
    assert all(sum(bool(line.strip()) for line in block.code.splitlines()) < LONGEST for block in own)


def test_every_fence_is_understood():
    text = README.read_text(encoding="utf-8")
    fences = re.findall(r"^```(.*)$", text, re.MULTILINE)
    assert fences[1::2] == [""] * len(BLOCKS) and set(fences[::2]) <= {"python", "bash"}


def test_a_failing_block_fails(tmp_path):
    text = "## One\n```python\nprint(1 / 0)\n```\n```bash\nfalse | true\necho unreachable\n```\n"
    python, bash = blocks(text)
    assert (python.section, python.line, bash.line) == ("One", 3, 6)
    assert "ZeroDivisionError" in run(python, tmp_path).stderr
    failed = run(bash, tmp_path)
    assert failed.returncode != 0 and failed.stdout == ""

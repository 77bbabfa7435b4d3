"""Whatever byte of a bundle is changed, and wherever it is cut: a BundleError, soon, and never a policy."""

import resource
import time

import numpy as np
import pytest

from dynrl.policy import BundleError, PolicyBundle, files

CASES = 2000
MEBIBYTE = 2**20


def damaged(content: bytes, rng: np.random.Generator) -> bytes:
    """One byte changed, or the end cut off."""
    position = int(rng.integers(len(content)))
    if rng.random() < 0.2:
        return content[:position]
    changed = bytearray(content)
    changed[position] ^= int(rng.integers(1, 256))
    return bytes(changed)


def peak() -> float:
    """Largest resident size of this process so far, in MiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


@pytest.mark.parametrize("cases", [300, pytest.param(CASES, marks=pytest.mark.slow)])
def test_damaged_files_never_become_a_policy(plain_bundle, recurrent_bundle, tmp_path, cases):
    rng = np.random.default_rng(0)
    before = peak()
    for number, bundle in enumerate((plain_bundle, recurrent_bundle)):
        folder = bundle.write(tmp_path / f"{number}.bundle")
        good = bundle.files()
        names = sorted(good)
        for _ in range(cases // 2):
            name = names[rng.integers(len(names))]
            (folder / name).write_bytes(damaged(good[name], rng))
            start = time.process_time()
            with pytest.raises(BundleError):
                PolicyBundle.load(folder)
            assert time.process_time() - start < 1.0
            (folder / name).write_bytes(good[name])
        assert PolicyBundle.load(folder).files() == good
    assert peak() - before < 200


@pytest.mark.parametrize("cases", [300, pytest.param(CASES, marks=pytest.mark.slow)])
def test_damaged_archives_never_become_a_policy(plain_bundle, tmp_path, cases):
    rng = np.random.default_rng(1)
    target = plain_bundle.write(tmp_path / "good.zip")
    good = target.read_bytes()
    before = peak()
    for _ in range(cases):
        target.write_bytes(damaged(good, rng))
        start = time.process_time()
        with pytest.raises(BundleError):
            PolicyBundle.load(target)
        assert time.process_time() - start < 1.0
    assert peak() - before < 200


@pytest.mark.parametrize("cases", [100, pytest.param(CASES, marks=pytest.mark.slow)])
def test_a_graph_damaged_before_it_was_hashed_is_refused_or_acts_the_same(plain_bundle, tmp_path, cases):
    """The checks behind the hashes: an attacker can hash what he likes."""
    from .conftest import edit_yaml

    rng = np.random.default_rng(2)
    folder = plain_bundle.write(tmp_path / "good.bundle")
    contract = (folder / files.CONTRACT).read_bytes()
    refused = 0
    for _ in range(cases):
        content = damaged(plain_bundle.graph, rng)
        (folder / files.CONTRACT).write_bytes(contract)
        (folder / files.GRAPH).write_bytes(content)
        edit_yaml(
            folder, lambda values, content=content: values["model"].update(sha256=files.sha256(content))
        )
        try:
            loaded = PolicyBundle.load(folder)
        except BundleError:
            refused += 1
        else:
            assert loaded.verify() <= 1e-5 * max(1.0, float(np.abs(loaded.examples["out.action"]).max()))
    assert refused > cases / 2

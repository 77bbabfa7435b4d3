"""Trees of arrays <-> flat named arrays, and the random state of a NumPy generator as an array."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from dynrl.errors import FileFormatError


@dataclass(frozen=True)
class Checkpoint:
    """What `Run.restore` hands back: all that an experiment gave to `Run.checkpoint`.

    Attributes:
        step: the step of the experiment at which the checkpoint was taken.
        arrays: named arrays, as given.
        meta: the JSON values, as given.
    """

    step: int
    arrays: dict[str, np.ndarray]
    meta: dict[str, Any] = field(default_factory=dict)


def flatten_tree(tree: Any, prefix: str = "tree") -> dict[str, np.ndarray]:
    """A pytree as named arrays: leaf `a.b[0]` becomes `prefix/a/b/0`, a tree of one leaf just `prefix`.

    Leaves may be NumPy or JAX arrays, Python numbers, or typed JAX random keys. Callables (an activation
    function inside a network) are part of the structure and not stored.

    Raises:
        TypeError: a leaf is something else.
        ValueError: two leaves would get the same name.
    """
    arrays: dict[str, np.ndarray] = {}
    for name, leaf in _named_leaves(tree, prefix):
        if callable(leaf):
            continue
        if name in arrays:
            raise ValueError(f"two leaves of the tree are both called {name!r}; rename one")
        arrays[name] = _leaf_to_array(name, leaf)
    return arrays


def unflatten_tree(template: Any, arrays: Mapping[str, np.ndarray], prefix: str = "tree") -> Any:
    """The tree that `flatten_tree` flattened; `template` gives structure, shapes, dtypes and kinds of leaves.

    Arrays in `arrays` outside `prefix` are ignored.

    Raises:
        FileFormatError: a leaf is missing, unexpected, or of another shape or dtype.
    """
    import jax

    leaves = []
    wanted = set()
    for name, leaf in _named_leaves(template, prefix):
        if callable(leaf):
            leaves.append(leaf)
            continue
        wanted.add(name)
        if name not in arrays:
            raise FileFormatError(f"array {name!r} is missing from what was saved")
        leaves.append(_array_to_leaf(name, arrays[name], leaf))
    present = {name for name in arrays if name == prefix or name.startswith(f"{prefix}/")}
    if unexpected := sorted(present - wanted):
        raise FileFormatError(f"array {unexpected[0]!r} was saved but does not belong here")
    return jax.tree_util.tree_unflatten(jax.tree_util.tree_structure(template), leaves)


def generator_to_array(generator: np.random.Generator) -> np.ndarray:
    """The state of a PCG64 generator (what `np.random.default_rng` gives) as uint64 [6]."""
    state = generator.bit_generator.state
    if state["bit_generator"] != "PCG64":
        raise TypeError(f"only PCG64 generators can be stored, got {state['bit_generator']}")
    low = 2**64 - 1
    words = [part for value in state["state"].values() for part in (value >> 64, value & low)]
    return np.array([*words, state["has_uint32"], state["uinteger"]], dtype=np.uint64)


def array_to_generator(array: np.ndarray) -> np.random.Generator:
    """The generator that `generator_to_array` stored.

    Raises FileFormatError when the array is not uint64 [6].
    """
    if array.shape != (6,) or array.dtype != np.uint64:
        raise FileFormatError(f"a random state is uint64 [6], got {array.dtype} {list(array.shape)}")
    state_high, state_low, increment_high, increment_low, has_uint32, uinteger = (int(word) for word in array)
    generator = np.random.Generator(np.random.PCG64())
    generator.bit_generator.state = {
        "bit_generator": "PCG64",
        "state": {"state": state_high << 64 | state_low, "inc": increment_high << 64 | increment_low},
        "has_uint32": has_uint32,
        "uinteger": uinteger,
    }
    return generator


def _named_leaves(tree: Any, prefix: str) -> list[tuple[str, Any]]:
    import jax

    named = jax.tree_util.tree_flatten_with_path(tree)[0]
    paths = [(jax.tree_util.keystr(path, simple=True, separator="/"), leaf) for path, leaf in named]
    return [(f"{prefix}/{path}" if path else prefix, leaf) for path, leaf in paths]


def _is_random_key(leaf: Any) -> bool:
    import jax

    return isinstance(leaf, jax.Array) and jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key)


def _leaf_to_array(name: str, leaf: Any) -> np.ndarray:
    import jax

    if _is_random_key(leaf):
        return np.asarray(jax.random.key_data(leaf))
    if isinstance(leaf, jax.Array | np.ndarray | np.generic | bool | int | float):
        return np.array(leaf)
    raise TypeError(f"leaf {name!r} is a {type(leaf).__name__}; only arrays and numbers can be stored")


def _array_to_leaf(name: str, array: np.ndarray, template: Any) -> Any:
    import jax
    import jax.numpy as jnp

    expected = _leaf_to_array(name, template)
    if array.shape != expected.shape or array.dtype != expected.dtype:
        raise FileFormatError(
            f"array {name!r} is {array.dtype} {list(array.shape)}, "
            f"expected {expected.dtype} {list(expected.shape)}"
        )
    if isinstance(template, bool | int | float):
        return type(template)(array.item())
    if isinstance(template, np.ndarray):
        return array.copy()
    if isinstance(template, np.generic):
        return array[()]
    with jax.enable_x64(True):  # a float64 leaf must come back as float64 whatever the caller's setting
        if _is_random_key(template):
            return jax.random.wrap_key_data(jnp.asarray(array), impl=jax.random.key_impl(template))
        return jnp.asarray(array)

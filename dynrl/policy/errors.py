"""What can be wrong with a policy bundle: one class per cause, one sentence per error.

Every sentence names the place (file or key path), what was found and what was expected.
"""

from dynrl.errors import UserError


class BundleError(UserError):
    """A policy bundle cannot be used."""


class BundleNotFound(BundleError):
    """There is no bundle at the path."""


class BundleFormat(BundleError):
    """`policy.yaml` or a file of tensors cannot be read: syntax, unknown or repeated key, wrong type, NaN, infinity."""


class BundleHash(BundleError):
    """A file is not the one that was exported."""


class BundlePath(BundleError):
    """A file name leaves the bundle, is no plain file, or an archive is not safe to open."""


class BundleModel(BundleError):
    """The ONNX graph is not valid, not allowed, or does not fit the terms."""


class BundleContract(BundleError):
    """The contract contradicts itself, or the graph's copy of it."""


class BundleState(BundleError):
    """The recurrent state of the graph and of the contract differ."""


class BundleParity(BundleError):
    """The exported policy does not act as the trained one."""


class BundleRobot(BundleError):
    """The robot cannot give or do what the contract asks for."""

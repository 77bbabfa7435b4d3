"""What can keep a deployment from running."""

from dynrl.errors import UserError


class DeploymentError(UserError):
    """A deployment cannot be started, or could not be activated."""

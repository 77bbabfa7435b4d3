"""Errors that a user can put right. The command line prints them as one line and exits with status 2."""


class UserError(Exception):
    """Something the user gave is wrong; the message says what came, what was expected and what to do."""


class ConfigError(UserError, ValueError):
    """A configuration file or a `key=value` override is wrong."""


class RunError(UserError):
    """A run folder cannot be made, read or resumed."""


class FileFormatError(UserError, ValueError):
    """A file of arrays is truncated, damaged, from another version, or holds something else than expected."""

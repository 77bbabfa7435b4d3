"""Browser identification strings reduced to `os_browser`, as the public iPinYou preparation does."""

from __future__ import annotations

__all__ = ["USER_AGENTS", "os_browser"]

SYSTEMS = ("windows", "ios", "mac", "android", "linux", "other")
BROWSERS = ("chrome", "sogou", "maxthon", "safari", "firefox", "theworld", "opera", "ie", "other")

USER_AGENTS = tuple(f"{system}_{browser}" for system in SYSTEMS for browser in BROWSERS)
"""Every value of `os_browser`."""


def os_browser(user_agent: str) -> str:
    """The first system and the first browser, in the order of the lists, whose name the text contains in any case.

    A text that is already reduced, e.g. `windows_ie`, stays what it is.
    """
    text = user_agent.lower()
    system = next((name for name in SYSTEMS if name in text), "other")
    browser = next((name for name in BROWSERS[:-1] if name in text), "other")
    return f"{system}_{browser}"

"""What can go wrong when somebody signs in."""

from __future__ import annotations

from fogline.errors import FoglineError, InputError


class SignInSettingsError(InputError, ValueError):
    """``sign-in.toml`` cannot be used; the text is a sentence that names the file."""


class SignInError(FoglineError, RuntimeError):
    """Somebody is not let in; the text is a sentence that the person may read, and holds no token and no secret."""

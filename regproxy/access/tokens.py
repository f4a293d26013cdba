"""Bearer tokens as distribution's token servers sign them, checked here alone; nobody is asked.

A token tells who (``sub``) and what (``access``: pull on repositories, by name). One without
``access`` is an identity that may pull nothing, as with distribution.
"""

from __future__ import annotations

import hashlib
import secrets
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import attrs
import jwt
from jwt.exceptions import PyJWTError

from regproxy.access.identity import MAX_NAME, Identity, Proof
from regproxy.access.keys import Key

LEEWAY_S = 30.0
"""Clocks of two machines differ by less."""
MAX_TOKEN_BYTES = 12 * 1024
MAX_REMEMBERED = 1024
MAX_GRANTS = 256
"""Entries of ``access`` that are read."""

_WHO_AND_FOR_WHOM: Any = {
    "verify_signature": True,
    "require": ["exp", "iss", "aud"],
    # times are judged below, by a clock that is given
    "verify_exp": False,
    "verify_nbf": False,
    "verify_iat": False,
    "verify_sub": False,
    "verify_jti": False,
}


@attrs.frozen(slots=True)
class _Known:
    """A token that was checked: from when until when it holds, by which keys."""

    identity: Identity
    from_s: float
    until_s: float
    keys: tuple[Key, ...]


class Tokens:
    """Tells who sends a token. ``wall`` gives seconds since the epoch.

    A signature is checked once; times and keys are looked at each time.
    """

    def __init__(
        self, issuer: str, audience: str, keys: Callable[[], tuple[Key, ...]], wall: Callable[[], float]
    ) -> None:
        self._issuer = issuer
        self._audience = audience
        self._keys = keys
        self._wall = wall
        self._secret = secrets.token_bytes(32)
        self._known: OrderedDict[bytes, _Known] = OrderedDict()

    def identify(self, token: bytes) -> Identity | None:
        """Who sends ``token``; None for one that is not to be believed, or not now. Never raises."""
        if len(token) > MAX_TOKEN_BYTES:
            return None
        key = hashlib.blake2b(token, key=self._secret, digest_size=16).digest()
        known = self._known.get(key)
        if known is None or known.keys is not self._keys():
            known = self._checked(token)
            if known is None:
                return None
            self._known[key] = known
            if len(self._known) > MAX_REMEMBERED:
                self._known.popitem(last=False)
        return known.identity if known.from_s <= self._wall() < known.until_s else None

    def _checked(self, token: bytes) -> _Known | None:
        keys = self._keys()
        claims = self._claims(token, keys)
        if claims is None:
            return None
        exp: Any = claims.get("exp")
        nbf: Any = claims.get("nbf", 0)
        subject = claims.get("sub", "")
        if not (_is_time(exp) and _is_time(nbf) and isinstance(subject, str) and len(subject) <= MAX_NAME):
            return None
        identity = _identity(subject, claims.get("access"))
        return _Known(identity, float(nbf) - LEEWAY_S, float(exp) + LEEWAY_S, keys)

    def _claims(self, token: bytes, keys: tuple[Key, ...]) -> dict[str, Any] | None:
        try:
            header = jwt.get_unverified_header(token)
        except (PyJWTError, ValueError, RecursionError):
            return None
        for key in _candidates(header, keys):
            try:
                claims: dict[str, Any] = jwt.decode(
                    token,
                    key.key,
                    [key.algorithm],
                    options=_WHO_AND_FOR_WHOM,
                    audience=self._audience,
                    issuer=self._issuer,
                )
            except (PyJWTError, ValueError, TypeError, RecursionError):
                continue
            return claims
        return None


def _candidates(header: dict[str, Any], keys: Iterable[Key]) -> list[Key]:
    """The keys of the token's algorithm: the one that it names, else all of them."""
    fitting = [key for key in keys if key.algorithm == header.get("alg")]
    named = [key for key in fitting if key.kid is not None and key.kid == header.get("kid")]
    return named or fitting


def _is_time(value: object) -> bool:
    """A NumericDate; a bool is an int to Python, and 1e999 is infinite."""
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 1e12


def _identity(subject: str, access: object) -> Identity:
    granted = list(_granted(access))
    names = frozenset(name for kind, name in granted if kind == "repository")
    return Identity(subject, Proof.TOKEN, names, ("registry", "catalog") in granted)


def _granted(access: object) -> Iterator[tuple[str, str]]:
    """Kind and name of each entry that lets pull, or see the catalog."""
    for entry in access[:MAX_GRANTS] if isinstance(access, list) else ():
        if not isinstance(entry, dict):
            continue
        kind, name, actions = entry.get("type"), entry.get("name"), entry.get("actions")
        wanted = ("pull", "*") if kind == "repository" else ("*",)
        if not (isinstance(kind, str) and isinstance(name, str) and isinstance(actions, list)):
            continue
        if any(action in wanted for action in actions if isinstance(action, str)):
            yield kind, name

"""How often jobs began here under an owner's policy, where that is limited.

A counter in a folder goes back with a backup of the folder. So a parent, which keeps the newest head of this node's
audit log, shows it when the node comes back: if the log here is shorter, it went back, and nobody knows how many jobs
began since. Until the owner changes or renews the policy, with which counting begins anew, nothing more begins under a
limit.
"""

from __future__ import annotations

import threading

import msgspec

from fogline.governance.policy.terms import Allowed, Policy
from fogline.processes.messages import decoder, encode
from fogline.storage import Database

USES, BACK = "policy uses", "policy uses went back"
"""Kinds of documents: what began under a policy by whose signature, by the digests; policies whose counts are lost."""


class _Begun(msgspec.Struct, frozen=True):
    count: int = 0
    running: tuple[str, ...] = ()
    """Jobs that are not over: to go on with one after a restart is no use more."""


BEGUN = decoder(_Begun)


class UseCounter:
    """Counts jobs that begin here.

    Args:
        database: the node's.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._turn = threading.Lock()
        """Jobs are looked at in threads."""

    def begin(self, policy: Policy, rule: Allowed, job: str) -> str | None:
        """Count a job that is about to begin, or goes on; why it must not, if so.

        Raises:
            StorageError: it cannot be counted, so it must not begin.
        """
        if rule.uses is None:
            return None
        with self._turn:
            return self._begin(policy, rule, rule.uses, job)

    def _begin(self, policy: Policy, rule: Allowed, uses: int, job: str) -> str | None:
        key, name = f"{policy.digest}/{rule.signer.fingerprint}", rule.signer.name
        body = self._database.get(USES, key)
        begun: _Begun = _Begun() if body is None else BEGUN.decode(body)
        if job in begun.running:
            return None
        said = f"{policy.path} lets {uses} jobs of {name} begin (signer.uses)"
        if self._database.get(BACK, policy.digest) is not None:
            return (
                f"{said}, and this node went back to a backup, so nobody knows how many did; the owner must renew it."
            )
        if begun.count >= uses:
            return f"{said}, and so many have; the owner must renew it before the next."
        self._database.put(USES, key, encode(_Begun(begun.count + 1, (*begun.running, job))))
        return None

    def ended(self, job: str) -> None:
        """A job is over here: if it comes again, that is another use.

        Raises:
            StorageError: it cannot be written down.
        """
        with self._turn:
            for key, body in self._database.all(USES):
                begun: _Begun = BEGUN.decode(body)
                if job in begun.running:
                    left = tuple(other for other in begun.running if other != job)
                    self._database.put(USES, key, encode(_Begun(begun.count, left)))

    def went_back(self, policy: Policy) -> None:
        """What was counted under a policy is not all that began.

        Raises:
            StorageError: it cannot be written down.
        """
        if policy.found:
            self._database.put(BACK, policy.digest, b"1")

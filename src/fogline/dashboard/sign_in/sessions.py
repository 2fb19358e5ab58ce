"""People who have signed in: each has a board with a certificate of its own, until the session is over."""

from __future__ import annotations

import asyncio
import hashlib
import logging
import shutil
import time
from dataclasses import dataclass
from pathlib import Path

from starlette.types import ASGIApp

from fogline.dashboard.app import answering
from fogline.dashboard.cloud import CloudBoard
from fogline.dashboard.sign_in.errors import SignInError
from fogline.dashboard.sign_in.visits import chance
from fogline.governance.errors import TrustError
from fogline.governance.identity.identity import Identity
from fogline.governance.safe_files import make_private_folder
from fogline.governance.subject import Subject
from fogline.network.cloud.client import Client, connect
from fogline.network.cloud.cloud import CloudUp
from fogline.network.cloud.people import ProvidedPerson
from fogline.storage import StorageError

log = logging.getLogger("fogline.dashboard")
FOLDER = "sessions"
"""In the cloud's folder: keys of sessions, which no other start of the cloud needs."""
MOST = 256
"""Sessions at a time,"""
EACH = 8
"""and of one person; beyond, that person's oldest ends."""
DAY = 1440.0
"""Minutes."""


@dataclass
class PageSession:
    """Somebody who has signed in."""

    person: ProvidedPerson
    subject: Subject
    board: CloudBoard
    app: ASGIApp
    following: asyncio.Task[None]
    folder: Path
    ending: asyncio.TimerHandle


class Sessions:
    """All of them, by the hash of their cookies.

    Args:
        up: the cloud.
        folder: the cloud's.
    """

    def __init__(self, up: CloudUp, folder: Path) -> None:
        assert up.registrar is not None
        assert up.fleet is not None
        up.fleet.on_recall = self._end_revoked
        self._up, self._registrar = up, up.registrar
        self._place = folder / FOLDER
        self._sessions: dict[str, PageSession] = {}
        self._made = 0
        self._tasks: set[asyncio.Task[None]] = set()
        shutil.rmtree(self._place, ignore_errors=True)  # What a cloud that was killed has left.
        make_private_folder(self._place)

    async def open(self, person: ProvidedPerson, subject: Subject, minutes: float) -> str:
        """Let somebody in; the cookie.

        Raises:
            SignInError: the person was revoked, or there are too many.
        """
        self._make_room(person)
        self._made += 1
        folder = self._place / str(self._made)
        try:
            await asyncio.to_thread(self._certify, person, subject, folder / "identity", minutes)
            await self._up.node.audit.record(
                "person.signed_in", subject.name, subject.name, issuer=person.issuer, subject=person.id,
                role=subject.role, nodes=",".join(subject.nodes),
            )  # fmt: skip
        except TrustError as error:
            shutil.rmtree(folder, ignore_errors=True)
            raise SignInError(f"You are not let in: {error}") from error
        except StorageError as error:
            shutil.rmtree(folder, ignore_errors=True)
            raise _unkept(error) from error
        cookie, until = chance(), time.time() + 60 * minutes
        address, cloud = self._up.listens, self._up.node.name
        board = CloudBoard(lambda: connect(folder / "identity", cloud, address), folder, cloud, _nothing, until)
        following = asyncio.create_task(board.follow())
        ending = asyncio.get_running_loop().call_later(60 * minutes, self._end, _key(cookie), "its time was over")
        session = PageSession(person, subject, board, answering(board), following, folder, ending)
        following.add_done_callback(_ended)
        self._sessions[_key(cookie)] = session
        self._end_revoked()  # The person, too, if that was meanwhile.
        return cookie

    async def refused(self, person: ProvidedPerson) -> None:
        """Somebody is not let in whom the provider knows, and nobody here."""
        facts = {"issuer": person.issuer, "subject": person.id}
        try:
            await self._up.node.audit.record("person.refused", person.name, person.name, **facts)
        except StorageError as error:
            raise _unkept(error) from error

    def of(self, cookie: str) -> PageSession | None:
        """Whose a cookie is; None: nobody's."""
        return self._sessions.get(_key(cookie))

    def close(self, cookie: str) -> None:
        """Sign somebody out."""
        session = self._sessions.get(_key(cookie))
        if session is not None:
            self._end(_key(cookie), "the person signed out", session.subject.name)

    async def close_all(self) -> None:
        """The cloud ends."""
        for key in list(self._sessions):
            self._end(key, "the cloud was stopped")
        await asyncio.gather(*self._tasks, return_exceptions=True)
        shutil.rmtree(self._place, ignore_errors=True)

    def _certify(self, person: ProvidedPerson, subject: Subject, folder: Path, minutes: float) -> None:
        key = Identity.create_key(folder)
        issued = self._registrar.sign_in(person, subject, key.csr(), minutes / DAY)
        key.install(issued, self._registrar.authority.root_pem, subject)

    def _make_room(self, person: ProvidedPerson) -> None:
        own = [key for key, session in self._sessions.items() if session.person == person]
        if len(own) >= EACH:
            self._end(own[0], "the person has signed in again, and again")
        if len(self._sessions) >= MOST:
            raise SignInError(f"{MOST} people are signed in, and there is no room for more; try again later.")

    def _end_revoked(self) -> None:
        for key, session in list(self._sessions.items()):
            if self._registrar.people.refusal(session.subject.name) is not None:
                self._end(key, "the person was revoked")

    def _end(self, key: str, why: str, by: str = "") -> None:
        """End one, by the cloud where nobody else does it."""
        session = self._sessions.pop(key, None)
        if session is None:
            return
        session.ending.cancel()
        session.following.cancel()
        self._tasks.add(session.following)
        session.following.add_done_callback(self._tasks.discard)
        session.board.hub.close()
        shutil.rmtree(session.folder, ignore_errors=True)
        person, audit = session.person, self._up.node.audit
        facts = {"issuer": person.issuer, "subject": person.id, "why": why}
        audit.note("person.signed_out", by or self._up.node.name, session.subject.name, **facts)


def _key(cookie: str) -> str:
    """Under what a session is kept: who reads this process's memory of it could not use that."""
    return hashlib.sha256(cookie.encode()).hexdigest()


def _unkept(error: StorageError) -> SignInError:
    """What a person reads where the cloud can write nothing down; its paths are the operator's to know."""
    log.error("nobody can sign in: %s", error)
    return SignInError("The cloud can keep nothing now, and so lets nobody in; ask its operator.")


async def _nothing(_: Client) -> None:
    """The offline keys of releases are with the operator who has the folder."""


def _ended(following: asyncio.Task[None]) -> None:
    if not following.cancelled() and following.exception() is not None:
        log.error("a session's page cannot follow the cloud any more", exc_info=following.exception())

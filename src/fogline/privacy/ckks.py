"""Whole numbers that are added while they are encrypted: CKKS (Cheon et al., ASIACRYPT 2017) of Microsoft SEAL, through
TenSEAL.

CKKS is made for approximate numbers, and from approximate results whoever has the ciphertexts can compute the key (Li
and Micciancio, EUROCRYPT 2021). So here it carries whole numbers, scaled so far up that the noise of all ciphertexts of
a sum stays below a half: what is opened is rounded, and is the sum itself, in which nothing of the noise is left.

Nothing but additions is wanted, so numbers have one prime, and there are no keys for other operations: 32 bytes for a
number. All who encrypt have the secret key, and encrypt with it, which has less noise than a public one.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from fogline.errors import FoglineError

DEGREE = 4096
"""Of the polynomials. Up to 109 bits of modulus make 128 bits of security there."""
MODULUS = (60, 49)
"""Bits of the primes: of the one that numbers live in, and of one for keys that are not used but must have room."""
SLOTS = DEGREE // 2
"""Numbers of a ciphertext."""
SCALE = 2.0**17
"""What 1 becomes. The noise of a sum of 2,000 has a standard deviation of a twentieth of that."""
MOST = 2000
"""Members of a sum: so many numbers of 32 bits have room in the modulus."""
SURE = 0.4
"""How far an opened number may be from a whole one: eight standard deviations in the largest sum. Numbers that are
opened with a wrong key are further off in one of five."""
LENGTH = 4
"""Bytes that say how long a text is."""
ROW = LENGTH + 2 * 8 * DEGREE + 1020
"""Bytes of a ciphertext with its length and what fills it up: all take the same, so that sizes tell nothing."""
LOCKER = ROW
"""Bytes of a key with its length and what fills it up."""

Bytes = npt.NDArray[np.uint8]
Words = npt.NDArray[np.int32]
Sums = npt.NDArray[np.int64]


class CkksError(FoglineError, ValueError):
    """Bytes that are no ciphertext or no key, or that do not open."""


def make_key() -> bytes:
    """A fresh key, (LOCKER,) bytes; its chance is the operating system's."""
    return _filled_up(_saved(_new(), with_key=True), LOCKER).tobytes()


class CkksKey:
    """Encrypts and opens.

    Args:
        text: what :func:`make_key` has made, maybe elsewhere.

    Raises:
        CkksError: it is no key of these parameters.
    """

    def __init__(self, text: bytes) -> None:
        import tenseal

        saved = _taken_out(np.frombuffer(text, np.uint8), LOCKER)
        _check_key(saved)
        self._context = _guarded(lambda: tenseal.context_from(saved, n_threads=1), "key")

    def encrypt(self, words: Words) -> Bytes:
        """Ciphertexts of whole numbers, (rows, ROW); the chance in them is the operating system's.

        Args:
            words: (n,); the last ciphertext is filled up with zeros.
        """
        import tenseal

        numbers = np.zeros((rows_of(words.size), SLOTS))
        numbers.reshape(-1)[: words.size] = words
        made = [tenseal.ckks_vector(self._context, row).serialize() for row in numbers]
        return np.stack([_filled_up(text, ROW) for text in made])

    def open(self, rows: Bytes) -> Sums:
        """The numbers in ciphertexts or sums of them, (rows, SLOTS).

        Args:
            rows: (rows, ROW).

        Raises:
            CkksError: one is no ciphertext, or of another key, or the sum of more than it can be.
        """
        opened = np.array([_guarded(vector.decrypt, "ciphertext") for vector in _loaded(self._context, rows)])
        whole = np.rint(opened.reshape(-1, SLOTS))
        if rows.size and float(np.abs(opened - whole).max()) > SURE:
            raise CkksError("What is opened are no whole numbers: it was encrypted with another key, or is no sum.")
        return whole.astype(np.int64)


class CkksSum:
    """Adds ciphertexts up, without any key.

    Args:
        rows: of each that is added.
    """

    def __init__(self, rows: int) -> None:
        import tenseal

        self._context, self._rows, self._sum = tenseal.context_from(_own().parameters, n_threads=1), rows, list[Any]()

    def add(self, rows: Bytes) -> None:
        """Add the ciphertexts of one member, (rows, ROW).

        Raises:
            CkksError: one is none; then nothing was added.
        """
        vectors = _loaded(self._context, rows)
        if len(vectors) != self._rows:
            raise CkksError(f"There are {len(vectors)} ciphertexts; it should be {self._rows}.")
        if not self._sum:
            self._sum = vectors
            return
        for total, vector in zip(self._sum, vectors, strict=True):
            total.add_(vector)

    def rows(self) -> Bytes:
        """The sum, (rows, ROW).

        Raises:
            ValueError: nothing was added.
        """
        if not self._sum:
            raise ValueError("There is no sum: nothing was added.")
        return np.stack([_filled_up(vector.serialize(), ROW) for vector in self._sum])


def rows_of(words: int) -> int:
    """Ciphertexts of so many numbers."""
    return -(-words // SLOTS)


# Bytes of TenSEAL: messages in Protocol Buffers around what SEAL writes. Of a message from elsewhere nothing but that
# one part may differ from what this side would write: so parameters, sizes and flags are its own, and SEAL looks at the
# rest.


class _Own(NamedTuple):
    """What this side writes itself."""

    parameters: bytes
    """Without any key."""
    ciphertext: list[tuple[int, bytes]]
    """Fields of one."""


@lru_cache(maxsize=1)
def _own() -> _Own:
    import tenseal

    made = _new()
    return _Own(_saved(made, with_key=False), _fields(tenseal.ckks_vector(made, [0.0] * SLOTS).serialize()))


def _new() -> Any:
    """The parameters, with a fresh key."""
    import tenseal

    made = tenseal.context(
        tenseal.SCHEME_TYPE.CKKS,
        poly_modulus_degree=DEGREE,
        coeff_mod_bit_sizes=list(MODULUS),
        encryption_type=tenseal.ENCRYPTION_TYPE.SYMMETRIC,
        n_threads=1,
    )
    made.global_scale = SCALE
    return made


def _saved(context: Any, with_key: bool) -> bytes:
    return context.serialize(
        save_public_key=False, save_secret_key=with_key, save_galois_keys=False, save_relin_keys=False
    )


def _filled_up(text: bytes, size: int) -> Bytes:
    """A text with its length before it and zeros behind it, (size,)."""
    if LENGTH + len(text) > size:
        raise ValueError(f"{len(text)} bytes do not fit into {size}.")
    return np.frombuffer(len(text).to_bytes(LENGTH, "little") + text.ljust(size - LENGTH, b"\0"), np.uint8)


def _taken_out(row: Bytes, size: int) -> bytes:
    length = int.from_bytes(row[:LENGTH].tobytes(), "little")
    if row.shape != (size,) or length > size - LENGTH:
        raise CkksError(f"There are {row.size} bytes that say they hold {length}; it should be {size}.")
    return row[LENGTH : LENGTH + length].tobytes()


def _loaded(context: Any, rows: Bytes) -> list[Any]:
    """Ciphertexts of these parameters and this scale."""
    import tenseal

    sample, loaded = _own().ciphertext, list[Any]()
    for row in rows:
        text = _taken_out(row, ROW)
        found = _fields(text)
        if len(found) != len(sample) or sum(one != other for one, other in zip(found, sample, strict=True)) != 1:
            raise CkksError("It is no ciphertext of these parameters.")
        vector = _guarded(lambda text=text: tenseal.ckks_vector_from(context, text), "ciphertext")
        parts = vector.ciphertext()
        if len(parts) != 1 or parts[0].size() != 2 or parts[0].scale != SCALE or not parts[0].is_ntt_form():
            raise CkksError("It is a ciphertext of another form.")
        loaded.append(vector)
    return loaded


def _check_key(saved: bytes) -> None:
    """Refuse what is not these parameters and one key."""
    wanted, found = _fields(_own().parameters), _fields(saved)
    more = [field for field in found if field not in wanted]
    if len(found) != len(wanted) + 1 or len(more) != 1 or len(_fields(more[0][1])) != 1:
        raise CkksError("It is no key of these parameters.")


def _guarded(load: Any, what: str) -> Any:
    """What SEAL makes of bytes, or its refusal of them."""
    try:
        return load()
    except (ValueError, RuntimeError, IndexError, OverflowError, MemoryError) as error:
        raise CkksError(f"It is no {what}: {error}.") from error


def _fields(text: bytes) -> list[tuple[int, bytes]]:
    """The fields of a message in Protocol Buffers: each one's tag, and what stands in it."""
    found, at = list[tuple[int, bytes]](), 0
    while at < len(text):
        tag, at = _varint(text, at)
        match tag & 7:
            case 0:
                end = _varint(text, at)[1]
            case 1:
                end = at + 8
            case 2:
                length, at = _varint(text, at)
                end = at + length
            case 5:
                end = at + 4
            case _:
                raise CkksError("It is no message of TenSEAL.")
        if end > len(text):
            raise CkksError("It is only the beginning of a message of TenSEAL.")
        found.append((tag, text[at:end]))
        at = end
    return found


def _varint(text: bytes, at: int) -> tuple[int, int]:
    """A number that takes as many bytes as it must, at most ten, and where it ends."""
    number = 0
    for place, byte in enumerate(text[at : at + 10]):
        number |= (byte & 127) << 7 * place
        if byte < 128:
            return number, at + place + 1
    raise CkksError("It is no message of TenSEAL.")

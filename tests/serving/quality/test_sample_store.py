"""Kept samples: bounded, diverse, whole after a kill, and ready to train on."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt
import pytest
import safetensors

from fogline.serving.quality.labelled import labelled
from fogline.serving.quality.reservoir import Reservoir
from fogline.serving.quality.sample_store import OVERHEAD, SampleStore
from fogline.serving.quality.samples import DamagedSampleError, Notes, notes_of

ROOT = Path(__file__).parents[3]
NOTES = Notes(model="m", version=1)
SIZE = OVERHEAD + 4 * 8


def sample(number: int) -> dict[str, npt.NDArray[Any]]:
    return {"x": np.full(8, number, np.float32)}


def offer(samples: SampleStore, number: int, **notes: Any) -> bool:
    return samples.offer(sample(number), msgspec.structs.replace(NOTES, **{"request": f"r{number}"} | notes))


def slowly(samples: SampleStore, numbers: range, **notes: Any) -> None:
    """Offer so that the disk keeps up."""
    for number in numbers:
        offer(samples, number, **notes)
        samples._disk.submit(int).result()


def test_without_consent_nothing_is_kept_and_that_is_the_default(tmp_path: Path) -> None:
    samples = SampleStore(tmp_path / "k", 1 << 20)
    assert not offer(samples, 1)
    assert samples.draw(np.ones(3)) is None
    samples.close()
    assert not list((tmp_path / "k").iterdir())


def test_samples_outlive_the_process_with_what_is_known_of_them(tmp_path: Path) -> None:
    samples = SampleStore(tmp_path, 1 << 20, consent=True, clock=lambda: 5.0)
    assert offer(samples, 1, confidence=0.3, guess=2, key=0.5)
    assert not offer(samples, 1), "it is there already"
    assert samples.label("r1", [4])
    assert offer(samples, 2)
    samples.close()
    again = SampleStore(tmp_path, 1 << 20, consent=True)
    (candidate,) = again.candidates()
    assert (candidate.notes.request, candidate.notes.at) == ("r2", 5.0)
    assert again.inputs(candidate.name)["x"].tolist() == [2.0] * 8
    assert again.label("r2", [7]), "labels may come after a restart"
    again.close()
    examples = labelled(tmp_path)
    assert sorted(zip(examples.array[:, 0].tolist(), examples.y.tolist(), strict=True)) == [(1.0, 4), (2.0, 7)]
    assert (examples.array.dtype, examples.y.dtype) == (np.float32, np.int64)


def test_a_label_is_for_the_newest_request_of_its_id(tmp_path: Path) -> None:
    samples = SampleStore(tmp_path, 1 << 20, consent=True)
    offer(samples, 1, request="same")
    samples.forget("same")
    assert not samples.label("same", [1])
    offer(samples, 2, request="same", row=3)
    assert not samples.label("same", [1, 2]), "there is no label for its row"
    assert samples.label("same", [0, 0, 0, 9])
    samples.close()
    assert labelled(tmp_path).y.tolist() == [9]


def test_the_folder_stays_within_its_limit_and_of_all_classes(tmp_path: Path) -> None:
    samples = SampleStore(tmp_path, 40 * SIZE, consent=True)
    rng = np.random.default_rng(0)
    for number in range(400):
        guess = 0 if number % 20 else 1 + number // 20 % 4
        slowly(samples, range(number, number + 1), guess=guess, key=float(rng.random()))
    samples.close()
    files = list(tmp_path.iterdir())
    assert len(files) == 40
    assert sum(path.stat().st_size for path in files) <= 40 * SIZE
    kept = Counter(candidate.notes.guess for candidate in samples.candidates())
    assert kept == {0: 20, 1: 5, 2: 5, 3: 5, 4: 5}, "all 20 rare ones, though 19 of 20 offered were of class 0"


def test_labelled_samples_are_given_up_last(tmp_path: Path) -> None:
    samples = SampleStore(tmp_path, 10 * SIZE, consent=True)
    slowly(samples, range(5), key=0.0)
    for number in range(5):
        assert samples.label(f"r{number}", [number])
    slowly(samples, range(5, 50), key=1.0)
    samples.close()
    assert sorted(labelled(tmp_path).y.tolist()) == [0, 1, 2, 3, 4]
    assert len(samples.candidates()) == 5


def test_a_lottery_keeps_samples_of_all_times_and_more_hard_ones() -> None:
    """Of 2,000 items 200 stay: as many of each quarter, and of weight 1 about twice as many as of weight 1/2."""
    rng, pool = np.random.default_rng(0), Reservoir()
    for number in range(2000):
        pool.put(str(number), 0, float(rng.random() ** (1.0 if number % 2 else 2.0)))
        if len(pool) > 200:
            pool.drop(pool.next())
    left = np.array([number for number in range(2000) if str(number) in pool])
    quarters = np.bincount(left // 500)
    assert quarters.min() > 30
    assert 1.4 < (left % 2 == 1).sum() / (left % 2 == 0).sum() < 2.9


def test_labelled_samples_of_one_shape_become_examples(tmp_path: Path) -> None:
    assert labelled(tmp_path).count == 0
    times = iter(range(100))
    samples = SampleStore(tmp_path, 1 << 20, consent=True, clock=lambda: float(next(times)))
    samples.offer({"x": np.zeros(3, np.float32)}, msgspec.structs.replace(NOTES, request="old"))
    slowly(samples, range(2))
    for request in ("old", "r0", "r1"):
        assert samples.label(request, [0.5])
    samples.close()
    examples = labelled(tmp_path)
    assert examples.array.shape == (2, 8)
    assert (examples.y.dtype, examples.y.tolist()) == (np.float32, [0.5, 0.5])


def test_of_several_inputs_one_must_be_named(tmp_path: Path) -> None:
    samples = SampleStore(tmp_path, 1 << 20, consent=True)
    samples.offer({"a": np.zeros(2), "b": np.ones(3)}, msgspec.structs.replace(NOTES, request="r"))
    assert samples.label("r", [1])
    samples.close()
    with pytest.raises(ValueError, match=r"have the inputs a, b; say which one is x\."):
        labelled(tmp_path)
    assert labelled(tmp_path, "b").array.tolist() == [[1, 1, 1]]


def test_strings_and_what_is_larger_than_the_folder_are_not_kept(tmp_path: Path) -> None:
    samples = SampleStore(tmp_path, 2 * SIZE, consent=True)
    assert not samples.offer({"x": np.array([b"text"], object)}, NOTES)
    assert not samples.offer({"x": np.zeros(10_000)}, NOTES)
    samples.close()


# Faults


def test_damaged_and_half_written_files_are_cleared_away(tmp_path: Path) -> None:
    samples = SampleStore(tmp_path, 1 << 20, consent=True)
    slowly(samples, range(3))
    samples.close()
    first, second, _ = sorted(tmp_path.iterdir())
    first.write_bytes(first.read_bytes()[:40])
    second.write_bytes(b"")
    (tmp_path / "x.safetensors.part").write_bytes(b"half")
    with pytest.raises(DamagedSampleError, match="holds no sample"):
        notes_of(first)
    assert labelled(tmp_path).count == 0
    again = SampleStore(tmp_path, 1 << 20, consent=True)
    assert len(again.candidates()) == len(list(tmp_path.iterdir())) == 1
    again.close()


def test_a_smaller_limit_is_kept_after_a_restart(tmp_path: Path) -> None:
    samples = SampleStore(tmp_path, 1 << 20, consent=True)
    slowly(samples, range(20))
    samples.close()
    SampleStore(tmp_path, 5 * SIZE, consent=True).close()
    assert sum(path.stat().st_size for path in tmp_path.iterdir()) <= 5 * SIZE


PROGRAM = """
import sys
from pathlib import Path
from tests.serving.quality.test_sample_store import SIZE, SampleStore, slowly
samples = SampleStore(Path(sys.argv[1]), 30 * SIZE, consent=True)
for number in range(int(sys.argv[2]), 10**9):
    slowly(samples, range(number, number + 1), key=(number * 0.618) % 1)
    samples.label(f"r{number - 2}", [number - 2])
    print(number, flush=True)
"""


@pytest.mark.slow
def test_a_kill_at_any_write_leaves_whole_samples_only(tmp_path: Path) -> None:
    """Thirty kills, each after another number of writes; a label is never one of another sample."""
    number = 0
    for kill in range(30):
        command = [sys.executable, "-c", PROGRAM, str(tmp_path), str(number)]
        with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            for line in process.stdout:
                number = int(line) + 1
                if number % 40 == 7 + kill:
                    break
            process.kill()
        for path in tmp_path.glob("*.safetensors"):
            with safetensors.safe_open(path, framework="np") as file:
                values = file.get_tensor("x")
            notes = notes_of(path)
            assert values.tolist() == [values[0]] * 8
            assert notes.request == f"r{int(values[0])}"
            assert notes.label in (None, int(values[0]))
    samples = SampleStore(tmp_path, 30 * SIZE, consent=True)
    assert not list(tmp_path.glob("*.part"))
    assert sum(path.stat().st_size for path in tmp_path.iterdir()) <= 30 * SIZE
    assert len(samples.candidates()) + labelled(tmp_path).count == len(list(tmp_path.iterdir()))
    assert labelled(tmp_path).count > 0
    samples.close()


@pytest.fixture
def full_disk(tmp_path: Path) -> Any:
    """A file system of 64 KiB."""
    place = tmp_path / "disk"
    place.mkdir()
    made = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(place)], capture_output=True)
    if made.returncode:
        pytest.skip("a file system of its own needs root")
    yield place
    subprocess.run(["umount", str(place)], check=True)


def test_a_full_disk_costs_samples_and_nothing_else(full_disk: Path) -> None:
    other = full_disk / "other"
    other.write_bytes(bytes(40_000))
    samples = SampleStore(full_disk, 1 << 20, consent=True)
    slowly(samples, range(40))
    assert samples.lost > 0
    assert not list(full_disk.glob("*.part"))
    whole = len(list(full_disk.glob("*.safetensors")))
    assert 2 < whole < 40
    assert len(samples.candidates()) == whole, "who could not be written is not promised"
    assert samples.label(samples.candidates()[0].notes.request, [3]), "its file stays as it was, for want of room"
    other.unlink()
    slowly(samples, range(100, 102))
    samples.close()
    assert {float(samples.inputs(candidate.name)["x"][0]) for candidate in samples.candidates()} >= {100, 101}

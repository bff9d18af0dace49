"""joblib: its own dumps of ten years, what it writes today in every compression, and hostile ones."""

from __future__ import annotations

import io
import pickle
import random
import zlib
from pathlib import Path

import joblib
import numpy as np
import pytest
from gitrepo import Repo
from joblib import numpy_pickle_compat
from mutations import mutated
from program import diffai

from diffai.errors import DiffaiError, FormatError, LimitError
from diffai.formats import compressed, registry, unpacking
from diffai.formats.base import Budget, Limits
from diffai.model import Checkpoint
from diffai.models.rule import is_model_head
from diffai.sources.local import LocalFile, MemoryBytes

DUMPS = sorted(
    path for path in (Path(joblib.__file__).parent / "test" / "data").glob("joblib_*") if ".npy" not in path.name
)
SAFE = Limits(allow_torch=False)


def opened(path: Path, limits: Limits = SAFE) -> Checkpoint:
    return registry.open_checkpoint(LocalFile(path), limits)


def array(checkpoint: Checkpoint, name: str, dtype: str) -> np.ndarray:  # type: ignore[type-arg]
    spec = checkpoint.tensors[name]
    data = bytearray(spec.nbytes)
    checkpoint.read_into(spec, 0, memoryview(data))
    return np.frombuffer(data, dtype).reshape(spec.shape)


def test_there_are_dumps_of_all_versions() -> None:
    assert len(DUMPS) > 35


@pytest.mark.parametrize("path", [path for path in DUMPS if "cache_size" not in path.name], ids=lambda path: path.name)
def test_the_librarys_own_dumps_hold_what_it_wrote(path: Path) -> None:
    checkpoint = opened(path)
    assert np.array_equal(array(checkpoint, "0", "<i8"), np.arange(5))
    assert np.array_equal(array(checkpoint, "1", "<f8"), np.arange(5, dtype="<f8"))
    assert np.array_equal(array(checkpoint, "4", "<i8"), [[0, 1, 2]])
    assert checkpoint.metadata["2.1"] == "abc" and checkpoint.metadata["2.0"] == 1
    assert checkpoint.safety == "builds classes"
    checkpoint.close()


def test_compressed_arrays_beside_the_dump_are_read() -> None:
    (path,) = [path for path in DUMPS if "cache_size" in path.name]
    checkpoint = opened(path)
    assert next(spec.shape for spec in checkpoint.tensors.values()) == (5,)
    assert checkpoint.identity == ""


OBJECT = {
    "f": np.asfortranarray(np.arange(12.0).reshape(3, 4)), "i": np.arange(-3, 4, dtype="i2"), "big": np.arange(3, dtype=">f4"),
    "empty": np.zeros((0, 2)), "objects": np.array(["a", None, 3], dtype=object), "words": np.array(["ab", "c"]),
    "records": np.array([(1, 2.5), (3, 4.5)], dtype=[("left", "<i8"), ("threshold", "<f8")]), "rate": 0.25,
}  # fmt: skip


@pytest.mark.parametrize("compress", [0, ("zlib", 3), ("gzip", 3), ("bz2", 3), ("xz", 3), ("lzma", 3), ("lz4", 3)], ids=str)
def test_what_joblib_writes_today_is_read_as_it_was(tmp_path: Path, compress: int | tuple[str, int]) -> None:
    path = tmp_path / "m.joblib"
    joblib.dump(OBJECT, path, compress=compress)
    checkpoint = opened(path)
    assert checkpoint.format.startswith("joblib")
    for name, dtype in (("f", "<f8"), ("i", "<i2"), ("empty", "<f8")):
        assert np.array_equal(array(checkpoint, name, dtype), OBJECT[name]), name  # type: ignore[arg-type]
    assert np.array_equal(array(checkpoint, "big", "<f4"), np.arange(3))
    assert np.array_equal(array(checkpoint, "records.left", "<i8"), [1, 3])
    assert np.array_equal(array(checkpoint, "records.threshold", "<f8"), [2.5, 4.5])
    assert checkpoint.metadata["rate"] == 0.25
    assert "'a', None, 3" in str(checkpoint.metadata["objects"])
    assert registry.check(LocalFile(path), SAFE)[0].code == "PT21"


def test_zstd_and_concatenated_streams(tmp_path: Path) -> None:
    import bz2
    import gzip

    import zstandard

    plain = pickle.dumps({"w": np.arange(50_000.0)})
    for name, data in (
        ("m.pkl.zst", zstandard.compress(plain)), ("m.pkl.gz", gzip.compress(plain[:1000]) + gzip.compress(plain[1000:])),
        ("m.pkl.bz2", bz2.compress(plain[:1000]) + bz2.compress(plain[1000:])), ("m.pkl", gzip.compress(plain) + bytes(512)),
    ):  # fmt: skip
        (tmp_path / name).write_bytes(data)
        assert np.array_equal(array(opened(tmp_path / name), "w", "<f8"), np.arange(50_000.0)), name


class Hostile:
    def __reduce__(self) -> tuple[object, ...]:
        import os

        return os.system, ("touch /tmp/never",)


def test_a_hostile_pickle_is_as_loud_compressed_as_it_is_plain(tmp_path: Path) -> None:
    for compress in (0, 3):
        joblib.dump([Hostile(), np.zeros(3)], tmp_path / "m.joblib", compress=compress)
        found = registry.check(LocalFile(tmp_path / "m.joblib"), SAFE)
        assert [p.name for p in found if p.code == "PT20"] == ["posix.system"]
        assert opened(tmp_path / "m.joblib").safety == "unsafe"


def test_an_array_of_objects_with_a_hostile_pickle_is_judged(tmp_path: Path) -> None:
    joblib.dump({"a": np.array([Hostile()], dtype=object)}, tmp_path / "m.joblib")
    found = registry.check(LocalFile(tmp_path / "m.joblib"), SAFE)
    assert [p.name for p in found if p.code == "PT20"] == ["posix.system"]


def test_values_that_a_plain_loader_would_run_are_refused(tmp_path: Path) -> None:
    """Without padding (joblib before 1.2) pickle.load takes the values for opcodes."""
    evil = pickle.dumps(Hostile(), 2)[2:]
    values = np.frombuffer(evil + b"." * (-len(evil) % 8), "u1")
    joblib.dump(values, tmp_path / "m.pkl")
    data = (tmp_path / "m.pkl").read_bytes()
    at = data.index(evil)
    start = data.rindex(b"\xff", 0, at) - data[data.rindex(b"b", 0, at) + 1]
    key = b"\x8c\x1bnumpy_array_alignment_bytes\x94K\x10"
    assert key in data
    old = data.replace(key, b"\x8c\x1bnumpy_array_alignment_nytes\x94K\x10")
    old = old[:start] + old[at:]
    (tmp_path / "m.pkl").write_bytes(old)
    with pytest.raises(FormatError) as error:
        opened(tmp_path / "m.pkl")
    assert error.value.code == "AMB01" and "posix.system" in error.value.reason


def beside(name: str) -> bytes:
    """A dump of joblib 0.9: one stand-in for an array in another file."""
    wrapper = numpy_pickle_compat.NDArrayWrapper(name, np.ndarray)
    return pickle.dumps([wrapper], 2).replace(b"cjoblib.numpy_pickle_compat\n", b"cjoblib.numpy_pickle\n")


@pytest.mark.parametrize("name", ["../x.npy", "/etc/passwd", "a/b.npy", "..", "", "a\\b.npy"])
def test_arrays_outside_the_folder_are_refused(tmp_path: Path, name: str) -> None:
    np.save(tmp_path / "x.npy", np.zeros(3))
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "m.pkl").write_bytes(beside(name))
    with pytest.raises(FormatError) as error:
        opened(tmp_path / "in" / "m.pkl")
    assert error.value.code == "PT20"


def test_a_link_out_of_the_folder_is_not_followed(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.zeros(3))
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "x.npy").symlink_to(tmp_path / "x.npy")
    (tmp_path / "in" / "m.pkl").write_bytes(beside("x.npy"))
    with pytest.raises(DiffaiError):
        opened(tmp_path / "in" / "m.pkl")


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "m.pkl").write_bytes(beside("x.npy"))
    with pytest.raises(FormatError, match=r"x\.npy") as error:
        opened(tmp_path / "m.pkl")
    assert error.value.code == "PT07"


LIES = {
    "cut off": (zlib.compress(pickle.dumps(np.zeros(300)))[:-9], "GZ01"),
    "damaged": (b"\x1f\x8b\x08\0" + bytes(30), "GZ01"),
    "followed": (zlib.compress(pickle.dumps(np.zeros(300))) + b"more", "GZ02"),
    "zfile that claims more": (b"ZF" + b"0x999999".ljust(19) + zlib.compress(pickle.dumps(np.zeros(3))), "GZ01"),
    "zfile without size": (b"ZF0xyz" + bytes(40), "GZ01"),
    "twice": (zlib.compress(zlib.compress(pickle.dumps(np.zeros(3)))), "GZ04"),
    "text": (zlib.compress(b"hello " * 99), "GZ04"),
}


@pytest.mark.parametrize("case", LIES)
def test_lies_are_refused_by_number(case: str) -> None:
    data, code = LIES[case]
    with pytest.raises(FormatError) as error:
        registry.open_checkpoint(MemoryBytes(data, label="m.joblib"), SAFE)
    assert error.value.code == code


def test_bombs_are_refused() -> None:
    for data in (zlib.compress(bytes(200_000_000)), b"\x04\x22\x4d\x18"):
        with pytest.raises(DiffaiError) as error:
            registry.open_checkpoint(MemoryBytes(data, label="m.joblib"), SAFE)
        assert isinstance(error.value, LimitError) is (data[:1] == b"\x78")


def test_a_missing_extra_is_a_sentence_that_names_it(monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "zstandard", None)
    with pytest.raises(FormatError, match=r"diffai\[compressed\]") as error:
        list(unpacking.unpacked(MemoryBytes(b"\x28\xb5\x2f\xfd" + bytes(20)), "zstd", Budget(SAFE)))
    assert error.value.code == "GZ03"


def test_only_models_are_models_when_compressed() -> None:
    import gzip

    noise = np.random.default_rng(0).normal(size=900)
    model, text = gzip.compress(pickle.dumps({"w": noise})), gzip.compress(noise.tobytes().hex().encode())
    assert is_model_head(model[:4096], len(model), "blob")
    assert not is_model_head(text[:4096], len(text), "notes.gz")
    assert is_model_head(text[:4096], len(text), "m.pkl.gz")
    assert compressed.inner_name("a/m.pkl.gz") == "a/m.pkl"


def test_the_gate_judges_a_compressed_pickle(repo: Repo) -> None:
    file = io.BytesIO()
    joblib.dump({"w": np.zeros(900), "x": Hostile()}, file, compress=3)
    repo.commit({"notes.txt": b"x", ".diffai.toml": b"[gate]\nforbid_unsafe_pickle = true\n"}, "one")
    repo.write({"m.pkl": file.getvalue()})
    repo.git("add", "-A")
    result = diffai("gate", cwd=repo.top)
    assert result.returncode == 1 and "posix.system" in result.stdout


def test_damaged_files_give_our_errors_and_no_others(tmp_path: Path) -> None:
    rng = random.Random(7)
    samples = []
    for compress in (0, 1, ("lz4", 1), ("xz", 1)):
        file = io.BytesIO()
        joblib.dump(OBJECT, file, compress=compress)
        samples.append(file.getvalue())
    refused = 0
    for turn in range(1500):
        data = mutated(samples[0 if turn % 2 else rng.randrange(4)], rng)
        try:
            checkpoint = registry.open_checkpoint(MemoryBytes(data, label="m.joblib"), SAFE)
            for spec in checkpoint.tensors.values():
                if spec.nbytes < 1 << 20:
                    checkpoint.read_into(spec, 0, memoryview(bytearray(spec.nbytes)))
            checkpoint.close()
        except DiffaiError:
            refused += 1
    assert 300 < refused < 1500

"""Hostile files: nothing runs, nothing crashes, everything ends, and dangerous names are said aloud."""

from __future__ import annotations

import contextlib
import os
import pickle
import random
import struct
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch_files import DATA, checked, everything, global_, legacy, opened, state, tensor, text, values, zipped

from diffai.errors import DiffaiError, FormatError, LimitError
from diffai.formats import torch as reader
from diffai.formats.base import Limits
from diffai.formats.safety import with_allowed
from diffai.formats.torch.constructors import CONSTRUCTORS
from diffai.formats.torch.opcodes import OPCODE_BYTES

FLOATS = struct.pack("<4f", 1, 2, 3, 4)
WEIGHT = tensor("0", 4, (2, 2), (2, 1))
FILES = sorted(path.name for path in DATA.iterdir() if path.suffix in (".pt", ".ckpt", ".pkl"))


class Payload:
    """Would run a command if it were unpickled."""

    def __init__(self, command: str) -> None:
        self.command = command

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.system, (self.command,)


def containers(pickled: bytes) -> dict[str, bytes]:
    return {
        "zip": zipped({"data.pkl": pickled, "data/0": FLOATS}),
        "legacy": legacy(pickled, {"0": (4, FLOATS)}),
    }


@pytest.mark.parametrize("kind", ["zip", "legacy"])
def test_a_payload_never_runs_and_is_loud(kind: str, tmp_path: Path) -> None:
    marker = tmp_path / "marker"
    evil = pickle.dumps(Payload(f"touch {marker}"), 2)[2:-1]
    data = containers(state({"w": WEIGHT, "evil": evil}))[kind]
    checkpoint = opened(data)
    assert values(checkpoint, "w") == FLOATS
    found = [problem for problem in checkpoint.problems if problem.severity == "error"]
    assert len(found) == 1
    assert found[0].code == "PT20"
    assert found[0].message == f"pickle calls {os.system.__module__}.system (not run)"
    assert data[found[0].offset - 40 : found[0].offset + 1].count(b"c" + os.system.__module__.encode()[:4]) == 1
    assert set(checkpoint.problems) <= set(checked(data))
    assert not marker.exists()


@pytest.mark.parametrize("protocol", [0, 1, 2, 4, 5])
def test_a_bare_malicious_pickle_is_opened_to_be_reported(protocol: int, tmp_path: Path) -> None:
    marker = tmp_path / "marker"
    data = pickle.dumps(Payload(f"touch {marker}"), protocol)
    assert reader.recognise(data, len(data), "model.pkl")
    assert [problem.code for problem in checked(data)] == ["PT20"]
    assert not opened(data).tensors
    assert not marker.exists()


@pytest.mark.parametrize(
    "name",
    [
        "os system", "posix system", "nt system", "subprocess Popen", "builtins eval", "builtins exec",
        "__builtin__ eval", "builtins getattr", "builtins __import__", "builtins open", "sys exit",
        "socket socket", "shutil rmtree", "importlib import_module", "runpy run_path",
        "pickle loads", "_pickle loads", "ctypes CDLL", "pty spawn",
        "webbrowser open", "code InteractiveInterpreter", "torch.hub load", "torch load", "numpy load",
        "functools partial", "operator attrgetter", "operator methodcaller", "_operator itemgetter",
        "bdb Bdb.run", "pdb run", "timeit timeit", "asyncio run", "multiprocessing Process",
        "urllib.request urlopen", "requests get",
        "http.client HTTPConnection", "pip main", "torch.serialization os.system", "torch.nn.modules.module os",
        "torch.fx.graph_module reduce_graph_module", "collections _sys.exit",
        "numpy.testing._private.utils runstring", "torch.utils.cpp_extension load_inline",
        "types CodeType", "torch._utils _rebuild_tensor_v2.__globals__",
    ],
)  # fmt: skip
def test_dangerous_names(name: str) -> None:
    module, _, attribute = name.partition(" ")
    pickled = state({"w": WEIGHT, "x": global_(module, attribute) + b")R"})
    found = opened(containers(pickled)["zip"]).problems
    assert [(problem.code, problem.severity) for problem in found] == [("PT20", "error")]
    assert attribute in found[0].message


def test_custom_classes_are_inert_and_said_once() -> None:
    net = global_("mymodels", "Net") + b")\x81}(" + text("w") + WEIGHT + text("n") + b"K\x05ub"
    data = containers(state({"a": net, "b": net}))["zip"]
    checkpoint = opened(data)
    assert [p.message for p in checkpoint.problems] == ["pickle calls mymodels.Net (not run)"]
    assert checkpoint.safety == "unsafe"
    permitted = with_allowed(checkpoint.problems, frozenset(("mymodels.Net",)))
    assert [(p.code, p.severity) for p in permitted] == [("PT21", "warning")]
    assert list(checkpoint.tensors) == ["a.w", "b.w"]
    assert checkpoint.metadata == {"a.n": 5, "b.n": 5}
    assert checkpoint.classes == {"a": "mymodels.Net", "b": "mymodels.Net"}


def test_danger_is_said_even_when_the_file_is_damaged() -> None:
    data = containers(b"\x80\x02" + global_("os", "system") + b"(" + text("id") + b"tR" + b"\xff")["zip"]
    with pytest.raises(FormatError, match=r"os\.system"):
        opened(data)
    assert {problem.code for problem in checked(data)} == {"PT05", "PT20"}


NESTED: dict[str, Callable[[int], bytes]] = {
    "lists": lambda n: b"]" * n + b"a" * (n - 1),
    "tuples": lambda n: b")" + b"\x85" * n,
    "dictionaries": lambda n: b"}" + (b"K\x01}") * n + b"s" * n,
    "tuples as keys": lambda n: b"}" + b")" + b"\x85" * n + b"K\x01s",
    "stubs": lambda n: global_("a", "B") + b"q\x00)R" + (b"0h\x00K\x00\x85R") + b"\x85h\x00" * 0 + b"\x85" * n,
    "stub states": lambda n: global_("a", "B") + b"q\x000" + b"h\x00)\x81" * n + b"b" * (n - 1),
    "marks": lambda n: b"(" * n + b"t" * n,
    "calls of calls": lambda n: global_("copyreg", "__newobj__") + b"q\x00" + b"(" + b"h\x00" * n + b"tR",
    "sets": lambda n: b"\x8f(" * n + b"\x90" * n,
}


@pytest.mark.parametrize("kind", NESTED)
@pytest.mark.parametrize("container", ["zip", "legacy", "bare"])
def test_deep_nesting_is_an_error_and_no_crash(kind: str, container: str) -> None:
    pickled = b"\x80\x02" + NESTED[kind](200_000) + b"."
    data = pickled if container == "bare" else containers(pickled)[container]
    try:
        opened(data)
    except FormatError:
        pass
    else:
        assert kind in ("tuples as keys", "stubs", "sets")
    checked_or_refused(data)


def checked_or_refused(data: bytes) -> None:
    with contextlib.suppress(DiffaiError):
        checked(data)


def test_deep_lists_are_refused_by_depth() -> None:
    with pytest.raises(FormatError) as caught:
        opened(containers(b"\x80\x02" + NESTED["lists"](200_000) + b".")["zip"])
    assert (caught.value.code, "diffai.maxDepth" in caught.value.reason) == ("PT12", True)


def test_cycles_end() -> None:
    cycle = b"]q\x01h\x01a"
    pickled = state({"w": WEIGHT, "cycle": cycle, "dict": b"}q\x02" + text("me") + b"h\x02s"})
    checkpoint = opened(containers(pickled)["zip"])
    assert list(checkpoint.tensors) == ["w"]
    own = global_("torch._utils", "_rebuild_parameter") + b"(" + WEIGHT + b"q\x03\x89}tR}" + text("me") + b"h\x03sb"
    assert list(opened(containers(state({"w": own}))["zip"]).tensors) == ["w", "w.me"]


def test_exponential_sharing_ends() -> None:
    bomb = b"]q\x00" + b"".join(b"](h%ch%ceq%c" % (i, i, i + 1) for i in range(60))
    checkpoint = opened(containers(state({"w": WEIGHT, "bomb": bomb}))["zip"])
    assert (list(checkpoint.tensors), [problem.code for problem in checkpoint.problems]) == (["w"], ["PT26"])


@pytest.mark.parametrize(
    "ops",
    [
        b"R", b"0", b"t", b"a", b"e", b"s", b"u", b"b", b"\x81", b"\x93", b"h\x07", b"Q", b"\x85", b"\x87", b"2",
        b"q\x00", b"}K\x01e", b"](K\x01u", b"K\x01K\x02a", b"(K\x01o", b"I12x\n", b"L99999999x\n", b"F..\n", b"Sabc\n",
        b"S'\\x'\n", b"X\xff\xff\xff\xff", b"X\x02\x00\x00\x00\xff\xfe", b"B\xff\xff\xff\x7f", b"\x8b\xff\xff\xff\x7f",
        b"\x8a\xffabc", b"\x8e" + b"\xff" * 8, b"cos\n", b"c\xff\n\xff\n", b"V\\u12\n", b"g99999999999999999999\n",
        b"p\n", b"\x82\x01",
        b"\x97", b"\x80\x09", b"T\x05\x00", b"NN", b"L" + b"9" * 5000 + b"L\n", b"I" + b"1" * 5000 + b"\n",
        b"c" + b"a" * 2_000_000,
    ],
)  # fmt: skip
def test_damaged_opcodes(ops: bytes) -> None:
    for data in containers(b"\x80\x02" + ops + b".").values():
        with pytest.raises(FormatError) as caught:
            opened(data)
        assert caught.value.code in ("PT05", "PT06", "PT10", "PT20"), caught.value


@pytest.mark.parametrize(
    "name",
    sorted(name for name in CONSTRUCTORS if " " not in name),
)
def test_constructors_with_nonsense(name: str) -> None:
    module, _, attribute = name.rpartition(".")
    deep = b")" + b"\x85" * 3000
    for args in (b")", b"(K\x01t", b"(NNNNNNNNt", b"(]}](K\x01K\x02ett", b"(X\x01\x00\x00\x00aX\x06\x00\x00\x00latin1t",
                 b"(" + deep * 3 + b"t", b"(" + global_("a", "B") * 4 + b"t", b"(" + WEIGHT * 4 + b"t"):  # fmt: skip
        for ending in (b"R", b"\x81", b"RK\x05b", b"R(K\x01K\x02K\x03K\x04K\x05tb"):
            data = containers(state({"w": WEIGHT, "x": global_(module, attribute) + args + ending}))["zip"]
            with contextlib.suppress(DiffaiError):
                everything(data)


@pytest.mark.parametrize("file", FILES)
def test_truncation_at_every_byte(file: str) -> None:
    data = (DATA / file).read_bytes()
    for end in range(len(data)):
        with pytest.raises(DiffaiError):
            everything(data[:end])


@pytest.mark.parametrize("file", FILES)
def test_random_mutations(file: str) -> None:
    data = (DATA / file).read_bytes()
    rng = random.Random(file)
    until = time.monotonic() + float(os.environ.get("DIFFAI_FUZZ_SECONDS", "8"))
    warnings.simplefilter("ignore")
    for _ in range(int(os.environ.get("DIFFAI_FUZZ", "500"))):
        mutate_and_open(data, rng)
        if time.monotonic() > until:
            break


def mutate_and_open(data: bytes, rng: random.Random) -> None:
    changed = bytearray(data)
    for _ in range(rng.choice((1, 1, 2, 5))):
        at = rng.randrange(len(changed))
        match rng.randrange(4):
            case 0:
                changed[at] = rng.randrange(256)
            case 1:
                changed[at : at + rng.randrange(9)] = rng.randbytes(rng.randrange(9))
            case 2:
                changed[at] ^= 1 << rng.randrange(8)
            case _:
                changed[at : at + 4] = rng.choice((b"\xff\xff\xff\xff", b"\0\0\0\0", b"\xff\xff\xff\x7f"))
    with contextlib.suppress(DiffaiError):
        everything(bytes(changed))
    checked_or_refused(bytes(changed))


PIECES = [
    *(bytes((code,)) for code in sorted(OPCODE_BYTES)),
    b"K\x01", b"h\x00", b"q\x00", b")", b"(", text("a"), global_("torch._utils", "_rebuild_tensor_v2"), WEIGHT,
    global_("numpy._core.multiarray", "_reconstruct"), global_("numpy", "dtype"), global_("collections", "OrderedDict"),
    global_("a", "B"), global_("_codecs", "encode"), global_("torch._utils", "_rebuild_parameter"), b"C\x04abcd",
]  # fmt: skip


@settings(max_examples=600, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.lists(st.sampled_from(PIECES), max_size=40))
def test_random_programs(pieces: list[bytes]) -> None:
    data = containers(b"\x80\x02" + b"".join(pieces) + b".")["zip"]
    with contextlib.suppress(DiffaiError):
        everything(data)


def test_opcode_bomb_stops_at_the_limit() -> None:
    data = containers(b"\x80\x02" + b"N0" * 600_000 + b"N.")["zip"]
    with pytest.raises(LimitError):
        opened(data, Limits(max_steps=1_000_000, allow_torch=False))

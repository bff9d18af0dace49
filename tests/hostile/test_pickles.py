"""What loading would run is found under every name, by every way, in all clothes; and *safe* is proved by loading."""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterator

import pytest
from loaders import Loader
from pickle_files import WEIGHT, clothes, named, programs, torch_tar, ways
from torch_files import DATA, LIMITS, checked, global_, opened, state, text, zipped

from diffai.errors import DiffaiError, FormatError
from diffai.formats import registry, safety
from diffai.formats.torch import danger
from diffai.sources.local import MemoryBytes


def codes(data: bytes, name: str) -> list[str]:
    """The numbers that ``check`` gives a file of this name."""
    return [problem.code for problem in registry.check(MemoryBytes(data, label=name), LIMITS)]


def verdict_of(opcodes: bytes) -> str:
    data = zipped({"data.pkl": state({"w": WEIGHT, "x": opcodes}), "data/0": bytes(16)})
    return opened(data).safety


@pytest.mark.parametrize(("module", "name"), named(), ids=[" ".join(pair) for pair in named()])
def test_every_other_name_is_unsafe_by_every_way(module: str, name: str) -> None:
    for way, opcodes in ways(module, name):
        data = b"\x80\x04" + opcodes + b"."
        assert "PT20" in codes(data, "new.pkl"), way


@pytest.mark.parametrize("way", [way for way, _ in ways("os", "system")])
def test_a_payload_is_judged_in_all_clothes(way: str) -> None:
    opcodes = dict(ways("os", "system"))[way]
    for kind, name, data in clothes(opcodes):
        if way in ("mention", "build", "stack global", "newobj", "newobj_ex") and kind == "cut off":
            continue  # a mention alone, cut off, under no sign of a pickle
        assert "PT20" in codes(data, name), kind


def test_the_shortest_text_pickle_under_a_new_name_is_judged() -> None:
    data = b"(S'touch marker'\nios\nsystem\n."
    for name in ("new.pt", "new.pth", "new.ckpt", "pytorch_model.bin", "new.pkl", "noname"):
        checkpoint = registry.open_checkpoint(MemoryBytes(data, label=name), LIMITS)
        assert checkpoint.safety == "unsafe"
        assert [(p.code, p.name, p.use) for p in checkpoint.problems] == [("PT20", "os.system", "construct")]


@pytest.mark.parametrize("text_file", [b"# notes\nThe model is good.\n", b"cat\nfoo\nbar\n", b"config\nmodel\nsystem\n",
                                       b"import os\nos.system('x')\n", b"I am a text\n", b"(see below)\n", b"Version 1\n",
                                       b"\xef\xbb\xbfhello", b"S'quoted' text\n", b"N.B. this is text\n"])  # fmt: skip
def test_text_is_no_pickle(text_file: bytes) -> None:
    with pytest.raises(FormatError) as caught:
        codes(text_file, "readme.bin")
    assert not caught.value.code.startswith("PT2")


def test_what_the_issue_was_fooled_by() -> None:
    walk = global_("pathlib", "attrgetter") + text("os.system") + b"\x85R" + global_("pathlib", "fnmatch") + b"\x85R"
    assert verdict_of(walk + text("id") + b"\x85R") == "unsafe"
    items = global_("collections", "_itemgetter") + text("__builtins__") + b"\x85R"
    assert verdict_of(items + global_("collections", "__dict__") + b"\x85R") == "unsafe"


def test_three_verdicts() -> None:
    assert verdict_of(global_("collections", "OrderedDict") + b")R") == "safe"
    linear = global_("torch.nn.modules.linear", "Linear")
    assert verdict_of(linear + b")\x81}" + text("bias") + b"Nsb") == "builds classes"
    assert verdict_of(linear) == "builds classes"
    tree = global_("sklearn.tree._tree", "Tree")
    assert verdict_of(tree + b"(K\x01NNtR}" + text("a") + b"Nsb") == "builds classes"


@pytest.mark.parametrize("opcodes", [
    global_("torch.nn.modules.linear", "Linear") + b"(K\x01K\x01tR",  # its __init__
    global_("sklearn.tree._tree", "Tree") + b")R",  # with another number of arguments
    global_("torch.nn.modules.linear", "Linear") + b"}" + text("forward") + b"Nsb",  # state for the class itself
    global_("torch", "float32") + b"}b",
    global_("collections", "OrderedDict") + b")R" + b"}b" + global_("torch.nn.modules.linear", "Linear") + b")\x81)R0",
    global_("builtins", "int") + b"K\x01K\x02\x86R",
    global_("copyreg", "_reconstructor") + b"(" + global_("a", "B") + global_("builtins", "object") + b"NtR",
], ids=["called", "arity", "build on a class", "build on a dtype", "call of an instance", "int of two", "reconstructor"])  # fmt: skip
def test_other_operations_are_unsafe(opcodes: bytes) -> None:
    assert verdict_of(opcodes) == "unsafe"


def test_extension_codes_and_foreign_persistent_ids_are_unsafe() -> None:
    for opcodes in (b"\x82\x01", b"\x83\x01\x00", b"\x84\x01\x00\x00\x00", text("os") + b"Q", b"Pos\n"):
        data = zipped({"data.pkl": b"\x80\x02" + opcodes + b"."})
        assert [problem.code for problem in checked(data)] == ["PT20"]


def test_exact_names_of_ones_own_permit_construction_and_no_more() -> None:
    allow = frozenset(("mypkg.model.Net",))
    net = global_("mypkg.model", "Net")
    made = opened(zipped({"data.pkl": state({"w": WEIGHT, "x": net + b")\x81}b"}), "data/0": bytes(16)}))
    assert not safety.unsafe(safety.with_allowed(made.problems, allow))
    for opcodes in (net + b"}b", net + b")R)R", global_("mypkg.model", "Net.os"), global_("mypkg", "model.Net") + b")R",
                    global_("mypkg.model", "Net2")):  # fmt: skip
        data = zipped({"data.pkl": state({"w": WEIGHT, "x": opcodes}), "data/0": bytes(16)})
        assert safety.unsafe(safety.with_allowed(opened(data).problems, allow))


def test_two_thousand_names_are_not_two_thousand_lines() -> None:
    many = b"".join(global_("m", f"f{number}") + b"0" for number in range(2000))
    found = opened(zipped({"data.pkl": state({"w": many + WEIGHT}), "data/0": bytes(16)})).problems
    assert len(found) == 1001
    assert "not listed" in found[-1].message


def test_enumerated_names_are_classes_of_the_libraries_that_are_here() -> None:
    import importlib

    for (module, name), operations in danger.classes().items():
        root = module.partition(".")[0]
        if module.startswith(("torch.ao", "torch.distributed")):
            continue  # slow to import
        if root not in ("torch", "collections", "builtins", "datetime", "random", "types", "uuid", "argparse"):
            continue
        try:
            found = getattr(importlib.import_module(module), name)
        except (ImportError, AttributeError):
            continue  # of another version
        if "new" in operations or "build" in operations:
            assert isinstance(found, type), (module, name)


def test_a_tar_with_two_meanings_is_refused() -> None:
    plain = b"\x80\x02}."
    assert opened(torch_tar(plain)).format == "torch tar"
    for extra in (("pickle", b"\x80\x02]."), ("./pickle", b"N."), ("d" * 80 + "/" + "x" * 80, b""), ("a/pickle", b"N.")):
        with pytest.raises(FormatError) as caught:
            opened(torch_tar(plain, extra))
        assert caught.value.code == "AMB01", extra[0][:20]
    with pytest.raises(FormatError) as caught:
        opened(torch_tar(plain, *((f"m{number}", b"") for number in range(70))))
    assert caught.value.code == "AMB01"


def test_a_file_of_two_formats_is_refused() -> None:
    zip_file = zipped({"data.pkl": state({"w": WEIGHT}), "data/0": bytes(16)})
    legacy_file = (DATA / "legacy.pt").read_bytes()
    head = bytearray(torch_tar(b"\x80\x02}.")[:512])
    head[: len(legacy_file[:100])] = legacy_file[:100]
    head[148:156] = b" " * 8
    head[148:156] = f"{sum(head):06o}\0 ".encode()
    for data in (legacy_file + zip_file, b"\x80\x02}." + zip_file, bytes(head) + legacy_file[512:]):
        with pytest.raises(FormatError) as caught:
            opened(data)
        assert caught.value.code == "AMB01"


def test_a_safetensors_file_that_ends_as_a_zip_is_refused() -> None:
    packed = zipped({"data.pkl": state({"w": WEIGHT}), "data/0": bytes(16)})
    header = b'{"w":{"dtype":"U8","shape":[%d],"data_offsets":[0,%d]}}' % (len(packed), len(packed))
    data = len(header).to_bytes(8, "little") + header
    assert codes(data + bytes(len(packed)), "m.safetensors") == []
    assert codes(data + packed, "m.safetensors") == ["AMB01"]
    with pytest.raises(FormatError, match="ambiguous container"):
        registry.open_checkpoint(MemoryBytes(data + packed, label="m.safetensors"), LIMITS)


# ---------------------------------------------------------------- the proof


@pytest.fixture(scope="module")
def watched() -> Iterator[Loader]:
    loader = Loader("audit")
    yield loader
    loader.close()


def judged_safe(data: bytes) -> bool:
    try:
        return opened(data).safety == "safe"
    except DiffaiError:
        return False


def test_loading_a_file_called_safe_does_nothing_that_python_reports(watched: Loader) -> None:
    wanted, tried, loaded = int(os.environ.get("DIFFAI_FUZZ", "1500")), 0, 0
    for program in itertools.islice(programs(1), wanted):
        data = zipped({"data.pkl": program, "data/0": bytes(64), "version": b"3\n"})
        for candidate in (data, program):
            if judged_safe(candidate):
                answer = watched(candidate)
                assert not answer.get("events"), (program, answer["events"])
                tried, loaded = tried + 1, loaded + answer.get("loaded", 0)
    assert tried > wanted // 50
    assert loaded > wanted // 100
    assert not watched.crashes


def test_the_hook_sees_what_an_unsafe_file_does(watched: Loader) -> None:
    answer = watched(b"\x80\x02" + global_("os", "getcwd") + b")R" + global_("os", "listdir") + b")R.")
    assert any(event.startswith("os.listdir") for event in answer["events"])

"""Pickles that a loader would be sorry for: generators of names, of ways to reach them, and of clothes to hide in.

Made from opcodes, never by pickling something dangerous; the commands only touch a marker.
"""

from __future__ import annotations

import io
import pickle
import random
import struct
import tarfile
from collections.abc import Iterator

from torch_files import global_, legacy, state, tensor, text, zipped

FLOATS = struct.pack("<4f", 1, 2, 3, 4)
WEIGHT = tensor("0", 4, (2, 2), (2, 1))

# Functions that run, fetch, write or reach further: of the kinds that scanners of pickles ship samples of.
CALLS = """
os system|posix system|nt system|os popen|os execv|os spawnlp|posix spawnv|subprocess Popen|subprocess check_output
subprocess getoutput|commands getstatusoutput|popen2 popen2|builtins eval|builtins exec|builtins compile
__builtin__ eval|__builtin__ execfile|__builtin__ apply|builtins getattr|builtins setattr|builtins globals
builtins __import__|builtins open|__builtin__ file|builtins input|builtins vars|builtins delattr|builtins breakpoint
builtins map|builtins filter|builtins print|builtins memoryview|builtins super|builtins property|builtins iter
runpy _run_code|runpy run_path|runpy run_module|importlib import_module|importlib.util spec_from_file_location
imp load_source|pkgutil resolve_name|zipimport zipimporter|sys exit|sys settrace|sys setprofile|_sitebuiltins Quitter
socket create_connection|socket socket|ssl get_server_certificate|urllib.request urlopen|urllib urlopen
urllib2 urlopen|http.client HTTPConnection|httplib HTTPSConnection|requests.api get|requests get|httpx get
aiohttp.client ClientSession|ftplib FTP|smtplib SMTP|telnetlib Telnet|poplib POP3|xmlrpc.client ServerProxy
webbrowser open|antigravity geohash|shutil rmtree|shutil move|shutil copyfile|tempfile mkstemp|glob glob
pathlib Path.write_text|pathlib Path.unlink|pathlib attrgetter|pathlib os.system|pathlib fnmatch|io open|_io FileIO
codecs open|tarfile bltn_open|tarfile open|zipfile ZipFile|gzip open|fileinput input|linecache getline
logging FileHandler|logging.config listen|logging.config _resolve|uuid _get_command_stdout|mailcap findmatch
random _os.spawnlp|random _os.system|collections _itemgetter|collections _sys.exit|collections abc
collections namedtuple|operator attrgetter|operator methodcaller|operator itemgetter|_operator attrgetter
operator call|functools partial|functools reduce|functools partialmethod|itertools starmap|types FunctionType
types CodeType|types MethodType|types new_class|inspect getattr_static|inspect unwrap|ctypes CDLL|ctypes pythonapi
_ctypes dlopen|cffi FFI|pty spawn|pydoc pipepager|pydoc locate|pydoc tempfilepager|bdb Bdb.run|bdb Bdb|pdb run
code InteractiveInterpreter|code interact|codeop compile_command|cProfile run|cProfile runctx|profile Profile.run
trace Trace.run|timeit timeit|timeit main|doctest debug_script|doctest testmod|unittest main|test.support run_unittest
test.support.script_helper assert_python_ok|ensurepip _run_pip|venv create|pip main|pip._internal main
setuptools.sandbox run_setup|distutils.file_util write_file|distutils.spawn spawn|pkg_resources load_entry_point
lib2to3.pgen2.pgen ParserGenerator.make_label|lib2to3.pgen2.grammar Grammar.loads|idlelib.pyshell ModifiedInterpreter.runcode
idlelib.run Executive.runcode|idlelib.debugobj ObjectTreeItem.SetText|asyncio run|asyncio.unix_events _UnixSubprocessTransport._start
multiprocessing Process|multiprocessing.util spawnv_passfds|concurrent.futures ProcessPoolExecutor|threading Thread
_thread start_new_thread|signal signal|atexit register|weakref finalize|sqlite3 connect|dbm open|shelve open
pickle loads|_pickle loads|cPickle loads|pickle Unpickler|dill loads|cloudpickle.cloudpickle _make_function
joblib load|marshal loads|copyreg add_extension|copyreg pickle|copyreg dispatch_table|yaml load|yaml unsafe_load
platform popen|getpass getpass|site addsitedir|gc get_objects|dataclasses _create_fn|typing _eval_type
typing get_type_hints|decimal sys.exit|json.decoder scanner|enum sys.modules|string Formatter|string Template
torch load|torch.hub load|torch.serialization load|torch.jit load|torch.ops load_library|torch.classes load_library
torch.storage io.open|torch.serialization os.system|torch.nn.modules.module os|torch._utils _rebuild_tensor_v2.__globals__
torch.fx.graph_module reduce_graph_module|torch.fx._symbolic_trace Tracer|torch.jit.unsupported_tensor_ops execWrapper
torch._dynamo.guards GuardBuilder.get|torch._inductor.codecache compile_file|torch.utils.cpp_extension load_inline
torch.utils.bottleneck.__main__ run_cprofile|torch.utils.collect_env run|torch.utils._config_module ConfigModule.load_config
torch.utils.data.datapipes.utils.decoder basichandlers|torch.fx.experimental.symbolic_shapes ShapeEnv.evaluate_guards_expression
torch.distributed.rpc rpc_sync|torch.multiprocessing spawn|torch.package PackageImporter|torch.nn.utils prune
torch.nn.utils.parametrize torch.load|torch.optim.optimizer torch.load|torch.testing._internal.common_utils run_tests
numpy load|numpy save|numpy fromfile|numpy memmap|numpy loadtxt|numpy.testing._private.utils runstring
numpy.f2py.crackfortran getlincoef|numpy.f2py.crackfortran myeval|numpy.ctypeslib load_library|numpy.distutils.exec_command exec_command
numpy.lib._npyio_impl load|pandas read_pickle|pandas eval|pandas.io.common get_handle|sklearn.utils os.system
sklearn.externals.joblib load|keras.models load_model|tensorflow io.read_file|tensorflow.python.lib.io.file_io FileIO
transformers pipeline|nltk.data load|IPython.core.interactiveshell InteractiveShell|fabric Connection|sh Command
mypkg.model Net|__main__ Net|a B|torch nn.Linear|builtins dict.fromkeys|collections OrderedDict.fromkeys
sklearn.tree._tree Tree.predict|sklearn.tree _tree.Tree|numpy dtype.newbyteorder|sklearn.tree._tree _private
torch.nn.modules.linear __init__|torch.nn.modules.linear __builtins__|datetime sys|argparse _os.system
""".replace("\n", "|").strip("|").split("|")


def named() -> list[tuple[str, str]]:
    """(module, name) of each; some are dotted."""
    pairs = [tuple(call.split(" ")) for call in CALLS if call]
    return [(module, name) for module, name in pairs]  # type: ignore[misc]


def short(value: str) -> bytes:
    data = value.encode()
    return b"\x8c" + bytes((len(data),)) + data


def ways(module: str, name: str) -> Iterator[tuple[str, bytes]]:
    """Opcodes by which a pickle mentions a name, calls it, builds it, or passes it on."""
    mention = global_(module, name)
    argument = text("id")
    yield "reduce", mention + b"(" + argument + b"tR"
    yield "stack global", short(module) + short(name) + b"\x93" + argument + b"\x85R"
    yield "inst", b"(" + argument + b"i" + f"{module}\n{name}\n".encode()
    yield "obj", b"(" + mention + argument + b"o"
    yield "newobj", mention + b")\x81"
    yield "newobj_ex", mention + b")}\x92"
    yield "mention", mention
    yield "build", mention + b"}" + text("x") + b"K\x01sb"
    yield "memo", mention + b"q\x050h\x05" + argument + b"\x85R"
    yield "through copyreg", global_("copyreg", "__newobj__") + mention + b"\x85R"
    yield "through a rebuild", (
        global_("torch._tensor", "_rebuild_from_type_v2") + b"(" + mention + global_("torch", "Tensor") + b"(" + argument
        + b"t}tR"
    )  # fmt: skip


def clothes(opcodes: bytes) -> Iterator[tuple[str, str, bytes]]:
    """(kind, file name, bytes) of files in which a loader of pickles would meet the opcodes."""
    whole = b"\x80\x04" + opcodes + b"."
    plain = pickle.dumps({"a": 1}, 2)
    good = state({"w": WEIGHT})
    yield "protocol 4", "new.pt", whole
    yield "without a protocol", "new.pt", opcodes + b"."
    yield "behind a byte order mark", "new.pt", b"\xef\xbb\xbf" + opcodes + b"."
    yield "protocol 0 in its name only", "new.pt", b"\x80\x00" + opcodes + b"."
    yield "second of two", "new.pkl", plain + whole
    yield "cut off", "new.pkl", b"\x80\x04" + opcodes
    yield "damaged behind", "new.pkl", b"\x80\x04" + opcodes + b"\xff\xff"
    yield "popped again", "new.pkl", b"\x80\x04" + opcodes + b"0N."
    yield "in a key", "new.pkl", b"\x80\x04}" + b"K\x01" + opcodes + b"s."
    yield "in zip", "new.pt", zipped({"data.pkl": state({"w": WEIGHT, "x": opcodes}), "data/0": FLOATS})
    yield "beside in zip", "new.pt", zipped({"data.pkl": good, "data/0": FLOATS, "extra/more": whole})
    yield "behind in zip", "new.pt", zipped({"data.pkl": good + whole, "data/0": FLOATS})
    yield "legacy", "new.pt", legacy(state({"w": WEIGHT, "x": opcodes}), {"0": (4, FLOATS)})
    yield "behind legacy", "new.pt", legacy(good, {"0": (4, FLOATS)}) + whole
    inner = legacy(state({"w": WEIGHT, "x": opcodes}), {"0": (4, FLOATS)})
    packed = global_("torch.storage", "_load_from_bytes") + b"B" + struct.pack("<I", len(inner)) + inner + b"\x85R"
    yield "in bytes", "new.pkl", b"\x80\x03" + packed + b"."
    array = (
        global_("numpy._core.multiarray", "_reconstruct") + b"(" + global_("numpy", "ndarray") + b"K\x00\x85C\x01btR(K\x01"
        + b"K\x01\x85" + global_("numpy", "dtype") + text("O8") + b"\x89\x88\x87R(K\x03" + text("|") + b"NNNJ\xff\xff\xff\xff"
        + b"J\xff\xff\xff\xffK?tb\x89](" + opcodes + b"etb"
    )  # fmt: skip
    yield "in an object array", "new.pkl", b"\x80\x03" + array + b"."


def torch_tar(pickled: bytes, *extra: tuple[str, bytes]) -> bytes:
    """A container of torch 0.1 with an empty set of tensors."""
    out = io.BytesIO()
    none = pickle.dumps(0, 2)
    with tarfile.open(fileobj=out, mode="w", format=tarfile.USTAR_FORMAT) as archive:
        for name, data in (("sys_info", b"."), ("pickle", pickled), ("tensors", none),
                           ("storages", none + pickle.dumps([], 2)), *extra):  # fmt: skip
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return out.getvalue()


# ---------------------------------------------------------------- grammar over what is safe

_SAFE_PIECES = (
    b"N", b"\x88", b"K\x05", b"}", b"]", b")", b"\x8f", text("a"), text("latin1"), text("f4"), b"C\x04abcd", WEIGHT,
    b"G?\xf0\x00\x00\x00\x00\x00\x00", global_("torch", "float32"), global_("torch", "Size"), global_("torch", "device"),
    global_("torch", "FloatStorage"), global_("torch.nn.parameter", "Parameter"), global_("torch", "Tensor"),
    global_("collections", "OrderedDict"), global_("collections", "Counter"), global_("builtins", "set"),
    global_("builtins", "bytearray"), global_("builtins", "complex"), global_("_codecs", "encode"),
    global_("numpy", "dtype"), global_("numpy", "ndarray"), global_("numpy._core.multiarray", "scalar"),
    global_("numpy._core.multiarray", "_reconstruct"), global_("torch._utils", "_rebuild_tensor_v2"),
    global_("torch._utils", "_rebuild_parameter"), global_("torch._utils", "_rebuild_qtensor"),
    global_("torch._utils", "_rebuild_sparse_tensor"), global_("torch._tensor", "_rebuild_from_type_v2"),
    global_("torch.storage", "UntypedStorage"), global_("torch._utils", "_rebuild_device_tensor_from_numpy"),
    global_("copyreg", "_reconstructor"), global_("copyreg", "__newobj__"), global_("torch", "per_tensor_affine"),
    global_("torch.serialization", "_get_layout"), global_("torch._utils", "_rebuild_wrapper_subclass"),
)  # fmt: skip
_JOINS = (b"R", b"\x81", b"b", b"\x85R", b"\x86R", b"\x87R", b"a", b"s", b"tR", b"\x85", b"\x86", b"(", b"t", b"0", b"2",
          b"q\x01", b"h\x01", b")R", b")\x81", b"}b", b"e", b"u", b"\x92", b"o")  # fmt: skip


def programs(seed: int) -> Iterator[bytes]:
    """Endless random pickles over safe names only; most are nonsense, some load."""
    rng = random.Random(seed)
    while True:
        pieces = [b"\x80\x02"]
        for _ in range(rng.randrange(1, 14)):
            pieces.append(rng.choice(_SAFE_PIECES))
            if rng.random() < 0.7:
                pieces.append(rng.choice(_JOINS))
        yield b"".join(pieces) + b"."

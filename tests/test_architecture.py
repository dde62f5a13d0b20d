"""Imports run one way, and modules, classes and functions stay small: both held against the code."""

from __future__ import annotations

import ast
import inspect
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Container, Iterator
from functools import cache
from graphlib import TopologicalSorter
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from locust import LoadTestShape, User
from locust.dispatch import UsersDispatcher
from locust.env import Environment
from locust.runners import MasterRunner, WorkerRunner
from locust.web import WebUI

from tests.draw_architecture import DOCUMENT, updated

ROOT = Path(__file__).resolve().parents[1]

#: Which of our packages each package, and each file of the root, may import besides itself. In the order of the layers:
#: each may import only what stands above it.
MAY_IMPORT: dict[str, set[str]] = {
    "sanitize": set(),
    "upstream": set(),
    "simulator": set(),
    "command_line": {"sanitize"},
    "metrics": {"sanitize"},
    "prompts": {"metrics", "command_line", "sanitize"},
    "shapes": {"prompts", "metrics", "command_line"},
    "engines": {"sanitize"},
    "wire": {"sanitize", "upstream"},
    "run_folder": {"metrics", "sanitize"},
    "recording": {"shapes", "run_folder", "metrics", "command_line", "sanitize"},
    "cluster": {"recording", "run_folder", "shapes", "metrics", "command_line", "sanitize", "upstream"},
    "client": {"recording", "metrics", "wire", "engines", "prompts", "command_line", "sanitize"},
    "target": {"client", "metrics", "wire", "engines", "prompts", "command_line", "sanitize"},
    "reports": {"recording", "run_folder", "metrics", "command_line", "sanitize"},
    "probe": {"target", "client", "reports", "metrics", "wire", "engines", "prompts", "command_line", "sanitize"},
    "web": {"shapes", "reports", "recording", "run_folder", "metrics", "command_line", "sanitize", "upstream"},
    "users": {
        *("target", "client", "cluster", "recording", "metrics", "wire", "engines", "prompts", "shapes"),
        *("command_line", "sanitize", "upstream"),
    },
    "run_control": {
        *("users", "shapes", "web", "reports", "target", "client", "cluster", "recording", "run_folder", "metrics"),
        *("engines", "command_line", "sanitize", "upstream"),
    },
    "locustfile": {
        *("run_control", "users", "shapes", "web", "reports", "recording", "run_folder", "client", "command_line"),
        "sanitize",
    },
    "workload": {
        *("run_control", "shapes", "client", "reports", "metrics", "prompts", "engines", "command_line", "sanitize"),
    },
    "run_command": {"reports", "run_control", "workload"},
    "kube": {"run_command", "reports", "run_folder", "command_line", "sanitize"},
    "sweep": {
        "run_command",
        "run_control",
        "reports",
        "recording",
        "run_folder",
        "metrics",
        "command_line",
        "sanitize",
    },
    "tokenswarm": {
        *(
            "reports",
            "probe",
            "workload",
            "run_command",
            "sweep",
            "kube",
            "simulator",
            "run_control",
            "users",
            "client",
            "engines",
        ),
        *("prompts", "metrics", "command_line", "sanitize"),
    },
}
PACKAGES = set(MAY_IMPORT) - {"locustfile", "tokenswarm"}
#: Where Locust may be imported; everything else runs and tests without it.
LOCUST_PLACES = {
    *("locustfile.py", "shapes/run_shape.py", "shapes/own_code.py", "shapes/shape_options.py"),
    *("recording/locust_stats.py", "web/locust_page.py", "web/start_answer.py", "upstream/locust_internals.py"),
    *("upstream/locust_files.py", "upstream/loaded_locustfiles.py", "upstream/user_spawning.py"),
    *("shapes/class_weights.py", "upstream/early_options.py", "upstream/event_listeners.py", "upstream/user_hooks.py"),
    *("run_command/locust_process.py", "shapes/task_tags.py", "shapes/own_tasks.py"),
}
LOCUST_PACKAGES = {"users", "cluster", "run_control"}
#: Where gevent may be imported besides: the rest is free of it.
GEVENT_PLACES = {
    "recording/prometheus.py",
    "web/locust_page.py",
    "web/start_answer.py",
    "target/metrics_scraper.py",
    "target/preflight.py",
    "upstream/user_hooks.py",
}
#: Public, in spite of their names: what each NamedTuple has.
NAMED_TUPLE_NAMES = {"_replace", "_fields", "_asdict"}
#: Locust's classes whose methods nobody may replace.
LOCUST_CLASSES = (Environment, LoadTestShape, MasterRunner, User, UsersDispatcher, WebUI, WorkerRunner)
GEVENT_PACKAGES = {"users", "cluster", "run_control", "client", "target", "wire", "probe"}
FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)
MOST_LINES_OF_A_MODULE = 450
MOST_METHODS_OF_A_CLASS = 20
MOST_LINES_OF_A_FUNCTION = 60
#: Private classes of different modules may share a name, if few do.
MOST_SHARED_CLASS_NAMES = 9


@cache
def modules() -> list[Path]:
    files = [ROOT / "locustfile.py", ROOT / "tokenswarm.py"]
    return files + sorted(file for room in PACKAGES for file in (ROOT / room).rglob("*.py"))


@cache
def tree_of(file: Path) -> ast.Module:
    """Nobody changes it."""
    return ast.parse(file.read_text(encoding="utf-8"))


@cache
def nodes_of(file: Path) -> tuple[ast.AST, ...]:
    return tuple(ast.walk(tree_of(file)))


@pytest.fixture(scope="module", autouse=True)
def no_trees_for_other_tests() -> Iterator[None]:
    yield
    tree_of.cache_clear()
    nodes_of.cache_clear()


def modules_of(node: ast.AST, file: Path) -> set[str]:
    """The modules that an import statement names: `tokenswarm.wire` for `from tokenswarm import wire` too."""
    if isinstance(node, ast.Import):
        return {alias.name for alias in node.names}
    if isinstance(node, ast.ImportFrom):
        assert node.level == 0, f"{file}: imports are absolute here"
        assert node.module is not None
        if node.module == "tokenswarm":
            return {f"tokenswarm.{alias.name}" for alias in node.names}
        return {node.module}
    return set()


@cache
def imported(file: Path) -> set[str]:
    """What the file imports, wherever in it: a library, or one of our packages by its bare name."""
    modules = {name for node in nodes_of(file) for name in modules_of(node, file)}
    bare = {name for name in modules if name.partition(".")[0] in PACKAGES}
    assert not bare, f"{file}: import {', '.join(sorted(bare))} as part of tokenswarm"
    return {name.removeprefix("tokenswarm.").partition(".")[0] for name in modules}


def place(file: Path) -> str:
    return file.relative_to(ROOT).parts[0].removesuffix(".py")


def test_a_module_imports_only_the_packages_that_its_own_may() -> None:
    ours = PACKAGES | {"locustfile", "tokenswarm"}
    strays = {
        str(file.relative_to(ROOT)): imported(file) & ours - MAY_IMPORT[place(file)] - {place(file)}
        for file in modules()
    }
    assert {name: packages for name, packages in strays.items() if packages} == {}


@pytest.mark.parametrize(
    ("library", "places", "packages"),
    [("locust", LOCUST_PLACES, LOCUST_PACKAGES), ("gevent", GEVENT_PLACES, GEVENT_PACKAGES)],
)
def test_a_library_that_takes_over_the_process_stays_where_it_belongs(
    library: str, places: set[str], packages: set[str]
) -> None:
    strays = [
        str(file.relative_to(ROOT))
        for file in modules()
        if library in imported(file) and place(file) not in packages and str(file.relative_to(ROOT)) not in places
    ]
    assert not strays


def modules_outside_upstream(*libraries: str) -> list[Path]:
    """Modules that import one of the libraries; all of them where none is named."""
    return [
        file for file in modules() if place(file) != "upstream" and (not libraries or imported(file) & set(libraries))
    ]


def attributes(node: ast.AST) -> Iterator[ast.Attribute]:
    yield from (each for each in ast.walk(node) if isinstance(each, ast.Attribute))


def is_own(node: ast.expr) -> bool:
    return isinstance(node, ast.Name) and node.id in ("self", "cls")


def root_of(node: ast.expr) -> str:
    while isinstance(node, ast.Attribute):
        node = node.value
    return node.id if isinstance(node, ast.Name) else ""


def test_private_names_of_locust_and_gevent_are_used_in_upstream_alone() -> None:
    for file in modules_outside_upstream("locust", "gevent"):
        private = {
            ast.unparse(each)
            for each in attributes(tree_of(file))
            if re.match("_(?!_)", each.attr) and not is_own(each.value) and each.attr not in NAMED_TUPLE_NAMES
        }
        assert not private, f"{file}: {', '.join(sorted(private))}"


def test_subclasses_of_locusts_classes_use_no_private_name_of_theirs() -> None:
    for file in modules_outside_upstream("locust"):
        name = ".".join(file.relative_to(ROOT).with_suffix("").parts)
        if name == "locustfile":  # defines no class, and importing it sets signal handlers
            continue
        module = import_module(f"tokenswarm.{name}")
        for ours in vars(module).values():
            if not inspect.isclass(ours) or ours.__module__ != module.__name__:
                continue
            bases = [base for base in ours.__mro__ if base.__module__.partition(".")[0] in ("locust", "gevent")]
            theirs = {name for base in bases for name in private_names(base)}
            assert not theirs & private_names(ours), f"{file}: {ours.__name__}"


@cache
def private_names(of: type) -> set[str]:
    return set(re.findall(r"self\.(_(?!_)\w+)", inspect.getsource(of)))


def test_what_locust_and_gevent_define_is_replaced_in_upstream_alone() -> None:
    """No assignment to one of their modules and classes, and none to a method of one of Locust's objects."""
    methods = {name for each in LOCUST_CLASSES for base in each.__mro__[:-1] for name, _ in functions_of(base)}
    for file in modules_outside_upstream():
        theirs = set(names_imported(file, "locust", "gevent"))
        for target in assigned(file):
            replaced = root_of(target) in theirs or (target.attr in methods and not is_own(target.value))
            assert not replaced, f"{file}: {ast.unparse(target)}"


def functions_of(of: type) -> list[tuple[str, object]]:
    return [(name, each) for name, each in vars(of).items() if inspect.isfunction(each)]


def names_imported(file: Path, *libraries: str) -> Iterator[str]:
    for node in nodes_of(file):
        if isinstance(node, ast.Import):
            yield from (each.asname or each.name.partition(".")[0] for each in node.names
                        if each.name.partition(".")[0] in libraries)  # fmt: skip
        elif isinstance(node, ast.ImportFrom) and (node.module or "").partition(".")[0] in libraries:
            yield from (each.asname or each.name for each in node.names)


def assigned(file: Path) -> Iterator[ast.Attribute]:
    """The attributes that are assigned to, by a statement or by setattr with a literal name."""
    for node in nodes_of(file):
        if isinstance(node, ast.Assign | ast.AugAssign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            yield from (each for target in targets for each in attributes(target) if isinstance(each.ctx, ast.Store))
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "setattr":
            of, name, *_ = node.args
            yield ast.Attribute(of, name.value if isinstance(name, ast.Constant) else "", ast.Store())


def test_only_packages_with_locust_use_what_upstream_has_of_locust() -> None:
    """wire needs gevent_internals and must not import Locust, which replaces half of the standard library."""
    allowed = LOCUST_PACKAGES | {file.partition("/")[0] for file in LOCUST_PLACES}
    for file in modules_outside_upstream():
        if "locust_internals" in file.read_text(encoding="utf-8"):
            assert place(file) in allowed, file


def test_siblings_are_imported_at_module_top() -> None:
    """A cycle between modules then shows at once. The command alone loads its subcommands when they are called."""
    for file in modules():
        if file.name == "tokenswarm.py" or not any(_is_indented_import(node, file) for node in nodes_of(file)):
            continue
        for node in nodes_of(file):
            if isinstance(node, FUNCTIONS):
                lazy = {name for inner in ast.walk(node) for name in modules_of(inner, file)}
                assert not {name for name in lazy if name.startswith("tokenswarm.")}, f"{file}: {node.name}"


def _is_indented_import(node: ast.AST, file: Path) -> bool:
    return bool(getattr(node, "col_offset", 0)) and any(
        name.startswith("tokenswarm.") for name in modules_of(node, file)
    )


def shipped() -> list[Path]:
    return modules() + sorted(file for folder in ("benchmarks", "deploy") for file in (ROOT / folder).rglob("*.py"))


def defined(kind: type[ast.AST] | tuple[type[ast.AST], ...]) -> Iterator[tuple[str, Any]]:
    """(where, node) of all that is shipped."""
    for file in shipped():
        for node in nodes_of(file):
            if isinstance(node, kind):
                yield str(file.relative_to(ROOT)), node


def test_no_module_is_long() -> None:
    lines = {str(file.relative_to(ROOT)): len(file.read_text(encoding="utf-8").splitlines()) for file in shipped()}
    assert {name: count for name, count in lines.items() if count > MOST_LINES_OF_A_MODULE} == {}


def test_no_class_has_many_methods() -> None:
    methods = {
        f"{where}: {node.name}": sum(isinstance(each, FUNCTIONS) for each in node.body)
        for where, node in defined(ast.ClassDef)
    }
    assert {name: count for name, count in methods.items() if count > MOST_METHODS_OF_A_CLASS} == {}


def test_no_function_is_long() -> None:
    lines = {f"{where}: {node.name}": node.end_lineno - node.lineno + 1 for where, node in defined(FUNCTIONS)}
    assert {name: count for name, count in lines.items() if count > MOST_LINES_OF_A_FUNCTION} == {}


def test_class_names_are_unique() -> None:
    """But for few private ones."""
    counts = Counter(node.name for _, node in defined(ast.ClassDef))
    shared = {name for name, count in counts.items() if count > 1}
    assert {name for name in shared if not name.startswith("_")} == set()
    assert len(shared) <= MOST_SHARED_CLASS_NAMES


def test_modules_import_each_other_in_no_cycle() -> None:
    names = {".".join(file.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): file
             for file in modules()}  # fmt: skip
    imports = {name: sibling_imports(file, names) - {name} for name, file in names.items()}
    TopologicalSorter(imports).prepare()  # raises CycleError with the cycle in it


def sibling_imports(file: Path, names: Container[str]) -> set[str]:
    """Our modules that a module imports. Of `from tokenswarm.engines import sse`, the submodule and not the package."""
    found = set()
    for node in nodes_of(file):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            inner = {f"{node.module}.{alias.name}" for alias in node.names}
            submodules = {name for name in inner if name.removeprefix("tokenswarm.") in names}
            found |= submodules if submodules == inner else {node.module or "", *submodules}
    return {name.removeprefix("tokenswarm.") for name in found if name.startswith("tokenswarm.")
            and name.removeprefix("tokenswarm.") in names}  # fmt: skip


def test_a_wheel_holds_every_package() -> None:
    import tomllib

    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    included = project["tool"]["hatch"]["build"]["targets"]["wheel"]["hooks"]["custom"]["files"]
    files = {"tokenswarm.py": "tokenswarm/__init__.py"}
    files |= {name: f"tokenswarm/{name}" for name in ("locustfile.py", "py.typed")}
    assert included == files | {name: f"tokenswarm/{name}" for name in PACKAGES}


def test_every_package_is_a_regular_package() -> None:
    """A folder without __init__.py gives way to any package of its name that stands later on sys.path."""
    assert [package for package in sorted(PACKAGES) if not (ROOT / package / "__init__.py").exists()] == []


def test_the_document_shows_the_table_of_imports() -> None:
    """`python -m tests.draw_architecture` writes it."""
    text = (ROOT / DOCUMENT).read_text(encoding="utf-8")
    assert updated(text, MAY_IMPORT) == text, "run python -m tests.draw_architecture"


@pytest.mark.slow
@pytest.mark.parametrize("module", ["tokenswarm.locustfile", "tokenswarm.reports.report_command"])
def test_heavy_libraries_are_not_loaded_at_start(module: str) -> None:
    heavy = ("datasets", "tokenizers", "matplotlib", "pyarrow", "pandas", "opentelemetry", "google.protobuf", "mlflow")
    code = f"import sys, {module}; print(*[name for name in {heavy} if name in sys.modules])"
    ended = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert ended.stdout.split() == []


def test_the_document_names_files_that_exist() -> None:
    named = re.findall(r"`([a-z_]+(?:/[a-z_]+)+\.(?:py|js))`", (ROOT / DOCUMENT).read_text(encoding="utf-8"))
    assert [name for name in named if not (ROOT / name).is_file()] == []


def test_the_document_names_every_package() -> None:
    text = (ROOT / DOCUMENT).read_text(encoding="utf-8")
    assert [package for package in sorted(PACKAGES) if f"| `{package}/` |" not in text] == []

"""Imports point one way, and `import lora_teach` stays light."""

import ast
import subprocess
import sys
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
# From the bottom up; a file imports from its own level or below. "" is the package itself, lora_teach/__init__.py.
LEVELS = [
    {"utils"},
    {"layer"},
    {"config"},
    {"layers"},
    {"overlay", "loop", "peft_format"},
    {"model"},
    {"training"},
    {"datasets", "bases"},
    {""},
    {"plots", "doctor", "measure"},
    {"live"},
    {"pictures"},
    {"exercises", "page"},
    {"cli", "__main__"},
]
LEVEL = {part: level for level, parts in enumerate(LEVELS) for part in parts}
# What only some parts import when they are themselves imported; inside a function it may be imported anywhere.
AT_IMPORT = {
    "matplotlib": {"plots", "live", "pictures"},
    "IPython": {"live", "plots", "pictures"},
    "sklearn": set(),
    "transformers": set(),
    "peft": set(),
    "faker": set(),
    "gguf": set(),
    "nbconvert": {"page"},
    "latex2mathml": {"page"},
}
ANYWHERE = {"ipywidgets": {"live", "pictures"}, "matplotlib.pyplot": set()}


def modules():
    """Every file of the library, by the name it is imported under."""
    for path in sorted((ROOT / "lora_teach").rglob("*.py")):
        parts = path.relative_to(ROOT).with_suffix("").parts
        yield ".".join(parts[:-1] if parts[-1] == "__init__" else parts), path


MODULES = dict(modules())


def part(module):
    """The part of the library that a module belongs to: lora_teach.plots.style is of plots."""
    return (module.split(".") + [""])[1]


def imported(node, module, path):
    """The modules that an import statement loads."""
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    package = module if path.name == "__init__.py" else module.rpartition(".")[0]
    base = package.rsplit(".", node.level - 1)[0] if node.level else ""
    name = ".".join(filter(None, [base, node.module]))
    inner = [f"{name}.{alias.name}" for alias in node.names]
    # `from lora_teach.plots import style` loads the file style, `from lora_teach.plots import figure` the package.
    return [one if one in MODULES or one in ANYWHERE else name for one in inner]


def imports(module, path):
    """Pairs (what is imported, whether that happens when the module itself is imported)."""

    def walk(node, outermost):
        for child in ast.iter_child_nodes(node):
            if isinstance(child, (ast.Import, ast.ImportFrom)):
                yield from ((name, outermost) for name in imported(child, module, path))
            yield from walk(
                child, outermost and not isinstance(child, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda))
            )

    return set(walk(ast.parse(path.read_text(encoding="utf-8")), True))


@pytest.mark.parametrize("module", MODULES)
def test_imports_point_down(module):
    assert part(module) in LEVEL, f"{module} belongs to no level: add {part(module)!r} to LEVELS where it belongs"
    for name, _ in imports(module, MODULES[module]):
        if name.split(".")[0] == "lora_teach":
            assert name in MODULES, f"{module} imports {name}, which does not exist"
            assert LEVEL[part(name)] <= LEVEL[part(module)], f"{module} imports {name}, which stands above it"


def test_no_file_imports_itself_by_a_detour():
    graph = {
        # A package's own files may be imported by its __init__, and import what that has already loaded.
        module: {name for name, _ in imports(module, path) if name in MODULES and not module.startswith(f"{name}.")}
        for module, path in MODULES.items()
    }
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        pytest.fail(f"imports go round: {' → '.join(reversed(error.args[1]))}")


@pytest.mark.parametrize("module", MODULES)
def test_heavy_packages_are_imported_where_they_are_used(module):
    for name, at_import in imports(module, MODULES[module]):
        package = name.split(".")[0]
        if name in ANYWHERE or package in ANYWHERE:
            allowed = ANYWHERE.get(name, ANYWHERE.get(package))
            assert part(module) in allowed, f"{module} imports {name}; only {sorted(allowed) or 'nobody'} may"
        if at_import and package in AT_IMPORT:
            allowed = AT_IMPORT[package]
            assert part(module) in allowed, f"{module} imports {package} at its top; import it inside the function"


def test_relative_and_nested_imports_are_read(tmp_path):
    path = tmp_path / "explore.py"
    path.write_text(
        "import torch.nn as nn\nfrom .picture import x\nfrom .. import model\n"
        "def f():\n    if True:\n        from matplotlib import pyplot\n",
        encoding="utf-8",
    )
    assert imports("lora_teach.live.explore", path) == {
        ("torch.nn", True),
        ("lora_teach.live.picture", True),
        ("lora_teach.model", True),
        ("matplotlib.pyplot", False),
    }


def test_importing_the_package_loads_nothing_heavy():
    code = "import sys, lora_teach; print(*{name.partition('.')[0] for name in sys.modules})"
    loaded = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT
    ).stdout.split()
    assert "torch" in loaded and "lora_teach" in loaded
    heavy = {"matplotlib", "ipywidgets", "IPython", "transformers", "sklearn", "scipy", "peft", "PIL", "faker", "gguf"}
    assert not heavy & set(loaded)

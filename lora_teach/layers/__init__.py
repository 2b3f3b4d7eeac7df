"""What else can be adapted, and how else; each file here registers its own layers, and ``build`` chooses among them."""

from importlib import import_module
from pkgutil import iter_modules

for _file in iter_modules(__path__):
    import_module(f"{__name__}.{_file.name}")

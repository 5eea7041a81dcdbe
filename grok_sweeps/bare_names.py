"""`import cluster` and `import analysis`, where nothing shadows them: the modules of `grok_sweeps`, not second ones."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib import import_module
from importlib.abc import InspectLoader, MetaPathFinder
from importlib.machinery import ModuleSpec
from importlib.util import find_spec
from types import CodeType, ModuleType

_BARE: set[str] = set()


def give_bare_name(name: str) -> None:
    """Have `name`, which is being imported, and all below it be the modules of the same names in `grok_sweeps`."""
    if not _BARE:
        sys.meta_path.insert(0, _Finder())
    _BARE.add(name)
    sys.modules[name] = import_module(f"grok_sweeps.{name}")


class _Finder(MetaPathFinder):
    """Finds what is below a bare name."""

    def find_spec(
        self,
        fullname: str,
        path: Sequence[str] | None,  # noqa: ARG002
        target: ModuleType | None = None,  # noqa: ARG002
    ) -> ModuleSpec | None:
        """The spec of a module below a bare name."""
        if fullname.partition(".")[0] not in _BARE or "." not in fullname:
            return None
        real = find_spec(f"grok_sweeps.{fullname}")
        if real is None:
            return None
        spec = ModuleSpec(fullname, _Loader(real), origin=real.origin)
        spec.submodule_search_locations = real.submodule_search_locations
        return spec


class _Loader(InspectLoader):
    """Puts a module in the place of the one that is being loaded; has its code for `python -m`."""

    def __init__(self, real: ModuleSpec) -> None:
        self._real = real

    def exec_module(self, module: ModuleType) -> None:
        """Put the real module in the place of this one."""
        sys.modules[module.__name__] = import_module(self._real.name)

    def get_code(self, fullname: str) -> CodeType | None:  # noqa: ARG002
        """The real module's code."""
        assert isinstance(self._real.loader, InspectLoader)
        return self._real.loader.get_code(self._real.name)

    def get_source(self, fullname: str) -> str | None:  # noqa: ARG002
        """The real module's source."""
        assert isinstance(self._real.loader, InspectLoader)
        return self._real.loader.get_source(self._real.name)

"""Finding the application by its name: ``module``, ``module:app``, ``module:attr.attr``, ``module:factory()``.

Whatever goes wrong here is the user's to put right, so each case has its own advice: a name that does not exist, a
module that fails while it is imported, a factory that raises, an object that is no WSGI application. Serving is not
known here.
"""

from __future__ import annotations

import inspect
import os
import pkgutil
import re
import sys
from collections.abc import Callable, Iterable
from difflib import get_close_matches
from importlib import import_module
from types import ModuleType
from typing import Any

from gruvihttp.commands.mistakes import ApplicationMistake, UsageMistake
from gruvihttp.commands.settings import Loaded
from gruvihttp.commands.tracebacks import place_of, render

__all__ = ["load_application"]

# What a module without a name behind it is searched for: applications first, then what makes one.
APPLICATIONS = ("app", "application")
FACTORY = "create_app"

_SPEC = re.compile(r"([^\W\d]\w*(?:\.[^\W\d]\w*)*)(?::([^\W\d]\w*(?:\.[^\W\d]\w*)*)(\(\))?)?")
_WSGI = "a WSGI application is called with (environ, start_response)"


def load_application(spec: str, *, full_traceback: bool = False) -> Loaded:
    """Import and find the application that `spec` names. The current directory can be imported from.

    Raises ApplicationMistake, or UsageMistake when `spec` is not of the right form.
    """
    match = _SPEC.fullmatch(spec)
    if match is None or spec.partition(":")[0].endswith(".py"):
        raise _malformed(spec)
    module_name, path, call = match.groups()
    if sys.path[:1] not in ([""], [os.getcwd()]):
        sys.path.insert(0, os.getcwd())
    loader = _Loader(full_traceback)
    module = loader.import_(module_name)
    if path is None:
        return loader.search(module)
    found = _look_up(module, path)
    name = f"{module_name}:{path}"
    return loader.make(name, found) if call else _checked(name, found)


class _Loader:
    """The steps that run the user's code, which may raise anything."""

    def __init__(self, full_traceback: bool) -> None:
        self._full = full_traceback

    def import_(self, name: str) -> ModuleType:
        """Import a module."""
        try:
            return import_module(name)
        except ModuleNotFoundError as exc:
            if _is_missing(name, exc):
                raise _no_module(name) from exc
            raise self._missing_dependency(name, exc) from exc
        except (Exception, SystemExit) as exc:
            raise self._raised(f"cannot import {name}", exc) from exc

    def search(self, module: ModuleType) -> Loaded:
        """Find the application of a module by the usual names."""
        candidates = [name for name in (*APPLICATIONS, FACTORY) if hasattr(module, name)]
        for name in candidates:
            found = getattr(module, name)
            if callable(found):
                full_name = f"{module.__name__}:{name}"
                return self.make(full_name, found) if name == FACTORY else _checked(full_name, found)
        if candidates:
            return _checked(f"{module.__name__}:{candidates[0]}", getattr(module, candidates[0]))
        raise _no_usual_name(module)

    def make(self, name: str, factory: object) -> Loaded:
        """Call a factory."""
        if not callable(factory):
            raise ApplicationMistake(
                f"{name} cannot be called: it is {_a(factory)}", f"without the parentheses: gruvihttp serve {name}"
            )
        if not _binds(factory, 0):
            raise ApplicationMistake(
                f"{name}() needs arguments: {inspect.signature(factory)}",
                "give them defaults, or make the application in a module: app = ...",
            )
        try:
            made = factory()
        except (Exception, SystemExit) as exc:
            raise self._raised(f"{name}() failed", exc) from exc
        return _checked(f"{name}()", made)

    def _raised(self, what: str, exc: BaseException) -> ApplicationMistake:
        place = place_of(exc)
        where = f" ({place})" if place else ""
        summary = str(exc).strip().partition("\n")[0]
        if isinstance(exc, SyntaxError):
            summary = exc.msg  # str() repeats the place
        return ApplicationMistake(
            f"{what}: {type(exc).__name__}{': ' if summary else ''}{summary}{where}",
            f"correct {place or 'what it runs'}{self._hint()}",
            render(exc, full=self._full),
        )

    def _missing_dependency(self, name: str, exc: ModuleNotFoundError) -> ApplicationMistake:
        """A module was found, and something that it imports was not."""
        place = place_of(exc)
        close = get_close_matches(exc.name or "", [*sys.stdlib_module_names, *_importable()], 1, 0.8)
        remedy = f"did you mean {close[0]!r}?" if close else f"install it for {sys.executable}, or correct the import"
        return ApplicationMistake(
            f"{name} needs the module {exc.name!r}, which is not installed{f' ({place})' if place else ''}",
            f"{remedy}{self._hint()}",
            render(exc, full=self._full),
        )

    def _hint(self) -> str:
        return "" if self._full else "; --traceback shows every frame"


def _malformed(spec: str) -> UsageMistake:
    module, colon, rest = spec.partition(":")
    if module.endswith(".py") or "/" in module:
        name = module.removesuffix(".py").strip("./").replace("/", ".")
        return UsageMistake(
            f"{spec!r} is the name of a file, and a module is wanted", f"write gruvihttp serve {name}{colon}{rest}"
        )
    return UsageMistake(
        f"{spec!r} does not name an application",
        "write module, module:name or 'module:factory()', such as hello:app for app in hello.py",
    )


# modules


def _is_missing(name: str, exc: ModuleNotFoundError) -> bool:
    """Whether the module itself was not found, rather than something that it imports."""
    asked_for = exc.name is not None and (name == exc.name or name.startswith(exc.name + "."))
    return asked_for and not place_of(exc)


def _no_module(name: str) -> ApplicationMistake:
    parent_name, _, last = name.rpartition(".")
    parent = sys.modules.get(parent_name)
    if parent is None:
        top = name.partition(".")[0]
        return ApplicationMistake(f"there is no module {top!r} in {os.getcwd()}, nor installed", _advise_module(top))
    if hasattr(parent, last):
        return ApplicationMistake(
            f"{name!r} is not a module, but {last!r} is a name in {_file_of(parent)}",
            f"write a colon: gruvihttp serve {parent_name}:{last}",
        )
    inside = [module.name for module in pkgutil.iter_modules(getattr(parent, "__path__", []))]
    close = get_close_matches(last, inside, 1)
    advice = f"did you mean '{parent_name}.{close[0]}'?" if close else f"it has: {_enumerate(inside)}"
    return ApplicationMistake(f"there is no module {last!r} in {parent_name}", advice)


def _advise_module(name: str) -> str:
    here = [module.name for module in pkgutil.iter_modules([os.getcwd()])]
    close = get_close_matches(name, here, 1) or get_close_matches(name, _importable(), 1, 0.8)
    if close:
        return f"did you mean {close[0]!r}?"
    if here:
        return f"here are: {_enumerate(here)}"
    return "change to the directory of your application, or set PYTHONPATH"


def _importable() -> list[str]:
    return [module.name for module in pkgutil.iter_modules()]


# names


def _look_up(module: ModuleType, path: str) -> object:
    found: object = module
    where = _file_of(module)
    names = path.split(".")
    for depth, name in enumerate(names, 1):
        try:
            found = getattr(found, name)
        except AttributeError:
            raise ApplicationMistake(f"no {name!r} in {where}", _advise_name(name, found)) from None
        where = f"{module.__name__}:{'.'.join(names[:depth])}"
    return found


def _advise_name(name: str, owner: object) -> str:
    names = [other for other in dir(owner) if not other.startswith("_")]
    callables = [other for other in names if callable(getattr(owner, other, None))]
    close = get_close_matches(name, callables, 1) or get_close_matches(name, names, 1)
    if close:
        return f"did you mean {close[0]!r}?"
    return f"it has: {_enumerate(_defined_in(owner, callables))}" if callables else f"define it: {_WSGI}"


def _no_usual_name(module: ModuleType) -> ApplicationMistake:
    name = module.__name__
    usual = [*APPLICATIONS, FACTORY]
    names = _defined_in(module, [other for other, value in vars(module).items() if callable(value)])
    close = [match for one in usual for match in get_close_matches(one, names, 1)]
    if close:
        advice = f"did you mean {close[0]!r}? gruvihttp serve {name}:{close[0]}"
    elif names:
        advice = f"say which it is, such as gruvihttp serve {name}:{names[0]}"
    else:
        advice = f"define one: {_WSGI}"
    return ApplicationMistake(f"no 'app', 'application' or 'create_app' in {_file_of(module)}", advice)


def _defined_in(owner: object, names: Iterable[str]) -> list[str]:
    """Those of `names` that are not merely imported there."""
    if not isinstance(owner, ModuleType):
        return list(names)
    public = [name for name in names if not name.startswith("_")]
    # an instance, such as an application, has the module of its class
    made_here = [
        name
        for name in public
        if not (inspect.isclass(value := getattr(owner, name)) or inspect.isroutine(value))
        or getattr(value, "__module__", None) == owner.__name__
    ]
    return made_here or public


# what was found


def _checked(name: str, found: object) -> Loaded:
    """Refuse what cannot be a WSGI application, before a first client finds out."""
    if not callable(found):
        raise ApplicationMistake(f"{name} is {_a(found)}, which cannot be called", _WSGI)
    call = found if inspect.isroutine(found) or inspect.isclass(found) else type(found).__call__
    if inspect.iscoroutinefunction(call):
        raise ApplicationMistake(
            f"{name} is an ASGI application, and gruvihttp serves WSGI",
            "serve it with an ASGI server, or wrap it with a2wsgi",
        )
    if not _binds(found, 2):
        if _binds(found, 0) and not name.endswith(")"):
            advice = f"if it makes the application, say so: gruvihttp serve '{name}()'"
        else:
            advice = _WSGI
        raise ApplicationMistake(f"{name} takes {inspect.signature(found)}, and is no WSGI application", advice)
    return Loaded(name, found)


def _binds(function: Callable[..., Any], count: int) -> bool:
    """Whether it could be called with `count` arguments."""
    try:
        signature = inspect.signature(function)
    except Exception:  # compiled ones may not tell, and a proxy may raise anything
        return True
    try:
        signature.bind(*[None] * count)
    except TypeError:
        return False
    return True


# words

_MOST_NAMES = 8  # in one message


def _file_of(module: ModuleType) -> str:
    filename: str | None = getattr(module, "__file__", None)
    if not filename:
        return module.__name__
    relative = os.path.relpath(filename)
    return filename if relative.startswith("..") else relative


def _a(value: object) -> str:
    if value is None or isinstance(value, ModuleType):
        return "None" if value is None else "a module"
    name = type(value).__name__
    return f"{'an' if name[0] in 'aeiou' else 'a'} {name}"


def _enumerate(names: list[str]) -> str:
    return ", ".join(names[:_MOST_NAMES]) + (", ..." if len(names) > _MOST_NAMES else "") if names else "nothing"

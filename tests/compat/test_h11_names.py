"""The h11 door: h11's public names with h11's signatures, and what the names are."""

from __future__ import annotations

import inspect
from typing import Any

import h11
import pytest

import gruvihttp
import gruvihttp.compat.h11 as ours
from gruvihttp import errors, sansio

# the last three are documented, but not in h11's __all__
PUBLIC = [*h11.__all__, "MIGHT_SWITCH_PROTOCOL", "PRODUCT_ID", "__version__"]


@pytest.mark.parametrize("name", sorted(set(PUBLIC)))
def test_every_public_name_of_h11_is_there(name: str) -> None:
    assert hasattr(ours, name)
    assert name in ours.__all__


def test_the_door_has_no_names_of_its_own() -> None:
    assert set(ours.__all__) == set(PUBLIC)


@pytest.mark.parametrize("name", [name for name in ours.__all__ if hasattr(sansio, name)])
def test_names_are_those_of_the_engine(name: str) -> None:
    assert getattr(ours, name) is getattr(sansio, name)


def test_errors_are_ours() -> None:
    assert ours.ProtocolError is errors.ProtocolError
    assert ours.LocalProtocolError is errors.LocalProtocolError
    assert ours.RemoteProtocolError is errors.RemoteProtocolError
    with pytest.raises(TypeError):
        ours.ProtocolError("abstract")
    assert ours.LocalProtocolError("x").error_status_hint == 400
    assert ours.RemoteProtocolError("x", error_status_hint=418).error_status_hint == 418
    assert str(ours.LocalProtocolError("x")) == "x"


def test_product_id_names_us_and_our_version() -> None:
    assert f"gruvihttp/{ours.__version__}" == ours.PRODUCT_ID
    assert ours.__version__ == gruvihttp.__version__


def parameters(callable_: Any) -> dict[str, Any]:
    return {
        name: parameter.default for name, parameter in inspect.signature(callable_).parameters.items() if name[0] != "_"
    }


@pytest.mark.parametrize(
    "name", ["Request", "InformationalResponse", "Response", "Data", "EndOfMessage", "ConnectionClosed", "Connection"]
)
def test_parameters_are_those_of_h11_and_perhaps_more(name: str) -> None:
    theirs, own = parameters(getattr(h11, name)), parameters(getattr(ours, name))
    assert theirs.keys() <= own.keys()
    optional = {key for key, default in theirs.items() if default is not inspect.Parameter.empty}
    assert {key: own[key] for key in optional} == {key: theirs[key] for key in optional}


METHODS = [name for name in vars(h11.Connection) if not name.startswith("_")]


@pytest.mark.parametrize("name", METHODS)
def test_methods_and_properties_of_a_connection_are_those_of_h11(name: str) -> None:
    theirs, own = getattr(h11.Connection, name), getattr(ours.Connection, name)
    assert callable(own) == callable(theirs)
    if callable(theirs):
        assert list(inspect.signature(own).parameters) == list(inspect.signature(theirs).parameters)


@pytest.mark.parametrize(
    "attribute", ["our_role", "their_role", "their_http_version", "client_is_waiting_for_100_continue"]
)
def test_attributes_of_a_connection_are_those_of_h11(attribute: str) -> None:
    values = [repr(getattr(module.Connection(module.SERVER), attribute)) for module in (h11, ours)]
    assert values[0] == values[1]

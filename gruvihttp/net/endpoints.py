"""gruvi's endpoints, gathered: what opens connections, what accepts them, and what they are given to.

They join sockets, TLS and protocols; what is spoken is known by the protocol alone.
"""

from __future__ import annotations

from gruvihttp.net.endpoint import Endpoint, ProtocolFactory
from gruvihttp.net.opening import Client, create_connection
from gruvihttp.net.protocol import MessageProtocol
from gruvihttp.net.serving import Server, create_server

__all__ = ["Client", "Endpoint", "MessageProtocol", "ProtocolFactory", "Server", "create_connection", "create_server"]

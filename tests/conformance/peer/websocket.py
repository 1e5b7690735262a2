"""Echoes WebSocket messages; prints its address.

The suite's own echo server refuses a Host that names another port than its own, and a gateway passes on the port that
the client asked for. This one is the same server without a URL of its own, and so without that check.
"""

import sys

from autobahn.twisted.websocket import WebSocketServerFactory, WebSocketServerProtocol
from twisted.internet import reactor


class Echo(WebSocketServerProtocol):
    def onMessage(self, payload, isBinary):
        self.sendMessage(payload, isBinary)


factory = WebSocketServerFactory()
factory.protocol = Echo
port = reactor.listenTCP(0, factory, interface="127.0.0.1")
sys.stdout.write("127.0.0.1:%d\n" % port.getHost().port)
sys.stdout.flush()
reactor.run()

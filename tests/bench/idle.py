"""Opens connections that make one request each and then stay idle, until its input ends.

idle.py ADDRESS PORT COUNT plain|tls REQUEST
"""

import socket
import ssl
import sys

address, port, count, kind, request = sys.argv[1:]
context = ssl._create_unverified_context()
context.set_alpn_protocols(["http/1.1"])
open_connections = []
for _ in range(int(count)):
    connection = socket.create_connection((address, int(port)), timeout=10)
    if kind == "tls":
        connection = context.wrap_socket(connection, server_hostname="bench.example")
    connection.sendall(request.encode())
    response = b""
    while b"\r\n\r\n" not in response:
        part = connection.recv(65536)
        if not part:
            sys.exit("the connection was closed before it answered")
        response += part
    if b" 200 " not in response.splitlines()[0]:
        sys.exit(f"it answers {response.splitlines()[0]!r}")
    open_connections.append(connection)
print("open", flush=True)
sys.stdin.read()

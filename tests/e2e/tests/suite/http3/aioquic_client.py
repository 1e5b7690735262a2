"""Speaks HTTP/3 with aioquic: first the port of the gateway, then what to do. Prints what came of it."""

import asyncio
import json
import ssl
import sys

from aioquic.asyncio import connect
from aioquic.asyncio.protocol import QuicConnectionProtocol
from aioquic.buffer import encode_uint_var
from aioquic.h3.connection import H3Connection
from aioquic.h3.events import DataReceived, HeadersReceived
from aioquic.quic.configuration import QuicConfiguration
from aioquic.quic.events import ConnectionTerminated, StreamReset


class Gone(Exception):
    """The connection ended before the answer did."""


class Client(QuicConnectionProtocol):
    def __init__(self, *arguments, **named):
        super().__init__(*arguments, **named)
        self.http = H3Connection(self._quic)
        self.answers = {}
        self.closed = asyncio.get_running_loop().create_future()

    def quic_event_received(self, event):
        if isinstance(event, ConnectionTerminated):
            if not self.closed.done():
                self.closed.set_result(event.error_code)
            for done, _ in self.answers.values():
                if not done.done():
                    done.set_exception(Gone(event.error_code))
        if isinstance(event, StreamReset) and event.stream_id in self.answers:
            done, _ = self.answers[event.stream_id]
            if not done.done():
                done.set_result({"reset": event.error_code})
        for event in self.http.handle_event(event):
            if event.stream_id not in self.answers:
                continue
            done, answer = self.answers[event.stream_id]
            if isinstance(event, HeadersReceived):
                fields = {name.decode(): value.decode() for name, value in event.headers}
                answer["trailers" if "headers" in answer else "headers"] = fields
            if isinstance(event, DataReceived):
                answer["body"] = answer.get("body", b"") + event.data
            if event.stream_ended and not done.done():
                answer["status"] = int(answer["headers"][":status"])
                done.set_result(answer)

    def begin(self, method, path, headers=(), body=None):
        stream = self._quic.get_next_available_stream_id()
        self.answers[stream] = (asyncio.get_running_loop().create_future(), {})
        fields = [(":method", method), (":scheme", "https"), (":authority", "localhost"), (":path", path)]
        fields = [(name.encode(), value.encode()) for name, value in [*fields, *headers]]
        self.http.send_headers(stream, fields, end_stream=body is None)
        if body is not None:
            self.http.send_data(stream, body, end_stream=True)
        self.transmit()
        return stream

    async def ask(self, *arguments, **named):
        stream = self.begin(*arguments, **named)
        return await self.answers[stream][0]


def gateway(port):
    configuration = QuicConfiguration(is_client=True, alpn_protocols=["h3"], server_name="localhost")
    configuration.verify_mode = ssl.CERT_NONE
    return connect("127.0.0.1", port, configuration=configuration, create_protocol=Client)


async def streams(client, count, rounds):
    failed = answered = 0
    for _ in range(int(rounds)):
        asked = [client.ask("GET", f"/{number}") for number in range(int(count))]
        for number, answer in enumerate(await asyncio.gather(*asked)):
            good = answer.get("status") == 200 and answer.get("body") in (f"/{number}".encode(), b"")
            answered, failed = answered + good, failed + (not good)
    return {"answered": answered, "failed": failed}


async def head(client, size):
    answer = await client.ask("GET", "/", [(f"x-large-{part}", "a" * 4000) for part in range(int(size) // 4000)])
    return {"status": answer.get("status"), "reset": answer.get("reset")}


async def grpc(client, service):
    name = service.encode()
    message = b"\x0a" + bytes([len(name)]) + name
    message = b"\0" + len(message).to_bytes(4, "big") + message
    headers = [("content-type", "application/grpc"), ("te", "trailers")]
    answer = await client.ask("POST", "/grpc.health.v1.Health/Check", headers, message)
    return {
        "message": answer.get("body", b"").hex(),
        "headers": answer.get("headers"),
        "trailers": answer.get("trailers", {}),
    }


async def cert(client):
    return {"serial": str(client._quic.tls._peer_certificate.serial_number)}


async def closed(client):
    return {"closed": await asyncio.wait_for(client.closed, 30)}


async def resets(client):
    for _ in range(20_000):
        if client.closed.done():
            break
        stream = client.begin("GET", "/flood")
        client._quic.stop_stream(stream, 0x10C)
        client.transmit()
        await asyncio.sleep(0)
    return await closed(client)


async def frames(client):
    stream = client._quic.get_next_available_stream_id()
    client.http.send_headers(stream, [
        (b":method", b"POST"), (b":scheme", b"https"), (b":authority", b"localhost"), (b":path", b"/"),
    ])
    for _ in range(200):
        client._quic.send_stream_data(stream, (encode_uint_var(0x21) + b"\0") * 1_000)
        client.transmit()
        await asyncio.sleep(0)
    return await closed(client)


async def misplaced(client):
    stream = client._quic.get_next_available_stream_id()
    # DATA before HEADERS.
    client._quic.send_stream_data(stream, b"\0\1a", end_stream=True)
    client.transmit()
    return await closed(client)


async def malformed(client):
    return await client.ask("GET", "/", [("connection", "close")])


async def slow(client):
    answer = await client.ask("GET", "/slow")
    return {"status": answer["status"], **await closed(client)}


async def load(port):
    """Requests, several at once, on connections that are opened again when the gateway ends them."""
    stop = asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
    answered = failed = 0
    while not stop.done():
        async with gateway(port) as client:
            while not stop.done() and not client.closed.done():
                asked = [client.ask("GET", "/load") for _ in range(5)]
                for answer in await asyncio.gather(*asked, return_exceptions=True):
                    good = isinstance(answer, dict) and answer.get("status") == 200
                    answered, failed = answered + good, failed + (not good)
    return {"answered": answered, "failed": failed}


async def main():
    port, what, rest = int(sys.argv[1]), sys.argv[2], sys.argv[3:]
    if what == "load":
        return await load(port)
    try:
        async with gateway(port) as client:
            return await globals()[what](client, *rest)
    except ConnectionError as failed:
        return {"error": str(failed)}


print(json.dumps(asyncio.run(main())))

"""A service of Envoy's check over gRPC. Its address is the first argument; the path of a request says what it answers."""

import sys
import threading
from concurrent import futures

import grpc
from envoy_data_plane.envoy.config.core.v3 import HeaderValue, HeaderValueOption
from envoy_data_plane.envoy.service.auth.v3 import (
    CheckRequest,
    CheckResponse,
    DeniedHttpResponse,
    OkHttpResponse,
)
from envoy_data_plane.envoy.type.v3 import HttpStatus, StatusCode
from envoy_data_plane.google.rpc import Status


def option(name, value):
    return HeaderValueOption(header=HeaderValue(key=name, value=value))


def check(request, context):
    attributes = request.attributes
    http = attributes.request.http
    path = http.path.split("?")[0]
    if path == "/pass":
        said = [
            http.method, http.path, http.host, http.scheme, str(http.size), attributes.source.address.socket_address.address,
            attributes.source.principal, http.headers.get("authorization", "-"), http.headers.get("cookie", "-"),
        ]
        ok = OkHttpResponse(headers=[option("X-User", "|".join(said))], headers_to_remove=["Authorization"])
        return CheckResponse(status=Status(code=0), ok_response=ok)
    if path == "/bare":
        return CheckResponse(ok_response=OkHttpResponse())
    if path == "/deny":
        denied = DeniedHttpResponse(
            status=HttpStatus(code=StatusCode(401)), headers=[option("WWW-Authenticate", "Bearer"), option("x-inner", "1")],
            body="who are you\n",
        )
        return CheckResponse(status=Status(code=16), denied_response=denied)
    if path == "/plain-deny":
        return CheckResponse(status=Status(code=7))
    if path == "/other-header":
        return CheckResponse(status=Status(code=0), ok_response=OkHttpResponse(headers=[option("x-admin", "1")]))
    if path == "/other-removal":
        return CheckResponse(status=Status(code=0), ok_response=OkHttpResponse(headers_to_remove=["cookie"]))
    if path == "/both":
        return CheckResponse(status=Status(code=0), denied_response=DeniedHttpResponse(body="no"))
    if path == "/nothing":
        return CheckResponse()
    if path == "/slow":
        context.add_callback(server_ended.set)
        server_ended.wait()
        return CheckResponse()
    context.abort(grpc.StatusCode.INTERNAL, "it broke")

server_ended = threading.Event()
handler = grpc.unary_unary_rpc_method_handler(
    check, request_deserializer=CheckRequest.parse, response_serializer=bytes
)
server = grpc.server(futures.ThreadPoolExecutor(8))
service = grpc.method_handlers_generic_handler("envoy.service.auth.v3.Authorization", {"Check": handler})
server.add_generic_rpc_handlers((service,))
server.add_insecure_port(sys.argv[1])
server.start()
server.wait_for_termination()

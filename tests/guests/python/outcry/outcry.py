"""Prints a line for each request, and raises for those with `x-panic`."""

from wit_world import exports
from wit_world.exports import lifecycle, request, response
from wit_world.imports.types import View


class Lifecycle(exports.Lifecycle):
    """What every filter exports."""

    def config_schema(self) -> str:
        return "{}"

    def validate(self, config: str) -> None:
        pass

    def configure(self, config: str) -> lifecycle.Interest:
        none = lifecycle.BodyMode.NONE
        return lifecycle.Interest(["x-panic"], [], none, none, 0, lifecycle.Responses.UPSTREAM, [])


class Request(exports.Request):
    """The hook on requests."""

    def on_request(self, seen: View) -> request.Decision:
        print("seen", seen.exchange)
        if seen.spans:
            _fail()
        return request.Decision(request.Verdict_Pass(), None)


class Response(exports.Response):
    """The hook on responses."""

    def on_response(self, seen: View) -> response.Decision:
        return response.Decision(response.Verdict_Pass(), None)


def _fail() -> None:
    raise ValueError("no tenant in the request")

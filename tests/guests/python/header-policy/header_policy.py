"""Requires, removes and sets request headers, and refuses some clients by their user agent."""

from dataclasses import dataclass

from componentize_py_types import Err
from config import Settings, Wrong, parse
from schema import SCHEMA
from wit_world import exports
from wit_world.exports import lifecycle, request, response
from wit_world.imports.types import (
    Edit,
    Edit_AddHeader,
    Edit_RemoveHeader,
    Edit_SetHeader,
    Field,
    Reply,
    View,
)

VERSION = response.Decision(
    response.Verdict_Change([Edit_AddHeader(Field("x-policy-version", b"1"))]), None
)


@dataclass
class Policy:
    """What the hooks need, in the shape in which they need it; numbers are places in `reads`."""

    require: list[int]
    remove: list[tuple[int, Edit]]
    set: list[Edit]
    agent: int
    denied: tuple[bytes, ...]


_policy: Policy | None = None


def _checked(config: str) -> Settings:
    try:
        return parse(config)
    except Wrong as wrong:
        errors = [lifecycle.ConfigError(fault.pointer, fault.message) for fault in wrong.faults]
        raise Err(errors) from wrong


class Lifecycle(exports.Lifecycle):
    """What every filter exports."""

    def config_schema(self) -> str:
        return SCHEMA

    def validate(self, config: str) -> None:
        _checked(config)

    def configure(self, config: str) -> lifecycle.Interest:
        global _policy
        settings = _checked(config)
        reads = list(dict.fromkeys([*settings.require, *settings.remove, "user-agent"]))
        _policy = Policy(
            require=[reads.index(name) for name in settings.require],
            remove=[
                (reads.index(name), Edit_RemoveHeader(name)) for name in dict.fromkeys(settings.remove)
            ],
            set=[Edit_SetHeader(Field(name, value.encode())) for name, value in settings.set.items()],
            agent=reads.index("user-agent"),
            denied=tuple(prefix.encode() for prefix in settings.denyAgents),
        )
        writes = list(dict.fromkeys([*settings.remove, *settings.set, "x-policy-version"]))
        none = lifecycle.BodyMode.NONE
        return lifecycle.Interest(reads, writes, none, none, 0, lifecycle.Responses.UPSTREAM, [])


class Request(exports.Request):
    """The hook on requests."""

    def on_request(self, seen: View) -> request.Decision:
        policy = _policy
        assert policy is not None, "a hook was called before configure succeeded"
        # The first value of each field is what counts.
        spans = {span.field: span for span in reversed(seen.spans)}
        if not all(index in spans for index in policy.require):
            return _answer(400, "header-policy.missing")
        agent = spans.get(policy.agent)
        if agent is not None and seen.octets.startswith(policy.denied, agent.start, agent.start + agent.length):
            return _answer(403, "header-policy.agent")
        edits = [edit for index, edit in policy.remove if index in spans] + policy.set
        return request.Decision(request.Verdict_Change(edits) if edits else request.Verdict_Pass(), None)


class Response(exports.Response):
    """The hook on responses."""

    def on_response(self, seen: View) -> response.Decision:
        return VERSION


def _answer(status: int, reason: str) -> request.Decision:
    return request.Decision(request.Verdict_Answer(Reply(status, [], b"")), reason)

// Requires, removes and sets request headers, and refuses some clients by their user agent.

import { parse, told } from "./config.js";
import schema from "./schema.js";

const encoder = new TextEncoder();
const PASS = { verdict: { tag: "pass" }, reason: undefined };
const VERSION = [edit("add-header", field("x-policy-version", "1"))];

/** Set by `configure`: what the hooks need, in the shape in which they need it. */
let policy;

export const lifecycle = {
  configSchema: () => schema,
  validate: (config) => told(() => void parse(config)),
  configure: (config) => told(() => configured(config)),
};

function configured(config) {
  const { require, remove, set, denyAgents } = parse(config);
  const reads = [...new Set([...require, ...remove, "user-agent"])];
  const index = (name) => reads.indexOf(name);
  policy = {
    require: require.map(index),
    remove: [...new Set(remove)].map((name) => ({ index: index(name), edit: edit("remove-header", name) })),
    set: Object.entries(set).map(([name, value]) => edit("set-header", field(name, value))),
    agent: index("user-agent"),
    denied: denyAgents.map((prefix) => encoder.encode(prefix)),
  };
  const writes = [...new Set([...remove, ...Object.keys(set), "x-policy-version"])];
  return {
    reads,
    writes,
    requestBody: "none",
    responseBody: "none",
    bodyLimitBytes: 0,
    responses: "upstream",
    extra: [],
  };
}

export const request = {
  onRequest(seen) {
    const has = (index) => seen.spans.some((span) => span.field === index);
    if (!policy.require.every(has)) return answer(400, "header-policy.missing");
    if (isDenied(seen)) return answer(403, "header-policy.agent");
    const removed = policy.remove.filter(({ index }) => has(index));
    return change([...removed.map(({ edit }) => edit), ...policy.set]);
  },
};

export const response = {
  onResponse: () => change(VERSION),
};

function isDenied({ octets, spans }) {
  const span = spans.find((span) => span.field === policy.agent);
  if (span === undefined) return false;
  const agent = octets.subarray(span.start, span.start + span.length);
  return policy.denied.some((prefix) => prefix.every((octet, at) => agent[at] === octet));
}

function answer(status, reason) {
  return { verdict: { tag: "answer", val: { status, headers: [], body: new Uint8Array() } }, reason };
}

function change(edits) {
  return edits.length === 0 ? PASS : { verdict: { tag: "change", val: edits }, reason: undefined };
}

function edit(tag, val) {
  return { tag, val };
}

function field(name, value) {
  return { name, value: encoder.encode(value) };
}

// Prints a line for each request, and throws for those with `x-panic`.

const PASS = { verdict: { tag: "pass" }, reason: undefined };

export const lifecycle = {
  configSchema: () => "{}",
  validate: () => {},
  configure: () => ({
    reads: ["x-panic"],
    writes: [],
    requestBody: "none",
    responseBody: "none",
    bodyLimitBytes: 0,
    responses: "upstream",
    extra: [],
  }),
};

export const request = {
  onRequest({ exchange, spans }) {
    console.log("seen", String(exchange));
    if (spans.length > 0) fail();
    return PASS;
  },
};

export const response = { onResponse: () => PASS };

function fail() {
  throw new Error("no tenant in the request");
}

// From configuration text to settings, with errors that say where.

const LISTS = ["require", "remove", "denyAgents"];

/**
 * Reads a configuration.
 * @param {string} text JSON
 * @returns {{require: string[], remove: string[], set: Record<string, string>, denyAgents: string[]}}
 * @throws {ConfigErrors} with all that is wrong
 */
export function parse(text) {
  const config = json(text);
  if (!isObject(config)) throw new ConfigErrors([error("", "expected an object")]);
  const errors = Object.entries(config).flatMap(([name, value]) => faults(name, value));
  if (errors.length > 0) throw new ConfigErrors(errors);
  return { require: [], remove: [], set: {}, denyAgents: [], ...config };
}

/** What a filter throws when a configuration is wrong: the host reads `payload`. */
export class ConfigErrors extends Error {
  constructor(errors) {
    super("the configuration is wrong");
    this.payload = errors;
  }
}

/**
 * Runs a function of `lifecycle`. An exception that nobody expected would reach the host as an empty list of errors; here it
 * becomes an error with its message and place.
 * @template T
 * @param {() => T} act
 * @returns {T}
 */
export function told(act) {
  try {
    return act();
  } catch (cause) {
    if (cause instanceof ConfigErrors) throw cause;
    const place = String(cause?.stack ?? "").split("\n")[0];
    throw new ConfigErrors([error("", `${cause?.message ?? cause} (${place})`)]);
  }
}

function json(text) {
  try {
    return JSON.parse(text);
  } catch (cause) {
    throw new ConfigErrors([error("", `no JSON: ${cause.message}`)]);
  }
}

/** All that is wrong with one field of the configuration. */
function faults(name, value) {
  const place = `/${step(name)}`;
  if (LISTS.includes(name)) {
    if (!Array.isArray(value)) return [error(place, "expected a list of texts")];
    return value.flatMap((item, index) => text(`${place}/${index}`, item));
  }
  if (name === "set") {
    if (!isObject(value)) return [error(place, "expected an object of texts")];
    return Object.entries(value).flatMap(([header, item]) => text(`${place}/${step(header)}`, item));
  }
  return [error(place, `unknown field \`${name}\`, expected require, remove, set or denyAgents`)];
}

function text(place, value) {
  return typeof value === "string" ? [] : [error(place, "expected a text")];
}

function error(pointer, message) {
  return { pointer, message };
}

/** One step of a JSON pointer (RFC 6901). */
function step(name) {
  return name.replaceAll("~", "~0").replaceAll("/", "~1");
}

function isObject(value) {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

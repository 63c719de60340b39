/**
 * Whether a source delivers, by its outages.
 *
 * @module feed/pulse
 */

/** @typedef {import('../flowd-client.js').FlowdRecord} FlowdRecord */

/** The outages of one component, as the daemon tells them. */
export class Outages {
  /** @type {Map<string, string>} reasons of those that are open, by key */
  #open = new Map();

  /** @param {string} component */
  constructor(component) {
    this.component = component;
  }

  /** @param {FlowdRecord[]} records @param {boolean} first whether they replace all before */
  put(records, first) {
    if (first) this.#open.clear();
    for (const { key, value } of records) {
      if (value.component !== this.component) continue;
      const name = key ?? `${value.component}/${value.from_ms}`;
      if (value.to_ms === null) this.#open.set(name, String(value.reason || 'it delivers nothing'));
      else this.#open.delete(name);
    }
  }

  /** Why the component delivers nothing, null when it does. @returns {string | null} */
  get reason() {
    return [...this.#open.values()].at(-1) ?? null;
  }
}

/** Which components may write a stream: its own, or the one whose further stream it is. @param {string} stream */
export function writers(stream) {
  const dot = stream.lastIndexOf('.');
  return dot > 0 ? [stream, stream.slice(0, dot)] : [stream];
}

/**
 * Which sources of these streams deliver nothing, and why; null when all do.
 *
 * @param {Iterable<{component: string, to_ms: number | null, reason?: unknown}>} outages
 * @param {string[]} streams
 * @returns {string | null}
 */
export function silence(outages, streams) {
  const own = new Set(streams.flatMap(writers));
  const open = [...outages].filter(({ component, to_ms }) => to_ms === null && own.has(component));
  return open.length > 0 ? open.map(({ component, reason }) => `${component} delivers nothing: ${reason || 'nobody knows why'}`).join('; ') : null;
}

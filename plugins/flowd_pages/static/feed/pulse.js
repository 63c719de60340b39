/**
 * Whether a source delivers: its outages together with our own connection.
 *
 * @module feed/pulse
 */

/** @typedef {import('../flowd-client.js').FlowdRecord} FlowdRecord */

/** The outages of one component, as the daemon tells them. */
export class Outages {
  /** @type {Map<string, string>} reasons of those that are open, by key */
  #open = new Map();
  #known = false;

  /** @param {string} component */
  constructor(component) {
    this.component = component;
  }

  /** @param {FlowdRecord[]} records @param {boolean} first whether they replace all before */
  put(records, first) {
    if (first) this.#open.clear();
    this.#known = true;
    for (const { key, value } of records) {
      if (value.component !== this.component) continue;
      const name = key ?? `${value.component}/${value.from_ms}`;
      if (value.to_ms === null) this.#open.set(name, String(value.reason || 'it delivers nothing'));
      else this.#open.delete(name);
    }
  }

  /** Whether anything was said yet. */
  get known() {
    return this.#known;
  }

  /** Why the component delivers nothing, null when it does. @returns {string | null} */
  get reason() {
    return [...this.#open.values()].at(-1) ?? null;
  }
}

/**
 * What the badge says. `unknown` lasts until everything was heard once.
 *
 * @param {{connected: boolean, was: boolean, outages: Outages, there: boolean | null}} seen `was`: whether we were ever
 *   connected; `there`: whether the stream exists, null while that is not known
 * @returns {{state: 'live' | 'offline' | 'unknown', text: string, why: string}}
 */
export function pulse({ connected, was, outages, there }) {
  if (!connected) {
    return was
      ? { state: 'offline', text: 'OFFLINE', why: 'not connected' }
      : { state: 'unknown', text: '–', why: 'connecting' };
  }
  if (there === false) return { state: 'offline', text: 'OFFLINE', why: 'not configured' };
  if (there === null || !outages.known) return { state: 'unknown', text: '–', why: 'connecting' };
  const { reason } = outages;
  return reason === null
    ? { state: 'live', text: 'LIVE', why: 'the source delivers' }
    : { state: 'offline', text: 'OFFLINE', why: reason };
}

/**
 * When nothing could be known, and which sources deliver nothing now.
 *
 * @module chart/gaps
 */

import { Outages } from '../feed/pulse.js';
import { joined } from './model.js';

/** @typedef {import('../flowd-client.js').FlowdRecord} FlowdRecord */
/** @typedef {import('./model.js').Span} Span */

/** The history says when orders were missed, the stream of outages how that goes on. */
export class Gaps {
  /** As the history says. @type {Span[]} */
  told = [];
  /** As the stream says, by component and when they began; without an end while open. @type {Map<string, {from: number, to: number | null}>} */
  #outages = new Map();
  /** Whether each source delivers. @type {Map<string, Outages>} */
  #pulses = new Map();

  /**
   * What the stream says.
   *
   * @param {FlowdRecord[]} records
   * @param {boolean} first whether they replace all before
   * @param {string[]} components the sources of what is shown
   * @param {string[]} orders those of them whose outages are gaps
   */
  put(records, first, components, orders) {
    for (const name of components) {
      const pulse = this.#pulses.get(name) ?? new Outages(name);
      this.#pulses.set(name, pulse);
      pulse.put(records, first);
    }
    if (first) this.#outages.clear();
    for (const { value } of records) {
      if (orders.includes(value.component)) this.#outages.set(`${value.component}/${value.from_ms}`, { from: value.from_ms, to: value.to_ms });
    }
  }

  /** Whether one is open, and so becomes longer as time goes on. */
  get open() {
    return [...this.#outages.values()].some(({ to }) => to === null);
  }

  /** Which sources deliver nothing, and why; null when all do. */
  get silent() {
    const found = [...this.#pulses.values()].filter(({ reason }) => reason !== null);
    return found.length > 0 ? found.map(({ component, reason }) => `${component} delivers nothing: ${reason}`).join('; ') : null;
  }

  /** All of them, an open one up to now. @param {number} now ms */
  spans(now) {
    const outages = [...this.#outages.values()];
    const streamed = outages.map(({ from, to }) => /** @type {Span} */ ([from, to ?? now]));
    // The stream knows better when a gap that was open ended.
    const told = this.told.filter(([began]) => outages.every(({ from }) => from !== began));
    return joined([...told, ...streamed]);
  }
}

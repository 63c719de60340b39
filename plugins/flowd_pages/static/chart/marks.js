/**
 * The large liquidations, marked on the price at which they happened.
 *
 * @module chart/marks
 */

import { remember, remembered } from '../dom.js';
import { amountOf, dollars } from '../format.js';
import { ask } from './data.js';

/** @typedef {import('./data.js').Sources} Sources */
/** @typedef {import('./paint.js').Colours} Colours */
/** @typedef {{id: string, time_ms: number, price: string, side: string, notional: string}} Order */

/** From which value on, where nobody said. */
export const LEAST_FIRST = '100k';
/** So many are held of a symbol, the newest. */
export const MARKS_MAX = 500;
/** So many have words, the largest, and so many bars lie between two of them. */
const NAMED_MAX = 6;
const APART = 10;

/** What is marked, of one symbol. */
export class Marks {
  /** As it was typed. */
  typed = remembered('marks') ?? LEAST_FIRST;
  /** @type {Map<string, Order>} */
  #orders = new Map();

  /** The least value that is marked; 0 for no marks at all. */
  get least() {
    const least = amountOf(this.typed);
    return Number.isFinite(least) ? least : 0;
  }

  /** Take another least value; false when that is no amount, and nothing changes. @param {string} typed */
  choose(typed) {
    if (Number.isNaN(amountOf(typed))) return false;
    this.typed = typed.trim();
    remember('marks', this.typed);
    for (const [id, { notional }] of this.#orders) if (!this.#large(notional)) this.#orders.delete(id);
    return true;
  }

  /** Another symbol. */
  forget() {
    this.#orders.clear();
  }

  /** @param {{value: any}[]} records @returns {boolean} whether one of them is to be marked */
  put(records) {
    const before = this.#orders.size;
    for (const { value } of records) if (this.#large(value.notional)) this.#orders.set(String(value.id), value);
    const news = this.#orders.size > before;
    for (const id of this.#orders.keys()) {
      if (this.#orders.size <= MARKS_MAX) break;
      this.#orders.delete(id);
    }
    return news;
  }

  /** Ask for those that the daemon remembers. Without an answer there are those that come. @param {Sources} sources @param {string} symbol @param {AbortSignal} signal */
  async load({ tapes, polls }, symbol, signal) {
    if (!polls || this.least === 0) return;
    const asked = tapes.map((name) => ask(`/streams/${encodeURIComponent(name)}`, { symbol, min_notional: this.least, limit: MARKS_MAX }, signal).catch(() => ({ records: [] })));
    const found = (await Promise.all(asked)).flatMap(({ records }) => records);
    if (signal.aborted) return;
    this.put(found.sort((a, b) => a.value.time_ms - b.value.time_ms));
  }

  /**
   * As the chart library wants them, in order: of each bar and side the largest.
   *
   * @param {number} width of a bar, in seconds
   * @param {Colours} colours
   * @returns {any[]}
   */
  markers(width, colours) {
    /** @type {Map<string, {time: number, order: Order}>} */
    const largest = new Map();
    for (const order of this.#orders.values()) {
      const time = Math.floor(order.time_ms / 1000 / width) * width;
      const known = largest.get(`${time}/${order.side}`);
      if (!known || Number(known.order.notional) < Number(order.notional)) largest.set(`${time}/${order.side}`, { time, order });
    }
    const all = [...largest.values()].sort((a, b) => a.time - b.time);
    const named = apart([...all].sort((a, b) => Number(b.order.notional) - Number(a.order.notional)), width * APART);
    return all.map(({ time, order }) => {
      const short = order.side === 'BUY';
      return {
        id: order.id,
        time,
        position: 'atPriceMiddle',
        price: Number(order.price),
        shape: short ? 'arrowUp' : 'arrowDown',
        color: short ? colours.buy : colours.sell,
        size: Math.min(2.5, 1 + Math.log10(Math.max(1, Number(order.notional) / this.least))),
        text: named.has(order) ? dollars(order.notional) : '',
      };
    });
  }

  /** @param {unknown} notional */
  #large(notional) {
    return this.least > 0 && Number(notional) >= this.least;
  }
}

/** The largest that leave each other room for words. @param {{time: number, order: Order}[]} found the largest first @param {number} room seconds */
function apart(found, room) {
  /** @type {Map<Order, number>} */
  const named = new Map();
  for (const { time, order } of found) {
    if (named.size >= NAMED_MAX) break;
    if ([...named.values()].every((other) => Math.abs(other - time) >= room)) named.set(order, time);
  }
  return named;
}

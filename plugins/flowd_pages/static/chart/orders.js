/**
 * The table of the newest forced orders.
 *
 * @module chart/orders
 */

import { bodyOf, byId, fill, h } from '../dom.js';
import { clock, moment, money, price, quantity, side, stamp } from '../format.js';
import { venueName } from '../words.js';
import { current } from './zone.js';

/** How many are shown. */
export const ORDERS_MAX = 50;
const DAY_MS = 86_400_000;

/** @typedef {import('../flowd-client.js').FlowdRecord} FlowdRecord */

/** @param {number} ms */
const dayOf = (ms) => Math.floor(current().shift(ms) / DAY_MS);

/** @typedef {{stream: string, time: number, record?: FlowdRecord, missed?: number, fresh: boolean}} Row `time` is when it happened, in milliseconds */

/** Rows as they are shown, newest first, however late they came; of those of one time the one that came last. @param {Row[]} rows @returns {Row[]} */
export function newestFirst(rows) {
  return [...rows].sort((a, b) => b.time - a.time).slice(0, ORDERS_MAX);
}

/** Of all streams together, newest first, drawn at most once per frame however much comes. */
export class Orders {
  /** @type {Row[]} */
  #rows = [];
  /** The venues that were seen, of this symbol. @type {Set<string>} */
  #venues = new Set();
  #drawing = false;
  #loaded = false;
  #symbol = '';
  #body = bodyOf('orders');
  #empty = byId('orders-empty');
  #count = byId('orders-count');
  #day = 0;

  /** @param {() => number} now the daemon's time, in milliseconds */
  constructor(now) {
    this.now = now;
  }

  /** Another symbol: nothing is known of it yet. @param {string} symbol */
  wait(symbol) {
    this.#symbol = symbol;
    this.#rows = [];
    this.#venues.clear();
    this.#loaded = false;
    this.#empty.hidden = true;
    this.#count.textContent = '';
    fill(this.#body, ...Array.from({ length: 8 }, ghost));
  }

  /** @param {string} stream @param {FlowdRecord[]} records oldest first @param {boolean} first whether they replace what is here of this stream */
  put(stream, records, first) {
    if (first) this.#rows = this.#rows.filter((row) => row.stream !== stream);
    this.#loaded = true;
    const rows = records.slice(-ORDERS_MAX).map((record) => ({ stream, time: Number(record.value.time_ms), record, fresh: !first }));
    for (const { value } of records) if (value.venue) this.#venues.add(String(value.venue));
    this.#rows = newestFirst([...rows.reverse(), ...this.#rows]);
    this.#draw();
  }

  /** So many were lost here. @param {string} stream @param {number} missed */
  hole(stream, missed) {
    this.#rows = newestFirst([{ stream, time: this.#rows[0]?.time ?? 0, missed, fresh: false }, ...this.#rows]);
    this.#draw();
  }

  /** Time went on. Past midnight, what is there is of another day. */
  tick() {
    if (dayOf(this.now()) !== this.#day) this.#draw();
  }

  /** Times are shown in another zone. */
  redraw() {
    this.#draw();
  }

  /** No orders can be had. @param {string} title @param {string} words @param {string} [lines] that would bring them */
  none(title, words, lines) {
    this.#rows = [];
    fill(this.#body);
    this.#say(title, words, lines);
  }

  /** Say why there are none. @param {string} title @param {string} words @param {string} [lines] */
  #say(title, words, lines) {
    fill(this.#empty, h('strong', {}, title), h('span', {}, words), lines && h('pre', { class: 'lines' }, lines));
    this.#empty.hidden = false;
  }

  #draw() {
    if (this.#drawing) return;
    this.#drawing = true;
    requestAnimationFrame(() => {
      this.#drawing = false;
      if (!this.#loaded) return;
      const now = this.now();
      this.#day = dayOf(now);
      const orders = this.#rows.filter((row) => row.record).length;
      this.#count.textContent = orders ? `newest ${orders}` : '';
      if (orders > 0) this.#empty.hidden = true;
      else this.#say('Quiet', `No forced order of ${this.#symbol} is remembered. They appear here as they happen.`);
      fill(this.#body, ...this.#rows.map(({ record, missed, fresh }) => (record ? order(record, fresh, now, this.#venues.size > 1) : hole(missed ?? 0))));
      for (const row of this.#rows) row.fresh = false;
    });
  }
}

/** @param {FlowdRecord} record @param {boolean} fresh @param {number} now ms @param {boolean} named whether to say the venue */
function order({ value }, fresh, now, named) {
  const { name, arrow, order, tone } = side(value.side);
  const label = h('span', { class: tone, title: order }, h('b', { 'aria-hidden': 'true' }, arrow), ` ${name}`);
  return h(
    'tr',
    { class: fresh && 'fresh', 'data-id': value.id },
    h('td', { title: `${stamp(value.time_ms, true)} ${clock(value.time_ms)} UTC` }, moment(current().shift(value.time_ms), current().shift(now))),
    h('td', {}, label, named && h('span', { class: 'quiet' }, ` ${venueName(value.venue)}`)),
    h('td', { class: 'end' }, price(value.price)),
    h('td', { class: 'end' }, quantity(value.quantity)),
    h('td', { class: `end ${tone}` }, money(value.notional)),
  );
}

/** @param {number} missed */
function hole(missed) {
  const words = `${missed === 1 ? 'one record was' : `${missed} records were`} missed here`;
  return h('tr', {}, h('td', { colspan: 5, class: 'hole' }, words));
}

function ghost() {
  const cell = (/** @type {string} */ kind) => h('td', { class: kind }, h('span', { class: 'skeleton w-4' }));
  return h('tr', { class: 'ghost' }, cell(''), cell(''), cell('end'), cell('end'), cell('end'));
}

/**
 * The table of the newest forced orders.
 *
 * @module chart/orders
 */

import { bodyOf, byId, fill, h } from '../dom.js';
import { clock, moment, price, quantity, short, side, stamp, whole } from '../format.js';

/** How many are shown. */
export const ORDERS_MAX = 50;
const DAY_MS = 86_400_000;

/** @typedef {import('../flowd-client.js').FlowdRecord} FlowdRecord */

/** Newest first, drawn at most once per frame however much comes. */
export class Orders {
  /** @type {{record?: FlowdRecord, missed?: number, fresh: boolean}[]} */
  #rows = [];
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
    this.#loaded = false;
    this.#empty.hidden = true;
    this.#count.textContent = '';
    fill(this.#body, ...Array.from({ length: 8 }, ghost));
  }

  /** @param {FlowdRecord[]} records oldest first @param {boolean} first whether they replace what is here */
  put(records, first) {
    if (first) this.#rows = [];
    this.#loaded = true;
    const rows = records.slice(-ORDERS_MAX).map((record) => ({ record, fresh: !first }));
    this.#rows = [...rows.reverse(), ...this.#rows].slice(0, ORDERS_MAX);
    this.#draw();
  }

  /** So many were lost here. @param {number} missed */
  hole(missed) {
    this.#rows = [{ missed, fresh: false }, ...this.#rows].slice(0, ORDERS_MAX);
    this.#draw();
  }

  /** Time went on. Past midnight, what is there is of another day. */
  tick() {
    if (Math.floor(this.now() / DAY_MS) !== this.#day) this.#draw();
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
      this.#day = Math.floor(now / DAY_MS);
      const orders = this.#rows.filter((row) => row.record).length;
      this.#count.textContent = orders ? `newest ${orders}` : '';
      if (orders > 0) this.#empty.hidden = true;
      else this.#say('Quiet', `No forced order of ${this.#symbol} is remembered. They appear here as they happen.`);
      fill(this.#body, ...this.#rows.map(({ record, missed, fresh }) => (record ? order(record, fresh, now) : hole(missed ?? 0))));
      for (const row of this.#rows) row.fresh = false;
    });
  }
}

/** @param {FlowdRecord} record @param {boolean} fresh @param {number} now ms */
function order({ value }, fresh, now) {
  const { name, arrow, order, tone } = side(value.side);
  const label = h('span', { class: tone, title: order }, h('b', { 'aria-hidden': 'true' }, arrow), ` ${name}`);
  return h(
    'tr',
    { class: fresh && 'fresh', 'data-id': value.id },
    h('td', { title: `${stamp(value.time_ms, true)} ${clock(value.time_ms)} UTC` }, moment(value.time_ms, now)),
    h('td', {}, label),
    h('td', { class: 'end' }, price(value.price)),
    h('td', { class: 'end' }, quantity(value.quantity)),
    h('td', { class: `end ${tone}`, title: short(value.notional) }, whole(value.notional)),
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

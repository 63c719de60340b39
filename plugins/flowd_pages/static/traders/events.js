/**
 * What changed in traders' positions, newest first, in words.
 *
 * @module traders/events
 */

import { dollars } from '../analytics/model.js';
import { address } from '../feed/forms.js';
import { at, fill, h } from '../dom.js';
import { clock, moment, money, price, quantity, stamp } from '../format.js';

/** @typedef {import('../flowd-client.js').FlowdRecord} FlowdRecord */

const NAMES = { OPEN: 'opened', INCREASE: 'increased', DECREASE: 'decreased', CLOSE: 'closed', FLIP: 'flipped to' };
const FRESH_MS = 1_000;

/** @param {number} ms */
const exactly = (ms) => `${stamp(ms, true)} ${clock(ms)} UTC`;

/**
 * An event in words. Whatever is not known is not said.
 *
 * @param {any} event
 * @returns {{verb: string, side: string, tone: 'buy' | 'sell' | '', amount: string, at: string, how: string, change: string}}
 */
export function told(event) {
  const forced = event.liquidated ? 'liquidated' : '';
  const known = NAMES[/** @type {'OPEN'} */ (event.event)] ?? String(event.event);
  const paid = event.sampled ? event.implied_price : event.implied_price ?? event.mark_price;
  return {
    verb: forced || known,
    side: String(event.side),
    tone: event.side === 'LONG' ? 'buy' : event.side === 'SHORT' ? 'sell' : '',
    amount: dollars(String(event.notional)),
    at: paid === null || paid === undefined ? '' : `at ${price(paid)}`,
    how: event.sampled
      ? `Between ${exactly(event.from_ms)} and ${exactly(event.time_ms)}: two states were compared, so it may be the sum of several changes`
      : `A fill told it, ${exactly(event.time_ms)}`,
    change: `${quantity(event.prev_size)} to ${quantity(event.size)}, ${money(event.notional)}`,
  };
}

/** The newest so many, each once. */
export class Newest {
  /** @type {{value: any, live: boolean}[]} newest first */
  rows = [];
  #snapshotMs = Infinity;

  /** @param {number} most */
  constructor(most) {
    this.most = most;
  }

  /** @param {FlowdRecord[]} records oldest first @param {boolean} first @param {number} now the daemon's clock */
  put(records, first, now) {
    if (first) {
      this.rows = [];
      this.#snapshotMs = now;
    }
    const fresh = records.map(({ value, time_ms }) => ({ value, live: !first && time_ms > this.#snapshotMs }));
    this.rows = [...fresh.reverse(), ...this.rows].slice(0, this.most);
  }
}

/** A list of events, of which only the new ones are made. */
export class EventList {
  /** @type {Map<string, HTMLLIElement>} */
  #made = new Map();

  /** @param {HTMLElement} list @param {boolean} named whether it says whose each is */
  constructor(list, named) {
    this.list = list;
    this.named = named;
  }

  /** @param {Newest} newest @param {number} now the daemon's clock */
  show(newest, now) {
    const kept = new Map();
    for (const { value, live } of newest.rows) {
      const known = this.#made.get(value.id);
      kept.set(value.id, known ?? this.#make(value, live, now));
    }
    this.#made = kept;
    fill(this.list, ...kept.values());
  }

  /** @param {any} event @param {boolean} live @param {number} now */
  #make(event, live, now) {
    const { verb, side, tone, amount, at: paid, how, change } = told(event);
    const who = address(event.address, at('/traders/'));
    const item = h(
      'li',
      { class: live ? 'event fresh' : 'event', title: how },
      h('span', { class: 'event-time num quiet' }, moment(event.time_ms, now), event.sampled && h('span', { class: 'about', title: how }, ' ≈', h('span', { class: 'sr' }, ' at the latest'))),
      h('span', { class: 'event-what' }, h('b', {}, String(event.symbol)), ' ', verb, ' ', h('span', { class: tone }, side)),
      h('span', { class: 'event-amount num', title: change }, amount, paid && h('span', { class: 'quiet' }, ` ${paid}`)),
      this.named && (who.href ? h('a', { class: 'event-who', href: who.href, title: who.full }, who.text) : h('span', { class: 'event-who' }, who.text)),
    );
    // The element is moved when others come before it, which would begin the animation again.
    if (live) setTimeout(() => item.classList.remove('fresh'), FRESH_MS);
    return item;
  }
}

/**
 * The chart of volume per minute: what it spans, and which of its bars is pointed at.
 *
 * @module analytics/chart
 */

import { byId, fill, h } from '../dom.js';
import { clock, count, span as lasting } from '../format.js';
import { Bars } from './bars.js';
import { MINUTE_MS, bars, bought, dollars, overlap, prune, span } from './model.js';

/** How many minutes are kept. */
const KEEP_MS = 24 * 60 * MINUTE_MS + 5 * MINUTE_MS;

/** @typedef {import('./model.js').Sum} Sum */
/** @typedef {import('./model.js').Bar} Bar */

export class Chart {
  /** @type {Map<number, Sum>} */
  minutes = new Map();
  span;
  /** When nothing is known. @type {import('./model.js').Unknown[]} */
  unknown = [];
  #frame = byId('volume');
  #bars = new Bars(/** @type {HTMLCanvasElement} */ (byId('volume-canvas')));
  #legend = byId('volume-legend');
  #spoken = byId('volume-spoken');

  /** @param {string} window_ @param {() => number} now the daemon's clock @param {() => void} changed draw soon */
  constructor(window_, now, changed) {
    this.now = now;
    this.span = span(window_);
    const frame = this.#frame;
    frame.addEventListener('pointermove', (event) => this.#point(this.#bars.at(event.clientX - frame.getBoundingClientRect().left), changed));
    frame.addEventListener('pointerleave', () => this.#point(-1, changed));
    frame.addEventListener('blur', () => this.#point(-1, changed));
    frame.addEventListener('keydown', (event) => this.#key(event, changed));
    window.addEventListener('theme', () => this.#bars.paint());
    new ResizeObserver(changed).observe(frame);
  }

  /** @param {import('../flowd-client.js').FlowdRecord[]} records @param {boolean} first */
  put(records, first) {
    if (first) this.minutes.clear();
    for (const { value } of records) this.minutes.set(value.time_ms, value);
    prune(this.minutes, this.now() - KEEP_MS);
  }

  /** Since when minutes are known; null while none is. */
  get since() {
    return this.minutes.size ? Math.min(...this.minutes.keys()) : null;
  }

  /** Span another time. @param {string} window */
  choose(window) {
    this.span = span(window);
    this.#bars.pointed = -1;
  }

  draw() {
    const bar = this.#bars.bars[this.#bars.pointed];
    this.#bars.bars = bars(this.minutes, this.now(), this.span, this.unknown);
    // Time moves on under a bar that is pointed at: it stays the same one.
    if (bar) this.#bars.pointed = this.#bars.bars.findIndex((one) => one.time === bar.time);
    this.#bars.draw();
    this.#tell();
  }

  #tell() {
    const pointed = this.#bars.bars[this.#bars.pointed];
    const all = this.#bars.bars;
    const sum = { time: 0, minutes: this.span.minutes, buy: 0, sell: 0, count: 0 };
    for (const one of all) {
      sum.buy += one.buy;
      sum.sell += one.sell;
      sum.count += one.count;
    }
    const now = this.now();
    const lost = pointed ? pointed.unknown ?? 0 : overlap(this.unknown, now - this.span.minutes * MINUTE_MS, now);
    fill(this.#legend, ...told(pointed ?? sum, pointed ? when(pointed) : `last ${this.span.label}`), lost >= 1000 && h('span', { class: 'warned' }, `not known for ${lasting(lost)}`));
    this.#frame.setAttribute('aria-label', `Volume of the last ${this.span.label}: ${plain(sum)}`);
  }

  /** @param {number} index @param {() => void} changed */
  #point(index, changed) {
    if (index === this.#bars.pointed) return;
    this.#bars.pointed = index;
    changed();
  }

  /** @param {KeyboardEvent} event @param {() => void} changed */
  #key(event, changed) {
    const { length } = this.#bars.bars;
    const at = this.#bars.pointed;
    const to = { ArrowLeft: at < 0 ? length - 1 : at - 1, ArrowRight: at < 0 ? 0 : at + 1, Home: 0, End: length - 1, Escape: -1 }[event.key];
    if (to === undefined) return;
    event.preventDefault();
    this.#point(event.key === 'Escape' ? -1 : Math.max(0, Math.min(length - 1, to)), changed);
    const bar = this.#bars.bars[this.#bars.pointed];
    this.#spoken.textContent = bar ? `${when(bar)}: ${plain(bar)}` : '';
  }
}

/** @param {Bar} bar */
function when({ time, minutes }) {
  const from = clock(time).slice(0, 5);
  return minutes === 1 ? from : `${from}–${clock(time + minutes * MINUTE_MS).slice(0, 5)}`;
}

/** @param {Bar} bar */
const plain = (bar) => `${bar.unknown ? `not known for ${lasting(bar.unknown)}, else ` : ''}bought ${dollars(bar.buy)}, sold ${dollars(bar.sell)}, ${count(bar.count)} trades`;

/** @param {Bar} bar @param {string} when */
function told(bar, when) {
  const part = bought(bar.buy, bar.sell);
  return [
    h('span', { class: 'key' }, when),
    h('span', {}, h('span', { class: 'key' }, 'Bought '), h('span', { class: 'buy' }, h('b', { 'aria-hidden': 'true' }, '▲'), ` ${dollars(bar.buy)}`)),
    h('span', {}, h('span', { class: 'key' }, 'Sold '), h('span', { class: 'sell' }, h('b', { 'aria-hidden': 'true' }, '▼'), ` ${dollars(bar.sell)}`)),
    h('span', {}, h('span', { class: 'key' }, 'Trades '), count(bar.count)),
    part !== null && h('span', {}, h('span', { class: 'key' }, 'Bought part '), `${part}%`),
  ];
}

/**
 * What a trader did, on the price of a coin: which coin, which of its events is pointed at, and what is said of it.
 *
 * @module traders/eventchart
 */

import { byId, fill, h } from '../dom.js';
import { price, stamp } from '../format.js';
import { venueName } from '../words.js';
import { Candles } from './candles.js';
import { told } from './events.js';
import { GLYPHS } from './markers.js';
import { PriceChart } from './pricechart.js';
import { coinsOf, covers, folded, ownPrices, placed, planned, points, unknown } from './prices.js';

/** @typedef {import('../flowd-client.js').FlowdClient} FlowdClient */
/** @typedef {{events: any[], fills: any[], positions: any[], visited: number}} Known events and fills newest first, positions as of a visit */

const HINT = 'Point at a shape or tap it, or go from one to the next with the arrow keys, and it is said here in full.';

export class EventChart {
  coin = '';
  /** The event that is pointed at or chosen. @type {any} */
  event = null;
  /** @type {PriceChart | null} */
  chart = null;
  /** What is drawn. @type {import('./pricechart.js').Shown | null} */
  shown = null;

  #candles;
  /** @type {Known} */
  #known = { events: [], fills: [], positions: [], visited: 0 };
  /** @type {import('./prices.js').Plan | null} */
  #plan = null;
  /** The coin that whoever looks has chosen, '' for none. */
  #chosen = '';
  /** Whether the event stays chosen when the pointer goes elsewhere. */
  #held = false;
  /** Whether all of what is drawn was shown once. */
  #fits = false;
  #drawing = false;
  #loading = false;
  /** @type {number | null} where the crosshair is, in seconds */
  #pointed = null;
  #select = /** @type {HTMLSelectElement} */ (byId('chart-coin'));

  /** @param {FlowdClient} client @param {string} library where it is, '' when it is not installed */
  constructor(client, library) {
    this.client = client;
    this.library = library;
    this.#candles = new Candles(client, () => this.#draw());
    this.#chosen = new URLSearchParams(location.search).get('coin') ?? '';
    this.#select.addEventListener('change', () => this.#choose(this.#select.value));
    byId('chart-whole').addEventListener('click', () => this.chart?.whole());
    byId('price-chart').addEventListener('keydown', (event) => this.#key(event));
    fill(byId('glyphs'), ...Object.entries(GLYPHS).map(([kind, glyph]) => h('li', {}, h('b', { 'aria-hidden': 'true' }, glyph), ` ${kind.toLowerCase()}`)), h('li', {}, '▴ long ▾ short'));
    window.addEventListener('theme', () => {
      this.chart?.paint();
      this.#draw();
    });
    let lost = false;
    client.addEventListener('status', () => {
      if (client.status === 'disconnected') lost = true;
      else if (client.status === 'connected' && lost && this.coin) {
        lost = false;
        this.#load();
      }
    });
  }

  /** What is known now. @param {Known} known */
  show(known) {
    this.#known = known;
    const coins = coinsOf(known.events, known.positions);
    if (this.#chosen && !coins.includes(this.#chosen)) coins.push(this.#chosen);
    const nothing = coins.length === 0 || !this.library;
    byId('chart-tools').hidden = nothing;
    byId('chart-empty').hidden = !nothing;
    if (!this.library) fill(byId('chart-empty'), h('strong', {}, 'The chart library is not installed'), h('span', {}, 'Install Node.js with npm where flowd was installed from, then: make pages. The list of events needs none.'));
    else if (nothing) fill(byId('chart-empty'), h('strong', {}, 'No event is remembered'), h('span', {}, 'Changes of its positions appear here as they are found, on the price of their coin.'));
    if (nothing) return;
    const offered = [...coins].sort();
    if (offered.join() !== [...this.#select.options].map(({ value }) => value).join()) fill(this.#select, ...offered.map((coin) => h('option', { value: coin }, coin)));
    // Whoever looks at events is not taken elsewhere by the next one.
    const stays = this.coin !== '' && (this.#chosen !== '' || this.#events().length > 0 || known.events.length === 0);
    const coin = stays ? this.coin : this.#chosen || coins[0];
    this.#select.value = coin;
    if (coin !== this.coin) this.#open(coin);
    else this.#draw();
  }

  /** A second has passed: time goes on also when nothing happens. */
  tick() {
    const plan = this.#plan;
    if (plan && this.client.now() / 1000 >= plan.end + plan.width) this.#draw();
  }

  /** The coin's events, in the order of time. */
  #events() {
    return this.#known.events.filter(({ symbol }) => symbol === this.coin).sort((a, b) => a.time_ms - b.time_ms);
  }

  /** @param {string} coin */
  #choose(coin) {
    this.#chosen = coin;
    const wanted = new URL(location.href);
    wanted.searchParams.set('coin', coin);
    history.replaceState(null, '', wanted);
    this.#open(coin);
  }

  /** @param {string} coin */
  #open(coin) {
    this.coin = coin;
    this.event = null;
    this.#held = false;
    this.#tell();
    this.#load();
  }

  // -- loading

  async #load() {
    this.#plan = null;
    this.#fits = false;
    this.#loading = true;
    await Promise.all([
      this.#make(),
      this.#candles.load(this.coin, (intervals) => (this.#plan = planned(this.#events(), this.client.now(), intervals))).finally(() => (this.#loading = false)),
    ]);
    this.#draw();
  }

  async #make() {
    const library = /** @type {typeof import('lightweight-charts')} */ (await import(this.library));
    if (this.chart) return;
    this.chart = new PriceChart(library, byId('price-canvas'));
    this.chart.chart.subscribeCrosshairMove(({ time, point }) => {
      this.#pointed = typeof time === 'number' ? time : null;
      if (!this.#held) this.#point(this.chart?.eventAt(point) ?? null);
      this.#legend();
    });
    // A tap points as well, and its words stay.
    this.chart.chart.subscribeClick(({ point }) => {
      const event = this.chart?.eventAt(point) ?? null;
      this.#held = event !== null;
      this.#point(event);
    });
  }

  // -- drawing

  /** Draw with the next frame, once. */
  #draw() {
    if (this.#drawing) return;
    this.#drawing = true;
    requestAnimationFrame(() => {
      this.#drawing = false;
      this.#frame();
    });
  }

  #frame() {
    const [now, events] = [this.client.now(), this.#events()];
    if (!this.chart || this.#loading || !this.#plan) return;
    if (!covers(this.#plan, events, now)) {
      this.#load();
      return;
    }
    const plan = (this.#plan = { ...this.#plan, end: Math.floor(Math.max(now, events.at(-1)?.time_ms ?? 0) / 1000 / this.#plan.width) * this.#plan.width });
    const candles = folded(this.#candles.known.values(), plan);
    const fills = this.#known.fills.filter(({ symbol }) => symbol === this.coin);
    const position = this.#known.positions.find(({ symbol }) => symbol === this.coin) ?? null;
    const own = points(ownPrices(events, fills, position, this.#known.visited), plan, candles);
    const text = candles.at(-1)?.text ?? String(own.at(-1)?.value ?? '');
    this.shown = { plan, candles, points: own, gaps: unknown(candles, plan), events, position, price: text };
    this.chart.draw(this.shown, this.event);
    if (!this.#fits) this.chart.whole();
    this.#fits = true;
    this.#words();
    this.#legend();
  }

  /** Where the prices are from. */
  #words() {
    const { candles, points, events, gaps, plan } = /** @type {import('./pricechart.js').Shown} */ (this.shown);
    const { symbol, venue } = this.#candles;
    const own = points.length > 0 ? `Prices of this trader’s own events, fills and position; no candles of ${this.coin} here.` : `No price of ${this.coin} is known here.`;
    const folds = plan.interval ? `${plan.interval} candles` : 'candles';
    const words = candles.length > 0 ? `${folds} of ${symbol}${venue ? ` on ${venueName(venue)}` : ''}.${gaps.length > 0 ? ' Hatched: none is known.' : ''}` : own;
    const none = events.length === 0 ? ' No event of it is remembered.' : '';
    byId('price-words').textContent = words + none;
    byId('price-chart').setAttribute('aria-label', `${events.length} ${events.length === 1 ? 'event' : 'events'} on the price of ${this.coin}`);
  }

  #legend() {
    const { shown, chart } = this;
    if (!shown || !chart) return;
    const { candles, points, position } = shown;
    const time = this.#pointed;
    const candle = time === null ? candles.at(-1) : candles.find((one) => one.time === time);
    const point = time === null ? points.at(-1) : points.find((one) => one.time === time);
    /** @param {string} name @param {unknown} value @param {string} [more] */
    const said = (name, value, more = '') => h('span', {}, h('span', { class: 'key' }, `${name} `), price(value), more && h('span', { class: 'key' }, ` ${more}`));
    const words = candle
      ? [said('open', candle.open), said('high', candle.high), said('low', candle.low), said('close', candle.close)]
      : point
        ? [said('price', point.value)]
        : [h('span', { class: 'key' }, 'no price known')];
    /** @param {string} name @param {unknown} value */
    const line = (name, value) => Number(value) > 0 && said(name, value, chart.beyond(value) && `${chart.beyond(value) === 'above' ? '↑' : '↓'} ${chart.beyond(value)} what is seen`);
    const when = time ?? candle?.time ?? point?.time;
    fill(byId('price-legend'), h('strong', {}, this.coin), when !== undefined && h('span', { class: 'key' }, stamp(when * 1000)), ...words, position && line('entry', position.entry_price), position && line('liquidation', position.liquidation_price));
    chart.leave(byId('price-legend').offsetHeight);
  }

  // -- pointing

  /** @param {any} event null for none */
  #point(event) {
    if (event?.id === this.event?.id) return;
    this.event = event;
    this.chart?.choose(event);
    this.#tell();
  }

  #tell() {
    fill(byId('event-told'), ...(this.event ? sentence(this.event) : [h('span', { class: 'quiet' }, HINT)]));
  }

  /** @param {KeyboardEvent} pressed */
  #key(pressed) {
    const { chart, shown } = this;
    if (!chart || !shown || pressed.ctrlKey || pressed.metaKey || pressed.altKey) return;
    const { events } = shown;
    const last = events.length - 1;
    const at = this.event ? events.findIndex(({ id }) => id === this.event.id) : last + 1;
    const next = { ArrowLeft: at - 1, ArrowRight: at + 1, Home: 0, End: last }[pressed.key];
    if (next !== undefined && last >= 0) {
      this.#held = true;
      this.#point(events[Math.max(0, Math.min(last, next))]);
      chart.reveal(this.event);
    } else if (pressed.key === '+' || pressed.key === '-') chart.zoom(pressed.key === '+' ? 0.7 : 1 / 0.7, this.event);
    else if (pressed.key === '0') chart.whole();
    else if (pressed.key === 'Escape') {
      this.#held = false;
      this.#point(null);
    } else return;
    pressed.preventDefault();
  }
}

/** An event, said in full. @param {any} event @returns {import('../dom.js').Child[]} */
function sentence(event) {
  const { verb, side, tone, amount, at, how, change } = told(event);
  const { price: known, paid } = placed(event);
  const valued = known !== null && !paid ? `, drawn at the mark of ${price(event.mark_price)}` : '';
  return [h('b', {}, String(event.symbol)), ` ${verb} `, h('span', { class: tone }, side), ` ${amount} ${at}${valued}: ${change}. `, h('span', { class: 'quiet' }, `${how}.`)];
}

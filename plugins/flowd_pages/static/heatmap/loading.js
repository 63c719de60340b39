/**
 * One symbol's map: its past by REST, what comes by the WebSocket, and the prices and liquidations that go with it.
 *
 * @module heatmap/loading
 */

import { RequestError, ask, live, sources } from '../chart/data.js';
import { Candles } from '../traders/candles.js';
import { adding } from '../words.js';
import { firstOf } from './choices.js';
import { Dots } from './dots.js';
import { Picture } from './picture.js';
import { SINK_LINES } from './words.js';

/** @typedef {import('../flowd-client.js').FlowdClient} FlowdClient */
/** @typedef {import('../flowd-heatmap.js').HeatmapWebSocket} HeatmapWebSocket */
/** @typedef {'estimated' | 'observed'} Model */
/** @typedef {{symbol: string, venue: string, source: Model}} Brief */
/** @typedef {Record<Model, Brief[]> & {model: Record<string, import('./words.js').MapModel>, score: Record<string, import('./score.js').Score>}} Index */

const BINS = 600;
const FIVE_MINUTES = 300_000;
/** Without a past, so much time is laid out. */
const PRESENT_MS = 6 * 3_600_000;
/** How old what is told beside the maps may be: a score is made each hour. */
const INDEX_MS = 600_000;
const AGAIN_MS = 10_000;

/**
 * Called with what comes.
 *
 * @typedef {object} Told
 * @property {() => void} loaded there is a picture, and it is another one
 * @property {() => void} changed the newest map is a newer one
 * @property {() => void} priced there are other candles or liquidations
 * @property {(title: string, words: string, lines: string) => void} missing
 */

export class Loading {
  /** @type {Picture | null} */
  picture = null;
  /** The newest map, as it was told. @type {any} */
  snapshot = null;
  /** From which time on the picture was asked for. */
  start = 0;
  /** Which maps there are, and what is known of them. @type {Index} */
  index = { estimated: [], observed: [], model: {}, score: {} };
  symbol = '';
  /** @type {Model} */
  model = 'estimated';
  candles;
  dots;

  #askedAt = 0;
  #attempt = new AbortController();
  /** @type {Promise<void>} */
  #loading = Promise.resolve();
  /** Whether what is drawn on top is there. */
  #whole = false;
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #again;

  /** @param {FlowdClient} client @param {HeatmapWebSocket} maps @param {Told} told */
  constructor(client, maps, told) {
    this.client = client;
    this.maps = maps;
    this.told = told;
    this.candles = new Candles(client, () => told.priced());
    this.dots = new Dots(client, () => told.priced());
    maps.addEventListener('snapshot', (event) => this.#take(/** @type {CustomEvent} */ (event).detail));
    let away = false;
    maps.addEventListener('status', () => {
      // What was missed meanwhile is in the past that the daemon keeps.
      if (maps.status === 'disconnected') away = away || maps.seenAt !== null;
      else if (away) {
        away = false;
        if (this.model === 'estimated') this.#soon(0);
      }
    });
  }

  /** Resolves when what was asked for last has been loaded. */
  ready() {
    return this.#loading;
  }

  /** Show another map. @param {string} symbol `''` for the first there is @param {Model} model */
  open(symbol, model) {
    this.#attempt.abort();
    this.#attempt = new AbortController();
    this.#whole = false;
    this.maps.unsubscribe(this.maps.symbols);
    this.candles.forget();
    this.dots.forget();
    this.picture = this.snapshot = null;
    this.symbol = symbol;
    this.model = model;
    this.#loading = this.#load(this.#attempt.signal, true);
    return this.#loading;
  }

  /** Ask for all of it once more. */
  again() {
    return this.open(this.symbol, this.model);
  }

  /** The same symbol in the other model, by the name that it has there; null when it has none. @param {Model} model */
  counterpart(model) {
    const coin = this.symbol.replace(/USDT$/, '');
    const there = this.index[model].map(({ symbol }) => symbol);
    return [this.symbol, coin, `${coin}USDT`].find((name) => there.includes(name)) ?? null;
  }

  /** @param {AbortSignal} signal @param {boolean} fresh */
  async #load(signal, fresh) {
    clearTimeout(this.#again);
    try {
      await this.#learn(signal);
      const there = this.index[this.model];
      if (this.symbol === '') this.symbol = firstOf(there.map(({ symbol }) => symbol), document.documentElement.dataset.symbol ?? '');
      if (!there.some(({ symbol }) => symbol === this.symbol)) {
        this.#lacking();
        return;
      }
      const [picture, snapshot] = await Promise.all([this.#past(signal), ask(`/api/v1/heatmap/${encodeURIComponent(this.symbol)}`, { source: this.model }, signal)]);
      this.picture = picture ?? present(snapshot);
      this.snapshot = snapshot;
      this.picture.live(snapshot);
      this.told.loaded();
      this.told.changed();
      if (fresh) await this.#beside(signal);
    } catch (error) {
      if (signal.aborted) return;
      if (!(error instanceof RequestError)) throw error;
      if (error.status === 404) this.told.missing('Not configured', `This daemon draws no liquidation maps. ${adding(SINK_LINES, 'them')}`, '');
      else if (!this.picture) this.told.missing('The map could not be loaded', `${error.message}. It is asked for again.`, ' ');
      if (error.status !== 404) this.#soon(AGAIN_MS);
    }
  }

  /** Which maps there are, and what they are made with. @param {AbortSignal} signal */
  async #learn(signal) {
    this.#askedAt = Date.now();
    this.index = await ask('/api/v1/heatmap', {}, signal);
    // The daemon tells them in the order in which they were drawn last.
    for (const model of /** @type {Model[]} */ (['estimated', 'observed'])) this.index[model].sort((a, b) => (a.symbol < b.symbol ? -1 : 1));
  }

  #lacking() {
    const names = this.index[this.model].map(({ symbol }) => symbol);
    const words = names.length ? `There is no ${this.model} map of ${this.symbol}. There is one of ${names.slice(0, 12).join(', ')}.` : `There is no ${this.model} map yet. One is drawn when candles and open interest have come.`;
    this.told.missing('No map', words, ' ');
    this.#soon(AGAIN_MS);
  }

  /** @param {number} delay ms */
  #soon(delay) {
    clearTimeout(this.#again);
    this.#again = setTimeout(() => {
      this.#loading = this.#load(this.#attempt.signal, !this.#whole);
    }, delay);
  }

  /** @param {AbortSignal} signal @returns {Promise<Picture | null>} */
  async #past(signal) {
    if (this.model === 'observed') return null;
    try {
      const told = await ask(`/api/v1/heatmap/${encodeURIComponent(this.symbol)}/timeseries`, { bins: BINS }, signal);
      this.start = told.start;
      return Picture.of(told);
    } catch (error) {
      if (error instanceof RequestError && error.status === 404) return null;
      throw error;
    }
  }

  /** What is drawn on top. @param {AbortSignal} signal */
  async #beside(signal) {
    this.maps.subscribe([this.symbol], this.model);
    const coin = this.symbol.replace(/USDT$/, '');
    const { start } = /** @type {Picture} */ (this.picture);
    const loading = this.candles.load(coin, ([interval]) => ({ start: start / 1000, interval: interval ?? null }), ['5m']);
    const status = await ask('/status', {}, signal).catch(() => null);
    if (signal.aborted) return;
    const { orders } = sources(status);
    if (orders !== null) this.dots.load(orders, `${coin}USDT`, start, live(status, 'history'));
    this.#whole = status !== null;
    await loading;
  }

  /** @param {any} snapshot */
  #take(snapshot) {
    if (snapshot.symbol !== this.symbol || !this.picture) return;
    if (this.snapshot && Date.parse(snapshot.timestamp) < Date.parse(this.snapshot.timestamp)) return;
    this.snapshot = snapshot;
    if (!this.picture.live(snapshot) && this.model === 'estimated') this.#soon(1000);
    this.told.changed();
    if (Date.now() - this.#askedAt < INDEX_MS) return;
    const { signal } = this.#attempt;
    this.#learn(signal).then(
      () => this.told.changed(),
      // Without an answer, what was known stays: it is asked for again in a while.
      () => {},
    );
  }
}

/** A picture of which only the present is known: an empty one before it. @param {any} snapshot */
export function present({ timestamp, data }) {
  const now = Math.floor(Date.parse(timestamp) / FIVE_MINUTES) * FIVE_MINUTES;
  const prices = data.levels.map((/** @type {{price: number}} */ level) => level.price);
  const base = prices[0] ?? Math.floor((data.current_price ?? 0) / data.bin) * data.bin;
  const rows = Math.max(8, Math.round(((prices.at(-1) ?? base) - base) / data.bin) + 1);
  const columns = PRESENT_MS / FIVE_MINUTES;
  const start = now - (columns - 1) * FIVE_MINUTES;
  return new Picture({ start, interval: FIVE_MINUTES, columns, base, bin: data.bin, rows });
}

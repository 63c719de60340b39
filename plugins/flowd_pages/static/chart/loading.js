/**
 * What the chart shows, and how it comes here: history by REST, everything live over one WebSocket.
 *
 * History and stream need no order between them: a bucket is always told with its full totals, which only grow, so the
 * larger of two tellings is the newer one.
 *
 * @module chart/loading
 */

import { RequestError, ask, candleHistory, intervals, sources, symbols, tickOf, volumeFrames, volumeHistory } from './data.js';
import { Gaps } from './gaps.js';
import { TIMEFRAMES, Timeline, barOfPoint, barOfRecord, candle, choice, timeframes } from './model.js';
import { ORDERS_MAX } from './orders.js';
import { restarting } from '../words.js';
import { ORDER_LINES, VOLUME_LINES, candleLines } from './words.js';

/** @typedef {import('../flowd-client.js').FlowdClient} FlowdClient */
/** @typedef {import('../flowd-client.js').Subscription} Subscription */
/** @typedef {import('./data.js').Sources} Sources */
/** @typedef {import('./model.js').Bar} Bar */
/** @typedef {import('./model.js').Candle} Candle */

/** After so long, a daemon that did not answer is asked again. */
export const RETRY_AFTER_MS = 5_000;
/** After so long, a symbol that there was no room for. */
export const ROOM_AFTER_MS = 30_000;
/** So often bars are asked for that are built of narrower ones. */
export const BUILT_EVERY_MS = 3_000;
/** So often candles that are there because we asked are asked for again: who does not is taken to look no more. */
export const AGAIN_EVERY_MS = 60_000;

/**
 * @typedef {object} Wanted what is to be shown first
 * @property {string} symbol
 * @property {string | null} frame the name of the timeframe that was asked for; null while nobody did
 * @property {string} charts where the chart library is; empty when it is not installed
 */

/**
 * Called with what comes. `changed`, `bars`, `candles` and `gaps` are only called while `loaded` is true.
 *
 * @typedef {object} Told
 * @property {Pick<import('./orders.js').Orders, 'put' | 'hole' | 'none'>} orders gets the forced orders
 * @property {() => void} wait loading begins: nothing is known yet
 * @property {(found: Sources) => void} found what the daemon has
 * @property {() => void} offered which timeframes there are, and which of them is shown
 * @property {() => void} loaded everything is here
 * @property {() => void} changed the history or the gaps were told again: anything may be different
 * @property {(changed: Bar[]) => void} bars these are new, or there is more in them
 * @property {(news: Candle[]) => void} candles these are new, or moved
 * @property {() => void} gaps a gap that is open became longer
 * @property {(title: string, words: string, lines: string) => void} missing something must be installed or configured
 * @property {(title: string, words: string) => void} failed loading failed; another try may do
 * @property {(words: string, lines: string) => void} lacking which lines bring candles; empty when none are lacking
 * @property {(state: import('./words.js').OnDemand | null) => void} demanded how candles stand that are there because we asked, null for others
 * @property {(why: string | null) => void} silent which sources deliver nothing, null when all do
 */

/**
 * One symbol in one timeframe. It is loaded from nothing whenever either changes and whenever the stream lost something,
 * and by itself when loading failed: with the next connection, and after a while if the daemon did not or could not answer.
 */
export class Loading {
  /** The timeframes that there are. */
  offered = TIMEFRAMES;
  /** @type {Map<number, Candle>} by time, in seconds */
  candles = new Map();
  /** Whether what is to be shown is here. */
  loaded = false;
  /** The exchange's own smallest difference of two prices, where that is known. @type {string | null} */
  step = null;
  /** Whether there were candles when it was loaded. */
  withCandles = false;
  /** Why there are no candles, as far as the daemon said. */
  noCandles = '';
  /** @type {typeof import('lightweight-charts') | null} */
  library = null;

  #told;
  #charts;
  /** The name of the timeframe that was asked for. */
  #wanted;
  /** @type {Sources | null} */
  #sources = null;
  /** @type {Map<string, Subscription>} */
  #follows = new Map();
  #gaps = new Gaps();
  /** The loading that is under way, or was the last. */
  #attempt = new AbortController();
  /** Whether we know which timeframes this daemon has. */
  #asked = false;
  /** The intervals of candles that there are of the symbol; null while nobody knows. @type {string[] | null} */
  #intervals = null;
  /** Why there can be no candles of the symbol, so that nobody asks for them; empty where there may be. */
  #unlisted = '';
  /** The narrower candles of which those that are shown are built, by the daemon; null where they are stored as they are. @type {string | null} */
  #builtFrom = null;
  /** When candles that are there because we asked were asked for last, in milliseconds; null where they are there anyway. @type {number | null} */
  #demanded = null;
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #due;
  /** Whether loading ended with nothing to see: it is tried again with the next connection. */
  #broken = false;
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #retry;
  /** @type {(() => void)[]} */
  #waiting = [];

  /** Nothing is loaded before `load` is called. @param {FlowdClient} client @param {Wanted} wanted @param {Told} told */
  constructor(client, { symbol, frame, charts }, told) {
    this.client = client;
    this.symbol = symbol;
    this.#wanted = frame;
    this.#charts = charts;
    this.#told = told;
    this.frame = choice(this.offered, frame);
    this.timeline = new Timeline(this.frame.width);
    client.addEventListener('status', () => {
      // The next daemon may be another.
      if (client.status === 'disconnected') this.#asked = false;
      if (client.status !== 'connected') return;
      if (this.#broken) this.load();
      else if (this.loaded && this.withCandles) this.#loadCandles(this.#attempt.signal).catch(() => {});
    });
  }

  /** Resolves when what is shown has been loaded. @returns {Promise<void>} */
  ready() {
    return this.loaded ? Promise.resolve() : new Promise((resolve) => this.#waiting.push(resolve));
  }

  /** Show another symbol, on the same connection. @param {string} symbol */
  open(symbol) {
    this.symbol = symbol;
    this.load();
  }

  /** Show another timeframe. @param {string} name */
  choose(name) {
    this.frame = choice(this.offered, name);
    this.#wanted = name;
    this.load();
  }

  /** The symbols there are, the busiest today first; none before the daemon was asked what it has. */
  async symbols() {
    return this.#sources ? symbols(this.#sources) : [];
  }

  /** What the daemon has, as far as it said; null before. */
  get sources() {
    return this.#sources;
  }

  /** Aborted when something else is to be shown. */
  get signal() {
    return this.#attempt.signal;
  }

  /** All candles, in order. */
  candlesInOrder() {
    return [...this.candles.values()].sort((a, b) => a.time - b.time);
  }

  /** Forget what is older. @param {number} time seconds */
  trim(time) {
    this.timeline.trim(time);
    for (const old of this.candles.keys()) if (old < time) this.candles.delete(old);
  }

  /** A second has passed. */
  tick() {
    if (this.loaded && this.#demanded !== null && Date.now() - this.#demanded >= AGAIN_EVERY_MS) this.#demandAgain();
    if (!this.loaded || !this.#gaps.open) return;
    this.#tellGaps();
    this.#told.gaps();
  }

  // -- loading

  /** Load what is to be shown, from nothing. */
  async load() {
    clearTimeout(this.#retry);
    this.#attempt.abort();
    this.#attempt = new AbortController();
    const { signal } = this.#attempt;
    this.loaded = this.#broken = false;
    this.#forget();
    this.#told.wait();
    try {
      const found = (this.#sources = sources(await ask('/status', {}, signal)));
      this.#told.found(found);
      await this.#learn(found, signal);
      if (signal.aborted) return;
      this.#follow(found);
      if (!found.volume) {
        this.#missing('Liquidation volume is not configured', restarting(VOLUME_LINES), VOLUME_LINES);
        return;
      }
      if (!this.#charts) {
        this.#missing('The chart library is not installed', 'Install Node.js with npm where flowd was installed from, then:', 'make pages');
        return;
      }
      this.library ??= /** @type {typeof import('lightweight-charts')} */ (await import(this.#charts));
      if (signal.aborted) return;
      if (found.candles.length === 0) this.#told.lacking(`No source of candles is configured. ${restarting(this.#candleLines())}`, this.#candleLines());
      const step = tickOf(found, this.symbol);
      await Promise.all([this.#loadVolume(signal), found.candles.length > 0 && this.#loadCandles(signal)]);
      if (signal.aborted) return;
      this.step = await step;
      if (signal.aborted) return;
      this.withCandles = found.candles.length > 0 && !this.noCandles;
      this.loaded = true;
      this.#told.loaded();
      for (const resolve of this.#waiting.splice(0)) resolve();
    } catch (error) {
      if (!signal.aborted) this.#failed(error);
    }
  }

  #forget() {
    this.timeline = new Timeline(this.frame.width);
    this.#gaps.told = [];
    this.#tellGaps();
    this.candles.clear();
    this.#builtFrom = null;
    clearTimeout(this.#due);
    this.#due = undefined;
    this.noCandles = '';
    this.#demand(null);
    this.#told.lacking('', '');
  }

  /** Learn which timeframes there are, and take one of them. @param {Sources} found @param {AbortSignal} signal */
  async #learn(found, signal) {
    if (!found.volume) return;
    let unlisted = '';
    const candles = intervals(found, this.symbol, true, (why) => (unlisted = why));
    const [names, there] = await Promise.all([this.#asked ? null : volumeFrames(found.volume, this.symbol), candles]);
    if (signal.aborted) return;
    this.#intervals = there;
    this.#unlisted = unlisted;
    if (!names) return;
    const offered = timeframes(names);
    this.offered = offered.length > 0 ? offered : TIMEFRAMES;
    const frame = choice(this.offered, this.#wanted, there ?? []);
    this.#asked = names.length > 0;
    this.#wanted = frame.name;
    if (frame.name !== this.frame.name) {
      this.frame = frame;
      this.timeline = new Timeline(frame.width);
    }
    this.#told.offered();
  }

  /** @param {AbortSignal} signal */
  async #loadVolume(signal) {
    const end = Math.floor(this.client.now());
    const history = await volumeHistory(this.symbol, this.frame.name, end - this.frame.keep * 1000, end, signal);
    if (signal.aborted) return;
    this.#gaps.told = history.gaps ?? [];
    this.timeline.since = typeof history.since === 'number' ? history.since : null;
    this.#tellGaps();
    this.timeline.add(history.data.map(barOfPoint));
  }

  /** @param {AbortSignal} signal */
  async #loadCandles(signal) {
    const end = Math.floor(this.client.now());
    const there = this.#intervals;
    if (this.#unlisted) {
      this.noCandles = this.#unlisted;
      return;
    }
    if (there && !there.includes(this.frame.name)) {
      const others = there.length > 0 ? `; there are ${there.join(', ')}` : '';
      this.noCandles = `there are no ${this.frame.name} candles of ${this.symbol}${others}`;
      return;
    }
    try {
      const history = await candleHistory(this.symbol, this.frame.name, end - this.frame.keep * 1000, end, signal);
      if (signal.aborted) return;
      this.noCandles = '';
      this.#told.lacking('', '');
      this.#builtFrom = history.built_from ?? null;
      this.#demand(history.on_demand);
      if (this.#builtFrom && this.#sources) this.#followCandles(this.#sources);
      for (const point of history.data) this.#take(candle(point));
    } catch (error) {
      if (signal.aborted || !(error instanceof RequestError)) throw error;
      this.noCandles = error.message;
      if (error.code === 'UNKNOWN_INTERVAL' && error.allowed.length > 0) this.noCandles += `; there are ${error.allowed.join(', ')}`;
      // There is no room for it, or it takes long to come.
      if (error.status === 429 || error.status === 503) this.#retry = setTimeout(() => this.#loadCandles(signal).catch(() => {}), error.status === 429 ? ROOM_AFTER_MS : RETRY_AFTER_MS);
      if (error.code === 'NOT_FOUND') {
        this.noCandles = 'candles are not served';
        this.#told.lacking(`Candles come in, but nothing serves their history. ${restarting(this.#candleLines())}`, this.#candleLines());
      }
    }
    if (!this.loaded) return;
    // There were none when it was loaded: what is shown becomes another kind of thing.
    if (!this.withCandles && !this.noCandles) this.load();
    else this.#told.changed();
  }

  /** @param {import('./words.js').OnDemand | null | undefined} state as an answer said it */
  #demand(state) {
    this.#demanded = state ? Date.now() : null;
    this.#told.demanded(state ?? null);
  }

  /** Ask again for candles that are there because we asked, from the newest on: so they are kept, and nothing is missed that a stream left out. */
  #demandAgain() {
    this.#demanded = Date.now();
    const { signal } = this.#attempt;
    const start = Math.max(...this.candles.keys(), 0) * 1000;
    candleHistory(this.symbol, this.frame.name, start || undefined, Math.floor(this.client.now()), signal).then(
      (history) => {
        if (signal.aborted) return;
        this.#takeCandles(history.data.map(candle));
        this.#told.demanded(history.on_demand ?? null);
      },
      (error) => {
        if (!signal.aborted && error instanceof RequestError && error.status > 0) this.#told.demanded({ until_ms: null, failing: error.message });
      },
    );
  }

  #candleLines() {
    return candleLines(this.#sources?.candles ?? [], this.frame.name, this.symbol);
  }

  /** @param {unknown} error */
  #failed(error) {
    const status = error instanceof RequestError ? error.status : -1;
    if (status === 404 && this.#sources?.volume) {
      this.#missing('The history of volume is not served', 'Add these lines to the configuration and restart the daemon:', VOLUME_LINES.slice(VOLUME_LINES.indexOf('[sinks')));
      return;
    }
    this.loaded = false;
    this.#broken = true;
    this.#told.failed(status === 0 ? 'The daemon does not answer' : 'This could not be loaded', error instanceof Error ? error.message : String(error));
    if (status === 0 || status >= 500) this.#retry = setTimeout(() => this.load(), RETRY_AFTER_MS);
  }

  /** @param {string} title @param {string} words @param {string} lines */
  #missing(title, words, lines) {
    this.#broken = true;
    this.#told.missing(title, words, lines);
  }

  // -- following

  /** @param {Sources} found */
  #follow(found) {
    const { orders } = this.#told;
    for (const stream of found.tapes) {
      this.#set(stream, { filter: { symbol: this.symbol }, limit: ORDERS_MAX }, {
        records: (records, { first }) => orders.put(stream, records, first),
        gap: (gap) => orders.hole(stream, gap.last - gap.first + 1),
        error: (mistake) => orders.none('No orders', mistake.message),
      });
    }
    if (found.tapes.length === 0) orders.none('No forced orders here', restarting(ORDER_LINES), ORDER_LINES);
    if (found.volume) {
      this.#set(found.volume, { filter: { symbol: this.symbol, timeframe: this.frame.name }, limit: 200 }, {
        records: (records) => this.#takeBars(records.filter(({ value }) => this.#shown(value, value.timeframe)).map(({ value }) => barOfRecord(value))),
        gap: () => this.load(),
        reset: () => this.load(),
      });
    }
    this.#followCandles(found);
    const components = [...found.tapes, ...found.candles];
    if (found.outages && components.length > 0) {
      this.#set('outages', { filter: { component: components } }, {
        records: (records, { first }) => {
          this.#gaps.put(records, first, components, found.tapes);
          this.#told.silent(this.#gaps.silent);
          this.#tellGaps();
          if (this.loaded) this.#told.changed();
        },
      });
    }
  }

  /** Follow the candles that are shown, or those that they are built of. @param {Sources} found */
  #followCandles(found) {
    for (const stream of [...found.candles, ...found.asked]) {
      this.#set(stream, { filter: { symbol: this.symbol, interval: this.#builtFrom ?? this.frame.name }, limit: 3 }, {
        records: (records) => {
          if (this.#builtFrom) this.#again(records.some(({ value }) => value.symbol === this.symbol && value.interval === this.#builtFrom));
          else this.#takeCandles(records.filter(({ value }) => this.#shown(value, value.interval)).map(({ value }) => candle(value)));
        },
        reset: () => this.#loadCandles(this.#attempt.signal).catch(() => {}),
      });
    }
  }

  /** What is built is not told of: ask for the newest when its parts change, once in a while. @param {boolean} changed */
  #again(changed) {
    if (!changed || !this.loaded || this.#due) return;
    const { signal } = this.#attempt;
    this.#due = setTimeout(() => {
      this.#due = undefined;
      const end = Math.floor(this.client.now());
      candleHistory(this.symbol, this.frame.name, end - 2 * this.frame.width * 1000, end, signal)
        .then((history) => !signal.aborted && this.#takeCandles(history.data.map(candle)))
        .catch(() => {});
    }, BUILT_EVERY_MS);
  }

  /** Follow a stream so, whether it was followed before or not. @param {string} stream @param {import('../flowd-client.js').Wish} wish @param {import('../flowd-client.js').Handlers} handlers */
  #set(stream, wish, handlers) {
    const known = this.#follows.get(stream);
    if (!known) this.#follows.set(stream, this.client.follow(stream, wish, handlers));
    else if (JSON.stringify(known.wish) !== JSON.stringify(wish)) known.change(wish);
  }

  /** Whether a record is of what is shown: one of the choice before may still be on its way. @param {any} value @param {string} name */
  #shown(value, name) {
    return value.symbol === this.symbol && name === this.frame.name;
  }

  /** @param {Bar[]} bars */
  #takeBars(bars) {
    const changed = this.timeline.add(bars);
    if (this.loaded && changed.length > 0) this.#told.bars(changed);
  }

  /** @param {(Candle | null)[]} candles */
  #takeCandles(candles) {
    const news = /** @type {Candle[]} */ (candles.filter((one) => this.#take(one)));
    if (!this.loaded || news.length === 0) return;
    // There were none of this symbol when it was loaded: what is shown becomes another kind of thing.
    if (this.noCandles) this.load();
    else this.#told.candles(news);
  }

  /** @param {Candle | null} found @returns {boolean} whether it is news: a candle's volume only grows */
  #take(found) {
    if (!found || found.time % this.frame.width !== 0) return false;
    const known = this.candles.get(found.time);
    if (known && (known.volume > found.volume || (known.closed && !found.closed))) return false;
    this.candles.set(found.time, found);
    return true;
  }

  /** Bars that lie in a gap are not known to be empty. */
  #tellGaps() {
    this.timeline.gaps = this.#gaps.spans(this.client.now());
  }
}

/**
 * The candles of one coin, where this daemon has them: their past by REST, what comes by the page's own connection.
 *
 * @module traders/candles
 */

import { RequestError, ask, candleHistory, intervals as offered, sources } from '../chart/data.js';
import { candle } from '../chart/model.js';
import { symbolOf } from '../words.js';

/** @typedef {import('../flowd-client.js').FlowdClient} FlowdClient */
/** @typedef {import('../chart/model.js').Candle} Candle */

/** How often older ones are asked for. */
const ASKS_MAX = 4;

export class Candles {
  /** By time, in seconds. @type {Map<number, Candle>} */
  known = new Map();
  /** Whose they are; null while there are none. @type {string | null} */
  symbol = null;
  /** Where they are traded, '' while nobody told. */
  venue = '';

  /** @type {Map<string, import('../flowd-client.js').Subscription>} */
  #follows = new Map();
  #attempt = new AbortController();

  /** @param {FlowdClient} client @param {() => void} changed called when there are others or more */
  constructor(client, changed) {
    this.client = client;
    this.changed = changed;
  }

  /** Have none. */
  forget() {
    this.#attempt.abort();
    this.known.clear();
    this.symbol = null;
    this.venue = '';
    for (const follow of this.#follows.values()) follow.close();
    this.#follows.clear();
  }

  /**
   * Have those of a coin, as far back as they go and are wanted. Without an answer there are none.
   *
   * @param {string} coin
   * @param {(intervals: string[]) => {start: number, interval: string | null}} choose from which time on, in seconds, and which
   * @param {string[] | null} [known] the intervals among which to choose, where they need not be asked for
   */
  async load(coin, choose, known = null) {
    this.forget();
    this.#attempt = new AbortController();
    const { signal } = this.#attempt;
    const symbol = symbolOf(coin);
    try {
      const found = symbol === null ? null : sources(await ask('/status', {}, signal));
      const streams = found?.candles ?? [];
      const intervals = !found || symbol === null || streams.length === 0 ? [] : known ?? (await offered(found, symbol)) ?? [];
      const { start, interval } = choose(intervals);
      if (signal.aborted || symbol === null || interval === null) return;
      await this.#past(symbol, interval, start, signal);
      if (signal.aborted || this.known.size === 0) return;
      this.symbol = symbol;
      for (const stream of streams) this.#follow(stream, symbol, interval);
    } catch (error) {
      // Whoever has none of a symbol says so; without an answer, the next connection asks again.
      if (!signal.aborted && !(error instanceof RequestError)) throw error;
    } finally {
      if (!signal.aborted) this.changed();
    }
  }

  /** @param {string} symbol @param {string} interval @param {number} start seconds @param {AbortSignal} signal */
  async #past(symbol, interval, start, signal) {
    let end = Math.floor(this.client.now());
    for (let asked = 0; asked < ASKS_MAX && end > start * 1000; asked++) {
      const { data } = await candleHistory(symbol, interval, undefined, end, signal);
      if (signal.aborted || data.length === 0) return;
      for (const point of data) this.#take(candle(point));
      end = Number(data[0].timestamp_ms) - 1;
    }
  }

  /** @param {string} stream @param {string} symbol @param {string} interval */
  #follow(stream, symbol, interval) {
    this.#follows.set(
      stream,
      this.client.follow(stream, { filter: { symbol, interval }, limit: 3 }, {
        records: (records) => {
          for (const { value } of records) {
            this.#take(candle(value));
            this.venue = String(value.venue ?? '');
          }
          if (records.length > 0) this.changed();
        },
      }),
    );
  }

  /** A candle's volume only grows: what tells less of it is older. @param {Candle | null} found */
  #take(found) {
    if (found && !((this.known.get(found.time)?.volume ?? -1) > found.volume)) this.known.set(found.time, found);
  }
}

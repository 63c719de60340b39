/**
 * How far prices moved, from the candles that there are.
 *
 * @module overview/prices
 */

import { ask } from '../chart/data.js';

/** How often prices of long ago are asked for. */
const EVERY_MS = 60_000;
/** Symbols that are asked for at most. */
export const SYMBOLS_MAX = 16;

/** @typedef {{before: string, now: string, since: number}} Move */

const WIDTHS = { m: 60_000, h: 3_600_000, d: 86_400_000 };

/** How long a candle of this interval lasts, NaN where that is not told so. @param {string} interval */
export function intervalMs(interval) {
  return Number(interval.slice(0, -1)) * (WIDTHS[/** @type {'m'} */ (interval.slice(-1))] ?? NaN);
}

/** The intervals from which a move over so long is best read: the widest that is at most a twelfth of it first, finer ones after. @param {string[]} intervals @param {number} width */
export function best(intervals, width) {
  return intervals.filter((name) => intervalMs(name) * 12 <= width).sort((a, b) => intervalMs(b) - intervalMs(a));
}

export class Prices {
  /** @type {Map<string, Move>} */
  moves = new Map();
  /** @type {Map<string, Map<string, string>>} by interval, the newest price of each symbol */
  #newest = new Map();
  #asked = 0;
  #window = 0;

  /** @param {string[]} streams of candles */
  constructor(streams) {
    this.streams = streams;
  }

  /**
   * Learn how far the prices of these symbols moved in the last so many milliseconds; of those without candles nothing is known.
   *
   * @param {string[]} symbols
   * @param {number} width
   * @param {number} now
   */
  async look(symbols, width, now) {
    if (this.streams.length === 0) return;
    await this.#look();
    if (width !== this.#window) this.moves.clear();
    const anew = width !== this.#window || now - this.#asked >= EVERY_MS;
    [this.#window, this.#asked] = [width, anew ? now : this.#asked];
    for (const symbol of symbols.slice(0, SYMBOLS_MAX)) {
      const interval = best([...this.#newest.keys()].filter((name) => this.#newest.get(name)?.has(symbol)), width)[0];
      const price = interval && this.#newest.get(interval)?.get(symbol);
      if (!price) continue;
      const known = this.moves.get(symbol);
      if (known && !anew) this.moves.set(symbol, { ...known, now: price });
      else await this.#ask(symbol, interval, price, now - width);
    }
  }

  /** @param {string} symbol @param {string} interval @param {string} price @param {number} start */
  async #ask(symbol, interval, price, start) {
    const from = Math.ceil(start / intervalMs(interval)) * intervalMs(interval);
    const answer = await ask(`/api/v1/candles/${encodeURIComponent(symbol)}/${interval}`, { start: from, limit: 1 }).catch(() => null);
    const first = (answer?.data ?? answer?.candles ?? [])[0];
    const time = first?.timestamp_ms ?? (first?.time ?? NaN) * 1000;
    if (first && time === from) this.moves.set(symbol, { before: String(first.open), now: price, since: from });
  }

  /** The newest candles of each stream: their interval, and whose they are. */
  async #look() {
    for (const stream of this.streams) {
      const answer = await ask(`/streams/${encodeURIComponent(stream)}`, { limit: 200 }).catch(() => null);
      for (const { value } of answer?.records ?? []) {
        const of = this.#newest.get(value.interval) ?? new Map();
        of.set(String(value.symbol), String(value.close));
        this.#newest.set(value.interval, of);
      }
    }
  }
}

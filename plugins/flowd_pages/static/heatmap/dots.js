/**
 * The liquidations that are drawn on a map: the newest ones of their stream, live, and what a history keeps of those before.
 *
 * Of a week there may be more than can be drawn. Then of the older ones only the larger are asked for, and which these are is
 * told: a map without dots where there were liquidations would be wrong.
 *
 * @module heatmap/dots
 */

import { RequestError, ask } from '../chart/data.js';

/** @typedef {import('../flowd-client.js').FlowdClient} FlowdClient */
/** @typedef {import('./candles.js').Dot} Dot */

/** So many of a stream, and as many of its history. */
export const AT_MOST = 5000;
/** So many answers one choice of them may take: a history looks at many records to find a few large ones. */
const PAGES_MAX = 4;
/** How often it is asked for more or fewer of them. */
const CHOICES_MAX = 4;
/** Meant to be found, of those that may be: what is expected is exceeded now and then. */
const SHARE = 0.7;

/** @typedef {Dot & {id: string}} Known */
/** @typedef {{symbol: string, start: number, end: number}} Range */
/** @typedef {{before: number, from: number | null, least: number}} Part those before `before` that are here: of at least `least`, from `from` on unless all */
/** @typedef {Part & {dots: Known[]}} Past what there is of a range */

/** @param {any} value a `Liquidation` record @returns {Known} */
function dot(value) {
  return { id: String(value.id), time: value.time_ms, price: Number(value.price), notional: Number(value.notional), side: String(value.side) };
}

/** The smallest round amount (1, 2 or 5 and zeros) that at most this share of the amounts reaches. @param {number[]} amounts @param {number} share */
export function roundAbove(amounts, share) {
  const sorted = [...amounts].sort((a, b) => b - a);
  const edge = Math.max(1, sorted[Math.min(sorted.length - 1, Math.floor(share * sorted.length))] ?? 1);
  const tens = 10 ** Math.floor(Math.log10(edge));
  return [1, 2, 5, 10].map((times) => times * tens).find((round) => round > edge) ?? 10 * tens;
}

/**
 * The newest of a range that are at least so large.
 *
 * @param {string} stream
 * @param {Range} range
 * @param {number} least
 * @param {AbortSignal} signal
 * @returns {Promise<Past>}
 */
async function newest(stream, { symbol, start, end }, least, signal) {
  /** @type {Known[]} */
  const dots = [];
  let cursor;
  for (let asked = 0; asked < PAGES_MAX; asked++) {
    const query = { symbol, start, end, order: 'desc', limit: AT_MOST - dots.length, min_notional: least || undefined, cursor };
    const { records, next } = await ask(`/streams/${encodeURIComponent(stream)}/history`, query, signal);
    dots.push(...records.map((/** @type {any} */ record) => dot(record.value)));
    if (next === null) return { dots, before: end, from: null, least };
    if (dots.length >= AT_MOST) break;
    cursor = next;
  }
  return { dots, before: end, from: dots.at(-1)?.time ?? end, least };
}

/**
 * Those of a range: all, or if these are too many the newest ones, and the largest of those before.
 *
 * @param {string} stream
 * @param {Range} range
 * @param {AbortSignal} signal
 * @returns {Promise<Past>}
 */
export async function past(stream, range, signal) {
  const first = await newest(stream, range, 0, signal);
  if (first.from === null || first.dots.length < AT_MOST) return first;
  const rest = { ...range, end: first.from + 1 };
  const amounts = first.dots.map(({ notional }) => notional);
  // What came lately tells how many there may be, and how large those are that are few enough.
  let total = (amounts.length * (first.from - range.start)) / Math.max(1, range.end - first.from);
  /** @type {Past | null} */
  let best = null;
  for (let choices = 1; choices <= CHOICES_MAX; choices++) {
    const share = (SHARE * AT_MOST) / total;
    const least = share < 1 ? roundAbove(amounts, share) : 0;
    if (best?.least === least) break;
    const found = await newest(stream, rest, least, signal);
    if (best === null || better(found, best)) best = found;
    const few = found.dots.length < AT_MOST / 4;
    // As many as there is room for; or so few that it takes too long to find more.
    if (found.from === null ? least === 0 || !few : found.dots.length < AT_MOST) break;
    const covered = found.from === null ? 1 : (rest.end - found.from) / (rest.end - rest.start);
    const large = Math.max(1, amounts.filter((amount) => amount >= least).length) / amounts.length;
    total = Math.max(1, found.dots.length) / covered / large;
  }
  return best ? { ...best, dots: [...first.dots, ...best.dots] } : first;
}

/** Whether one choice tells more than another: all of a size rather than the newest, unless these are hardly any. @param {Past} one @param {Past} other */
function better(one, other) {
  if (one.from !== null) return false;
  return other.from === null ? one.dots.length > other.dots.length : one.dots.length > AT_MOST / 10;
}

/** When the oldest record of a history is from, whatever its symbol; null when it has none. @param {string} stream @param {AbortSignal} signal @returns {Promise<number | null>} */
async function begins(stream, signal) {
  const { records } = await ask(`/streams/${encodeURIComponent(stream)}/history`, { limit: 1 }, signal);
  return records[0]?.value.time_ms ?? null;
}

export class Dots {
  /** In no order. @type {Known[]} */
  all = [];
  /** Whether the exchange told only some of them. */
  sampled = false;
  /** What is here of those before the stream begins; null when it is all, or not known yet. @type {Part | null} */
  part = null;

  /** @type {Known[]} */
  #live = [];
  /** @type {Known[]} */
  #older = [];
  /** @type {import('../flowd-client.js').Subscription | null} */
  #follow = null;
  #attempt = new AbortController();

  /** @param {FlowdClient} client @param {() => void} changed */
  constructor(client, changed) {
    this.client = client;
    this.changed = changed;
  }

  /** Have none. */
  forget() {
    this.#attempt.abort();
    this.#follow?.close();
    this.#follow = null;
    this.all = this.#live = this.#older = [];
    this.sampled = false;
    this.part = null;
  }

  /**
   * Have those of a symbol.
   *
   * @param {string} stream
   * @param {string} symbol
   * @param {number} start from when on they are wanted, ms
   * @param {boolean} kept whether there may be a history of them
   */
  load(stream, symbol, start, kept) {
    this.forget();
    this.#follow = this.client.follow(stream, { filter: { symbol }, limit: AT_MOST }, {
      records: (records, { first }) => {
        const fresh = records.map(({ value }) => dot(value));
        this.sampled ||= records.some(({ value }) => value.coverage === 'sampled');
        this.#live = first ? fresh : [...this.#live, ...fresh];
        const many = this.#live.length > 2 * AT_MOST;
        if (many) this.#live = this.#live.slice(-AT_MOST);
        this.#tell();
        if (first || many) this.#before(stream, symbol, start, kept);
      },
    });
  }

  /** Have what came before the stream begins. @param {string} stream @param {string} symbol @param {number} start @param {boolean} kept */
  async #before(stream, symbol, start, kept) {
    this.#attempt.abort();
    const { signal } = (this.#attempt = new AbortController());
    const before = this.#live.length ? Math.min(...this.#live.map(({ time }) => time)) : this.client.now();
    /** @type {Past} */
    let found = { dots: [], before, from: before > start ? before : null, least: 0 };
    try {
      // The first millisecond of the stream may have begun before it.
      if (kept && before > start) {
        const [whole, first] = await Promise.all([past(stream, { symbol, start, end: before + 1 }, signal), begins(stream, signal)]);
        const from = Math.max(whole.from ?? start, Math.min(first ?? before, before));
        found = { ...whole, from: from > start ? from : null };
      }
    } catch (error) {
      // No history of this stream, or no answer: what the stream has is what there is.
      if (!signal.aborted && !(error instanceof RequestError)) throw error;
    }
    if (signal.aborted) return;
    const ids = new Set(this.#live.map(({ id }) => id));
    this.#older = [...new Map(found.dots.map((one) => [one.id, one])).values()].filter(({ id }) => !ids.has(id));
    this.part = found.from !== null || found.least > 0 ? found : null;
    this.#tell();
  }

  #tell() {
    this.all = [...this.#older, ...this.#live];
    this.changed();
  }
}

/**
 * What the chart knows, apart from how it is drawn: bars in order, empty ones filled in, outages left out.
 *
 * @module chart/model
 */

import { minus } from '../format.js';
import { doubts } from '../words.js';

const DAY_S = 86_400;

/**
 * @typedef {object} Timeframe
 * @property {string} name
 * @property {number} width seconds
 * @property {number} keep for how many seconds the daemon keeps its buckets
 */

/** @type {Timeframe[]} */
export const TIMEFRAMES = [
  { name: '1m', width: 60, keep: DAY_S },
  { name: '5m', width: 300, keep: 3 * DAY_S },
  { name: '15m', width: 900, keep: 7 * DAY_S },
  { name: '30m', width: 1800, keep: 14 * DAY_S },
  { name: '1h', width: 3600, keep: 30 * DAY_S },
  { name: '4h', width: 14_400, keep: 90 * DAY_S },
  { name: '1d', width: DAY_S, keep: 365 * DAY_S },
];

/** @type {Record<string, number>} */
const UNITS = { m: 60, h: 3600, d: DAY_S };

/** The timeframes of these names that a chart can show. Weeks and months have no even grid, and are left out. @param {string[]} names @returns {Timeframe[]} */
export function timeframes(names) {
  const found = names.flatMap((name) => {
    const [, number, unit] = /^([1-9][0-9]{0,3})([mhd])$/.exec(name) ?? [];
    const width = Number(number) * UNITS[unit];
    if (!(DAY_S % width === 0)) return [];
    // One of another width is kept as long as the one that is next below it.
    const keep = Math.max(...TIMEFRAMES.filter((frame) => frame.width <= width).map((frame) => frame.keep));
    return [{ name, width, keep }];
  });
  return found.sort((a, b) => a.width - b.width);
}

/**
 * The timeframe to show: the one that is wanted, else the first that has candles, else the first.
 *
 * @param {Timeframe[]} offered at least one
 * @param {string | null} wanted
 * @param {string[]} [withCandles] names
 */
export function choice(offered, wanted, withCandles = []) {
  return offered.find(({ name }) => name === wanted) ?? offered.find(({ name }) => withCandles.includes(name)) ?? offered[0];
}

/** The shifts that can be compared with, in seconds. @type {Record<string, {shift: number, words: string}>} */
export const COMPARISONS = {
  day: { shift: DAY_S, words: '1 day earlier' },
  week: { shift: 7 * DAY_S, words: '1 week earlier' },
};

/** Why a comparison cannot be, null when it can. @param {Timeframe} frame @param {string} name @param {Timeframe[]} [offered] */
export function whyNot(frame, name, offered = TIMEFRAMES) {
  const { shift, words } = COMPARISONS[name];
  if (frame.keep > shift) return null;
  const fitting = offered.find((other) => other.keep > shift);
  const days = frame.keep / DAY_S;
  return `${frame.name} is kept for ${days} ${days === 1 ? 'day' : 'days'}${fitting ? `: for ${words}, choose ${fitting.name} or longer` : ''}`;
}

/**
 * One bucket of liquidations. Amounts are decimal text, in quote units.
 *
 * @typedef {object} Bar
 * @property {number} time seconds since 1970, UTC
 * @property {string} buy shorts liquidated
 * @property {string} sell longs liquidated
 * @property {string} delta buy minus sell
 * @property {number} count
 * @property {Part[]} [venues] what of it is whose, by name, where it is told
 * @property {boolean} [approximate] whether some of it is valued at prices that were not paid
 * @property {boolean} [lowerBound] whether some of it is told in samples only
 * @property {boolean} [incomplete] whether some of it was missed
 */

/** @typedef {{venue: string, buy: string, sell: string, count: number}} Part */

/** @param {number} time @param {unknown} buy @param {unknown} sell @param {unknown} count @param {any} [told] what says its venues and how exact it is @returns {Bar} */
export function bar(time, buy, sell, count, told = {}) {
  const [bought, sold] = [String(buy), String(sell)];
  /** @type {Bar} */
  const made = { time, buy: bought, sell: sold, delta: minus(bought, sold), count: Number(count) };
  const venues = parts(told.venues);
  if (venues.length > 0) made.venues = venues;
  // The history says it of the whole, the stream of its parts.
  const worth = Object.values(told.venues ?? {}).map(doubts);
  if (told.approximate ?? worth.some(({ approximate }) => approximate)) made.approximate = true;
  if (told.lower_bound ?? worth.some((one) => one.lower_bound)) made.lowerBound = true;
  if (told.incomplete) made.incomplete = true;
  return made;
}

/** A bar's venues, told as a list or by name. @param {any} venues @returns {Part[]} */
function parts(venues) {
  const named = Array.isArray(venues) ? venues : Object.entries(venues ?? {}).map(([venue, sums]) => ({ venue, ...sums }));
  return named
    .map(({ venue, buy, sell, count }) => ({ venue: String(venue), buy: String(buy), sell: String(sell), count: Number(count) }))
    .sort((a, b) => (a.venue < b.venue ? -1 : 1));
}

/** A bar as the history says it. @param {any} point */
export function barOfPoint(point) {
  return bar(Number(point.time), point.buy_volume, point.sell_volume, point.count, point);
}

/** A bar as the stream says it. @param {any} value */
export function barOfRecord(value) {
  return bar(Math.floor(value.time_ms / 1000), value.buy, value.sell, value.count, value);
}

/**
 * @typedef {object} Candle
 * @property {number} time
 * @property {number} open
 * @property {number} high
 * @property {number} low
 * @property {number} close
 * @property {number} volume
 * @property {boolean} closed
 * @property {string} text the close as it was said
 * @property {boolean} [incomplete] whether it was built, and some of its parts are missing
 * @property {string[]} [said] open, high, low and close as they were said
 */

/** A candle of the history or of the stream; null when it is none. @param {any} value @returns {Candle | null} */
export function candle(value) {
  const time = Math.floor((value.time_ms ?? value.timestamp_ms ?? value.time * 1000) / 1000);
  const [open, high, low, close] = [value.open, value.high, value.low, value.close].map(Number);
  if (![time, open, high, low, close].every(Number.isFinite)) return null;
  const volume = Number(value.volume) || 0;
  const said = [value.open, value.high, value.low, value.close].map(String);
  /** @type {Candle} */
  const made = { time, open, high, low, close, volume, closed: Boolean(value.closed), text: said[3], said };
  if (value.incomplete) made.incomplete = true;
  return made;
}

/** @typedef {[number, number]} Span from and to, in milliseconds */

/** Overlapping ones joined, in order. @param {Span[]} spans @returns {Span[]} */
export function joined(spans) {
  /** @type {Span[]} */
  const found = [];
  for (const [from, to] of [...spans].sort((a, b) => a[0] - b[0])) {
    const last = found.at(-1);
    if (last && from <= last[1]) last[1] = Math.max(last[1], to);
    else if (to > from) found.push([from, to]);
  }
  return found;
}

/** One symbol's bars in one timeframe. Totals only grow, so of two tellings of a bar the larger count is the newer. */
export class Timeline {
  /** @type {Map<number, Bar>} */
  #bars = new Map();
  #first = Infinity;
  #last = -Infinity;
  /** @type {Set<string>} */
  #venues = new Set();
  /** When nothing was known. @type {Span[]} */
  gaps = [];
  /** Since when the daemon counts, in milliseconds; null where it does not say. @type {number | null} */
  since = null;

  /** @param {number} width seconds */
  constructor(width) {
    this.width = width;
  }

  get size() {
    return this.#bars.size;
  }

  /** The newest bar that is not empty. @returns {Bar | undefined} */
  get newest() {
    return this.#bars.get(this.#last);
  }

  /** Before this, in milliseconds, nothing is known; null where nobody says. What was filled in from elsewhere is known. */
  get begins() {
    if (this.since === null) return null;
    // The first bar of our own begins before we did, where we began within it.
    return (this.#first + this.width) * 1000 > this.since ? this.since : this.#first * 1000;
  }

  /** The venues that bars tell, in order. */
  get venues() {
    return [...this.#venues].sort();
  }

  /**
   * Take bars in; what is to be drawn because of them, in order: themselves, and the empty ones that they make known.
   *
   * @param {Bar[]} bars
   * @returns {Bar[]}
   */
  add(bars) {
    /** @type {Bar[]} */
    const changed = [];
    for (const bar of [...bars].sort((a, b) => a.time - b.time)) {
      const known = this.#bars.get(bar.time);
      if (known && known.count > bar.count) continue;
      if (bar.count === 0 && !known) continue;
      if (this.#last !== -Infinity) {
        for (let time = this.#last + this.width; time < bar.time; time += this.width) {
          if (!this.#unknown(time)) changed.push(EMPTY(time));
        }
      }
      this.#bars.set(bar.time, bar);
      for (const { venue } of bar.venues ?? []) this.#venues.add(venue);
      this.#first = Math.min(this.#first, bar.time);
      this.#last = Math.max(this.#last, bar.time);
      changed.push(bar);
    }
    return changed;
  }

  /** Why a time is not known: it lies in a gap, or before anything was counted; null when it is. @param {number} time seconds */
  why(time) {
    if (this.gaps.some(([from, to]) => from <= time * 1000 && time * 1000 < to)) return 'gap';
    return this.begins !== null && (time + this.width) * 1000 <= this.begins ? 'before' : null;
  }

  /** For how many milliseconds of a span nothing was delivered. @param {number} from ms @param {number} to ms */
  missing(from, to) {
    return this.gaps.reduce((sum, gap) => sum + Math.max(0, Math.min(gap[1], to) - Math.max(gap[0], from)), 0);
  }

  /** The bar of this time; an empty one between the first and the last; undefined where nothing is known. @param {number} time */
  at(time) {
    const found = this.#bars.get(time);
    if (found) return found;
    return time > this.#first && time < this.#last && !this.#unknown(time) ? EMPTY(time) : undefined;
  }

  /** All bars from the first to the last, empty ones too but for those in a gap. @returns {Bar[]} */
  all() {
    /** @type {Bar[]} */
    const found = [];
    for (let time = this.#first; time <= this.#last; time += this.width) {
      const bar = this.at(time);
      if (bar) found.push(bar);
    }
    return found;
  }

  /** Forget what is older. @param {number} time */
  trim(time) {
    for (const old of this.#bars.keys()) if (old < time) this.#bars.delete(old);
    const left = [...this.#bars.keys()];
    this.#first = left.length ? Math.min(...left) : Infinity;
    this.#last = left.length ? Math.max(...left) : -Infinity;
  }

  /** @param {number} time whether a bar without orders lies wholly in a gap */
  #unknown(time) {
    const [from, to] = [time * 1000, (time + this.width) * 1000];
    return this.gaps.some((gap) => gap[0] <= from && to <= gap[1]);
  }
}

/** @param {number} time */
const EMPTY = (time) => bar(time, '0', '0', 0);

/**
 * What the sums of a span are.
 *
 * @typedef {object} Totals
 * @property {number} buy
 * @property {number} sell
 * @property {number} count
 * @property {boolean} approximate whether one of them is
 * @property {boolean} lower_bound whether one of them is
 * @property {boolean} incomplete whether one of them is
 */

/** @param {Bar[]} bars @param {number} from seconds @param {number} to both included @returns {Totals} */
export function totals(bars, from, to) {
  const found = { buy: 0, sell: 0, count: 0, approximate: false, lower_bound: false, incomplete: false };
  for (const bar of bars) {
    if (bar.time < from || bar.time > to) continue;
    found.buy += Number(bar.buy);
    found.sell += Number(bar.sell);
    found.count += bar.count;
    found.approximate ||= bar.approximate ?? false;
    found.lower_bound ||= bar.lowerBound ?? false;
    found.incomplete ||= bar.incomplete ?? false;
  }
  return found;
}

/**
 * The part of a chart series that is used here.
 *
 * @template T
 * @typedef {object} Drawn
 * @property {(items: T[]) => void} setData
 * @property {(item: T, historical?: boolean) => void} update
 */

/**
 * Draws items with a time, and never lets the chart library throw: it takes what is new at the end and changes of what
 * is there, but no older item that it does not have. Then, and only then, everything is drawn again.
 *
 * @template {{time: number}} I
 * @template T
 */
export class Plot {
  /** @type {Set<number>} */
  #there = new Set();
  #last = -Infinity;

  /** @param {Drawn<T>} series @param {(item: I) => T} made */
  constructor(series, made) {
    this.series = series;
    this.made = made;
  }

  /** Draw these, in order, and nothing else. @param {I[]} items */
  reset(items) {
    this.#there = new Set(items.map((item) => item.time));
    this.#last = items.at(-1)?.time ?? -Infinity;
    this.series.setData(items.map(this.made));
  }

  /**
   * Draw what changed.
   *
   * @param {I[]} changed
   * @param {() => I[]} all everything, in order, if it must be
   */
  put(changed, all) {
    const inOrder = [...changed].sort((a, b) => a.time - b.time);
    if (inOrder.some((item) => item.time < this.#last && !this.#there.has(item.time))) {
      this.reset(all());
      return;
    }
    for (const item of inOrder) {
      this.series.update(this.made(item), item.time < this.#last);
      this.#there.add(item.time);
      this.#last = Math.max(this.#last, item.time);
    }
  }
}

/**
 * What the analytics draw, computed from the streams of the transform `totals`.
 *
 * @module analytics/model
 */

import { count, exact, dollars as written } from '../format.js';

export const MINUTE_MS = 60_000;
export const HOUR_MS = 3_600_000;
/** How many hours and coins the heat map has. */
export const HEAT_HOURS = 24;
/** How many hours the daemon keeps of each coin. */
export const HOURS_KEPT = 48;
export const HEAT_COINS = 12;
/** Steps of the heat map's colour, above none. */
export const LEVELS = 6;
/** The name under which a daemon sums up the coins that are too many to be told one by one. */
export const REST = '*';

/** @typedef {{time_ms: number, buy: string, sell: string, count: number}} Sum */
/** What one venue adds to a sum. @typedef {{venue: string, buy: string, sell: string, count: number, price_kind?: string, coverage?: string}} VenueSum */

/**
 * One bar: `time` is its first millisecond, `minutes` how many minutes it sums; of `unknown` milliseconds of it nobody was told
 * anything.
 *
 * @typedef {{time: number, minutes: number, buy: number, sell: number, count: number, unknown?: number}} Bar
 */

/** Windows that end now: how many minutes they have, and how many minutes one of their bars sums. */
export const SPANS = [
  { value: '1h', label: '1h', title: 'The last hour', minutes: 60, group: 1 },
  { value: '4h', label: '4h', title: 'The last 4 hours', minutes: 240, group: 1 },
  { value: '12h', label: '12h', title: 'The last 12 hours', minutes: 720, group: 3 },
  { value: '24h', label: '24h', title: 'The last 24 hours', minutes: 1440, group: 5 },
];

/** A time of which nobody was told anything. @typedef {{from: number, to: number}} Unknown */

/**
 * When nothing is known: before there was anything, and while the source was away, but for what came later.
 *
 * @param {Iterable<{component: string, from_ms: number, to_ms: number | null, recovered?: number | null}>} outages
 * @param {string} component
 * @param {number | null} since null where nobody knows
 * @param {number} now
 * @returns {Unknown[]}
 */
export function unknowns(outages, component, since, now) {
  const found = since === null ? [] : [{ from: -Infinity, to: since }];
  for (const outage of outages) {
    if (outage.component !== component || (outage.recovered ?? null) !== null) continue;
    found.push({ from: outage.from_ms, to: outage.to_ms ?? now });
  }
  return found;
}

/** How much of a span is unknown, each moment once, in milliseconds. @param {Unknown[]} unknown @param {number} from @param {number} to */
export function overlap(unknown, from, to) {
  let [sum, until] = [0, from];
  for (const one of [...unknown].sort((a, b) => a.from - b.from)) {
    const end = Math.min(to, one.to);
    sum += Math.max(0, end - Math.max(until, one.from));
    until = Math.max(until, end);
  }
  return sum;
}

/** @param {string | null} value */
export function span(value) {
  return SPANS.find((one) => one.value === value) ?? SPANS[0];
}

/**
 * One bar after another up to now, those without trades too.
 *
 * @param {Map<number, Sum>} minutes by their beginning
 * @param {number} now
 * @param {{minutes: number, group: number}} span
 * @param {Unknown[]} [unknown]
 * @returns {Bar[]}
 */
export function bars(minutes, now, { minutes: length, group }, unknown = []) {
  const width = group * MINUTE_MS;
  const last = Math.floor(now / width) * width;
  return Array.from({ length: length / group }, (_, index) => {
    const bar = { time: last - (length / group - 1 - index) * width, minutes: group, buy: 0, sell: 0, count: 0 };
    for (let at = bar.time; at < bar.time + width; at += MINUTE_MS) {
      const sum = minutes.get(at);
      if (!sum) continue;
      bar.buy += Number(sum.buy);
      bar.sell += Number(sum.sell);
      bar.count += sum.count;
    }
    const lost = overlap(unknown, bar.time, Math.min(now, bar.time + width));
    return lost > 0 ? { ...bar, unknown: lost } : bar;
  });
}

/** Let minutes or hours go that nothing draws any more. @template {{time_ms: number}} T @param {Map<unknown, T>} sums @param {number} from_ms */
export function prune(sums, from_ms) {
  for (const [key, sum] of sums) if (sum.time_ms < from_ms) sums.delete(key);
}

/** @typedef {{time: number, buy: number, sell: number, count: number}} Cell */
/** @typedef {{symbol: string, total: number, cells: Cell[], venues: Set<string>}} HeatRow */

/** What is counted of a sum: one side, or both. @typedef {'both' | 'buy' | 'sell'} Sided */

/** @param {{buy: number, sell: number}} sum @param {Sided} sided */
export function partOf({ buy, sell }, sided) {
  return sided === 'buy' ? buy : sided === 'sell' ? sell : buy + sell;
}

/**
 * The coins with the most liquidations of a day that ends then, hour by hour.
 *
 * @param {Iterable<Sum & {symbol: string, venues?: VenueSum[]}>} hours
 * @param {number} now
 * @param {Sided} [sided]
 * @param {string} [venue] the only one that is looked at; `''` for all
 * @returns {{times: number[], rows: HeatRow[], most: number, venues: VenueSum[]}} `most` is the largest cell's volume, `venues`
 *   one of the parts of each that there is
 */
export function heat(hours, now, sided = 'both', venue = '') {
  const last = Math.floor(now / HOUR_MS) * HOUR_MS;
  const times = Array.from({ length: HEAT_HOURS }, (_, index) => last - (HEAT_HOURS - 1 - index) * HOUR_MS);
  /** @type {Map<string, HeatRow>} */
  const rows = new Map();
  /** @type {Map<string, VenueSum>} */
  const venues = new Map();
  let most = 0;
  for (const { symbol, time_ms, venues: parts = [], ...whole } of hours) {
    const index = (time_ms - times[0]) / HOUR_MS;
    if (!(index in times)) continue;
    for (const part of parts) venues.set(part.venue, part);
    const sum = venue ? parts.find((part) => part.venue === venue) : whole;
    if (!sum) continue;
    const { buy, sell, count } = sum;
    let row = rows.get(symbol);
    if (!row) {
      row = { symbol, total: 0, cells: times.map((time) => ({ time, buy: 0, sell: 0, count: 0 })), venues: new Set() };
      rows.set(symbol, row);
    }
    row.cells[index] = { time: time_ms, buy: Number(buy), sell: Number(sell), count };
    row.total += partOf(row.cells[index], sided);
    for (const part of parts) row.venues.add(part.venue);
  }
  const top = [...rows.values()].filter((row) => row.total > 0).sort(byTotal).slice(0, HEAT_COINS);
  for (const row of top) for (const cell of row.cells) most = Math.max(most, partOf(cell, sided));
  const known = [...venues.values()].sort((a, b) => (a.venue < b.venue ? -1 : 1));
  return { times, rows: top, most, venues: known };
}

/** The largest first, what is summed up last. @param {HeatRow} a @param {HeatRow} b */
function byTotal(a, b) {
  return Number(a.symbol === REST) - Number(b.symbol === REST) || b.total - a.total || (a.symbol < b.symbol ? -1 : 1);
}

/** How dark a cell is, 0 for nothing: by square roots, so that small ones stay visible. @param {number} value @param {number} most */
export function level(value, most) {
  return value > 0 && most > 0 ? Math.min(LEVELS, Math.max(1, Math.ceil(Math.sqrt(value / most) * LEVELS))) : 0;
}

/** The smallest volume of a level. @param {number} step 1 up @param {number} most */
export function atLeast(step, most) {
  return ((step - 1) / LEVELS) ** 2 * most;
}

/** Which part of all was bought, in whole percent; null when nothing was traded. @param {unknown} buy @param {unknown} sell */
export function bought(buy, sell) {
  const [buys, sells] = [Number(buy), Number(sell)];
  return buys + sells > 0 ? Math.round((buys / (buys + sells)) * 100) : null;
}

/** @param {number | string} value `$1.23M` */
export function dollars(value) {
  return written(typeof value === 'number' ? value.toFixed(2) : value);
}

/**
 * How far a ranking may be off, in words. It is exact only where all of its window is known.
 *
 * @param {{error: unknown, volume: unknown, rows: unknown[]}} ranking
 * @param {{since?: string, lost?: string}} [known] since when it is known if not all of the window is, and how much of it outages took
 */
export function errorWords({ error, volume, rows }, { since = '', lost = '' } = {}) {
  const bound = exact(error);
  if (!bound || rows.length === 0) return '';
  const doubts = [since && `Known ${since} only.`, lost && `At least this: ${lost} of it are missing, as the source was away.`].filter(Boolean).join(' ');
  if (bound.units === 0n) return doubts || 'These sums are exact.';
  const share = (Number(error) / Number(volume)) * 100;
  const part = Number.isFinite(share) ? ` (${share < 0.01 ? 'less than 0.01' : share.toFixed(share < 1 ? 2 : 1)}% of all)` : '';
  return `Estimates: never too high, at most ${dollars(String(error))}${part} too low.${doubts ? ` ${doubts}` : ''}`;
}

/** @param {Cell} cell @param {string} name @param {string} when */
export function cellWords(cell, name, when) {
  if (cell.count === 0) return `${name}, ${when}: nothing`;
  const number = `${count(cell.count)} ${cell.count === 1 ? 'order' : 'orders'}`;
  return `${name}, ${when}: ${dollars(cell.buy + cell.sell)}, longs ${dollars(cell.sell)}, shorts ${dollars(cell.buy)}, ${number}`;
}

/**
 * What the overview knows, computed from what the daemon answers.
 *
 * @module overview/model
 */

import { keyOf, merged } from '../feed/groups.js';
import { minus } from '../format.js';
import { chartSymbol, since, venueName } from '../words.js';

/** The windows that can be chosen. */
export const WINDOWS = ['1h', '4h', '12h', '24h'].map((value) => ({ value, label: value, title: value === '1h' ? 'The last hour' : `The last ${value.slice(0, -1)} hours` }));
export const HOUR_MS = 3_600_000;

/** @param {string} window @returns {number} */
export const widthMs = (window) => Number(window.slice(0, -1)) * HOUR_MS;

/** @typedef {{buy: string, sell: string, count: number, lower_bound?: boolean, approximate?: boolean, incomplete?: boolean, usual?: string | null, venues?: Record<string, {buy: string, sell: string, count: number}>}} Sum */

/**
 * A source of liquidations.
 *
 * @typedef {object} Feed
 * @property {string} name its stream
 * @property {string} venue as people write it
 * @property {number} records that the stream holds
 * @property {boolean} fills whether it carries fills, of which only the liquidated side counts
 */

/** The sources of liquidations that there are kinds of: how each is told, and the lines that add it. */
export const VENUES = [
  { kind: 'binance-force-order', venue: 'Binance', lines: '[sources.force-orders]\nkind = "binance-force-order"\nsymbols = ["*"]' },
  { kind: 'bybit-liquidations', venue: 'Bybit', lines: '[sources.bybit]\nkind = "bybit-liquidations"\nsymbols = ["*"]' },
  { kind: 'okx-liquidations', venue: 'OKX', lines: '[sources.okx]\nkind = "okx-liquidations"\nsymbols = ["*"]' },
];
const HYPERLIQUID = { venue: 'Hyperliquid', lines: '[sources.liquidations]\nkind = "hydromancer"\nsubscription = "liquidationFills"\napi_key = { env = "HYDROMANCER_API_KEY" }' };

/**
 * What a daemon has for the overview, and what it lacks.
 *
 * @param {any} status what `/status` says
 * @param {string} fills the stream of liquidations that carries fills
 */
export function found(status, fills) {
  /** @type {any[]} */
  const components = status?.components ?? [];
  /** @type {any[]} */
  const streams = status?.streams ?? [];
  /** @type {Feed[]} */
  const feeds = streams
    .filter(({ name, record }) => record === 'Liquidation' || (record === 'Fill' && name === fills))
    .map(({ name, record, records, kind: writer }) => ({
      name,
      records,
      fills: record === 'Fill',
      venue: VENUES.find(({ kind }) => kind === writer)?.venue ?? (record === 'Fill' ? HYPERLIQUID.venue : name),
    }));
  const missing = [...VENUES, HYPERLIQUID].filter(({ venue }) => !feeds.some((feed) => feed.venue === venue)).map(({ venue, lines }) => ({ venue, lines }));
  return {
    feeds,
    missing,
    volume: streams.find(({ record }) => record === 'Bucket')?.name ?? null,
    windows: components.some((part) => part.kind === 'liquidation-websocket'),
    // Of what somebody else asked for, nothing is asked: it would never be let go.
    candles: streams.filter(({ name, record }) => record === 'Candle' && !name.endsWith('.asked')).map(({ name }) => name),
  };
}

/**
 * Since when a sum is known, in words.
 *
 * @param {number | null} from since when anything is @param {number} start when the window begins @param {number} now ms
 * @param {boolean} [filling] whether the past of some symbols is still to come from another daemon
 */
export function knownFrom(from, start, now, filling = false) {
  if (from === null) return 'nothing yet';
  return filling ? 'still being filled in' : from > start ? since(from, now) : 'all of it';
}

/**
 * The same of a sum of several venues, of which one may be known for longer than another.
 *
 * @param {number | null} from @param {(number | null)[]} venues since when each is known
 * @param {number} start @param {number} now ms @param {boolean} [filling]
 */
export function knownInFull(from, venues, start, now, filling = false) {
  const known = knownFrom(from, start, now, filling);
  const full = Math.max(0, ...venues.map((one) => one ?? 0));
  if (from === null || filling || full <= Math.max(from, start)) return known;
  const begins = `in full ${since(full, now)}`;
  return from > start ? `${known}, ${begins}` : begins;
}

/** The lines without which there are no sums. @param {ReturnType<typeof found>} has */
export function sumLines(has) {
  const input = has.feeds[0]?.name ?? 'force-orders';
  const volume = has.volume ?? 'volume';
  return [
    has.feeds.length === 0 && VENUES[0].lines,
    !has.volume && `[transforms.${volume}]\nkind = "liquidation-volume"\ninput = ${JSON.stringify(input)}`,
    !has.windows && `[sinks.charts]\nkind = "liquidation-websocket"\norders = ${JSON.stringify(input)}\nvolume = ${JSON.stringify(volume)}`,
  ].filter(Boolean).join('\n\n');
}

/**
 * What of a sum is in no venue's: what came from elsewhere without them. So the parts and this are the whole.
 *
 * @param {Sum} sum
 * @returns {Sum | null} null where there is none
 */
export function unnamed(sum) {
  const rest = Object.values(sum.venues ?? {}).reduce(
    ({ buy, sell, count }, part) => ({ buy: minus(buy, part.buy), sell: minus(sell, part.sell), count: count - part.count }),
    { buy: sum.buy, sell: sum.sell, count: sum.count },
  );
  // How exact it is nobody knows better than of all.
  return rest.count > 0 ? { ...rest, lower_bound: sum.lower_bound, approximate: sum.approximate } : null;
}

/** How many times the usual something is, `×3.2`; `''` where nobody knows. @param {Sum | undefined} sum */
export function againstUsual(sum) {
  const ratio = ratioOf(sum);
  return ratio === null ? '' : `×${ratio < 9.95 ? ratio.toFixed(1) : Math.round(ratio)}`;
}

/** @param {Sum | undefined} sum @returns {number | null} */
export function ratioOf(sum) {
  const usual = Number(sum?.usual ?? NaN);
  return sum && usual > 0 ? totalOf(sum) / usual : null;
}

/** @param {{buy: string, sell: string} | undefined} sum */
export function totalOf(sum) {
  return sum ? Number(sum.buy) + Number(sum.sell) : 0;
}

/**
 * For how long nobody was told anything of what these components deliver, in milliseconds: the longest of them, since a sum of
 * several lacks what any of them missed. What came later is not missing.
 *
 * @param {Iterable<{component: string, from_ms: number, to_ms: number | null, recovered?: number | null}>} outages
 * @param {string[]} components
 * @param {number} start
 * @param {number} end
 */
export function unknownMs(outages, components, start, end) {
  /** @type {Map<string, [number, number][]>} */
  const spans = new Map(components.map((name) => [name, []]));
  for (const { component, from_ms, to_ms, recovered } of outages) {
    if (recovered !== null && recovered !== undefined) continue;
    const [from, to] = [Math.max(start, from_ms), Math.min(end, to_ms ?? end)];
    if (from < to) spans.get(component)?.push([from, to]);
  }
  let most = 0;
  for (const found of spans.values()) {
    let [covered, until] = [0, start];
    for (const [from, to] of found.sort((a, b) => a[0] - b[0])) {
      covered += Math.max(0, to - Math.max(from, until));
      until = Math.max(until, to);
    }
    most = Math.max(most, covered);
  }
  return most;
}

/**
 * One liquidation, a row of the tape and of the largest: the fills of one account in one transaction, or an exchange's order.
 *
 * @typedef {object} Event
 * @property {string} id the same for all its fills
 * @property {string} fill of the one that it is, or was first
 * @property {number} time_ms
 * @property {string} symbol
 * @property {string | null} chart the symbol whose chart shows it
 * @property {string} side
 * @property {string} price
 * @property {boolean} averaged whether the price is the average of several
 * @property {string} quantity
 * @property {string} notional
 * @property {string} venue
 * @property {boolean} approximate
 * @property {string | null} address
 */

/** A record of a feed as a row, which may be a part of one; null for the other side of one. @param {any} value @returns {Event | null} */
export function eventOf(value) {
  if ('role' in value && value.role !== 'liquidated') return null;
  return {
    id: keyOf(value),
    fill: String(value.id),
    time_ms: value.time_ms,
    symbol: String(value.symbol),
    chart: chartSymbol(value.venue, String(value.symbol)),
    side: String(value.side),
    price: String(value.price),
    averaged: false,
    quantity: String(value.quantity),
    notional: String(value.notional),
    venue: venueName(value.venue),
    approximate: value.price_kind === 'bankruptcy' || value.price_kind === 'limit',
    address: typeof value.address === 'string' ? value.liquidated_user ?? value.address : null,
  };
}

/** Keeps so many of the events that are first by an order, each once and with all its fills. */
export class Kept {
  /** @type {Event[]} */
  rows = [];
  /** The fills of each. @type {Map<string, Set<string>>} */
  #fills = new Map();

  /** @param {number} most @param {(a: Event, b: Event) => number} order */
  constructor(most, order) {
    this.most = most;
    this.order = order;
  }

  /** @param {Event} event @returns {boolean} whether it is among them, and was not before */
  put(event) {
    const fills = this.#fills.get(event.id);
    if (fills?.has(event.fill)) return false;
    const whole = fills ? merged(this.rows.splice(this.rows.findIndex(({ id }) => id === event.id), 1)[0], event) : event;
    const at = this.rows.findIndex((other) => this.order(whole, other) < 0);
    if (at < 0 && this.rows.length >= this.most) return false;
    this.rows.splice(at < 0 ? this.rows.length : at, 0, whole);
    this.#fills.set(event.id, (fills ?? new Set()).add(event.fill));
    for (const gone of this.rows.splice(this.most)) this.#fills.delete(gone.id);
    return this.#fills.has(event.id);
  }
}

/** @param {Event} a @param {Event} b */
export const newestFirst = (a, b) => b.time_ms - a.time_ms;
/** @param {Event} a @param {Event} b */
export const largestFirst = (a, b) => Number(b.notional) - Number(a.notional) || b.time_ms - a.time_ms;

/** How heavy a row looks, 0 to 4, by tenfolds from a thousand. @param {string} notional */
export function weight(notional) {
  const size = Number(notional);
  return size >= 1e6 ? 4 : size >= 1e5 ? 3 : size >= 1e4 ? 2 : size >= 1e3 ? 1 : 0;
}

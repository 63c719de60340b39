/**
 * What a chart of one coin's events shows: which times, the prices that are known, and where none is. Nothing is drawn here.
 *
 * @module traders/prices
 */

import { timeframes } from '../chart/model.js';
import { mark } from './account.js';

/** @typedef {import('../chart/model.js').Candle} Candle */
/** @typedef {import('../chart/model.js').Span} Span */

/** How many spans of time are between the first event and now, at most. */
export const SPANS_MAX = 600;
/** What is shown of the time before the first event, and at least of all. */
const BEFORE = 0.06;
const LEAST_MS = 2 * 3_600_000;
const WIDTHS = [60, 300, 900, 1800, 3600, 14_400, 86_400];

/**
 * The times of a chart, in seconds: from `start` to `end`, each `width` wide. `interval` names the candles that fill them,
 * null when there are none.
 *
 * @typedef {{start: number, end: number, width: number, interval: string | null}} Plan
 */

/** One event where it belongs. @typedef {{event: any, price: number | null, paid: boolean}} Placed */

/** The coins of events and positions: the one of the newest event first. @param {any[]} events newest first @param {any[]} positions */
export function coinsOf(events, positions) {
  const held = [...positions].sort((a, b) => Number(b.notional) - Number(a.notional));
  return [...new Set([...events, ...held].map(({ symbol }) => String(symbol)))];
}

/** Where an event is on a price: what was paid, else what the venue valued it at. @param {any} event @returns {Placed} */
export function placed(event) {
  const told = (/** @type {unknown} */ text) => (text === null || text === undefined || !(Number(text) > 0) ? null : Number(text));
  const paid = told(event.implied_price);
  return { event, price: paid ?? told(event.mark_price), paid: paid !== null };
}

/** When the first of these may have happened, in milliseconds. @param {any[]} events @param {number} now */
function first(events, now) {
  return Math.min(now, ...events.map((event) => (event.sampled ? event.from_ms : event.time_ms)));
}

/**
 * Which times to show for these events, and which candles: as fine as they go.
 *
 * @param {any[]} events
 * @param {number} now ms
 * @param {string[]} intervals the candles that there are
 * @returns {Plan}
 */
export function planned(events, now, intervals) {
  const begun = first(events, now);
  const from = Math.min(begun - (now - begun) * BEFORE, now - LEAST_MS);
  const offered = timeframes(intervals);
  const widths = [...new Set([...WIDTHS, ...offered.map(({ width }) => width)])].sort((a, b) => a - b);
  /** @param {number} width */
  const filling = (width) => offered.filter((one) => width % one.width === 0).at(-1);
  const fitting = widths.filter((width) => offered.length === 0 || filling(width));
  const width = fitting.find((one) => (now - from) / 1000 / one <= SPANS_MAX) ?? fitting[fitting.length - 1];
  const start = Math.floor(from / 1000 / width) * width;
  return { start, end: Math.floor(now / 1000 / width) * width, width, interval: filling(width)?.name ?? null };
}

/** Whether a plan still does: it begins before the events, and is not too long. @param {Plan} plan @param {any[]} events @param {number} now */
export function covers({ start, width }, events, now) {
  return first(events, now) >= start * 1000 && (now / 1000 - start) / width <= SPANS_MAX * 1.5;
}

/** Candles as wide as the spans of a plan, in order. @param {Iterable<Candle>} candles @param {Plan} plan @returns {Candle[]} */
export function folded(candles, { start, width }) {
  /** @type {Map<number, Candle>} */
  const found = new Map();
  for (const one of [...candles].sort((a, b) => a.time - b.time)) {
    const time = Math.floor(one.time / width) * width;
    if (time < start) continue;
    const known = found.get(time);
    if (!known) found.set(time, { ...one, time });
    else Object.assign(known, { high: Math.max(known.high, one.high), low: Math.min(known.low, one.low), close: one.close, text: one.text, volume: known.volume + one.volume });
  }
  return [...found.values()];
}

/**
 * The prices of a trader's own events and fills, and the mark of what it held when it was visited last.
 *
 * @param {any[]} events
 * @param {any[]} fills
 * @param {any} position null when there is none
 * @param {number} visited ms
 * @returns {{ms: number, value: number | null}[]}
 */
export function ownPrices(events, fills, position, visited) {
  return [
    ...events.map((event) => ({ ms: event.time_ms, value: placed(event).price })),
    ...fills.map((fill) => ({ ms: fill.time_ms, value: Number(fill.price) })),
    ...(position ? [{ ms: visited, value: Number(mark(position)) }] : []),
  ];
}

/**
 * What is told of the price at one time or another, the newest of each span, where no candle tells it.
 *
 * @param {{ms: number, value: number | null}[]} told
 * @param {Plan} plan
 * @param {Candle[]} candles
 * @returns {{time: number, value: number}[]}
 */
export function points(told, { start, end, width }, candles) {
  const known = new Set(candles.map(({ time }) => time));
  /** @type {Map<number, {ms: number, value: number}>} */
  const found = new Map();
  for (const { ms, value } of told) {
    const time = Math.floor(ms / 1000 / width) * width;
    if (value === null || !(value > 0) || time < start || time > end || known.has(time)) continue;
    if (ms >= (found.get(time)?.ms ?? -Infinity)) found.set(time, { ms, value });
  }
  return [...found].map(([time, { value }]) => ({ time, value })).sort((a, b) => a.time - b.time);
}

/** The spans of which there is no candle, in milliseconds; none when there are no candles at all. @param {Candle[]} candles in order @param {Plan} plan @returns {Span[]} */
export function unknown(candles, { start, end, width }) {
  if (candles.length === 0) return [];
  /** @type {Span[]} */
  const gaps = [];
  let from = start;
  for (const { time } of candles) {
    if (time > from) gaps.push([from * 1000, time * 1000]);
    from = time + width;
  }
  // The newest candle may still be on its way.
  if (end > from) gaps.push([from * 1000, end * 1000]);
  return gaps;
}

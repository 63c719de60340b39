/**
 * An account's state, its fills and its equity, as a page shows them. Nothing is computed of what is not told.
 *
 * @module traders/account
 */

import { exact, minus, plus, written } from '../format.js';

/** A state that is older is not what the account holds now. */
export const STALE_MS = 120_000;
/** Liquidation is near below this. */
const NEAR = 0.1;
const MARK_DIGITS = 8;

/**
 * @typedef {object} Held
 * @property {string} symbol
 * @property {'LONG' | 'SHORT'} side
 * @property {string} size without a sign
 * @property {string | null} mark
 * @property {number | null} distance of the liquidation price from the mark, as a fraction of it; null when one is not told
 * @property {boolean} near
 * @property {string} words how far liquidation is
 */

/** What one unit is worth by the venue's mark, which tells it as the position's value. @param {any} position @returns {string | null} */
export function mark(position) {
  const size = Math.abs(Number(position.size));
  const value = Number(position.notional) / size;
  if (!(size > 0) || !(value > 0) || !Number.isFinite(value)) return null;
  const decimals = Math.max(0, Math.min(12, MARK_DIGITS - 1 - Math.floor(Math.log10(value))));
  return value.toFixed(decimals);
}

/** @param {any} position @returns {Held} */
export function held(position) {
  const size = String(position.size);
  const short = size.startsWith('-');
  const now = mark(position);
  const end = position.liquidation_price;
  const told = now !== null && end !== null && end !== undefined;
  const distance = told ? Math.abs(Number(now) - Number(end)) / Number(now) : null;
  const way = told && Number(end) > Number(now) ? 'above' : 'below';
  return {
    symbol: String(position.symbol),
    side: short ? 'SHORT' : 'LONG',
    size: short ? size.slice(1) : size,
    mark: now,
    distance,
    near: distance !== null && distance < NEAR,
    words: distance === null ? (end === null || end === undefined ? 'The venue tells no price that would liquidate it' : 'The mark is not known') : `Liquidation is ${(distance * 100).toFixed(1)}% ${way} the mark`,
  };
}

/** The sum of what is open, exactly. @param {any} account */
export function unrealized(account) {
  return account.positions.reduce((/** @type {string} */ sum, /** @type {any} */ one) => plus(sum, String(one.unrealized_pnl)), '0');
}

/**
 * What fills add up to by coin, the largest gain or loss first. Profits are before fees, as they are told.
 *
 * @param {any[]} fills
 * @returns {{symbol: string, count: number, volume: string, pnl: string}[]}
 */
export function byCoin(fills) {
  /** @type {Map<string, {symbol: string, count: number, volume: string, pnl: string}>} */
  const found = new Map();
  for (const fill of fills) {
    const coin = found.get(String(fill.symbol)) ?? { symbol: String(fill.symbol), count: 0, volume: '0', pnl: '0' };
    coin.count++;
    coin.volume = plus(coin.volume, String(fill.notional));
    coin.pnl = plus(coin.pnl, String(fill.pnl));
    found.set(coin.symbol, coin);
  }
  return [...found.values()].sort((a, b) => Math.abs(Number(b.pnl)) - Math.abs(Number(a.pnl)) || (a.symbol < b.symbol ? -1 : 1));
}

/** An equity's points, oldest first; what is none is left out. @param {unknown} points `time_ms:equity …` @returns {{time: number, equity: string}[]} */
export function samples(points) {
  const found = [];
  for (const point of String(points ?? '').split(' ')) {
    const [time, equity] = point.split(':');
    // `1E+5` is how an exact decimal may be written, too.
    const plain = exact(equity) ? equity : decimal(Number(equity || NaN));
    if (/^\d+$/.test(time) && plain !== null) found.push({ time: Number(time), equity: plain });
  }
  return found;
}

/** @param {number} value @returns {string | null} */
function decimal(value) {
  return Number.isFinite(value) && Math.abs(value) < 1e15 ? written(BigInt(Math.round(value * 100)), 2) : null;
}

/** What the last sample is above the first. @param {{equity: string}[]} samples */
export function gained(samples) {
  return samples.length < 2 ? null : minus(samples[samples.length - 1].equity, samples[0].equity);
}

/** Round values between two, about so many. @param {number} least @param {number} most @param {number} about */
export function steps(least, most, about) {
  const rough = (most - least) / Math.max(1, about);
  if (!(rough > 0)) return [least];
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map((one) => one * power).find((one) => one >= rough) ?? rough;
  const found = [];
  for (let at = Math.ceil(least / step) * step; at <= most + step * 1e-9; at += step) found.push(at);
  return found;
}

/**
 * Which fills are one row: those of one account in one transaction, or of one taker in one block.
 *
 * @module feed/groups
 */

import { divided, exact, plus } from '../format.js';

const ZEROS = /^0x0*$/;

/** What names the row that a record belongs to. @param {any} value @returns {string} */
export function keyOf(value) {
  const { symbol, side } = value;
  if (value.address !== undefined) {
    // What the engine did by itself has no transaction: then it is what it did in one block.
    const act = !value.hash || ZEROS.test(value.hash) ? value.time_ms : value.hash;
    return `${act}/${value.address}/${symbol}/${side}/${value.role ?? ''}/${value.dir}/${value.fee_token}`;
  }
  const taker = side === 'BUY' ? value.buyer : value.seller;
  return taker ? `${value.time_ms}/${taker}/${symbol}/${side}` : `${value.venue}/${value.id}`;
}

/** @param {unknown} text how many decimals it has */
const scale = (text) => exact(text)?.scale ?? 0;

/**
 * A row's value with one more fill in it: sums, and the average price, which is `averaged` unless all fills have the same.
 *
 * @param {any} value @param {any} fill
 */
export function merged(value, fill) {
  const quantity = plus(value.quantity, fill.quantity);
  const notional = plus(value.notional, fill.notional);
  const more = { ...value, quantity, notional };
  if (value.pnl !== undefined) Object.assign(more, { pnl: plus(value.pnl, fill.pnl), fee: plus(value.fee, fill.fee) });
  if (fill.mark_price) more.mark_price = fill.mark_price;
  if (!value.averaged && value.price === fill.price) return more;
  const decimals = Math.max(scale(value.price), scale(fill.price));
  return { ...more, averaged: true, price: divided(notional, quantity, decimals) };
}

/** Accounts of a trade by what they did: whoever crossed the spread is the taker. @param {any} value */
export function parties(value) {
  const buys = value.side === 'BUY';
  return { taker: (buys ? value.buyer : value.seller) ?? '', maker: (buys ? value.seller : value.buyer) ?? '' };
}

/**
 * Which rows are shown: four choices which all must hold, and which live in the page's address.
 *
 * @module feed/filter
 */

import { amountOf } from '../format.js';

export { amountOf };

/** @typedef {'ALL' | 'BUY' | 'SELL'} Side */
/** @typedef {'ALL' | 'TAKER' | 'MAKER'} Role */

/**
 * `text` is a part of the coin, of an address or of the venue, `least` the smallest value in dollars, as it was typed.
 *
 * @typedef {object} Filter
 * @property {string} text
 * @property {string} least
 * @property {Side} side
 * @property {Role} role
 */

/** @typedef {{symbol: string, address?: string, buyer?: string, seller?: string, venue?: string, notional: string, side: string, taker?: boolean}} Filtered */

/** Everything. @type {Readonly<Filter>} */
export const ALL = Object.freeze({ text: '', least: '', side: 'ALL', role: 'ALL' });
/** No longer text is looked for. */
export const TEXT_MAX = 80;

/** @param {unknown} side @returns {Side} */
export function sideOf(side) {
  const name = String(side ?? '').toUpperCase();
  if (name === 'BUY' || name === 'B') return 'BUY';
  return name === 'SELL' || name === 'A' ? 'SELL' : 'ALL';
}

/** @param {unknown} role @returns {Role} */
function roleOf(role) {
  const name = String(role ?? '').toUpperCase();
  return name === 'TAKER' || name === 'MAKER' ? name : 'ALL';
}

/** @param {string} search such as `?q=eth&min=10000&side=SELL` @returns {Filter} */
export function fromSearch(search) {
  const wanted = new URLSearchParams(search);
  const least = (wanted.get('min') ?? '').trim().slice(0, TEXT_MAX);
  return {
    text: (wanted.get('q') ?? '').slice(0, TEXT_MAX),
    // What is no amount stays to be seen, so that the page can say that it is none.
    least: amountOf(least) === 0 ? '' : least,
    side: sideOf(wanted.get('side')),
    role: roleOf(wanted.get('role')),
  };
}

/** The same in an address; what else stands there is kept. @param {Filter} filter @param {string} search */
export function toSearch(filter, search = '') {
  const wanted = new URLSearchParams(search);
  /** @param {string} name @param {string} value */
  const say = (name, value) => (value ? wanted.set(name, value) : wanted.delete(name));
  say('q', filter.text.trim());
  say('min', amountOf(filter.least) > 0 ? filter.least.trim() : '');
  say('side', filter.side === 'ALL' ? '' : filter.side);
  say('role', filter.role === 'ALL' ? '' : filter.role.toLowerCase());
  const said = wanted.toString();
  return said && `?${said}`;
}

/** @param {Filter} filter */
export function isAll(filter) {
  return filter.text.trim() === '' && filter.side === 'ALL' && filter.role === 'ALL' && !(amountOf(filter.least) > 0);
}

/**
 * Whether a row is wanted. What is typed and no amount filters nothing.
 *
 * @param {Filter} filter
 * @returns {(value: Filtered) => boolean}
 */
export function matcher(filter) {
  const text = filter.text.trim().toLowerCase();
  const least = amountOf(filter.least);
  const { side, role } = filter;
  return (value) => {
    if (side !== 'ALL' && value.side !== side) return false;
    if (role !== 'ALL' && value.taker !== undefined && value.taker !== (role === 'TAKER')) return false;
    if (least > 0 && !(Number(value.notional) >= least)) return false;
    return text === '' || [value.symbol, value.address, value.buyer, value.seller, value.venue].some((one) => includes(one, text));
  };
}

/** @param {unknown} whole @param {string} part in lower case */
function includes(whole, part) {
  return typeof whole === 'string' && whole.toLowerCase().includes(part);
}

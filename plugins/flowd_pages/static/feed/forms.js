/**
 * How a fill's fields are written.
 *
 * @module feed/forms
 */

import { NOTHING, exact, grouped, money, quantity } from '../format.js';

/** Stands where there is nothing: no profit, no transaction. */
export const NONE = NOTHING;
/** Where addresses and transactions are looked up. */
export const EXPLORER = 'https://www.flowscan.xyz';

const ADDRESS = /^0x[0-9a-fA-F]{40}$/;
const HASH = /^0x[0-9a-fA-F]{64}$/;
const ZEROS = /^0x0*$/;
const DOLLARS = new Set(['USDC', 'USD', '']);

/** @typedef {'buy' | 'sell' | ''} Tone */

/** What was won or lost, never by colour alone. @param {unknown} text @returns {{text: string, tone: Tone}} */
export function profit(text) {
  const number = exact(text);
  if (!number || number.units === 0n) return { text: NONE, tone: '' };
  const words = money(text);
  return number.units < 0n ? { text: words, tone: 'sell' } : { text: `+${words}`, tone: 'buy' };
}

/** A fee, below zero when it is a rebate; in dollars, or with the name of what else it was paid in. @param {unknown} text @param {unknown} token */
export function fee(text, token) {
  const name = typeof token === 'string' ? token : '';
  return DOLLARS.has(name.toUpperCase()) ? money(text) : `${quantity(text)} ${name.slice(0, 8)}`;
}

/** `0x1234…abcd`; what is too short for that stays whole. @param {string} text */
export function shortened(text) {
  return text.length > 13 ? `${text.slice(0, 6)}…${text.slice(-4)}` : text;
}

/**
 * What is shown of an address or a hash, and where it leads: nowhere when it is not what it should be.
 *
 * @typedef {object} Linked
 * @property {string} text
 * @property {string} full
 * @property {string | null} href
 * @property {boolean} [ours] whether that is a page of ours
 * @property {string | null} [beside] where the explorer has it, when `href` leads elsewhere
 */

/** @param {unknown} text @param {string} [within] where this daemon's own page of an address is @returns {Linked} */
export function address(text, within = '') {
  const found = linked(text, ADDRESS, 'address');
  return within && found.href ? { ...found, href: `${within}${found.full.toLowerCase()}`, beside: found.href } : found;
}

/** @param {unknown} text @returns {Linked} */
export function transaction(text) {
  return typeof text === 'string' && ZEROS.test(text) ? linked('', HASH, 'tx') : linked(text, HASH, 'tx');
}

/** @param {unknown} text @param {RegExp} form @param {string} place @returns {Linked} */
function linked(text, form, place) {
  if (typeof text !== 'string' || text === '') return { text: NONE, full: '', href: null };
  return { text: shortened(text), full: text, href: form.test(text) ? `${EXPLORER}/${place}/${text}` : null };
}

/** BUY and SELL as they are; anything else is shown, and has no colour. @param {unknown} side @returns {{text: string, tone: Tone}} */
export function side(side) {
  if (side === 'BUY') return { text: 'BUY', tone: 'buy' };
  return side === 'SELL' ? { text: 'SELL', tone: 'sell' } : { text: String(side ?? NONE), tone: '' };
}

/**
 * How long ago the newest row came, in whole seconds: late from five on.
 *
 * @param {number | null} ms null when there is none
 */
export function age(ms) {
  if (ms === null) return { text: '–', late: false };
  const seconds = Math.floor(ms / 1000);
  return { text: `${grouped(String(seconds))} s ago`, late: seconds >= 5 };
}

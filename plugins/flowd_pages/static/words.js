/**
 * The words that all pages share: since when a sum is known and how exact it is, what is counted, and whose side is meant.
 *
 * @module words
 */

import { clock, stamp } from './format.js';

const DAY_MS = 86_400_000;

/** `16:27`, after the date when that is not today's, with the year when it is not this one's; UTC. @param {number} ms @param {number} now ms */
export function when(ms, now) {
  if (Math.floor(ms / DAY_MS) === Math.floor(now / DAY_MS)) return clock(ms).slice(0, 5);
  const year = new Date(ms).getUTCFullYear();
  return year === new Date(now).getUTCFullYear() ? stamp(ms) : `${stamp(ms, true)} ${clock(ms).slice(0, 5)}`;
}

/** Since when a sum is known: `since 16:27`, `since 14 Nov 22:13`; `''` where nobody knows. @param {number | null | undefined} ms @param {number} now ms */
export function since(ms, now) {
  return ms === null || ms === undefined || !Number.isFinite(ms) ? '' : `since ${when(ms, now)}`;
}

/** Venues as people write them. @type {Record<string, string>} */
const VENUES = { binance: 'Binance', bybit: 'Bybit', okx: 'OKX', hyperliquid: 'Hyperliquid' };

/** A venue as people write it, also one that nobody here knows. @param {unknown} name */
export function venueName(name) {
  const text = String(name ?? '');
  return VENUES[text] ?? (text ? text[0].toUpperCase() + text.slice(1) : 'unknown');
}

/** What is counted where a page says *Volume* or *Trades*: written under them. */
export const COUNTED = {
  trades: 'each trade once',
  liquidations: 'each order or fill once, not who took it over',
};

/** Venues in a row: `Binance`, `Binance and OKX`, `Binance, Bybit and OKX`. @param {string[]} venues */
function listed(venues) {
  const names = venues.map(venueName);
  return names.length > 1 ? `${names.slice(0, -1).join(', ')} and ${names.at(-1)}` : names.join('');
}

/** Who tells it so, and the words for one or several: without a name where nobody knows whose they are. @param {string[]} venues @param {string} one @param {string} several */
const tell = (venues, one, several) => `${listed(venues) || 'The exchange'} ${venues.length > 1 ? several : one}`;

/**
 * What makes a sum less than exact, and why. Of a sum of several venues only those are named that are to blame.
 *
 * @type {Record<'lower_bound' | 'approximate' | 'incomplete', {word: string, sign: string, why: (venues: string[]) => string}>}
 */
export const DOUBTS = {
  lower_bound: {
    word: 'lower bound',
    sign: '≥',
    why: (venues) => `${tell(venues, 'tells only some of its liquidations', 'tell only some of their liquidations')}, so the sum is at least this.`,
  },
  approximate: {
    word: 'approximate',
    sign: '≈',
    why: (venues) => `${tell(venues, 'tells', 'tell')} another price than what was paid, so the sum is about this.`,
  },
  incomplete: { word: 'incomplete', sign: '≥', why: () => 'Its source was away for a part of the time, so something may be missing.' },
};

/** @typedef {keyof typeof DOUBTS} Doubt */

/**
 * How exact a sum is. Without any doubt it is `exact`: say so only of what was counted whole.
 *
 * @param {Partial<Record<Doubt, unknown>> & {venues?: Record<string, Partial<Record<Doubt, unknown>>>}} sum `venues` where its parts are known
 * @returns {{exact: boolean, words: string, sign: string, why: string}} `sign` stands before the sum: `≥`, `≈` or nothing
 */
export function exactness(sum) {
  const names = /** @type {Doubt[]} */ (Object.keys(DOUBTS)).filter((doubt) => sum[doubt]);
  const found = names.map((doubt) => DOUBTS[doubt]);
  const venues = Object.entries(sum.venues ?? {});
  return {
    exact: found.length === 0,
    words: found.length === 0 ? 'exact' : found.map(({ word }) => word).join(', '),
    sign: [...new Set(found.map(({ sign }) => sign))].join(''),
    why: names.map((doubt) => DOUBTS[doubt].why(venues.filter(([, part]) => part[doubt]).map(([venue]) => venue))).join(' '),
  };
}

/** The sign before a count of orders, which is exact also where prices are not: `≥` or nothing. @param {Partial<Record<Doubt, unknown>>} sum */
export const atLeast = (sum) => (exactness(sum).sign.includes('≥') ? '≥' : '');

/** What a record's price is, where that is not what was paid. @type {Record<string, string>} */
export const PRICE_KINDS = {
  mark: 'the mark price',
  limit: 'the limit of the forced order',
  bankruptcy: 'the bankruptcy price',
};

/** What one record leaves in doubt. @param {{price_kind?: unknown, coverage?: unknown}} record */
export function doubts(record) {
  return { lower_bound: record.coverage === 'sampled', approximate: record.price_kind === 'bankruptcy' || record.price_kind === 'limit' };
}

/** @typedef {'buy' | 'sell' | ''} Tone */

/**
 * Who was liquidated by a forced order: BUY closed a short, SELL a long.
 *
 * @param {unknown} side of the forced order
 * @returns {{text: string, arrow: string, tone: Tone, why: string}}
 */
export function liquidated(side) {
  if (side === 'BUY') return { text: 'Short liquidated', arrow: '▲', tone: 'buy', why: 'forced buy: a short was closed' };
  if (side === 'SELL') return { text: 'Long liquidated', arrow: '▼', tone: 'sell', why: 'forced sell: a long was closed' };
  return { text: String(side ?? ''), arrow: '', tone: '', why: 'unknown side' };
}

/** What somebody did in a trade. @param {unknown} side @returns {{text: string, arrow: string, tone: Tone}} */
export function traded(side) {
  if (side === 'BUY') return { text: 'Buy', arrow: '▲', tone: 'buy' };
  return side === 'SELL' ? { text: 'Sell', arrow: '▼', tone: 'sell' } : { text: String(side ?? ''), arrow: '', tone: '' };
}

/** What an exchange calls a coin of Hyperliquid's against dollars; thousands of one are told apart by both. @param {string} coin */
export function symbolOf(coin) {
  const [, thousands, name] = /^(k?)([A-Z0-9]+)$/.exec(coin) ?? [];
  return name === undefined ? null : `${thousands ? '1000' : ''}${name}USDT`;
}

/** Which chart shows a record's symbol: Hyperliquid's coins are those of the exchanges against dollars. @param {unknown} venue @param {string} symbol */
export function chartSymbol(venue, symbol) {
  return venue === 'hyperliquid' ? symbolOf(symbol) : symbol;
}

/** Whether this daemon follows another one, from which it has its streams: an edge. */
const follows = () => Boolean(globalThis.document?.documentElement.dataset.way);

/** Whose lines these are: an edge has sinks of its own. @param {string} lines @param {boolean} edge @returns {'here' | 'there' | 'both'} */
function whose(lines, edge) {
  const there = /^\[(sources|transforms)\./m.test(lines);
  return !edge || !there ? 'here' : /^\[sinks\./m.test(lines) ? 'both' : 'there';
}

/**
 * Where lines of the configuration are to be added, before them: what comes from upstream or is calculated an edge has from
 * the ingest daemon, the one that it follows.
 *
 * @param {string} lines
 * @param {string} [what] they add
 * @param {boolean} [edge] whether this daemon is one
 */
export function adding(lines, what = 'it', edge = follows()) {
  return {
    here: `These lines in flowd.toml add ${what}:`,
    there: `These lines in flowd.toml of the ingest daemon, which this one follows, add ${what}:`,
    both: `These lines add ${what}: sources and transforms in flowd.toml of the ingest daemon, which this one follows, sinks in this one's:`,
  }[whose(lines, edge)];
}

/** The same where something has to be restarted. @param {string} lines @param {boolean} [edge] */
export function restarting(lines, edge = follows()) {
  return {
    here: 'Add these lines to the configuration and restart the daemon:',
    there: 'Add these lines to the configuration of the ingest daemon, which this one follows, and restart that one:',
    both: 'Add sources and transforms to the configuration of the ingest daemon, which this one follows, sinks to that of this one, and restart both:',
  }[whose(lines, edge)];
}

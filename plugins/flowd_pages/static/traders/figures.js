/**
 * The figures of a standing: what each is called, what it is sorted by, and how it is written. What is unknown is a dash
 * that says why.
 *
 * @module traders/figures
 */

import { dollars } from '../analytics/model.js';
import { profit, shortened } from '../feed/forms.js';
import { NOTHING, count, money, span, stamp } from '../format.js';

/**
 * What is shown of one figure: `from` is what it was measured from.
 *
 * @typedef {object} Said
 * @property {string} text
 * @property {string} title
 * @property {string} [tone]
 * @property {string | null} [from]
 */

/**
 * `name` is what the endpoint sorts by, too.
 *
 * @typedef {object} Figure
 * @property {string} name
 * @property {string} label
 * @property {string} title
 * @property {'asc' | 'desc'} order which way it is sorted first
 * @property {(row: any) => number | string | null} key what it is sorted by; null where it is unknown
 * @property {(row: any, now: number) => Said} say
 */

/** What figures are measured from: a letter, and words. @type {Record<string, [string, string]>} */
export const EVIDENCE = {
  fills: ['F', 'fills'],
  portfolio: ['P', "the venue's own portfolio"],
  trades: ['T', 'public trades that were seen'],
  snapshots: ['S', 'states at our visits'],
  account_value: ['V', "our own samples of the account's value: deposits and withdrawals count as gains and losses"],
};

/** @param {unknown} source */
export function letter(source) {
  return EVIDENCE[String(source)]?.[0] ?? '';
}

/** @param {unknown} source @returns {string} `, measured from fills` */
function measured(source) {
  const found = EVIDENCE[String(source)];
  return found ? `, measured from ${found[1]}` : '';
}

/** @param {string} why @returns {Said} */
function unknown(why) {
  return { text: NOTHING, title: `Unknown: ${why}`, tone: 'quiet' };
}

const NO_TRIP = 'no completed trip is known';
const NO_VISIT = 'it was not visited yet';

/** @param {unknown} value @returns {number | null} */
const number = (value) => (value === null || value === undefined ? null : Number(value));

/** @param {number} fraction `12.3%` */
export function percent(fraction) {
  return `${(fraction * 100).toFixed(1)}%`;
}

/** @param {unknown} amount @param {string} why @param {unknown} [source] @returns {Said} */
function amountOf(amount, why, source = null) {
  if (amount === null || amount === undefined) return unknown(why);
  return { text: dollars(String(amount)), title: `${money(amount)}${measured(source)}`, from: source ? String(source) : null };
}

/** @param {number | null | undefined} ms @param {number} now @param {string} why @returns {Said} */
export function ago(ms, now, why) {
  if (ms === null || ms === undefined) return unknown(why);
  return { text: span(now - ms), title: `${stamp(ms)} UTC`, tone: 'quiet' };
}

/** @type {Figure[]} */
export const FIGURES = [
  {
    ...{ name: 'rank', label: '#', title: 'Rank by score, then volume', order: 'asc' },
    key: (row) => number(row.rank),
    say: (row) => (row.rank === null ? unknown('too few completed trips to be compared') : { text: count(row.rank), title: `${count(row.rank)} of ${count(row.population)} that are compared`, tone: 'quiet' }),
  },
  {
    ...{ name: 'trader_address', label: 'Trader', title: 'Address', order: 'asc' },
    key: (row) => row.address,
    say: (row) => ({ text: shortened(String(row.address)), title: String(row.address) }),
  },
  {
    ...{ name: 'trader_score', label: 'Score', title: 'Score, from 0 to 1: the sum of five parts', order: 'desc' },
    key: (row) => number(row.score),
    say: (row) => (row.score === null ? unknown('too few completed trips to be compared') : { text: Number(row.score).toFixed(4), title: partsWords(row.shares) }),
  },
  {
    ...{ name: 'win_rate', label: 'Wins', title: 'Completed trips with a net above 0, of all completed trips', order: 'desc' },
    key: (row) => number(row.win_rate),
    say: (row) => (row.win_rate === null ? unknown(NO_TRIP) : { text: percent(row.win_rate), title: `of ${count(row.trips)} completed trips${measured(row.win_rate_source)}`, from: row.win_rate_source }),
  },
  {
    ...{ name: 'total_volume_usd', label: 'Volume', title: 'What was traded', order: 'desc' },
    key: (row) => number(row.volume),
    say: (row) => amountOf(row.volume, 'nothing tells it', row.volume_source),
  },
  {
    ...{ name: 'max_drawdown', label: 'Drawdown', title: 'The largest fall from the best', order: 'asc' },
    key: (row) => number(row.max_drawdown),
    say: (row) => (row.max_drawdown === null ? unknown('neither a portfolio nor enough of its equity is known') : { text: percent(row.max_drawdown), title: `the largest fall from the best${measured(row.max_drawdown_source)}`, from: row.max_drawdown_source }),
  },
  {
    ...{ name: 'avg_risk_ratio', label: 'Pay-off', title: 'Mean win by mean loss of its trips, at most 3', order: 'desc' },
    key: (row) => number(row.risk_ratio),
    say: (row) => (row.risk_ratio === null ? unknown(NO_TRIP) : { text: Number(row.risk_ratio).toFixed(2), title: `mean win by mean loss, at most 3${measured('fills')}` }),
  },
  {
    ...{ name: 'max_profit_usd', label: 'Best trip', title: 'The largest net profit of a trip', order: 'desc' },
    key: (row) => number(row.max_profit),
    say: (row) => amountOf(row.max_profit, NO_TRIP, null),
  },
  {
    ...{ name: 'max_loss_usd', label: 'Worst trip', title: 'The largest net loss of a trip', order: 'desc' },
    key: (row) => number(row.max_loss),
    say: (row) => amountOf(row.max_loss, NO_TRIP, null),
  },
  {
    ...{ name: 'trips', label: 'Trips', title: 'Completed trips that are known: a trip is the life of one position', order: 'desc' },
    key: (row) => number(row.trips),
    say: (row) => ({ text: count(row.trips), title: 'completed trips that are known' }),
  },
  {
    ...{ name: 'partial_trips', label: 'Partial', title: 'Trips of which not every fill is known; they count in no figure', order: 'desc' },
    key: (row) => number(row.partial_trips),
    say: (row) => ({ text: count(row.partial_trips), title: 'of these not every fill is known; they count in no figure', tone: 'quiet' }),
  },
  {
    ...{ name: 'account_age_days', label: 'Age', title: 'Whole days since the first evidence of the account', order: 'desc' },
    key: (row) => number(row.account_age_days),
    say: (row) => (row.account_age_days === null ? unknown('nothing tells it') : { text: `${count(row.account_age_days)} d`, title: `at least so many days${measured(row.account_age_source)}`, from: row.account_age_source }),
  },
  {
    ...{ name: 'equity_usd', label: 'Equity', title: 'What the account was worth at the last visit', order: 'desc' },
    key: (row) => number(row.equity),
    say: (row) => amountOf(row.equity, NO_VISIT),
  },
  {
    ...{ name: 'unrealized_pnl_usd', label: 'Unrealised', title: 'Profit and loss of what is open, at the last visit', order: 'desc' },
    key: (row) => number(row.unrealized_pnl),
    say: (row) => {
      if (row.unrealized_pnl === null) return unknown(NO_VISIT);
      const { text, tone } = profit(row.unrealized_pnl);
      return { text: text === NOTHING ? '$0.00' : signed(row.unrealized_pnl), title: text, tone };
    },
  },
  {
    ...{ name: 'last_seen_at', label: 'Seen', title: 'When it was last seen to trade', order: 'desc' },
    key: (row) => number(row.last_seen_ms),
    say: (row, now) => ago(row.last_seen_ms, now, 'it was not seen to trade'),
  },
  {
    ...{ name: 'last_tracked_at', label: 'Visited', title: 'When it was visited last', order: 'desc' },
    key: (row) => number(row.tracked_ms),
    say: (row, now) => ago(row.tracked_ms, now, NO_VISIT),
  },
];

/** `+$1.2K`, `−$3.40`. @param {unknown} amount */
export function signed(amount) {
  const text = String(amount);
  return text.startsWith('-') ? `−${dollars(text.slice(1))}` : `+${dollars(text)}`;
}

/** The five parts of a score: the key in `shares`, and words. @type {[string, string][]} */
export const PARTS = [
  ['win_rate', 'win rate'],
  ['max_drawdown', 'small drawdown'],
  ['volume', 'volume'],
  ['risk_ratio', 'pay-off'],
  ['max_profit', 'best trip'],
];

/** `win rate 0.210, small drawdown 0.180, …`. @param {any} shares */
export function partsWords(shares) {
  if (!shares) return '';
  return PARTS.map(([key, words]) => `${words} ${Number(shares[key]).toFixed(3)}`).join(', ');
}

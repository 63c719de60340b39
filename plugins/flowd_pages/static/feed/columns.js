/**
 * The columns of the two feeds: what each is called, how a row is written into it, and what it is sorted by.
 *
 * @module feed/columns
 */

import { at, tradersPath } from '../dom.js';
import { clock, count, exact, money, price, quantity, stamp } from '../format.js';
import { PRICE_KINDS, chartSymbol, liquidated, traded, venueName } from '../words.js';
import { NONE, address, fee, profit, shortened, transaction } from './forms.js';
import { parties } from './groups.js';

export { explorerLink, lead } from './cell.js';

/** @typedef {import('./cell.js').Cell} Cell */
/** @typedef {import('./model.js').Row} Row */

/**
 * `has` says whether a record has anything to say there: a column in which none has, is left out. A `late` one is left out
 * until the first has.
 *
 * @typedef {object} Column
 * @property {string} name
 * @property {string} label
 * @property {string} [width] as the grid's template says it
 * @property {boolean} [end] numbers, which end at the right
 * @property {boolean} [linked]
 * @property {boolean} [main] its link is what the row is opened by
 * @property {boolean} [late]
 * @property {() => HTMLElement} [part] what stands beside the words of each cell
 * @property {[string, string][]} [signs] what is written there that explains itself to nobody, and what it means
 * @property {(value: any, row: Row) => boolean} [has]
 * @property {import('./model.js').Key} [key] what it is sorted by
 * @property {(cell: Cell, value: any, row: Row) => void} write
 */

const DAY_MS = 86_400_000;
/** @type {Record<string, [string, string]>} */
const ROLES = {
  counterparty: ['↔', 'counterparty: the account that took the position over; not part of the totals'],
  inferred: ['≈', 'concluded from its counterparty'],
};
/** @type {Record<string, string>} */
const METHODS = { market: 'sold into the book', backstop: 'taken over by the venue’s own vault' };
/** @type {Record<string, string>} */
const AS = { taker: 'this account crossed the spread', maker: 'this account was waiting in the book' };
const AT_MARK = 'the mark price then';
const BEFORE_FEE = 'before the fee';
/** @type {[string, string][]} */
const KINDS_OF_PRICE = [['≈ before a price', `not what was paid: the average of a row’s fills, ${Object.values(PRICE_KINDS).join(', ')}`]];
/** @type {[string, string][]} */
const SIDES = [ROLES.counterparty, ROLES.inferred].map(([sign, why]) => [`${sign} behind a side`, why]);
const AMOUNT = 'minmax(72px, 1.2fr)';
const ACCOUNT = 'minmax(112px, 1.3fr)';

/** @param {unknown} text @returns {number | null} */
const number = (text) => (exact(text) ? Number(text) : null);

/** `22:13:21`, and of another day its date. @param {number} ms */
const time = (ms) => (Math.floor(ms / DAY_MS) === Math.floor(Date.now() / DAY_MS) ? clock(ms) : stamp(ms));

/** @type {Column} */
const TIME = {
  name: 'time',
  label: 'Time',
  width: '84px',
  key: (value) => value.time_ms,
  write: (cell, value) => cell.say(time(value.time_ms), '', `${stamp(value.time_ms, true)} ${clock(value.time_ms)} UTC`),
};

/** @type {Column} */
const COIN = {
  name: 'coin',
  label: 'Coin',
  width: 'minmax(72px, 1fr)',
  linked: true,
  key: (value) => String(value.symbol),
  write: (cell, value) => {
    const chart = chartSymbol(value.venue, String(value.symbol));
    const full = chart && chart !== value.symbol ? `Chart of ${chart}` : String(value.symbol);
    cell.lead({ text: String(value.symbol), full, href: chart && at(`/chart/${encodeURIComponent(chart)}`), ours: true });
  },
};

/** @type {Column} */
const SIDE = {
  name: 'side',
  label: 'Side',
  width: '64px',
  key: (value) => String(value.side),
  signs: SIDES,
  write: (cell, value) => {
    const { text, tone } = traded(value.side);
    cell.say(value.role ? `${text} ${mark(value)[0]}` : text, tone, mark(value)[1]);
  },
};

/** @param {any} value what stands behind the side, and what it means */
function mark(value) {
  if (value.role === 'counterparty') return ROLES.counterparty;
  return value.inferred ? ROLES.inferred : ['', ''];
}

/** @type {Column} */
const FORCED = {
  name: 'side',
  label: 'What',
  width: 'minmax(116px, 1.2fr)',
  key: (value) => `${value.role === 'counterparty' ? 1 : 0}${value.side}`,
  signs: SIDES,
  write: (cell, value) => {
    const [sign, why] = mark(value);
    if (value.role === 'counterparty') {
      // Who bought then took over a long that was closed by force.
      cell.say(`Took over ${value.side === 'BUY' ? 'long' : 'short'} ${sign}`, 'quiet', why);
      return;
    }
    const { text, tone, why: meaning } = liquidated(value.side);
    cell.say(sign ? `${text} ${sign}` : text, tone, why || meaning);
  },
};

/** @type {Column} */
const ACTION = { name: 'dir', label: 'Action', width: 'minmax(96px, 1.3fr)', key: (value) => String(value.dir), write: (cell, value) => cell.say(value.dir || NONE) };

/** @type {Column} */
const ROLE = { name: 'role', label: 'As', width: '48px', key: (value) => (value.taker ? 0 : 1), signs: Object.entries(AS), write: (cell, value) => cell.say(value.taker ? 'taker' : 'maker', 'quiet', AS[value.taker ? 'taker' : 'maker']) };

/** @type {Column} */
const PRICE = {
  name: 'price',
  label: 'Price',
  width: AMOUNT,
  end: true,
  key: (value) => number(value.price),
  signs: KINDS_OF_PRICE,
  write: (cell, value, row) => {
    const kind = PRICE_KINDS[value.price_kind];
    const title = value.averaged ? `average of ${row.fills?.length} fills` : kind ?? String(value.price);
    cell.say(`${value.averaged || kind ? '≈ ' : ''}${price(value.price)}`, '', title);
  },
};

/** @type {Column} */
const MARK = { name: 'markprice', label: 'Mark', width: AMOUNT, end: true, has: (value) => Boolean(value.mark_price), key: (value) => number(value.mark_price), signs: [['Mark', AT_MARK]], write: (cell, value) => cell.say(value.mark_price ? price(value.mark_price) : NONE, 'quiet', AT_MARK) };

/** @type {Column} */
const SIZE = { name: 'size', label: 'Size', width: AMOUNT, end: true, key: (value) => number(value.quantity), write: (cell, value) => cell.say(quantity(value.quantity), '', String(value.quantity)) };

/** @type {Column} */
const VALUE = { name: 'value', label: 'Value', width: 'minmax(108px, 1.2fr)', end: true, key: (value) => number(value.notional), write: (cell, value) => cell.say(money(value.notional), value.role === 'counterparty' ? '' : traded(value.side).tone, String(value.notional)) };

/** @type {Column} */
const FILLS = {
  name: 'fills',
  label: 'Fills',
  width: '72px',
  end: true,
  late: true,
  has: (_, row) => (row.fills?.length ?? 0) > 1,
  key: (_, row) => row.fills?.length ?? 1,
  write: (cell, _, row) => {
    const many = row.fills?.length ?? 1;
    cell.say(many > 1 ? `${count(many)} fills ${row.open ? '▾' : '▸'}` : '', '', many > 1 ? 'Click, or the right arrow, shows each' : '');
  },
};

/** @type {Column} */
const METHOD = { name: 'method', label: 'Method', width: '72px', has: (value) => Boolean(value.method), key: (value) => value.method ?? null, signs: Object.entries(METHODS), write: (cell, value) => cell.say(value.method || NONE, 'quiet', METHODS[value.method] ?? '') };

/** @type {Column} */
const PNL = {
  name: 'pnl',
  label: 'PnL',
  width: AMOUNT,
  end: true,
  key: (value) => number(value.pnl),
  signs: [['PnL', BEFORE_FEE]],
  write: (cell, value) => {
    const { text, tone } = profit(value.pnl);
    cell.say(text, tone || 'quiet', BEFORE_FEE);
  },
};

/** @type {Column} */
const FEE = { name: 'fee', label: 'Fee', width: 'minmax(56px, 0.9fr)', end: true, key: (value) => number(value.fee), write: (cell, value) => cell.say(fee(value.fee, value.fee_token), 'quiet', `${value.fee} ${value.fee_token}`) };

/** @type {Column} */
const VENUE = { name: 'venue', label: 'Venue', width: '96px', has: (value) => Boolean(value.venue), key: (value) => String(value.venue), write: (cell, value) => cell.say(value.venue ? venueName(value.venue) : NONE, 'quiet') };

/** @type {Column} */
const TRADER = {
  name: 'trader',
  label: 'Trader',
  width: '132px',
  linked: true,
  main: true,
  key: (value) => String(value.address),
  write: (cell, value) => {
    const who = address(value.address, tradersPath());
    const other = value.role === 'counterparty' && value.liquidated_user;
    cell.lead(other ? { ...who, full: `${who.full}; liquidated: ${shortened(String(other))}` } : who);
  },
};

/** @type {Column} */
const HASH = { name: 'hash', label: 'Tx Hash', width: '104px', linked: true, has: (value) => transaction(value.hash).href !== null, key: (value) => String(value.hash), write: (cell, value) => cell.lead(transaction(value.hash)) };

/** An account of a public trade. @param {'taker' | 'maker'} name @param {string} label @returns {Column} */
function party(name, label) {
  return {
    name: name === 'taker' ? 'trader' : 'maker',
    label,
    width: ACCOUNT,
    linked: true,
    main: name === 'taker',
    has: (value) => parties(value)[name] !== '',
    key: (value) => parties(value)[name] || null,
    write: (cell, value, row) => {
      const all = new Set((row.fills ?? [value]).map((fill) => parties(fill)[name]));
      if (all.size > 1) cell.lead({ text: `${count(all.size)} accounts`, full: 'Open the row to see each', href: null });
      else cell.lead(address(parties(value)[name], tradersPath()));
    },
  };
}

/** The columns for each class of records, on each page. @type {Record<string, Record<string, Column[]>>} */
const KINDS = {
  'all-fills': {
    Fill: [TIME, COIN, SIDE, ROLE, ACTION, PRICE, SIZE, VALUE, FILLS, PNL, FEE, TRADER],
    Trade: [TIME, COIN, SIDE, PRICE, SIZE, VALUE, FILLS, party('taker', 'Taker'), party('maker', 'Maker'), VENUE],
  },
  liquidations: {
    Fill: [TIME, COIN, FORCED, PRICE, MARK, SIZE, VALUE, FILLS, METHOD, PNL, FEE, { ...TRADER, label: 'Wallet' }, HASH],
    Liquidation: [TIME, COIN, FORCED, PRICE, SIZE, VALUE, FILLS, VENUE],
  },
};

/** All that a page may have, for the classes of its records; those of the first come first. @param {string} page @param {string[]} records */
export function columnsOf(page, records) {
  const kinds = KINDS[page] ?? KINDS['all-fills'];
  const found = records.map((record) => kinds[record] ?? []).flat();
  const all = found.length > 0 ? found : kinds.Fill;
  return all.filter((column, index) => all.findIndex(({ name }) => name === column.name) === index);
}

/** Those that have something to say in any row. */
export class Fitting {
  /** Those to show. @type {Column[]} */
  columns;
  #all;
  #filled = new Set();
  #any = false;

  /** @param {Column[]} all */
  constructor(all) {
    this.#all = all;
    this.columns = all.filter(({ late }) => !late);
  }

  /** Rows came. @param {Iterable<Row>} rows @returns {boolean} whether the columns are others now */
  see(rows) {
    for (const row of rows) {
      this.#any = true;
      for (const { name, has } of this.#all) if (has && !this.#filled.has(name) && has(row.value, row)) this.#filled.add(name);
    }
    const fit = this.#any ? this.#all.filter(({ name, has }) => !has || this.#filled.has(name)) : this.columns;
    const changed = fit.length !== this.columns.length;
    this.columns = fit;
    return changed;
  }
}

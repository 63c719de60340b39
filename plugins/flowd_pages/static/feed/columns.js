/**
 * The columns of the two feeds: what each is called and how a fill is written into it.
 *
 * @module feed/columns
 */

import { h, tradersPath } from '../dom.js';
import { clock, money, price, quantity, stamp } from '../format.js';
import { NONE, address, fee, profit, shortened, side, transaction } from './forms.js';

/** One cell, which shows one fill after another. Everything goes in as text. */
export class Cell {
  #text = document.createTextNode('');
  #tone = '';
  #title = '';
  /** @type {HTMLAnchorElement | null} */
  #link = null;
  /** @type {HTMLAnchorElement | null} */
  #beside = null;
  /** What the column adds to the words. @type {HTMLElement | null} */
  part = null;

  /** @param {Column} column */
  constructor(column) {
    this.#class = `cell ${column.name}${column.end ? ' end' : ''}`;
    this.element = h('span', { class: this.#class, role: 'gridcell' });
    if (column.linked) {
      // The row has the keyboard's focus and opens it by Enter, so that Tab passes five thousand links.
      this.#link = h('a', { rel: 'noopener noreferrer', tabindex: -1 });
      this.#beside = explorerLink(-1);
      this.element.append(this.#link, this.#beside);
    }
    (this.#link ?? this.element).append(this.#text);
    if (column.part) this.element.append((this.part = column.part()));
  }

  #class;

  /** @param {unknown} text @param {string} [tone] a class @param {string} [title] more about it */
  say(text, tone = '', title = '') {
    this.#text.data = String(text);
    if (tone !== this.#tone) this.element.className = tone ? `${this.#class} ${tone}` : this.#class;
    if (title !== this.#title) this.element.title = title;
    this.#tone = tone;
    this.#title = title;
  }

  /** @param {import('./forms.js').Linked} linked */
  lead(linked) {
    this.say(linked.text, linked.href ? '' : 'quiet', linked.full);
    if (this.#link && this.#beside) lead(this.#link, this.#beside, linked);
  }

  /** Where it leads, if anywhere. @returns {HTMLAnchorElement | null} */
  get link() {
    return this.#link?.hasAttribute('href') ? this.#link : null;
  }
}

/** The small second link to the explorer, which leads nowhere yet. @param {number} [tabindex] */
export function explorerLink(tabindex) {
  return h('a', { class: 'beside', rel: 'noopener noreferrer', target: '_blank', title: 'On Flowscan', 'aria-label': 'On Flowscan', tabindex, hidden: true });
}

/**
 * Let two links lead where an address does: the first to our own page of it if there is one, the other to the explorer.
 *
 * @param {HTMLAnchorElement} link
 * @param {HTMLAnchorElement} beside
 * @param {import('./forms.js').Linked} linked
 */
export function lead(link, beside, { href, beside: elsewhere }) {
  if (href) link.setAttribute('href', href);
  else link.removeAttribute('href');
  if (elsewhere) link.removeAttribute('target');
  else link.setAttribute('target', '_blank');
  beside.hidden = !elsewhere;
  beside.textContent = elsewhere ? '↗' : '';
  if (elsewhere) beside.setAttribute('href', elsewhere);
  else beside.removeAttribute('href');
}

/**
 * @typedef {object} Column
 * @property {string} name
 * @property {string} label
 * @property {boolean} [end] numbers, which end at the right
 * @property {boolean} [linked]
 * @property {() => HTMLElement} [part] what stands beside the words of each cell
 * @property {(cell: Cell, fill: any) => void} write
 */

const ROLES = {
  counterparty: ['↔', 'counterparty: the account that took the position over; not part of the totals'],
  inferred: ['≈', 'concluded from its counterparty'],
};

/** @param {any} fill what stands behind the side, and what it means */
function mark(fill) {
  if (fill.role === 'counterparty') return ROLES.counterparty;
  return fill.inferred ? ROLES.inferred : ['', ''];
}

/** @type {Column} */
const time = {
  name: 'time',
  label: 'Time',
  write: (cell, fill) => cell.say(clock(fill.time_ms), '', `${stamp(fill.time_ms, true)} ${clock(fill.time_ms)} UTC`),
};

/** @type {Column} */
const coin = { name: 'coin', label: 'Coin', write: (cell, fill) => cell.say(fill.symbol, '', String(fill.symbol)) };

/** @type {Column} */
const sided = {
  name: 'side',
  label: 'Side',
  write: (cell, fill) => {
    const { text, tone } = side(fill.side);
    const [sign, why] = mark(fill);
    cell.say(sign ? `${text} ${sign}` : text, tone, why);
  },
};

/** @type {Column} */
const forced = {
  ...sided,
  write: (cell, fill) => {
    const { text, tone } = side(fill.side);
    const [sign, why] = mark(fill);
    const meaning = { buy: 'forced buy: a short was closed', sell: 'forced sell: a long was closed', '': '' }[tone];
    cell.say(sign ? `${text} ${sign}` : text, tone, why || meaning);
  },
};

/** @type {Column} */
const action = { name: 'dir', label: 'Action', write: (cell, fill) => cell.say(fill.dir || NONE, '', fill.taker ? 'taker' : 'maker') };

/** @type {Column[]} */
const amounts = [
  { name: 'price', label: 'Price', end: true, write: (cell, fill) => cell.say(price(fill.price), '', String(fill.price)) },
  { name: 'size', label: 'Size', end: true, write: (cell, fill) => cell.say(quantity(fill.quantity), '', String(fill.quantity)) },
  { name: 'value', label: 'Value', end: true, write: (cell, fill) => cell.say(money(fill.notional), side(fill.side).tone, String(fill.notional)) },
  {
    name: 'pnl',
    label: 'PnL',
    end: true,
    write: (cell, fill) => {
      const { text, tone } = profit(fill.pnl);
      cell.say(text, tone || 'quiet', 'before the fee');
    },
  },
  { name: 'fee', label: 'Fee', end: true, write: (cell, fill) => cell.say(fee(fill.fee, fill.fee_token), 'quiet', `${fill.fee} ${fill.fee_token}`) },
];

/** @type {Column} */
const trader = { name: 'trader', label: 'Trader', linked: true, write: (cell, fill) => cell.lead(address(fill.address, tradersPath())) };

/** @type {Column} */
const wallet = {
  ...trader,
  label: 'Wallet',
  write: (cell, fill) => {
    const who = address(fill.address, tradersPath());
    const other = fill.role === 'counterparty' && fill.liquidated_user;
    cell.lead(other ? { ...who, full: `${who.full}; liquidated: ${shortened(String(other))}` } : who);
  },
};

/** @type {Column} */
const hash = { name: 'hash', label: 'Tx Hash', linked: true, write: (cell, fill) => cell.lead(transaction(fill.hash)) };

/** The columns of each page. @type {Record<string, Column[]>} */
export const COLUMNS = {
  'all-fills': [time, coin, sided, action, ...amounts, trader],
  liquidations: [time, coin, forced, ...amounts, wallet, hash],
};

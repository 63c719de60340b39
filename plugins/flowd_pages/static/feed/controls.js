/**
 * The filters above a feed, which live in the page's address, and what holds the table still.
 *
 * @module feed/controls
 */

import { byId, segments } from '../dom.js';
import { ALL, amountOf, fromSearch, isAll, toSearch } from './filter.js';

/** @typedef {import('./filter.js').Filter} Filter */

/** Address and search are not written more often: browsers refuse that. */
const ADDRESS_AFTER_MS = 300;

/** Which sides there are to choose from, on each page. @type {Record<string, {value: string, label: string, title?: string}[]>} */
const SIDES = {
  'all-fills': [
    { value: 'ALL', label: 'All', title: 'All, both sides' },
    { value: 'BUY', label: 'Buy' },
    { value: 'SELL', label: 'Sell' },
  ],
  liquidations: [
    { value: 'ALL', label: 'All', title: 'All, longs and shorts' },
    { value: 'SELL', label: 'Longs', title: 'Longs liquidated' },
    { value: 'BUY', label: 'Shorts', title: 'Shorts liquidated' },
  ],
};
const ROLES = [
  { value: 'ALL', label: 'All', title: 'All, takers and makers' },
  { value: 'TAKER', label: 'Takers' },
  { value: 'MAKER', label: 'Makers' },
];

/**
 * The filters. What is typed as the least value and is no amount is said to be none, and changes nothing: the last that
 * was one holds. Returns what puts them back to nothing.
 *
 * @param {string} page
 * @param {(filter: Filter) => void} onChange
 */
export function filters(page, onChange) {
  const text = /** @type {HTMLInputElement} */ (byId('filter-text'));
  const least = /** @type {HTMLInputElement} */ (byId('filter-least'));
  const reset = /** @type {HTMLButtonElement} */ (byId('filter-reset'));
  const why = byId('least-why');
  let filter = fromSearch(location.search);
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  let writing;

  const side = segments(byId('filter-side'), SIDES[page] ?? SIDES['all-fills'], filter.side, (chosen) => change({ side: /** @type {Filter['side']} */ (chosen) }));
  const group = document.getElementById('filter-role');
  const role = group && segments(group, ROLES, filter.role, (chosen) => change({ role: /** @type {Filter['role']} */ (chosen) }));

  const show = () => {
    const wrong = Number.isNaN(amountOf(least.value));
    least.setAttribute('aria-invalid', String(wrong));
    why.hidden = !wrong;
    why.textContent = wrong ? `“${least.value}” is no amount: write 10000 or 10k. ${filter.least ? `Still from $${filter.least}.` : 'All values are shown.'}` : '';
    reset.classList.toggle('off', isAll(filter) && !wrong);
    reset.disabled = isAll(filter) && !wrong;
  };
  const write = () => history.replaceState(history.state, '', `${location.pathname}${toSearch(filter, location.search)}${location.hash}`);

  /** @param {Partial<Filter>} part */
  function change(part) {
    filter = { ...filter, ...part };
    show();
    clearTimeout(writing);
    writing = setTimeout(write, ADDRESS_AFTER_MS);
    onChange(filter);
  }

  const put = () => {
    text.value = filter.text;
    least.value = filter.least;
    if (Number.isNaN(amountOf(filter.least))) filter = { ...filter, least: '' };
    side.mark(filter.side);
    role?.mark(filter.role);
    show();
    onChange(filter);
  };
  text.addEventListener('input', () => change({ text: text.value }));
  least.addEventListener('input', () => (Number.isNaN(amountOf(least.value)) ? show() : change({ least: least.value })));
  const clear = () => {
    filter = { ...ALL };
    write();
    put();
  };
  reset.addEventListener('click', clear);
  window.addEventListener('popstate', () => {
    filter = fromSearch(location.search);
    put();
  });
  put();
  return clear;
}

/** Why the table is held still, as words. */
const REASONS = {
  key: 'Paused',
  keyboard: 'Paused while a row is chosen',
  scroll: 'Paused while older rows are read',
  pointer: 'Paused under the pointer',
};

/** @typedef {keyof typeof REASONS} Reason */

/** Holds as long as there is any reason to. */
export class Holding {
  /** @type {Set<Reason>} */
  #reasons = new Set();

  /** @param {(held: boolean) => void} onChange */
  constructor(onChange) {
    this.onChange = onChange;
  }

  get held() {
    return this.#reasons.size > 0;
  }

  /** @param {Reason} reason */
  has(reason) {
    return this.#reasons.has(reason);
  }

  /** The first reason in words, `''` when there is none. */
  get words() {
    const found = /** @type {Reason[]} */ (Object.keys(REASONS)).find((reason) => this.#reasons.has(reason));
    return found ? REASONS[found] : '';
  }

  /** @param {Reason} reason @param {boolean} on */
  set(reason, on) {
    if (this.#reasons.has(reason) === on) return;
    if (on) this.#reasons.add(reason);
    else this.#reasons.delete(reason);
    this.onChange(this.held);
  }

  /** No reason holds any more. */
  release() {
    if (!this.held) return;
    this.#reasons.clear();
    this.onChange(false);
  }
}

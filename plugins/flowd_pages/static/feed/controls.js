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

/**
 * The three filters. Returns what puts them back to nothing.
 *
 * @param {(filter: Filter) => void} onChange
 */
export function filters(onChange) {
  const text = /** @type {HTMLInputElement} */ (byId('filter-text'));
  const least = /** @type {HTMLInputElement} */ (byId('filter-least'));
  const reset = /** @type {HTMLButtonElement} */ (byId('filter-reset'));
  let filter = fromSearch(location.search);
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  let writing;

  const sides = [
    { value: 'ALL', label: 'All', title: 'Both sides' },
    { value: 'BUY', label: 'Buy' },
    { value: 'SELL', label: 'Sell' },
  ];
  const choice = segments(byId('filter-side'), sides, filter.side, (side) => change({ side: /** @type {Filter['side']} */ (side) }));

  const show = () => {
    const wrong = Number.isNaN(amountOf(filter.least));
    least.setAttribute('aria-invalid', String(wrong));
    least.title = wrong ? 'No amount: write 10000 or 10k' : 'Only rows of at least so many dollars';
    reset.classList.toggle('off', isAll(filter));
    reset.disabled = isAll(filter);
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
    choice.mark(filter.side);
    show();
    onChange(filter);
  };
  text.addEventListener('input', () => change({ text: text.value }));
  least.addEventListener('input', () => change({ least: least.value }));
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

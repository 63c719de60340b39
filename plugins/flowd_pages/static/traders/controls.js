/**
 * The filters above the leaderboard and the heads of its columns, all of which live in the page's address.
 *
 * @module traders/controls
 */

import { byId, fill, h } from '../dom.js';
import { amountOf } from '../feed/filter.js';
import { FIGURES } from './figures.js';
import { PLAIN, fromSearch, isAll, sortedBy, toSearch } from './view.js';

/** @typedef {import('./view.js').View} View */

/** The address is not written more often: browsers refuse that. */
const ADDRESS_AFTER_MS = 300;

/**
 * @param {HTMLElement} head whose columns become buttons
 * @param {(view: View) => void} onChange
 */
export function controls(head, onChange) {
  const inputs = {
    text: /** @type {HTMLInputElement} */ (byId('filter-text')),
    trips: /** @type {HTMLInputElement} */ (byId('filter-trips')),
    volume: /** @type {HTMLInputElement} */ (byId('filter-volume')),
  };
  const reset = /** @type {HTMLButtonElement} */ (byId('filter-reset'));
  const sort = /** @type {HTMLSelectElement} */ (byId('sort'));
  const order = byId('order');
  let view = fromSearch(location.search);
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  let writing;

  const heads = /** @type {HTMLElement[]} */ ([...head.children]);
  const marks = heads.map((cell, index) => {
    const { name, label, title } = FIGURES[index];
    const mark = h('b', { 'aria-hidden': 'true' });
    const button = h('button', { type: 'button', title, 'data-sort': name }, label, mark);
    button.addEventListener('click', () => change(sortedBy(view, name)));
    fill(cell, button);
    return mark;
  });
  fill(sort, ...FIGURES.map(({ name, label }) => h('option', { value: name }, name === 'rank' ? 'Rank' : label)));

  const show = () => {
    heads.forEach((cell, index) => {
      const on = FIGURES[index].name === view.sort;
      marks[index].textContent = on ? (view.order === 'asc' ? '▲' : '▼') : '';
      if (on) cell.setAttribute('aria-sort', view.order === 'asc' ? 'ascending' : 'descending');
      else cell.removeAttribute('aria-sort');
    });
    sort.value = view.sort;
    order.textContent = view.order === 'asc' ? '▲' : '▼';
    order.title = view.order === 'asc' ? 'The least first' : 'The most first';
    order.setAttribute('aria-label', `${order.title}: turn round`);
    for (const name of /** @type {const} */ (['trips', 'volume'])) {
      const wrong = Number.isNaN(amountOf(view[name]));
      inputs[name].setAttribute('aria-invalid', String(wrong));
      inputs[name].title = wrong ? 'No amount: write 10000 or 10k' : '';
    }
    reset.classList.toggle('off', isAll(view));
    reset.disabled = isAll(view);
  };
  const write = () => history.replaceState(history.state, '', `${location.pathname}${toSearch(view, location.search)}${location.hash}`);

  /** @param {Partial<View>} part */
  function change(part) {
    view = { ...view, ...part };
    show();
    clearTimeout(writing);
    writing = setTimeout(write, ADDRESS_AFTER_MS);
    onChange(view);
  }
  const put = () => {
    for (const name of /** @type {const} */ (['text', 'trips', 'volume'])) inputs[name].value = view[name];
    show();
    onChange(view);
  };
  for (const name of /** @type {const} */ (['text', 'trips', 'volume'])) inputs[name].addEventListener('input', () => change({ [name]: inputs[name].value }));
  sort.addEventListener('change', () => change(sortedBy({ ...view, sort: '' }, sort.value)));
  order.addEventListener('click', () => change(sortedBy(view, view.sort)));
  const clear = () => {
    const { text, trips, volume } = PLAIN;
    view = { ...view, text, trips, volume };
    clearTimeout(writing);
    write();
    put();
  };
  reset.addEventListener('click', clear);
  window.addEventListener('popstate', () => {
    view = fromSearch(location.search);
    put();
  });
  put();
  return { clear };
}

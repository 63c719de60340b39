/**
 * The heads of a feed's columns: a click sorts by one, one more turns the order round. It stands in the page's address.
 *
 * @module feed/heads
 */

import { fill, h } from '../dom.js';

/** @typedef {import('./columns.js').Column} Column */
/** @typedef {'asc' | 'desc'} Order */
/** By which column, and in which order. @typedef {{name: string, order: Order}} Sort */

/** The newest first. @type {Readonly<Sort>} */
export const NEWEST = Object.freeze({ name: 'time', order: 'desc' });

/** @param {string} search such as `?sort=value&order=asc` @returns {Sort} */
export function sortFrom(search) {
  const wanted = new URLSearchParams(search);
  const name = wanted.get('sort') ?? '';
  return /^[a-z]{1,20}$/.test(name) ? { name, order: wanted.get('order') === 'asc' ? 'asc' : 'desc' } : NEWEST;
}

/** The same in an address; what else stands there is kept. @param {Sort} sort @param {string} search */
export function sortTo(sort, search) {
  const wanted = new URLSearchParams(search);
  const plain = sort.name === NEWEST.name && sort.order === NEWEST.order;
  if (plain) wanted.delete('sort');
  else wanted.set('sort', sort.name);
  if (sort.order === 'asc') wanted.set('order', 'asc');
  else wanted.delete('order');
  const said = wanted.toString();
  return said && `?${said}`;
}

/** What a click on a column's head makes of it: numbers and times begin with the most, words with the first. @param {Sort} sort @param {Column} column @returns {Sort} */
export function clicked(sort, { name, end }) {
  if (sort.name === name) return { name, order: sort.order === 'desc' ? 'asc' : 'desc' };
  return { name, order: end || name === 'time' ? 'desc' : 'asc' };
}

/**
 * Put buttons into the heads that a table made.
 *
 * @param {HTMLElement} head
 * @param {Column[]} columns
 * @param {Sort} sort
 * @param {(sort: Sort) => void} onSort
 */
export function heads(head, columns, sort, onSort) {
  columns.forEach((column, index) => {
    const cell = /** @type {HTMLElement} */ (head.children[index]);
    const on = sort.name === column.name;
    if (on) cell.setAttribute('aria-sort', sort.order === 'asc' ? 'ascending' : 'descending');
    else cell.removeAttribute('aria-sort');
    const mark = h('b', { 'aria-hidden': 'true' }, on ? (sort.order === 'asc' ? '▲' : '▼') : '');
    const button = h('button', { type: 'button', 'data-sort': column.name }, column.label, mark);
    button.addEventListener('click', () => {
      onSort(clicked(sort, column));
      // The head was made anew: the keyboard stays on its column.
      /** @type {HTMLElement | null} */ (head.querySelector(`[data-sort="${column.name}"]`))?.focus();
    });
    fill(cell, button);
  });
}

/** What the signs in these columns mean, for who has no pointer to rest on them. @param {HTMLElement} list @param {Column[]} columns */
export function legend(list, columns) {
  fill(list, ...columns.flatMap(({ signs }) => signs ?? []).map(([sign, why]) => h('div', {}, h('dt', {}, `${sign}:`), ' ', h('dd', {}, why))));
}

/**
 * Which traders are shown, in which order: choices that live in the page's address.
 *
 * @module traders/view
 */

import { TEXT_MAX, amountOf } from '../feed/filter.js';
import { FIGURES } from './figures.js';

/**
 * `text` is part of the address; `trips` and `volume` are the least of these, as they were typed.
 *
 * @typedef {object} View
 * @property {string} text
 * @property {string} trips
 * @property {string} volume
 * @property {string} sort the name of a figure
 * @property {'asc' | 'desc'} order
 */

/** Everybody, the highest score first. @type {Readonly<View>} */
export const PLAIN = Object.freeze({ text: '', trips: '', volume: '', sort: 'trader_score', order: 'desc' });

/** @param {string} name */
export function figureOf(name) {
  return FIGURES.find((figure) => figure.name === name) ?? null;
}

/** @param {string} search such as `?sort=win_rate&order=asc&q=0xab&min_trips=20&min_volume=10k` @returns {View} */
export function fromSearch(search) {
  const wanted = new URLSearchParams(search);
  const figure = figureOf(wanted.get('sort') ?? '') ?? /** @type {import('./figures.js').Figure} */ (figureOf(PLAIN.sort));
  const order = wanted.get('order');
  /** @param {string} name */
  const least = (name) => {
    const text = (wanted.get(name) ?? '').trim().slice(0, TEXT_MAX);
    return amountOf(text) > 0 ? text : '';
  };
  return {
    text: (wanted.get('q') ?? '').slice(0, TEXT_MAX),
    trips: least('min_trips'),
    volume: least('min_volume'),
    sort: figure.name,
    order: order === 'asc' || order === 'desc' ? order : figure.order,
  };
}

/** The same in an address; what else stands there is kept. @param {View} view @param {string} search */
export function toSearch(view, search = '') {
  const wanted = new URLSearchParams(search);
  /** @param {string} name @param {string} value */
  const say = (name, value) => (value ? wanted.set(name, value) : wanted.delete(name));
  const plain = view.order === figureOf(view.sort)?.order;
  say('sort', view.sort === PLAIN.sort ? '' : view.sort);
  say('order', plain ? '' : view.order);
  say('q', view.text.trim());
  say('min_trips', amountOf(view.trips) > 0 ? view.trips.trim() : '');
  say('min_volume', amountOf(view.volume) > 0 ? view.volume.trim() : '');
  const said = wanted.toString();
  return said && `?${said}`;
}

/** Sorted by this figure now: once more turns the order round. @param {View} view @param {string} name @returns {View} */
export function sortedBy(view, name) {
  const figure = figureOf(name);
  if (!figure) return view;
  if (view.sort !== name) return { ...view, sort: name, order: figure.order };
  return { ...view, order: view.order === 'asc' ? 'desc' : 'asc' };
}

/** Whether nobody is left out. @param {View} view */
export function isAll(view) {
  return view.text.trim() === '' && !(amountOf(view.trips) > 0) && !(amountOf(view.volume) > 0);
}

/** What is typed and no amount leaves nobody out; whose volume is unknown has not that much. @param {View} view @returns {(row: any) => boolean} */
export function matcher(view) {
  const text = view.text.trim().toLowerCase();
  const [trips, volume] = [amountOf(view.trips), amountOf(view.volume)];
  return (row) => {
    if (trips > 0 && !(row.trips >= trips)) return false;
    if (volume > 0 && !(row.volume !== null && Number(row.volume) >= volume)) return false;
    return text === '' || String(row.address).toLowerCase().includes(text);
  };
}

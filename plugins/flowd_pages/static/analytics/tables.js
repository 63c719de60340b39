/**
 * The tables of the analytics. Their rows are made once, and written anew.
 *
 * @module analytics/tables
 */

import { at, bodyOf, byId, fill, h, tradersPath } from '../dom.js';
import { clock, money, stamp } from '../format.js';
import { explorerLink, lead } from '../feed/columns.js';
import { address } from '../feed/forms.js';
import { doubts, exactness, liquidated, venueName } from '../words.js';
import { HOUR_MS, LEVELS, REST, atLeast, bought, cellWords, dollars, level, partOf } from './model.js';

const DAY_MS = 86_400_000;

/** How many rows each has. */
export const ROWS = 12;

/**
 * @typedef {object} Line
 * @property {HTMLTableRowElement} element
 * @property {(item: any) => void} write
 */

/** A table whose rows stay where they are, so that what is pointed at or focused stays too. */
export class Rows {
  /** @type {Line[]} */
  #lines = [];

  /** @param {string} id @param {(index: number) => Line} make */
  constructor(id, make) {
    this.body = bodyOf(id);
    this.empty = byId(`${id}-empty`);
    this.make = make;
  }

  /** @param {any[]} items @param {...import('../dom.js').Child} otherwise what is said when there are none */
  show(items, ...otherwise) {
    if (this.#lines.length === 0) {
      this.#lines = Array.from({ length: ROWS }, (_, index) => this.make(index));
      fill(this.body, ...this.#lines.map((line) => line.element));
    }
    this.#lines.forEach((line, index) => {
      line.element.classList.toggle('spare', !items[index]);
      if (items[index]) line.write(items[index]);
    });
    this.empty.hidden = items.length > 0;
    if (items.length === 0) fill(this.empty, ...otherwise);
  }
}

/** @param {number} index */
const number = (index) => h('td', { class: 'quiet end rank' }, index + 1);

/** The part that was bought, as a bar and a number. */
function proportion() {
  const part = h('i', {});
  const bar = h('span', { class: 'split', role: 'img' }, part);
  const text = h('span', { class: 'split-text' });
  const cell = h('td', {}, h('span', { class: 'split-cell' }, bar, text));
  /** @param {{buy: string, sell: string}} item */
  const write = ({ buy, sell }) => {
    const percent = bought(buy, sell);
    part.style.width = `${percent ?? 50}%`;
    bar.setAttribute('aria-label', percent === null ? 'nothing' : `${percent}% bought, ${100 - percent}% sold`);
    cell.title = `bought ${money(buy)}, sold ${money(sell)}`;
    text.textContent = percent === null ? '' : `${percent}%`;
  };
  return { cell, write };
}

/** @param {number} index */
export function coinLine(index) {
  const link = h('a', {});
  const volume = h('td', { class: 'end' });
  const split = proportion();
  return {
    element: h('tr', {}, number(index), h('th', { scope: 'row', class: 'name' }, link), volume, split.cell),
    write: (/** @type {any} */ row) => {
      link.textContent = row.name;
      link.href = at(`/all-fills?q=${encodeURIComponent(row.name)}`);
      volume.textContent = dollars(row.volume);
      volume.title = money(row.volume);
      split.write(row);
    },
  };
}

/** Links to who it was, or only words. */
function who() {
  const link = h('a', { rel: 'noopener noreferrer' });
  const beside = explorerLink();
  /** @param {unknown} text */
  const write = (text) => {
    const found = address(text, tradersPath());
    link.textContent = found.text;
    link.title = found.full;
    lead(link, beside, found);
  };
  return { links: [link, beside], write };
}

/** @param {number} index */
export function traderLine(index) {
  const trader = who();
  const volume = h('td', { class: 'end' });
  const split = proportion();
  return {
    element: h('tr', {}, number(index), h('th', { scope: 'row', class: 'name' }, ...trader.links), volume, split.cell),
    write: (/** @type {any} */ row) => {
      trader.write(row.name);
      volume.textContent = dollars(row.volume);
      volume.title = money(row.volume);
      split.write(row);
    },
  };
}

/** @returns {Line} */
export function largestLine() {
  const [time, coin, sided, value] = [h('td', { class: 'quiet' }), h('th', { scope: 'row', class: 'name' }), h('td'), h('td', { class: 'end' })];
  const trader = who();
  return {
    element: h('tr', {}, time, coin, sided, value, h('td', {}, ...trader.links)),
    write: (row) => {
      time.textContent = clock(row.time_ms);
      time.title = `${stamp(row.time_ms, true)} ${clock(row.time_ms)} UTC`;
      coin.textContent = row.symbol;
      const { text, arrow, tone, why } = liquidated(row.side);
      sided.textContent = `${arrow} ${text.replace(' liquidated', '')}`;
      sided.className = tone;
      sided.title = why;
      value.textContent = `${exactness(doubts(row)).sign}${dollars(row.notional)}`;
      value.title = money(row.notional);
      // Where an account is told, the venue's name leads to it.
      trader.write(row.address);
      if (row.venue) trader.links[0].textContent = venueName(row.venue);
    },
  };
}

/** `14:00 to 15:00`. @param {number} time */
const hour = (time) => `${clock(time).slice(0, 5)} to ${clock(time + 3_600_000).slice(0, 5)}`;

/** The heat map: a table whose cells say their volume, and by their colour how much of the most that is. */
export class HeatMap {
  #head = /** @type {HTMLTableSectionElement} */ (/** @type {HTMLTableElement} */ (byId('heat')).tHead);
  #body = bodyOf('heat');
  #legend = byId('heat-legend');
  /** @type {{row: HTMLElement, name: HTMLElement, cells: HTMLElement[], total: HTMLElement}[]} */
  #rows = [];
  #times = '';
  #first = true;
  /** @type {import('./model.js').Sided} */
  #sided = 'both';
  /** @type {number | null} */
  #since = null;

  /** Whether rows say whose they are, as several venues have some. */
  #told = false;

  /** @param {ReturnType<typeof import('./model.js').heat>} map @param {import('./model.js').Sided} sided @param {number | null} since when anything is known, null where nobody knows */
  show({ times, rows, most, venues }, sided, since) {
    this.#told = venues.length > 1;
    this.#since = since;
    this.#sided = sided;
    if (this.#times !== times.join()) {
      this.#times = times.join();
      // The date stands where a day begins, and over the first hour.
      const names = times.map((time, index) => {
        const date = index === 0 || time % DAY_MS === 0 ? stamp(time).split(' ').slice(0, 2).join(' ') : '';
        return h('th', { scope: 'col', title: `${stamp(time, true)}, ${hour(time)} UTC` }, date && h('span', { class: 'heat-date' }, date), clock(time).slice(0, 2));
      });
      fill(this.#head, h('tr', {}, h('th', { scope: 'col' }, 'Coin'), ...names, h('th', { scope: 'col', class: 'end' }, '24 h')));
    }
    while (this.#rows.length < rows.length) this.#rows.push(this.#make(times.length));
    fill(this.#body, ...rows.map((_, index) => this.#rows[index].row));
    rows.forEach((row, index) => this.#write(this.#rows[index], row, most));
    this.#explain(most);
    // Where not all hours have room the newest are the ones to see.
    if (this.#first && rows.length > 0) byId('heat').parentElement?.scrollTo(1e6, 0);
    this.#first &&= rows.length === 0;
  }

  /** @param {number} hours */
  #make(hours) {
    const name = h('th', { scope: 'row', class: 'name' });
    const cells = Array.from({ length: hours }, () => h('td', { class: 'heat-0' }));
    const total = h('td', { class: 'end total' });
    return { row: h('tr', {}, name, ...cells, total), name, cells, total };
  }

  /** @param {{name: HTMLElement, cells: HTMLElement[], total: HTMLElement}} line @param {import('./model.js').HeatRow} row @param {number} most */
  #write(line, row, most) {
    const name = row.symbol === REST ? 'others' : row.symbol;
    const venues = [...row.venues].sort().map(venueName);
    // The same coin has other names elsewhere: a row of one venue says of which.
    const alone = this.#told && venues.length === 1 && row.symbol !== REST ? venues[0] : '';
    if (line.name.dataset.words !== `${name} ${alone}`) {
      line.name.dataset.words = `${name} ${alone}`;
      fill(line.name, name, alone && h('span', { class: 'heat-venue' }, alone));
    }
    line.name.title = row.symbol === REST ? 'coins that are too many to be told one by one' : [name, venues.join(', ')].filter(Boolean).join(': ');
    line.total.textContent = dollars(row.total);
    row.cells.forEach((cell, index) => {
      const volume = partOf(cell, this.#sided);
      const element = line.cells[index];
      const text = volume > 0 ? compact(volume) : '';
      if (element.textContent !== text) element.textContent = text;
      const unknown = this.#since !== null && cell.count === 0 && cell.time + HOUR_MS <= this.#since;
      element.className = unknown ? 'heat-unknown' : `heat-${level(volume, most)}`;
      element.title = unknown ? `${name}, ${hour(cell.time)}: not known` : cellWords(cell, name, hour(cell.time));
      element.setAttribute('aria-label', element.title);
    });
  }

  /** @param {number} most */
  #explain(most) {
    if (most === 0) {
      fill(this.#legend);
      return;
    }
    const steps = Array.from({ length: LEVELS }, (_, index) => index + 1);
    const swatches = steps.map((step) => h('i', { class: `swatch heat-${step}`, title: `from ${dollars(atLeast(step, most))}` }));
    fill(this.#legend, h('span', {}, '$0'), ...swatches, h('span', {}, dollars(most)));
  }
}

/** `1.2M`, for a cell. @param {number} value */
export function compact(value) {
  const step = [
    [1e9, 'B'],
    [1e6, 'M'],
    [1e3, 'K'],
  ].find(([size]) => value >= Number(size) * 0.9995);
  if (!step) return value < 1 ? '<1' : String(Math.round(value));
  const scaled = value / Number(step[0]);
  return `${scaled < 9.95 ? scaled.toFixed(1).replace('.0', '') : Math.round(scaled)}${step[1]}`;
}

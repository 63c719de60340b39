/**
 * A table of thousands of rows of which only those in sight have elements, and these are used again and again.
 *
 * @module feed/table
 */

import { fill, h } from '../dom.js';
import { count } from '../format.js';
import { Cell } from './columns.js';

/** @typedef {import('./model.js').Row} Row */
/** @typedef {import('./columns.js').Column} Column */

/**
 * Rows in their order. While `generation` is the same, the row of a place is the same, and rows only come at the top.
 *
 * @typedef {object} Shown
 * @property {number} generation
 * @property {number} head the place of the first
 * @property {number} size
 * @property {(index: number) => Row | undefined} at
 */

/** Rows beyond the edges, so that scrolling shows no holes. */
const OVERSCAN = 4;
/** How long a new row is marked. */
const FRESH_MS = 1_000;

/** One element, which shows one row after another. */
class Line {
  place = 0;
  #index = -1;
  #class = '';
  /** @type {Cell[]} */
  #cells;
  #note = h('span', { class: 'cell note', role: 'gridcell' });
  #flips = false;

  /** @param {Column[]} columns @param {number} number */
  constructor(columns, number) {
    this.#cells = columns.map((column) => new Cell(column));
    this.columns = columns;
    this.element = h('div', { class: 'line', role: 'row', id: `row-${number}` }, ...this.#cells.map((cell) => cell.element), this.#note);
    this.#note.setAttribute('aria-colspan', String(columns.length));
  }

  /** @param {Row} row @param {number} now */
  show(row, now) {
    this.place = row.place;
    const fresh = row.arrived > 0 && now - row.arrived < FRESH_MS;
    // Two animations of one look take turns: the same one would not begin again.
    if (fresh) this.#flips = !this.#flips;
    this.#class = `line${row.missed ? ' hole' : ''}${fresh ? (this.#flips ? ' fresh' : ' fresh again') : ''}`;
    this.element.className = this.#class;
    if (row.missed) this.#note.textContent = missing(row.missed);
    else this.columns.forEach((column, index) => column.write(this.#cells[index], row.value));
  }

  /** @param {number} index @param {number} height of a row @param {boolean} active */
  move(index, height, active) {
    if (index !== this.#index) {
      this.#index = index;
      this.element.style.transform = `translateY(${index * height}px)`;
      this.element.setAttribute('aria-rowindex', String(index + 2));
    }
    const wanted = active ? `${this.#class} active` : this.#class;
    if (this.element.className !== wanted) this.element.className = wanted;
  }

  /** Out of sight, until it is shown again. */
  hide() {
    this.place = 0;
    this.#index = -1;
    this.element.className = 'line spare';
    this.element.removeAttribute('aria-rowindex');
  }

  /** The first link in it. @returns {HTMLAnchorElement | null} */
  get link() {
    for (const cell of this.#cells) if (cell.link) return cell.link;
    return null;
  }
}

/** @param {number} missed */
export function missing(missed) {
  return missed === 1 ? 'One row was missed here' : `${count(missed)} rows were missed here`;
}

/** Draws rows, when it is told to. */
export class Table {
  /** The row that the keyboard is on; 0 is the newest, -1 none. */
  active = -1;

  /** @type {Map<number, Line>} by place */
  #lines = new Map();
  /** @type {Line[]} */
  #spare = [];
  #made = 0;
  #generation = -1;
  #size = -1;
  #top = 0;
  #seen = 0;
  #height = 0;

  /**
   * @param {HTMLElement} grid what scrolls
   * @param {HTMLElement} head the names of the columns, which stay
   * @param {HTMLElement} body what is as high as all rows
   * @param {Column[]} columns
   * @param {Shown} feed
   * @param {() => void} changed what is in sight changed: draw soon
   */
  constructor(grid, head, body, columns, feed, changed) {
    this.grid = grid;
    this.head = head;
    this.body = body;
    this.columns = columns;
    this.feed = feed;
    grid.setAttribute('aria-colcount', String(columns.length));
    fill(head, ...columns.map(({ name, label, end }) => h('span', { class: `cell ${name}${end ? ' end' : ''}`, role: 'columnheader' }, label)));
    grid.addEventListener('scroll', () => {
      this.#top = grid.scrollTop;
      changed();
    }, { passive: true });
    new ResizeObserver(() => {
      this.#measure();
      changed();
    }).observe(grid);
    this.#measure();
  }

  /** How many whole rows are in sight. */
  get page() {
    return Math.max(1, Math.floor(this.#seen / this.#height) - 1);
  }

  /** Whether the newest row is in sight. */
  get atTop() {
    return this.#top < this.#height / 2;
  }

  /** @param {number} now as the rows' `arrived` */
  draw(now) {
    const { feed } = this;
    const height = this.#height;
    if (feed.generation !== this.#generation) {
      for (const line of this.#lines.values()) this.#free(line);
      this.#lines.clear();
      this.#generation = feed.generation;
    }
    if (feed.size !== this.#size) {
      this.#size = feed.size;
      this.body.style.height = `${feed.size * height}px`;
      this.grid.setAttribute('aria-rowcount', String(feed.size + 1));
    }
    const first = Math.max(0, Math.floor(this.#top / height) - OVERSCAN);
    const last = Math.min(feed.size, Math.ceil((this.#top + this.#seen) / height) + OVERSCAN) - 1;
    for (const [place, line] of this.#lines) {
      const index = feed.head - place;
      if (index >= first && index <= last) continue;
      this.#lines.delete(place);
      this.#free(line);
    }
    for (let index = first; index <= last; index++) this.#line(index, now).move(index, height, index === this.active);
    this.#point();
  }

  /** Put the keyboard on a row, and bring it into sight. @param {number} index */
  go(index) {
    this.active = Math.max(0, Math.min(this.feed.size - 1, index));
    const top = this.active * this.#height;
    const room = this.#seen - this.#height;
    if (top < this.#top) this.grid.scrollTop = top;
    else if (top > this.#top + room) this.grid.scrollTop = top - room;
    this.#top = this.grid.scrollTop;
  }

  /** Back to the newest row. */
  home() {
    this.active = -1;
    this.grid.scrollTop = this.#top = 0;
  }

  /** Follow the link of the row that the keyboard is on. */
  open() {
    this.#lines.get(this.feed.head - this.active)?.link?.click();
  }

  /** @param {number} index @param {number} now */
  #line(index, now) {
    const row = /** @type {Row} */ (this.feed.at(index));
    const known = this.#lines.get(row.place);
    if (known) return known;
    const line = this.#spare.pop() ?? this.#make();
    line.show(row, now);
    this.#lines.set(row.place, line);
    return line;
  }

  #make() {
    const line = new Line(this.columns, ++this.#made);
    this.body.append(line.element);
    return line;
  }

  /** @param {Line} line */
  #free(line) {
    line.hide();
    this.#spare.push(line);
  }

  #point() {
    const line = this.active < 0 ? undefined : this.#lines.get(this.feed.head - this.active);
    if (line) this.grid.setAttribute('aria-activedescendant', line.element.id);
    else this.grid.removeAttribute('aria-activedescendant');
  }

  #measure() {
    const height = parseFloat(getComputedStyle(this.grid).getPropertyValue('--row')) || 24;
    this.#seen = this.grid.clientHeight - this.head.offsetHeight;
    this.#top = this.grid.scrollTop;
    if (height === this.#height) return;
    this.#height = height;
    // Every place is another one now.
    this.#generation = this.#size = -1;
  }
}

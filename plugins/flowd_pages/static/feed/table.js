/**
 * A table of thousands of rows of which only those in sight have elements, and these are used again and again.
 *
 * @module feed/table
 */

import { fill, h } from '../dom.js';
import { count } from '../format.js';
import { Cell } from './cell.js';

/** @typedef {import('./model.js').Row} Row */
/** @typedef {import('./columns.js').Column} Column */

/**
 * Rows in their order. While `generation` is the same, a row that is shown need not be written again, unless its own
 * `version` changed.
 *
 * @typedef {object} Shown
 * @property {number} generation
 * @property {number} size
 * @property {(index: number) => Row | undefined} at
 */

/**
 * How rows look: whether a row that came just now is marked, and which further classes it has.
 *
 * @typedef {object} Look
 * @property {(row: Row) => boolean} marked
 * @property {(row: Row) => string} dress
 */

/** Rows beyond the edges, so that scrolling shows no holes. */
const OVERSCAN = 4;
/** How long a new row is marked. */
const FRESH_MS = 1_000;
/** @type {Look} */
const PLAIN = { marked: () => true, dress: () => '' };

/** One element, which shows one row after another. */
class Line {
  /** @type {Row | null} */
  row = null;
  /** In which drawing it was needed last. */
  drawn = 0;
  #version = 0;
  #index = -1;
  #fresh = '';
  #class = '';
  #arrived = 0;
  /** @type {Cell[]} */
  #cells;
  #note = h('span', { class: 'cell note', role: 'gridcell' });
  #flips = false;

  /** @param {Column[]} columns @param {number} number @param {Look} look */
  constructor(columns, number, look) {
    this.#cells = columns.map((column) => new Cell(column));
    this.columns = columns;
    this.look = look;
    this.element = h('div', { class: 'line', role: 'row', id: `row-${number}` }, ...this.#cells.map((cell) => cell.element), this.#note);
    this.#note.setAttribute('aria-colspan', String(columns.length));
  }

  /** Whether the row changed since it was written. */
  get old() {
    return this.row !== null && (this.row.version ?? 0) !== this.#version;
  }

  /** @param {Row} row @param {number} now */
  show(row, now) {
    const other = row !== this.row || row.arrived !== this.#arrived;
    this.row = row;
    this.#version = row.version ?? 0;
    this.#arrived = row.arrived;
    // A row that is written again is marked no longer than it was: the mark begins anew only with another row.
    if (other) {
      const fresh = row.arrived > 0 && now - row.arrived < FRESH_MS && this.look.marked(row);
      // Two animations of one look take turns: the same one would not begin again.
      if (fresh) this.#flips = !this.#flips;
      this.#fresh = fresh ? (this.#flips ? ' fresh' : ' fresh again') : '';
    }
    const dress = this.look.dress(row);
    this.#class = `line${row.missed ? ' hole' : ''}${row.parent ? ' part' : ''}${this.#fresh}${dress && ` ${dress}`}`;
    this.element.className = this.#class;
    if (row.missed) this.#note.textContent = missing(row.missed);
    else this.columns.forEach((column, index) => column.write(this.#cells[index], row.value, row));
    const folds = (row.fills?.length ?? 0) > 1;
    this.#say('aria-expanded', folds ? String(row.open === true) : null);
    this.#say('aria-level', row.parent ? '2' : row.fills ? '1' : null);
  }

  /** @param {string} name @param {string | null} value */
  #say(name, value) {
    if (value === null) this.element.removeAttribute(name);
    else this.element.setAttribute(name, value);
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
    this.row = null;
    this.#index = -1;
    this.element.className = 'line spare';
    this.element.removeAttribute('aria-rowindex');
  }

  /** The link that the row is opened by: the last that leads to a page of ours, else the first. @returns {HTMLAnchorElement | null} */
  get link() {
    for (const cell of this.#cells) if (cell.main && cell.link) return cell.link;
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

  /** @type {Map<Row, Line>} */
  #lines = new Map();
  /** @type {Line[]} */
  #spare = [];
  #made = 0;
  #drawn = 0;
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
   * @param {Look} [look]
   */
  constructor(grid, head, body, columns, feed, changed, look = PLAIN) {
    this.grid = grid;
    this.head = head;
    this.body = body;
    this.columns = columns;
    this.feed = feed;
    this.look = look;
    this.use(columns);
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

  /** Have these columns from now on. @param {Column[]} columns */
  use(columns) {
    this.columns = columns;
    for (const line of [...this.#lines.values(), ...this.#spare]) line.element.remove();
    this.#lines.clear();
    this.#spare = [];
    this.grid.setAttribute('aria-colcount', String(columns.length));
    fill(this.head, ...columns.map(({ name, label, end }) => h('span', { class: `cell ${name}${end ? ' end' : ''}`, role: 'columnheader' }, label)));
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
    const again = feed.generation !== this.#generation;
    this.#generation = feed.generation;
    if (feed.size !== this.#size) {
      this.#size = feed.size;
      this.body.style.height = `${feed.size * height}px`;
      this.grid.setAttribute('aria-rowcount', String(feed.size + 1));
    }
    const first = Math.max(0, Math.floor(this.#top / height) - OVERSCAN);
    const last = Math.min(feed.size, Math.ceil((this.#top + this.#seen) / height) + OVERSCAN) - 1;
    const drawn = ++this.#drawn;
    for (let index = first; index <= last; index++) {
      const line = this.#lines.get(/** @type {Row} */ (feed.at(index)));
      if (line) line.drawn = drawn;
    }
    for (const [row, line] of this.#lines) {
      if (line.drawn === drawn) continue;
      this.#lines.delete(row);
      this.#free(line);
    }
    for (let index = first; index <= last; index++) {
      const row = /** @type {Row} */ (feed.at(index));
      let line = this.#lines.get(row);
      if (!line) {
        line = this.#spare.pop() ?? this.#make();
        line.drawn = drawn;
        line.show(row, now);
        this.#lines.set(row, line);
      } else if (again || line.old) line.show(row, now);
      line.move(index, height, index === this.active);
    }
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
    this.#line(this.active)?.link?.click();
  }

  /** The row that an element belongs to. @param {EventTarget | null} element @returns {Row | null} */
  rowOf(element) {
    const found = element instanceof Element ? element.closest('.line') : null;
    for (const [row, line] of this.#lines) if (line.element === found) return row;
    return null;
  }

  /** @param {number} index */
  #line(index) {
    const row = index < 0 ? undefined : this.feed.at(index);
    return row && this.#lines.get(row);
  }

  #make() {
    const line = new Line(this.columns, ++this.#made, this.look);
    this.body.append(line.element);
    return line;
  }

  /** @param {Line} line */
  #free(line) {
    line.hide();
    this.#spare.push(line);
  }

  #point() {
    const line = this.#line(this.active);
    if (line) this.grid.setAttribute('aria-activedescendant', line.element.id);
    else this.grid.removeAttribute('aria-activedescendant');
  }

  #measure() {
    const height = parseFloat(getComputedStyle(this.grid).getPropertyValue('--row')) || 24;
    this.#seen = this.grid.clientHeight - this.head.offsetHeight;
    this.#top = this.grid.scrollTop;
    if (height === this.#height) return;
    this.#height = height;
    // Every row is somewhere else now.
    for (const line of this.#lines.values()) this.#free(line);
    this.#lines.clear();
    this.#size = -1;
  }
}

/**
 * Tables whose rows are made once for each name and then written anew, so that what is pointed at or focused stays.
 *
 * @module rows
 */

import { bodyOf } from './dom.js';

/** @typedef {{element: HTMLTableRowElement, write: (item: any) => void}} Row */

/** A table by name. */
export class Table {
  /** @type {Map<string, Row>} */
  #rows = new Map();

  /** @param {string} id @param {(name: string) => Row} make */
  constructor(id, make) {
    this.body = bodyOf(id);
    this.make = make;
  }

  /** @param {any[]} items @param {(item: any) => string} [name] */
  show(items, name = (item) => item.name) {
    const wanted = items.map(name);
    for (const [known, row] of this.#rows) {
      if (wanted.includes(known)) continue;
      row.element.remove();
      this.#rows.delete(known);
    }
    for (const ghost of this.body.querySelectorAll('.ghost')) ghost.remove();
    items.forEach((item, index) => {
      const row = this.#rows.get(wanted[index]) ?? this.make(wanted[index]);
      this.#rows.set(wanted[index], row);
      if (this.body.children[index] !== row.element) this.body.insertBefore(row.element, this.body.children[index] ?? null);
      row.write(item);
    });
  }
}

/**
 * Headers that sort: a button in each, by pointer or keyboard; once more turns the order round. What is not known comes last in
 * both orders.
 */
export class Sorting {
  /**
   * @param {string} id the table's, whose headers have `data-sort`
   * @param {Record<string, (item: any) => number | string | null>} values by `data-sort`
   * @param {string} by
   * @param {() => void} changed
   */
  constructor(id, values, by, changed) {
    this.values = values;
    this.by = by;
    this.down = true;
    this.heads = /** @type {HTMLElement[]} */ ([...document.querySelectorAll(`#${id} th[data-sort]`)]);
    for (const head of this.heads) {
      head.querySelector('button')?.addEventListener('click', () => {
        this.down = this.by === head.dataset.sort ? !this.down : typeof values[head.dataset.sort ?? '']?.({}) !== 'string';
        this.by = head.dataset.sort ?? this.by;
        this.#mark();
        changed();
      });
    }
    this.#mark();
  }

  /** @template T @param {T[]} items @returns {T[]} */
  of(items) {
    return sorted(items, this.values[this.by], this.down);
  }

  #mark() {
    for (const head of this.heads) {
      const chosen = head.dataset.sort === this.by;
      if (chosen) head.setAttribute('aria-sort', this.down ? 'descending' : 'ascending');
      else head.removeAttribute('aria-sort');
    }
  }
}

/** @template T @param {T[]} items @param {(item: T) => number | string | null} value null where it is not known @param {boolean} down @returns {T[]} */
export function sorted(items, value, down) {
  const found = items.map((item) => ({ item, value: value(item) }));
  found.sort((a, b) => {
    if (a.value === null || b.value === null) return Number(a.value === null) - Number(b.value === null);
    const order = a.value < b.value ? -1 : a.value > b.value ? 1 : 0;
    return down ? -order : order;
  });
  return found.map(({ item }) => item);
}

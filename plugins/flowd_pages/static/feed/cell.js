/**
 * One cell of a table, which shows one row after another, and links that lead to ours or to the explorer.
 *
 * @module feed/cell
 */

import { h } from '../dom.js';

/** One cell, which shows one fill after another. Everything goes in as text. */
export class Cell {
  #text = document.createTextNode('');
  #tone = '';
  #title = '';
  /** @type {HTMLAnchorElement | null} */
  #link = null;
  /** @type {HTMLAnchorElement | null} */
  #beside = null;
  /** Whether its link is what the row is opened by. */
  main = false;
  /** What the column adds to the words. @type {HTMLElement | null} */
  part = null;

  /** @param {import('./columns.js').Column} column */
  constructor(column) {
    this.#class = `cell ${column.name}${column.end ? ' end' : ''}`;
    this.main = column.main === true;
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
export function lead(link, beside, { href, beside: elsewhere, ours }) {
  if (href) link.setAttribute('href', href);
  else link.removeAttribute('href');
  if (elsewhere || ours) link.removeAttribute('target');
  else link.setAttribute('target', '_blank');
  beside.hidden = !elsewhere;
  beside.textContent = elsewhere ? '↗' : '';
  if (elsewhere) beside.setAttribute('href', elsewhere);
  else beside.removeAttribute('href');
}

/**
 * How the figures of a standing are written into the cells of a table.
 *
 * @module traders/columns
 */

import { at, h } from '../dom.js';
import { address } from '../feed/forms.js';
import { EVIDENCE, FIGURES, PARTS, letter, partsWords } from './figures.js';

/** @typedef {import('../feed/columns.js').Column} Column */

const CLASSES = { trader_address: 'trader', trader_score: 'score' };

/** A score's five parts, as a bar that is as long as the score. */
export function scoreBar() {
  return h('span', { class: 'five', 'aria-hidden': 'true' }, ...PARTS.map((_, index) => h('i', { class: `part-${index + 1}` })));
}

/** @param {HTMLElement} bar @param {any} shares null when there is no score */
export function writeBar(bar, shares) {
  bar.classList.toggle('none', !shares);
  PARTS.forEach(([key], index) => {
    const part = /** @type {HTMLElement} */ (bar.children[index]);
    part.style.width = `${shares ? Math.max(0, Number(shares[key])) * 100 : 0}%`;
  });
}

/** The letter of what a figure was measured from. */
const from = () => h('small', { class: 'from' });

/** @param {() => number} now the daemon's clock @returns {Column[]} */
export function columns(now) {
  return FIGURES.map((figure) => {
    const { name, label } = figure;
    const column = { name: /** @type {Record<string, string>} */ (CLASSES)[name] ?? name, label, end: name !== 'trader_address' };
    if (name === 'trader_address') return { ...column, linked: true, write: (cell, row) => cell.lead(address(row.address, at('/traders/'))) };
    if (name === 'trader_score') {
      return {
        ...column,
        // The row is read cell by cell: the words stand where the bar is seen.
        part: () => h('span', { class: 'parts' }, h('span', { class: 'sr' }), scoreBar()),
        write: (cell, row) => {
          const { text, title, tone } = figure.say(row, now());
          cell.say(text, tone, title);
          const [words, bar] = /** @type {HTMLElement} */ (cell.part).children;
          words.textContent = row.shares ? `: ${partsWords(row.shares)}` : '';
          writeBar(/** @type {HTMLElement} */ (bar), row.shares);
        },
      };
    }
    return {
      ...column,
      part: from,
      write: (cell, row) => {
        const said = figure.say(row, now());
        cell.say(said.text, said.tone, said.title);
        const part = /** @type {HTMLElement} */ (cell.part);
        const sign = letter(said.from);
        if (part.textContent !== sign) part.textContent = sign;
      },
    };
  });
}

/** What the letters mean. */
export function evidenceLegend() {
  return Object.values(EVIDENCE).map(([sign, words]) => h('li', {}, h('small', { class: 'from' }, sign), ` ${words}`));
}

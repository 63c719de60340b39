/**
 * What was liquidated of each symbol in each window: of one side or both, of one venue or all.
 *
 * @module analytics/windows
 */

import { ask } from '../chart/data.js';
import { at, byId, fill, h } from '../dom.js';
import { write } from '../feed/facts.js';
import { NOTHING, dollars, plus } from '../format.js';
import { againstUsual, found, ratioOf, sumLines, unnamed } from '../overview/model.js';
import { amount } from '../overview/tables.js';
import { Sorting, Table } from '../rows.js';
import { adding, exactness, since, venueName } from '../words.js';
import { SPANS } from './model.js';

/** @typedef {import('./model.js').Sided} Sided */

const EVERY_MS = 5_000;
const SYMBOLS = 300;
/** Rows that are shown until somebody asks for all. */
const ROWS = 20;

/** One side of a sum, or both, as the text of a number. @param {any} sum @param {Sided} sided @param {string} venue `''` for all @returns {string | undefined} */
export function part(sum, sided, venue) {
  const of = venue ? sum?.venues?.[venue] : sum;
  if (!of) return sum ? '0' : undefined;
  return sided === 'both' ? plus(of.buy, of.sell) : of[sided];
}

export class Windows {
  /** @type {any} what the daemon says */
  said = null;
  /** @type {Sided} */
  sided = 'both';
  venue = '';
  #window;
  #all = false;
  #table = new Table('windows', (symbol) => this.#row(symbol));
  #sorting;
  /** @type {ReturnType<typeof found> | null} */
  #has = null;
  #select = /** @type {HTMLSelectElement} */ (byId('windows-venue'));

  /** @param {string} window */
  constructor(window) {
    this.#window = window;
    /** @type {Record<string, (row: any) => number | string | null>} */
    const values = { symbol: (row) => row.symbol ?? '', usual: (row) => ratioOf(row.windows?.[this.#window]) };
    for (const { value } of SPANS) values[value] = (row) => Number(part(row.windows?.[value], this.sided, this.venue) ?? NaN) || 0;
    this.#sorting = new Sorting('windows', values, window, () => this.draw());
    this.#select.addEventListener('change', () => {
      this.venue = this.#select.value;
      this.draw();
    });
    byId('windows-all').addEventListener('click', () => {
      this.#all = !this.#all;
      this.draw();
    });
    setInterval(() => document.visibilityState === 'visible' && this.look(), EVERY_MS);
    this.look();
  }

  /** @param {string} window @param {Sided} sided */
  choose(window, sided) {
    [this.#window, this.sided] = [window, sided];
    this.draw();
  }

  async look() {
    try {
      this.#has ??= found(await ask('/status'), '');
      if (this.#has.windows && this.#has.volume) this.said = await ask('/api/v1/liquidation-windows', { limit: SYMBOLS });
    } catch {
      // The page says that it is offline; what was known stays to be seen.
    }
    this.draw();
  }

  draw() {
    const empty = byId('windows-empty');
    if (!this.said) {
      const lines = this.#has && sumLines(this.#has);
      if (lines && empty.hidden) fill(empty, h('strong', {}, 'Not configured'), h('span', {}, adding(lines)), h('pre', { class: 'lines', tabindex: 0 }, lines));
      empty.hidden = !lines;
      return;
    }
    const venues = ['', ...this.said.venues.map((/** @type {any} */ one) => one.venue)];
    if (this.#select.options.length !== venues.length) {
      fill(this.#select, ...venues.map((venue) => h('option', { value: venue, selected: venue === this.venue }, venue ? venueName(venue) : 'All venues')));
    }
    const rows = this.#sorting.of(this.said.symbols);
    this.#table.show(this.#all ? rows : rows.slice(0, ROWS), (row) => row.symbol);
    const button = byId('windows-all');
    button.hidden = rows.length <= ROWS;
    write(button, this.#all ? `The first ${ROWS}` : `All ${rows.length}`);
    empty.hidden = rows.length > 0;
    if (rows.length === 0) fill(empty, h('strong', {}, 'Quiet'), h('span', {}, 'No forced order that this daemon knows of.'));
    this.#words();
  }

  #words() {
    const longest = this.said.windows.at(-1);
    const { since_ms, time_ms } = this.said;
    const own = this.venue && longest?.venues?.[this.venue];
    const { exact, why } = exactness(own ? { ...own, venues: { [this.venue]: own } } : longest ?? {});
    const venues = this.said.venues.filter((/** @type {any} */ one) => !this.venue || one.venue === this.venue);
    const from = venues.map((/** @type {any} */ one) => `${venueName(one.venue)} ${since(one.since_ms, time_ms)}`).join(', ');
    const filling = this.said.filling ? 'More of the past is still being filled in.' : '';
    const partly = longest && since_ms > longest.start_ms ? 'What was before is not known, and no zero.' : '';
    const rest = longest && unnamed(longest);
    const nobody = rest ? `${dollars(plus(rest.buy, rest.sell))} of the last ${longest.window} was filled in without venues, and is in no venue's sum.` : '';
    write(byId('windows-words'), since_ms === null ? '' : [`${from}.`, filling, partly, exact ? '' : why, nobody].filter(Boolean).join(' '));
  }

  /** @param {string} symbol @returns {import('../rows.js').Row} */
  #row(symbol) {
    const sums = SPANS.map(() => h('td', { class: 'end' }));
    const [usual, venues] = [h('td', { class: 'end' }), h('td', { class: 'quiet' })];
    const link = h('a', { href: at(`/chart/${encodeURIComponent(symbol)}`) }, symbol);
    return {
      element: h('tr', {}, h('th', { scope: 'row', class: 'name' }, link), ...sums, usual, venues),
      write: ({ windows }) => {
        SPANS.forEach(({ value }, index) => {
          const sum = windows[value];
          amount(sums[index], part(sum, this.sided, this.venue), sum ? exactness((this.venue && sum.venues?.[this.venue]) || sum).sign : '');
          sums[index].className = `end ${this.sided === 'both' ? '' : this.sided} ${value === this.#window ? '' : 'quiet'}`;
        });
        write(usual, againstUsual(windows[this.#window]) || NOTHING);
        write(venues, Object.keys(windows['24h']?.venues ?? {}).map(venueName).join(', ') || NOTHING);
      },
    };
  }
}

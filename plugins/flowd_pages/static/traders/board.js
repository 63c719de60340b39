/**
 * The leaderboard's rows: the newest of each trader, which of them are shown, and in which order.
 *
 * @module traders/board
 */

import { PLAIN, figureOf, matcher } from './view.js';

/** @typedef {import('../flowd-client.js').FlowdRecord} FlowdRecord */
/** @typedef {import('../feed/model.js').Row} Row */
/** @typedef {import('./view.js').View} View */

/** A table can draw it as it draws a feed. */
export class Board {
  /** Rises whenever the shown rows are others than before. */
  generation = 0;
  /** @type {View} */
  view = PLAIN;

  /** @type {Map<string, Row>} */
  #rows = new Map();
  /** @type {Row[]} */
  #shown = [];
  #snapshotMs = Infinity;
  #stale = false;

  /** How many traders there are. */
  get all() {
    return this.#rows.size;
  }

  /** How many are shown. */
  get size() {
    return this.#shown.length;
  }

  /** Whether rows came that are not in order yet. */
  get stale() {
    return this.#stale;
  }

  /** A shown row. @param {number} index @returns {Row | undefined} */
  at(index) {
    return this.#shown[index];
  }

  /** Where a trader is shown, -1 where not. @param {string | undefined} address */
  indexOf(address) {
    return address === undefined ? -1 : this.#shown.findIndex((row) => row.value.address === address);
  }

  /**
   * Records, oldest first. They are shown by the next `settle`.
   *
   * @param {FlowdRecord[]} records
   * @param {boolean} first whether they begin a snapshot, which replaces everything
   * @param {number} now the daemon's clock
   * @param {number} arrived ours
   */
  put(records, first, now, arrived) {
    if (first) {
      this.#rows.clear();
      this.#snapshotMs = now;
    }
    for (const { value, time_ms } of records) {
      // A snapshot comes in several messages: what it holds is not new.
      const live = !first && time_ms > this.#snapshotMs;
      this.#rows.set(value.address, { value, missed: 0, arrived: live ? arrived : 0 });
    }
    this.#stale = true;
  }

  /** Show others, or in another order. @param {View} view */
  choose(view) {
    this.view = view;
    this.settle();
  }

  clear() {
    this.#rows.clear();
    this.settle();
  }

  /** Put all in order. What is unknown comes last in both orders, and equal ones in the order of their addresses. */
  settle() {
    const wanted = matcher(this.view);
    const key = figureOf(this.view.sort)?.key ?? (() => null);
    const turned = this.view.order === 'desc' ? -1 : 1;
    const keyed = [];
    for (const row of this.#rows.values()) if (wanted(row.value)) keyed.push({ row, key: key(row.value) });
    keyed.sort((a, b) => {
      if (a.key === b.key) return a.row.value.address < b.row.value.address ? -1 : 1;
      if (a.key === null) return 1;
      if (b.key === null) return -1;
      return a.key < b.key ? -turned : turned;
    });
    this.#shown = keyed.map(({ row }) => row);
    this.generation++;
    this.#stale = false;
  }
}

/**
 * The rows of a feed: which are kept, which are shown, and which wait while the table is held still.
 *
 * @module feed/model
 */

import { ALL, matcher } from './filter.js';
import { Ring } from './ring.js';

/** How many rows a page keeps. */
export const ROWS_MAX = 5_000;

/** @typedef {import('../flowd-client.js').FlowdRecord} FlowdRecord */
/** @typedef {import('./filter.js').Filter} Filter */

/**
 * A row: a fill, or the place where so many are missing.
 *
 * @typedef {object} Row
 * @property {any} value null where records are missing
 * @property {number} seq
 * @property {number} missed how many are missing here, 0 for a fill
 * @property {number} arrived when it came, by the clock that the feed was given; 0 when it was there before us
 * @property {number} place its number among the shown, which rises by one with each
 */

/** Newest first, never more than so many, and never copied as a whole when one is added. */
export class Feed {
  /** Whether new rows wait instead of being shown. */
  held = false;
  /** How many waiting rows would be shown. */
  waiting = 0;
  /** How many fills are kept and shown, without the notes of what is missing. */
  fills = 0;
  /** How many fills are shown. */
  matching = 0;
  /** When the daemon appended the newest record, by its clock. @type {number | null} */
  newestMs = null;
  /** Rises whenever the shown rows are others than before, and not only more. */
  generation = 0;
  /** The place of the newest that is shown. */
  head = 0;
  /** @type {Filter} */
  filter = ALL;

  #all;
  #shown;
  #held;
  #wanted = matcher(ALL);
  #snapshotMs = Infinity;

  /** @param {number} [capacity] */
  constructor(capacity = ROWS_MAX) {
    /** @type {Ring<Row>} */
    this.#all = new Ring(capacity);
    /** @type {Ring<Row>} */
    this.#shown = new Ring(capacity);
    /** @type {Ring<Row>} */
    this.#held = new Ring(capacity);
  }

  /** How many rows are shown. */
  get size() {
    return this.#shown.size;
  }

  /** A shown row, 0 is the newest. @param {number} index @returns {Row | undefined} */
  at(index) {
    return this.#shown.get(index);
  }

  /**
   * Records, oldest first.
   *
   * @param {FlowdRecord[]} records
   * @param {boolean} first whether they begin a snapshot, which replaces everything
   * @param {number} now the daemon's clock
   * @param {number} arrived ours
   */
  put(records, first, now, arrived) {
    if (first) {
      this.clear();
      this.#snapshotMs = now;
    }
    const last = records.at(-1);
    if (!last) return;
    this.newestMs = Math.max(this.newestMs ?? 0, last.time_ms);
    // A snapshot comes in several messages, and is all there before anything is held back.
    const live = !first && last.time_ms > this.#snapshotMs;
    for (const { value, seq } of records) {
      this.#take({ value, seq, missed: 0, arrived: live ? arrived : 0, place: 0 }, live);
    }
  }

  /** So many records were lost here. @param {number} missed @param {number} arrived */
  hole(missed, arrived) {
    this.#take({ value: null, seq: -1, missed, arrived, place: 0 }, true);
  }

  /** Hold still, or go on with all that waits. @param {boolean} held */
  hold(held) {
    this.held = held;
    if (held) return;
    for (const row of this.#held) this.#add(row);
    this.#held.clear();
    this.waiting = 0;
  }

  /** Show others. @param {Filter} filter */
  choose(filter) {
    this.filter = filter;
    this.#wanted = matcher(filter);
    this.#shown.clear();
    this.head = this.matching = this.waiting = 0;
    this.generation++;
    for (const row of this.#all) this.#show(row);
    for (const row of this.#held) if (this.#shows(row)) this.waiting++;
  }

  /** Forget all. */
  clear() {
    for (const ring of [this.#all, this.#shown, this.#held]) ring.clear();
    this.head = this.fills = this.matching = this.waiting = 0;
    this.newestMs = null;
    this.generation++;
  }

  /** @param {Row} row @param {boolean} live */
  #take(row, live) {
    if (!this.held || !live) {
      this.#add(row);
      return;
    }
    const dropped = this.#held.push(row);
    if (dropped && this.#shows(dropped)) this.waiting--;
    if (this.#shows(row)) this.waiting++;
  }

  /** @param {Row} row */
  #add(row) {
    const dropped = this.#all.push(row);
    if (dropped) {
      if (!dropped.missed) this.fills--;
      if (this.#shown.get(this.#shown.size - 1) === dropped) {
        this.#shown.shift();
        if (!dropped.missed) this.matching--;
      }
    }
    if (!row.missed) this.fills++;
    this.#show(row);
  }

  /** @param {Row} row */
  #show(row) {
    if (!this.#shows(row)) return;
    if (!row.missed) this.matching++;
    row.place = ++this.head;
    this.#shown.push(row);
  }

  /** @param {Row} row */
  #shows(row) {
    return row.missed > 0 || this.#wanted(row.value);
  }
}

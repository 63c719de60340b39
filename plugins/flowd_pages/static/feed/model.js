/**
 * The rows of a feed: which are kept, which are shown and in which order, and which wait while the table is held still.
 *
 * @module feed/model
 */

import { ALL, matcher } from './filter.js';
import { keyOf, merged } from './groups.js';

/** How many fills a page keeps. */
export const ROWS_MAX = 5_000;
/** Fewer than these are put where they belong one by one; more are put in order all at once. */
const FEW = 64;

/** @typedef {import('../flowd-client.js').FlowdRecord} FlowdRecord */
/** @typedef {import('./filter.js').Filter} Filter */

/**
 * A row: one order or transaction, or the place where so many records are missing.
 *
 * @typedef {object} Row
 * @property {any} value what all its fills are together; null where records are missing
 * @property {number} missed how many are missing here, 0 for a row of fills
 * @property {number} arrived when it came, by the clock that the feed was given; 0 when it was there before us
 * @property {number} [version] rises with each change of its value
 * @property {any[]} [fills] what it is made of, oldest first
 * @property {string} [key] what names it
 * @property {string} [stream]
 * @property {number} [time]
 * @property {boolean} [wanted] whether the filter wants it
 * @property {boolean} [open] whether its fills are shown below it
 * @property {Row[]} [parts] these, the newest first
 * @property {Row} [parent] of a row that is one fill of another
 */

/** What a column is sorted by. @typedef {(value: any, row: Row) => number | string | null} Key */

/** The newest so many fills, in the order of their times, whichever came first. */
export class Feed {
  /** Whether new rows wait instead of being shown. */
  held = false;
  /** How many waiting rows would be shown. */
  waiting = 0;
  /** How many fills are kept, and how many rows they make. */
  fills = 0;
  rows = 0;
  /** How many rows are shown, without their fills and what is missing. */
  matching = 0;
  /** When the daemon appended the newest record, by its clock. @type {number | null} */
  newestMs = null;
  /** Rises when all that is shown must be written again. */
  generation = 0;
  /** @type {Filter} */
  filter = ALL;

  /** @type {Row[]} oldest first */
  #all = [];
  /** @type {Row[]} the same of what waits */
  #held = [];
  /** @type {Map<string, Row>} */
  #named = new Map();
  /** @type {Map<string, Row>} */
  #heldNamed = new Map();
  /** @type {Row[]} */
  #shown = [];
  #stale = false;
  #wanted = matcher(ALL);
  /** @type {{key: Key, order: 'asc' | 'desc'} | null} the newest first if null */
  #sort = null;
  /** @type {Map<string, number>} by stream */
  #snapshots = new Map();

  /** @param {number} [capacity] */
  constructor(capacity = ROWS_MAX) {
    this.capacity = capacity;
  }

  /** How many rows are shown, after `settle`. */
  get size() {
    return this.#shown.length;
  }

  /** Whether something changed since `settle`. */
  get stale() {
    return this.#stale;
  }

  /** Whether rows are in another order than that of their times. */
  get sorted() {
    return this.#sort !== null;
  }

  /** A shown row, after `settle`. @param {number} index @returns {Row | undefined} */
  at(index) {
    return this.#shown[index];
  }

  /**
   * Records of one stream, oldest first.
   *
   * @param {FlowdRecord[]} records
   * @param {boolean} first whether they begin a snapshot, which replaces all of the stream
   * @param {number} now the daemon's clock
   * @param {number} arrived ours
   * @param {string} [stream]
   * @returns {Row[]} those that are new or were added to
   */
  put(records, first, now, arrived, stream = '') {
    if (first) {
      this.#forget(stream);
      this.#snapshots.set(stream, now);
    }
    const last = records.at(-1);
    if (!last) return [];
    this.newestMs = Math.max(this.newestMs ?? 0, last.time_ms);
    // A snapshot comes in several messages, and is all there before anything is held back.
    const live = !first && last.time_ms > (this.#snapshots.get(stream) ?? Infinity);
    const waits = this.held && live;
    /** @type {Set<Row>} */
    const touched = new Set();
    /** @type {Row[]} */
    const fresh = [];
    const named = waits ? this.#heldNamed : this.#named;
    for (const { value } of records) {
      const key = keyOf(value);
      const known = named.get(key);
      if (known) add(known, [value]);
      else {
        const row = { value, missed: 0, arrived: live ? arrived : 0, version: 0, fills: [value], key, stream, time: value.time_ms };
        named.set(key, row);
        fresh.push(row);
      }
      touched.add(known ?? fresh[fresh.length - 1]);
    }
    if (waits) this.#wait(fresh, touched);
    else this.#keep(fresh, touched, records.length);
    return [...touched];
  }

  /** So many records were lost here. @param {number} missed @param {number} arrived @param {string} [stream] */
  hole(missed, arrived, stream = '') {
    const row = { value: null, missed, arrived, version: 0, fills: [], stream, time: this.#all.at(-1)?.time ?? 0, wanted: true };
    if (this.held) this.#wait([row], new Set());
    else this.#keep([row], new Set(), 0);
  }

  /** Hold still, or go on with all that waits. @param {boolean} held */
  hold(held) {
    this.held = held;
    if (held || this.#held.length === 0) return;
    /** @type {Set<Row>} */
    const touched = new Set();
    const fresh = [];
    let fills = 0;
    for (const row of this.#held) {
      fills += row.fills?.length ?? 0;
      const known = row.key === undefined ? undefined : this.#named.get(row.key);
      if (known) {
        add(known, row.fills ?? []);
        touched.add(known);
        continue;
      }
      if (row.key !== undefined) this.#named.set(row.key, row);
      fresh.push(row);
    }
    this.#held = [];
    this.#heldNamed.clear();
    this.waiting = 0;
    this.#keep(fresh, touched, fills);
  }

  /** Show others. @param {Filter} filter */
  choose(filter) {
    this.filter = filter;
    this.#wanted = matcher(filter);
    this.waiting = 0;
    for (const row of this.#all) this.#judge(row);
    for (const row of this.#held) if (this.#judge(row)) this.waiting++;
    this.#stale = true;
  }

  /** In which order: by a column's key, or the newest first. @param {{key: Key, order: 'asc' | 'desc'} | null} sort */
  order(sort) {
    this.#sort = sort;
    this.#stale = true;
  }

  /** Show a row's fills below it, or no more. @param {Row} row whether it is one that has any */
  toggle(row) {
    const whole = row.parent ?? row;
    if ((whole.fills?.length ?? 0) < 2) return false;
    whole.open = !whole.open;
    whole.version = (whole.version ?? 0) + 1;
    this.#stale = true;
    return true;
  }

  /** Forget all. */
  clear() {
    this.#all = [];
    this.#held = [];
    this.#named.clear();
    this.#heldNamed.clear();
    this.fills = this.rows = this.waiting = 0;
    this.newestMs = null;
    this.#stale = true;
  }

  /** Put what is to be shown in order. */
  settle() {
    if (!this.#stale) return;
    this.#stale = false;
    let shown = [];
    this.matching = 0;
    for (let at = this.#all.length - 1; at >= 0; at--) {
      const row = this.#all[at];
      if (!row.wanted || (row.missed && this.#sort)) continue;
      if (!row.missed) this.matching++;
      shown.push(row);
    }
    if (this.#sort) shown = ordered(shown, this.#sort.key, this.#sort.order);
    this.#shown = shown.some((row) => row.open) ? shown.flatMap(unfolded) : shown;
  }

  /** @param {Row[]} fresh @param {Set<Row>} touched @param {number} fills how many more there are */
  #keep(fresh, touched, fills) {
    place(this.#all, fresh);
    for (const row of touched) this.#judge(row);
    for (const row of fresh) {
      if (row.wanted === undefined) this.#judge(row);
      if (!row.missed) this.rows++;
    }
    this.fills += fills;
    let gone = 0;
    while (this.fills > this.capacity || this.#all.length - gone > this.capacity) this.#drop(this.#all[gone++]);
    if (gone) this.#all.splice(0, gone);
    this.#stale = true;
  }

  /** @param {Row[]} fresh @param {Set<Row>} touched */
  #wait(fresh, touched) {
    for (const row of touched) {
      if (row.wanted) this.waiting--;
      if (this.#judge(row)) this.waiting++;
    }
    this.#held.push(...fresh);
    const gone = this.#held.splice(0, Math.max(0, this.#held.length - this.capacity));
    for (const row of gone) {
      if (row.wanted && !row.missed) this.waiting--;
      if (row.key !== undefined) this.#heldNamed.delete(row.key);
    }
  }

  /** @param {Row} row that is kept no more */
  #drop(row) {
    this.fills -= row.fills?.length ?? 0;
    if (row.missed) return;
    this.rows--;
    if (this.#named.get(row.key ?? '') === row) this.#named.delete(row.key ?? '');
  }

  /** @param {string} stream */
  #forget(stream) {
    const kept = [];
    for (const row of this.#all) {
      if (row.stream === stream) this.#drop(row);
      else kept.push(row);
    }
    this.#all = kept;
    for (const row of this.#held) {
      if (row.stream !== stream) continue;
      if (row.wanted && !row.missed) this.waiting--;
      if (row.key !== undefined) this.#heldNamed.delete(row.key);
    }
    this.#held = this.#held.filter((row) => row.stream !== stream);
    if (kept.length === 0) this.newestMs = null;
    this.#stale = true;
  }

  /** @param {Row} row */
  #judge(row) {
    return (row.wanted = row.missed > 0 || this.#wanted(row.value));
  }
}

/** More fills of a row. @param {Row} row @param {any[]} fills */
function add(row, fills) {
  for (const fill of fills) {
    row.value = merged(row.value, fill);
    row.fills?.push(fill);
  }
  row.version = (row.version ?? 0) + 1;
}

/** Put rows among others by their times; of equal ones the later to come is the newer. @param {Row[]} all @param {Row[]} fresh */
function place(all, fresh) {
  if (fresh.length > FEW) {
    all.push(...fresh);
    all.sort((a, b) => (a.time ?? 0) - (b.time ?? 0));
    return;
  }
  for (const row of fresh) {
    let at = all.length;
    while (at > 0 && (all[at - 1].time ?? 0) > (row.time ?? 0)) at--;
    if (at === all.length) all.push(row);
    else all.splice(at, 0, row);
  }
}

/** What has no key comes last in both orders, and equal ones the newest first. @param {Row[]} rows @param {Key} key @param {'asc' | 'desc'} order */
function ordered(rows, key, order) {
  const turned = order === 'desc' ? -1 : 1;
  return rows
    .map((row) => ({ row, key: key(row.value, row) }))
    .sort((a, b) => {
      if (a.key === b.key) return 0;
      if (a.key === null) return 1;
      if (b.key === null) return -1;
      return a.key < b.key ? -turned : turned;
    })
    .map(({ row }) => row);
}

/** A row, and its fills below it when it is open. @param {Row} row @returns {Row[]} */
function unfolded(row) {
  if (!row.open) return [row];
  const { fills = [] } = row;
  if (row.parts?.length !== fills.length) row.parts = fills.map((value) => ({ value, missed: 0, arrived: 0, version: 0, parent: row })).reverse();
  return [row, ...row.parts];
}

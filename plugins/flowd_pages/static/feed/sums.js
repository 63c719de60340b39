/**
 * What the records that a page saw sum up to: each trade and each liquidation once.
 *
 * @module feed/sums
 */

import { plus } from '../format.js';
import { doubts } from '../words.js';

/** @typedef {import('../flowd-client.js').FlowdRecord} FlowdRecord */

/**
 * Whether a record counts: of a trade the taker's side, of a liquidation who was liquidated. So nothing counts twice.
 *
 * @param {any} value
 * @param {boolean} liquidations
 */
export function counts(value, liquidations) {
  if (value.taker === undefined) return true;
  return liquidations ? value.role === 'liquidated' : value.taker;
}

/** Of one stream. */
export class Sums {
  volume = '0';
  count = 0;
  /** When the first record of these happened. @type {number | null} */
  since = null;
  /** What is in doubt of the volume, as `exactness` has it. */
  doubts = { lower_bound: false, approximate: false, incomplete: false };

  /** @param {boolean} liquidations */
  constructor(liquidations) {
    this.liquidations = liquidations;
  }

  /** @param {FlowdRecord[]} records @param {boolean} first whether they replace all before */
  put(records, first) {
    if (first) {
      this.volume = '0';
      this.count = 0;
      this.since = null;
      this.doubts = { lower_bound: false, approximate: false, incomplete: false };
    }
    for (const { value } of records) {
      if (!counts(value, this.liquidations)) continue;
      this.volume = plus(this.volume, String(value.notional));
      this.count++;
      if (this.since === null || value.time_ms < this.since) this.since = value.time_ms;
      const { lower_bound, approximate } = doubts(value);
      this.doubts.lower_bound ||= lower_bound;
      this.doubts.approximate ||= approximate;
    }
  }

  /** Something is missing in it. */
  miss() {
    this.doubts.incomplete = true;
  }
}

/** The sum of several. @param {Iterable<Sums>} all */
export function together(all) {
  let [volume, count] = ['0', 0];
  /** @type {number | null} */
  let since = null;
  const found = { lower_bound: false, approximate: false, incomplete: false };
  for (const sums of all) {
    volume = plus(volume, sums.volume);
    count += sums.count;
    // It is known of all of them only since the last of them began.
    if (sums.since !== null) since = Math.max(since ?? 0, sums.since);
    for (const name of /** @type {const} */ (['lower_bound', 'approximate', 'incomplete'])) found[name] ||= sums.doubts[name];
  }
  return { volume, count, since, doubts: found };
}

/**
 * The sums of what can be seen, each with the time since when it is known, and beside those of an earlier span.
 *
 * @module chart/summary
 */

import { byId, fill, h } from '../dom.js';
import { change, count, span } from '../format.js';
import { exactness } from '../words.js';
import { COMPARISONS, totals } from './model.js';
import { amount, signed, sinceWords, spanTime } from './words.js';

/** @typedef {import('./model.js').Timeframe} Timeframe */
/** @typedef {import('./model.js').Timeline} Timeline */

const DAY_S = 86_400;

/**
 * What is compared, and from when on: the earlier span may be neither kept nor counted as far back as what can be seen.
 *
 * @param {Timeline} timeline
 * @param {Timeframe} frame
 * @param {{from: number, to: number}} range seconds
 * @param {number} shift how far back is compared, in seconds
 * @param {number} now ms
 * @returns {{from: number} | {why: 'kept' | 'counted'}}
 */
export function compared(timeline, frame, range, shift, now) {
  const kept = Math.floor(now / 1000) - frame.keep + shift;
  const counted = (timeline.begins ?? 0) / 1000 + shift;
  const from = Math.max(range.from, Math.ceil(Math.max(kept, counted) / frame.width) * frame.width);
  if (from <= range.to) return { from };
  return { why: counted > kept ? 'counted' : 'kept' };
}

/** Where a fact stands. @param {string} name */
function place(name) {
  return /** @type {Element} */ (document.querySelector(`[data-fact=${name}]`));
}

/**
 * Write the sums.
 *
 * @param {Timeline} timeline
 * @param {Timeframe} frame
 * @param {{from: number, to: number}} range what can be seen, in seconds, both included
 * @param {string} comparison
 * @param {number} shift how far back is compared, in seconds; 0 for not at all
 * @param {number} clock the daemon's time, in milliseconds
 */
export function summarise(timeline, frame, range, comparison, shift, clock) {
  const daily = frame.width === DAY_S;
  const bars = timeline.all();
  const now = totals(bars, range.from, range.to);
  const end = (range.to + frame.width) * 1000;
  const begins = Math.max(range.from * 1000, timeline.begins ?? 0);
  const partly = begins > range.from * 1000;
  const known = begins < end;
  const since = h('span', { class: partly ? 'since warned' : 'since' }, known ? `since ${sinceWords(begins, clock, daily)}` : 'not known');
  const words = COMPARISONS[comparison]?.words ?? '';
  const found = shift > 0 ? compared(timeline, frame, range, shift, clock) : null;
  const then = found && 'from' in found ? totals(bars, found.from - shift, range.to - shift) : null;
  const same = found && 'from' in found ? totals(bars, found.from, range.to) : now;
  /** @param {string} name @param {string} text @param {number} [value] @param {number} [earlier] @param {string} [earlierText] */
  const fact = (name, text, value = 0, earlier, earlierText) => {
    const versus = earlier === undefined ? null : h('span', { class: 'versus' }, `${change(value, earlier)} vs ${earlierText}`);
    fill(place(name), h('span', {}, known ? text : '–'), since.cloneNode(true), versus);
  };
  const { sign } = exactness(now);
  const least = sign && `${sign} `;
  fact('buy', `▲ ${least}${amount(now.buy)}`, same.buy, then?.buy, then ? amount(then.buy) : '');
  fact('sell', `▼ ${least}${amount(now.sell)}`, same.sell, then?.sell, then ? amount(then.sell) : '');
  // What is missing of either side may make their difference larger or smaller.
  fact('net', (sign && '≈ ') + signed((now.buy - now.sell).toFixed(2)));
  fact('count', (now.lower_bound || now.incomplete ? '≥ ' : '') + count(now.count), same.count, then?.count, then ? count(then.count) : '');
  const missing = timeline.missing(begins, Math.min(end, clock));
  fill(place('span'), `${spanTime(range.from * 1000, daily)} – ${spanTime(daily ? range.to * 1000 : end, daily)}`);
  fill(byId('missing'), missing >= 1000 && h('span', { class: 'since warned' }, `no data for ${span(missing)} of it`));
  byId('compare-note').textContent = noteOf(found, words, timeline, range, clock, daily);
}

/**
 * What is to be said of a comparison: why there is none, or since when there is.
 *
 * @param {ReturnType<typeof compared> | null} found
 * @param {string} words
 * @param {Timeline} timeline
 * @param {{from: number}} range
 * @param {number} clock
 * @param {boolean} daily
 */
function noteOf(found, words, timeline, range, clock, daily) {
  if (!found) return '';
  if ('why' in found) {
    const why = { counted: `counted since ${sinceWords(timeline.begins ?? 0, clock, daily)} only`, kept: 'it is not kept for so long' };
    return `Nothing to compare with ${words}: ${why[found.why]}.`;
  }
  return found.from > range.from ? `Compared with ${words} since ${sinceWords(found.from * 1000, clock, daily)}, before which that is not known.` : '';
}

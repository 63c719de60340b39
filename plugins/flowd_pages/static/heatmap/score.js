/**
 * How well the running map knew the liquidations that came, in words that claim no more than is known.
 *
 * @module heatmap/score
 */

import { count, span, stamp } from '../format.js';

/**
 * What the daemon says of a map's score. Ranks are shares of 1: a lift of 0.04 is 4 of 100 ranks.
 *
 * @typedef {object} Score
 * @property {number} since ms
 * @property {number} events
 * @property {number} dropped
 * @property {number | null} lift
 * @property {number | null} low
 * @property {number | null} high
 */

/** @param {Score | undefined} score */
function known(score) {
  if (!score || !score.events || score.lift === null || score.low === null || score.high === null) return null;
  return { ...score, lift: score.lift, low: score.low, high: score.high };
}

/** In a few words. @param {Score | undefined} score */
export function verdict(score) {
  const found = known(score);
  if (found === null) return 'not scored yet';
  // All that a score can be: one hour says nothing of the next.
  if (found.low <= -1 && found.high >= 1) return 'too early to tell';
  if (found.low > 0) return 'better than chance so far';
  return found.high < 0 ? 'worse than chance so far' : 'no better than chance so far';
}

/** The same with all that it rests on, in pairs. @param {Score | undefined} score @param {number} now ms @returns {[string, string][]} */
export function scored(score, now) {
  const found = known(score);
  if (found === null) return [['Score', `${verdict(score)}: that takes an hour or two, and real liquidations to hold the map against`]];
  const ranks = (/** @type {number} */ share) => `${share > 0 ? '+' : ''}${Number((100 * share).toFixed(1))}`;
  const bounds = verdict(found) === 'too early to tell' ? 'all of them within one hour, so nothing is sure' : `95% sure between ${ranks(found.low)} and ${ranks(found.high)}`;
  const dropped = found.dropped ? `; ${count(found.dropped)} more could not be scored` : '';
  return [
    ['Score', `${verdict(found)}. Where liquidations came, the map was denser than at the same distances on other days by ${ranks(found.lift)} of 100 ranks, ${bounds}; 0 is chance`],
    ['Scored on', `${count(found.events)} liquidations since ${stamp(found.since)} (${span(now - found.since)})${dropped}`],
  ];
}

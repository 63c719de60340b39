/**
 * The map as it is now: how much lies at each price, and how much between it and the mark.
 *
 * @module heatmap/profile
 */

/** @typedef {import('./picture.js').Level} Level */
/** @typedef {import('./picture.js').Side} Side */
/** @typedef {{price: number, sum: number}} Step the edge of a level away from the mark, and all from the mark up to there */
/** @typedef {{long: Step[], short: Step[]}} Sums */

/**
 * What would be liquidated until a price is reached: longs below the mark, shorts above it, nearest first. A level counts
 * from its nearer edge on; where it holds the mark, as if all of it lay ahead.
 *
 * @param {Level[]} levels ascending
 * @param {number} bin
 * @param {number} mark
 * @returns {{long: Step[], short: Step[]}}
 */
export function cumulated(levels, bin, mark) {
  /** @type {Step[]} */
  const long = [];
  /** @type {Step[]} */
  const short = [];
  let sum = 0;
  for (const level of levels) {
    if (level.price + bin <= mark || level.short_density <= 0) continue;
    short.push({ price: level.price + bin, sum: (sum += level.short_density) });
  }
  sum = 0;
  for (let index = levels.length - 1; index >= 0; index--) {
    const level = levels[index];
    if (level.price > mark || level.long_density <= 0) continue;
    long.push({ price: level.price, sum: (sum += level.long_density) });
  }
  return { long, short };
}

/** How much lies between the mark and a price. @param {{long: Step[], short: Step[]}} sums @param {number} mark @param {number} price */
export function between(sums, mark, price) {
  let found = 0;
  const down = price < mark;
  for (const step of down ? sums.long : sums.short) {
    // A step whose farther edge is not reached is not counted.
    if (down ? step.price < price : step.price > price) break;
    found = step.sum;
  }
  return found;
}

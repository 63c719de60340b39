/**
 * Which part of the picture is seen, and where it lies on the screen.
 *
 * @module heatmap/view
 */

/** @typedef {{from: number, to: number, low: number, high: number}} View times in ms, prices */
/** @typedef {{from: number, to: number, low: number, high: number, column: number, row: number}} Bounds what can be seen, and how large a cell is */
/** @typedef {{left: number, top: number, width: number, height: number}} Box in pixels */

/** So few columns and rows are seen at closest. */
const CELLS_MIN = 8;

/** @param {View} view @param {Box} box @param {number} time */
export const xOf = (view, box, time) => box.left + ((time - view.from) / (view.to - view.from)) * box.width;
/** @param {View} view @param {Box} box @param {number} price */
export const yOf = (view, box, price) => box.top + ((view.high - price) / (view.high - view.low)) * box.height;
/** @param {View} view @param {Box} box @param {number} x */
export const timeAt = (view, box, x) => view.from + ((x - box.left) / box.width) * (view.to - view.from);
/** @param {View} view @param {Box} box @param {number} y */
export const priceAt = (view, box, y) => view.high - ((y - box.top) / box.height) * (view.high - view.low);

/** A span within others, of at least and at most so much. @param {number} from @param {number} to @param {number} first @param {number} last @param {number} least @returns {[number, number]} */
function within(from, to, first, last, least) {
  const size = Math.min(last - first, Math.max(least, to - from));
  const middle = (from + to) / 2;
  const start = Math.max(first, Math.min(last - size, middle - size / 2));
  return [start, start + size];
}

/** The nearest view that lies within the bounds. @param {View} view @param {Bounds} bounds @returns {View} */
export function clamped(view, bounds) {
  const [from, to] = within(view.from, view.to, bounds.from, bounds.to, CELLS_MIN * bounds.column);
  const [low, high] = within(view.low, view.high, bounds.low, bounds.high, CELLS_MIN * bounds.row);
  return { from, to, low, high };
}

/**
 * What is at a point stays there.
 *
 * @param {View} view
 * @param {Bounds} bounds
 * @param {{time: number, price: number}} at
 * @param {number} across below 1 to see less time
 * @param {number} [up] below 1 to see fewer prices
 */
export function zoomed(view, bounds, at, across, up = across) {
  // A side that is at its limit must not move the other's point.
  const limit = (/** @type {number} */ factor, /** @type {number} */ size, /** @type {number} */ most, /** @type {number} */ least) => Math.min(most / size, Math.max(least / size, factor));
  const wide = limit(across, view.to - view.from, bounds.to - bounds.from, CELLS_MIN * bounds.column);
  const high = limit(up, view.high - view.low, bounds.high - bounds.low, CELLS_MIN * bounds.row);
  return clamped(
    {
      from: at.time - (at.time - view.from) * wide,
      to: at.time + (view.to - at.time) * wide,
      low: at.price - (at.price - view.low) * high,
      high: at.price + (view.high - at.price) * high,
    },
    bounds,
  );
}

/** Moved by so many pixels. @param {View} view @param {Bounds} bounds @param {Box} box @param {number} dx @param {number} dy */
export function panned(view, bounds, box, dx, dy) {
  const time = (-dx / box.width) * (view.to - view.from);
  const price = (dy / box.height) * (view.high - view.low);
  return clamped({ from: view.from + time, to: view.to + time, low: view.low + price, high: view.high + price }, bounds);
}

/** Round numbers between two, about `count` of them. @param {number} low @param {number} high @param {number} count */
export function ticks(low, high, count) {
  const rough = (high - low) / Math.max(1, count);
  if (!(rough > 0) || !Number.isFinite(rough)) return [];
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = power * ([1, 2, 5].find((one) => one * power >= rough) ?? 10);
  const found = [];
  for (let at = Math.ceil(low / step); at * step <= high; at++) found.push(at * step);
  return found;
}

const MINUTE = 60_000;
const HOUR = 60 * MINUTE;
const DAY = 24 * HOUR;
const STEPS_MS = [5 * MINUTE, 15 * MINUTE, 30 * MINUTE, HOUR, 2 * HOUR, 4 * HOUR, 6 * HOUR, 12 * HOUR, DAY, 2 * DAY, 7 * DAY];

/** Round times of UTC, at most about `count` of them. @param {number} from @param {number} to @param {number} count */
export function timeTicks(from, to, count) {
  const rough = (to - from) / Math.max(1, count);
  const step = STEPS_MS.find((one) => one >= rough) ?? 14 * DAY;
  const found = [];
  for (let at = Math.ceil(from / step) * step; at <= to; at += step) found.push(at);
  return found;
}

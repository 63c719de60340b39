/**
 * What was paid: candles on top of the map, and what was really liquidated. Neither is told by colour alone.
 *
 * @module heatmap/candles
 */

import { timeAt, xOf, yOf } from './view.js';

/** @typedef {import('./view.js').View} View */
/** @typedef {import('./view.js').Box} Box */
/** @typedef {Record<string, string>} Colours */
/** @typedef {{time: number, open: number, high: number, low: number, close: number}} Candle */
/** @typedef {{time: number, price: number, notional: number, side: string}} Dot BUY closed a short, SELL a long */

/** Narrower than that, several candles become one. */
const WIDTH_MIN = 4;
const TOGETHER = [1, 3, 6, 12, 24, 48, 96, 288];
const RADIUS_MIN = 2.5;
const RADIUS_MAX = 7;
/** Dots that lie nearer together are one, so that they do not become a blot. */
const APART = 8;

/**
 * Candles of a longer span, made of shorter ones, oldest first.
 *
 * @param {Candle[]} candles oldest first
 * @param {number} span ms
 * @returns {Candle[]}
 */
export function grouped(candles, span) {
  /** @type {Candle[]} */
  const found = [];
  for (const candle of candles) {
    const time = Math.floor(candle.time / span) * span;
    const last = found[found.length - 1];
    if (last?.time === time) {
      last.high = Math.max(last.high, candle.high);
      last.low = Math.min(last.low, candle.low);
      last.close = candle.close;
    } else found.push({ ...candle, time });
  }
  return found;
}

/** Candles of what a picture says of prices; each opens where the one before ended. @param {import('./picture.js').Picture} picture @returns {Candle[]} */
export function candlesOf({ start, interval, columns, close, low, high }) {
  const found = [];
  for (let column = 0; column < columns; column++) {
    if (Number.isNaN(close[column])) continue;
    const before = column > 0 && !Number.isNaN(close[column - 1]) ? close[column - 1] : close[column];
    const open = Math.max(low[column], Math.min(high[column], before));
    found.push({ time: start + column * interval, open, high: high[column], low: low[column], close: close[column] });
  }
  return found;
}

/**
 * Rising candles are hollow, falling ones full.
 *
 * @param {CanvasRenderingContext2D} context
 * @param {Candle[]} candles oldest first
 * @param {number} interval ms
 * @param {View} view
 * @param {Box} box
 * @param {Colours} colours
 * @param {number} ratio pixels of the screen in one of the box
 */
export function drawCandles(context, candles, interval, view, box, colours, ratio) {
  const per = (interval / (view.to - view.from)) * box.width;
  const together = TOGETHER.find((count) => count * per >= WIDTH_MIN) ?? 288;
  const span = together * interval;
  const from = Math.floor(timeAt(view, box, box.left) / span) * span;
  const seen = grouped(candles.filter(({ time }) => time >= from && time <= view.to), span);
  // Whole pixels of the screen only, which are drawn much faster than paths.
  const at = (/** @type {number} */ place) => Math.round(place * ratio);
  const line = Math.max(1, Math.round(ratio));
  const half = Math.max(line, Math.min(7 * line, at(per * together * 0.34)));
  const shapes = seen.map((candle) => {
    const [open, close] = [at(yOf(view, box, candle.open)), at(yOf(view, box, candle.close))];
    return {
      x: at(xOf(view, box, candle.time + span / 2)),
      high: at(yOf(view, box, candle.high)),
      low: at(yOf(view, box, candle.low)),
      top: Math.min(open, close),
      tall: Math.max(line, Math.abs(open - close)),
      rose: close <= open,
    };
  });
  context.save();
  context.setTransform(1, 0, 0, 1, 0, 0);
  // A rim of the ground keeps them apart from the brightest cells.
  context.fillStyle = colours.ground;
  for (const { x, high, low, top, tall } of shapes) {
    context.fillRect(x - line, high - line, 3 * line, low - high + 2 * line);
    context.fillRect(x - half - line, top - line, 2 * half + 3 * line, tall + 2 * line);
  }
  context.fillStyle = colours.text;
  for (const { x, high, low, top, tall } of shapes) {
    context.fillRect(x, high, line, low - high);
    context.fillRect(x - half, top, 2 * half + line, tall);
  }
  context.fillStyle = colours.ground;
  for (const { x, top, tall, rose } of shapes) {
    if (rose && half > line && tall > 2 * line) context.fillRect(x - half + line, top + line, 2 * half - line, tall - 2 * line);
  }
  context.restore();
}

/** How large a liquidation is drawn: its area grows with its value. @param {number} notional @param {number} most */
export function radius(notional, most) {
  return Math.max(RADIUS_MIN, Math.min(RADIUS_MAX, RADIUS_MAX * Math.sqrt(notional / Math.max(most, 1))));
}

/**
 * The dots that are seen, the largest ones last: of each side, where several lie on one another, the largest.
 *
 * @param {Dot[]} dots
 * @param {import('./picture.js').Side} side
 * @param {View} view
 * @param {Box} box
 */
export function uppermost(dots, side, view, box) {
  const wanted = { both: '', long: 'SELL', short: 'BUY' }[side];
  /** @type {Map<number, Dot>} */
  const found = new Map();
  for (const dot of dots) {
    if (dot.time < view.from || dot.time > view.to || dot.price < view.low || dot.price > view.high || (wanted && dot.side !== wanted)) continue;
    const [column, row] = [Math.floor((xOf(view, box, dot.time) - box.left) / APART), Math.floor((yOf(view, box, dot.price) - box.top) / APART)];
    const place = 2 * (column * 65_536 + row) + (dot.side === 'BUY' ? 1 : 0);
    if (!(dot.notional <= (found.get(place)?.notional ?? -1))) found.set(place, dot);
  }
  return [...found.values()].sort((a, b) => a.notional - b.notional);
}

/**
 * Liquidated shorts point up, longs down. They are stamped, which is much faster than drawing thousands of them.
 *
 * @param {CanvasRenderingContext2D} context
 * @param {Dot[]} dots
 * @param {import('./picture.js').Side} side
 * @param {View} view
 * @param {Box} box
 * @param {Colours} colours
 * @param {number} ratio pixels of the screen in one of the box
 */
export function drawDots(context, dots, side, view, box, colours, ratio) {
  const seen = uppermost(dots, side, view, box);
  const most = seen.at(-1)?.notional ?? 0;
  /** @type {Map<number, HTMLCanvasElement>} */
  const stamps = new Map();
  context.save();
  context.setTransform(1, 0, 0, 1, 0, 0);
  for (const dot of seen) {
    const size = Math.round(radius(dot.notional, most) * ratio);
    const key = dot.side === 'BUY' ? size : -size;
    const made = stamps.get(key) ?? stamp(size, dot.side === 'BUY', colours, ratio);
    stamps.set(key, made);
    context.drawImage(made, Math.round(xOf(view, box, dot.time) * ratio) - made.width / 2, Math.round(yOf(view, box, dot.price) * ratio) - made.height / 2);
  }
  context.restore();
}

/** One triangle, with a rim of the ground. @param {number} size in pixels of the screen @param {boolean} up @param {Colours} colours @param {number} ratio */
function stamp(size, up, colours, ratio) {
  const canvas = document.createElement('canvas');
  const middle = size + Math.ceil(2 * ratio);
  canvas.width = canvas.height = 2 * middle;
  const context = /** @type {CanvasRenderingContext2D} */ (canvas.getContext('2d'));
  const point = up ? -size : size;
  context.moveTo(middle, middle + point);
  context.lineTo(middle + size, middle - point * 0.8);
  context.lineTo(middle - size, middle - point * 0.8);
  context.closePath();
  context.lineJoin = 'round';
  context.lineWidth = 2 * ratio;
  context.strokeStyle = colours.ground;
  context.stroke();
  context.fillStyle = up ? colours.buy : colours.sell;
  context.fill();
  return canvas;
}

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
 */
export function drawCandles(context, candles, interval, view, box, colours) {
  const per = (interval / (view.to - view.from)) * box.width;
  const together = TOGETHER.find((count) => count * per >= WIDTH_MIN) ?? 288;
  const span = together * interval;
  const from = Math.floor(timeAt(view, box, box.left) / span) * span;
  const seen = grouped(candles.filter(({ time }) => time >= from && time <= view.to), span);
  const width = Math.max(1, Math.min(14, per * together * 0.68));
  const [wicks, hollow, full] = [new Path2D(), new Path2D(), new Path2D()];
  for (const candle of seen) {
    const x = xOf(view, box, candle.time + span / 2);
    const [open, close] = [yOf(view, box, candle.open), yOf(view, box, candle.close)];
    const [top, bottom] = [Math.min(open, close), Math.max(open, close)];
    wicks.moveTo(x, yOf(view, box, candle.high));
    wicks.lineTo(x, top);
    wicks.moveTo(x, bottom);
    wicks.lineTo(x, yOf(view, box, candle.low));
    (close <= open ? hollow : full).rect(x - width / 2, top, width, Math.max(1, bottom - top));
  }
  // A rim of the ground keeps them apart from the brightest cells.
  context.lineWidth = 2.5;
  context.strokeStyle = context.fillStyle = colours.ground;
  for (const path of [wicks, hollow, full]) context.stroke(path);
  context.fill(hollow);
  context.lineWidth = 1;
  context.strokeStyle = context.fillStyle = colours.text;
  context.stroke(wicks);
  context.stroke(hollow);
  context.fill(full);
}

/** How large a liquidation is drawn: its area grows with its value. @param {number} notional @param {number} most */
export function radius(notional, most) {
  return Math.max(RADIUS_MIN, Math.min(RADIUS_MAX, RADIUS_MAX * Math.sqrt(notional / Math.max(most, 1))));
}

/**
 * Liquidated shorts point up, longs down.
 *
 * @param {CanvasRenderingContext2D} context
 * @param {Dot[]} dots
 * @param {import('./picture.js').Side} side
 * @param {View} view
 * @param {Box} box
 * @param {Colours} colours
 */
export function drawDots(context, dots, side, view, box, colours) {
  const wanted = { both: '', long: 'SELL', short: 'BUY' }[side];
  const seen = dots.filter((dot) => dot.time >= view.from && dot.time <= view.to && dot.price >= view.low && dot.price <= view.high && (!wanted || dot.side === wanted));
  const most = seen.reduce((found, dot) => Math.max(found, dot.notional), 0);
  const [up, down] = [new Path2D(), new Path2D()];
  for (const dot of seen) {
    const [x, y] = [xOf(view, box, dot.time), yOf(view, box, dot.price)];
    const size = radius(dot.notional, most);
    const [path, point] = dot.side === 'BUY' ? [up, -size] : [down, size];
    path.moveTo(x, y + point);
    path.lineTo(x + size, y - point * 0.8);
    path.lineTo(x - size, y - point * 0.8);
    path.closePath();
  }
  context.lineJoin = 'round';
  context.lineWidth = 2;
  context.strokeStyle = colours.ground;
  for (const [path, tone] of /** @type {[Path2D, string][]} */ ([[up, colours.buy], [down, colours.sell]])) {
    context.stroke(path);
    context.fillStyle = tone;
    context.fill(path);
  }
}

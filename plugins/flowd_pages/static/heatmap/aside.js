/**
 * The map as it is now, drawn at the right edge: a bar for each level, and lines that sum them up from the mark.
 *
 * @module heatmap/aside
 */

import { dollars } from '../format.js';
import { yOf } from './view.js';

/** @typedef {import('./view.js').Box} Box */
/** @typedef {import('./view.js').View} View */
/** @typedef {import('./picture.js').Level} Level */
/** @typedef {import('./profile.js').Step} Step */
/** @typedef {import('./paint.js').Scene} Scene */
/** @typedef {CanvasRenderingContext2D} Context */
/** @typedef {Record<string, string>} Colours */

/** Between the longest bar and the edge. */
const ROOM = 8;

/** @param {Context} context @param {Scene} scene @param {Box} box @param {Colours} colours */
export function drawProfile(context, scene, box, colours) {
  const { levels, bin, sums, view, side } = scene;
  context.save();
  context.beginPath();
  context.rect(box.left, box.top, box.width, box.height);
  context.clip();
  context.fillStyle = colours.ground;
  context.fillRect(box.left, box.top, box.width, box.height);
  const amount = (/** @type {Level} */ level) => Math.max(side === 'short' ? 0 : level.long_density, side === 'long' ? 0 : level.short_density);
  const seen = levels.filter((level) => level.price + bin > view.low && level.price < view.high && amount(level) > 0);
  const most = seen.reduce((found, level) => Math.max(found, amount(level)), 1);
  for (const level of seen) {
    const [top, bottom] = [yOf(view, box, level.price + bin), yOf(view, box, level.price)];
    const gap = bottom - top > 4 ? 1 : 0;
    const found = amount(level);
    context.fillStyle = scene.tone(found);
    context.fillRect(box.left + 1, top, Math.max(1, (found / most) * (box.width - ROOM)), Math.max(1, bottom - top - gap));
  }
  const lines = { long: side === 'short' ? [] : sums.long, short: side === 'long' ? [] : sums.short };
  const within = (/** @type {Step[]} */ steps) => steps.filter(({ price }) => price >= view.low && price <= view.high);
  const all = Math.max(1, within(lines.long).at(-1)?.sum ?? 0, within(lines.short).at(-1)?.sum ?? 0);
  for (const name of /** @type {const} */ (['short', 'long'])) {
    const steps = within(lines[name]);
    if (steps.length === 0) continue;
    const before = lines[name][lines[name].indexOf(steps[0]) - 1]?.sum ?? 0;
    drawSum(context, steps, before, name, all, view, box, colours);
  }
  context.restore();
  context.fillStyle = colours.line;
  context.fillRect(box.left, box.top, 1, box.height);
}

/**
 * What lies between the mark and each price: a full line for shorts, a dashed one for longs.
 *
 * @param {Context} context
 * @param {Step[]} steps
 * @param {number} before what lies nearer than the first of them
 * @param {'long' | 'short'} name
 * @param {number} all how much is as wide as the box
 * @param {View} view
 * @param {Box} box
 * @param {Colours} colours
 */
function drawSum(context, steps, before, name, all, view, box, colours) {
  const x = (/** @type {number} */ sum) => box.left + 1 + (sum / all) * (box.width - ROOM);
  const line = new Path2D();
  let sum = before;
  line.moveTo(x(sum), yOf(view, box, steps[0].price));
  for (const step of steps) {
    line.lineTo(x(sum), yOf(view, box, step.price));
    line.lineTo(x(step.sum), yOf(view, box, step.price));
    sum = step.sum;
  }
  context.lineWidth = 3.5;
  context.strokeStyle = colours.ground;
  context.stroke(line);
  context.lineWidth = 1.5;
  context.setLineDash(name === 'long' ? [4, 2] : []);
  context.strokeStyle = name === 'long' ? colours.sell : colours.buy;
  context.stroke(line);
  context.setLineDash([]);
  const text = `${name === 'long' ? '▼' : '▲'} ${dollars(sum.toFixed(0))}`;
  const [right, y] = [box.left + box.width - 4, name === 'long' ? box.top + box.height - 10 : box.top + 10];
  context.textAlign = 'right';
  context.textBaseline = 'middle';
  const { width } = context.measureText(text);
  context.fillStyle = colours.panel;
  context.globalAlpha = 0.85;
  context.fillRect(right - width - 3, y - 8, width + 6, 16);
  context.globalAlpha = 1;
  context.fillStyle = context.strokeStyle;
  context.fillText(text, right, y);
}

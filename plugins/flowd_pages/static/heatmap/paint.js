/**
 * Everything that is drawn: the picture and what lies on it, axes, the profile at its right, the crosshair.
 *
 * @module heatmap/paint
 */

import { clock, count, level, stamp } from '../format.js';
import { drawProfile } from './aside.js';
import { drawCandles, drawDots } from './candles.js';
import { BLIND, UNKNOWN } from './picture.js';
import { ticks, timeTicks, xOf, yOf } from './view.js';

/** @typedef {import('./view.js').View} View */
/** @typedef {import('./view.js').Box} Box */
/** @typedef {import('./picture.js').Side} Side */
/** @typedef {CanvasRenderingContext2D} Context */

/**
 * What is to be drawn.
 *
 * @typedef {object} Scene
 * @property {import('./picture.js').Picture} picture
 * @property {import('./bitmap.js').Bitmap} bitmap
 * @property {View} view
 * @property {Side} side
 * @property {import('./candles.js').Candle[]} candles none where they are switched off
 * @property {import('./candles.js').Dot[]} dots
 * @property {import('./picture.js').Level[]} levels of the newest map
 * @property {number} bin
 * @property {number | null} mark
 * @property {import('./profile.js').Sums} sums
 * @property {(amount: number) => string} tone the colour of a density
 * @property {string} before what is said where nothing is known yet
 */

const AXIS = 20;
const HATCH = 7;

/** Where what lies, in a canvas of this size. @param {number} width @param {number} height @param {number} prices how wide they are */
export function layout(width, height, prices) {
  const aside = width < 560 ? 72 : Math.min(200, Math.round(width * 0.16));
  const tall = Math.max(40, height - AXIS);
  const wide = Math.max(40, width - prices - aside);
  return {
    plot: { left: 0, top: 0, width: wide, height: tall },
    profile: { left: wide, top: 0, width: aside, height: tall },
    prices: { left: wide + aside, top: 0, width: prices, height: tall },
  };
}

export class Paint {
  /** @type {Context} */
  #context;
  /** @type {CanvasPattern | null} */
  #hatch = null;
  ratio = 1;
  /** @type {Record<string, string>} */
  colours = {};
  font = '11px sans-serif';

  /** @param {HTMLCanvasElement} canvas */
  constructor(canvas) {
    this.canvas = canvas;
    // Nothing shines through it, which spares the browser a blend of each frame.
    this.#context = /** @type {Context} */ (canvas.getContext('2d', { alpha: false }));
    this.boxes = layout(300, 200, 60);
  }

  /**
   * Take the size that there is, and the colours of the theme.
   *
   * @param {number} width
   * @param {number} height
   * @param {number} ratio
   * @param {Record<string, string>} colours
   * @param {string} widest of the prices
   */
  fit(width, height, ratio, colours, widest) {
    this.canvas.width = Math.round(width * ratio);
    this.canvas.height = Math.round(height * ratio);
    this.ratio = ratio;
    this.colours = colours;
    this.font = this.#context.font = `11px ${getComputedStyle(document.body).fontFamily}`;
    this.boxes = layout(width, height, Math.ceil(this.#context.measureText(widest).width) + 10);
    this.#hatch = this.#hatching();
  }

  #hatching() {
    const tile = document.createElement('canvas');
    const size = (tile.width = tile.height = Math.round(HATCH * this.ratio));
    const context = /** @type {Context} */ (tile.getContext('2d'));
    context.strokeStyle = this.colours.muted;
    context.globalAlpha = 0.55;
    context.lineWidth = this.ratio;
    for (const shift of [-size, 0, size]) {
      context.moveTo(shift, size);
      context.lineTo(shift + size, 0);
    }
    context.stroke();
    const pattern = this.#context.createPattern(tile, 'repeat');
    pattern?.setTransform(new DOMMatrix([1 / this.ratio, 0, 0, 1 / this.ratio, 0, 0]));
    return pattern;
  }

  /** @param {Scene} scene */
  draw(scene) {
    const context = this.#context;
    const { plot } = this.boxes;
    context.setTransform(this.ratio, 0, 0, this.ratio, 0, 0);
    context.font = this.font;
    context.fillStyle = this.colours.panel;
    context.fillRect(0, 0, this.canvas.width / this.ratio, this.canvas.height / this.ratio);
    context.save();
    context.beginPath();
    context.rect(plot.left, plot.top, plot.width, plot.height);
    context.clip();
    this.#picture(scene);
    if (scene.candles.length) drawCandles(context, scene.candles, scene.picture.interval, scene.view, plot, this.colours, this.ratio);
    if (scene.dots.length) drawDots(context, scene.dots, scene.side, scene.view, plot, this.colours, this.ratio);
    context.restore();
    drawProfile(context, scene, this.boxes.profile, this.colours);
    this.#axes(scene);
    if (scene.mark !== null) this.#mark(scene, scene.mark);
  }

  /** @param {Scene} scene */
  #picture({ picture, bitmap, view, before }) {
    const context = this.#context;
    const { plot } = this.boxes;
    // All is unknown until the picture says otherwise; what is still to come is not unknown but blank.
    const end = Math.min(plot.width, xOf(view, plot, picture.end));
    if (this.#hatch && end > plot.left) {
      context.fillStyle = this.#hatch;
      context.fillRect(plot.left, plot.top, end - plot.left, plot.height);
    }
    bitmap.draw(context, view, plot, this.ratio);
    for (const [from, to] of picture.spans(BLIND)) {
      const [left, right] = [xOf(view, plot, from), xOf(view, plot, to)];
      if (!this.#hatch || right < 0 || left > plot.width) continue;
      context.fillStyle = this.#hatch;
      context.fillRect(left, plot.top, right - left, plot.height);
    }
    for (const [from, to] of [[view.from, picture.start], ...picture.spans(UNKNOWN)]) {
      const first = from <= picture.start;
      this.#named(first ? before : 'not known', xOf(view, plot, from), xOf(view, plot, to));
    }
  }

  /** Words in a time of which nothing is known, where there is room. @param {string} text @param {number} from @param {number} to */
  #named(text, from, to) {
    const context = this.#context;
    const { plot } = this.boxes;
    const [left, right] = [Math.max(plot.left, from), Math.min(plot.width, to)];
    const wide = context.measureText(text).width + 12;
    if (right - left < wide + 8) return;
    const [x, y] = [(left + right) / 2, plot.height * 0.75];
    context.fillStyle = this.colours.panel;
    context.fillRect(x - wide / 2, y - 10, wide, 20);
    context.fillStyle = this.colours.muted;
    context.textAlign = 'center';
    context.textBaseline = 'middle';
    context.fillText(text, x, y);
  }

  /** @param {Scene} scene */
  #axes({ view, mark }) {
    const context = this.#context;
    const { plot, prices } = this.boxes;
    context.fillStyle = this.colours.muted;
    context.textBaseline = 'middle';
    context.textAlign = 'left';
    for (const at of ticks(view.low, view.high, plot.height / 56)) {
      const y = yOf(view, plot, at);
      if (y < 8 || y > plot.height - 8 || (mark !== null && Math.abs(yOf(view, plot, mark) - y) < 16)) continue;
      context.fillText(Number.isInteger(at) ? count(at) : level(at.toFixed(12)), prices.left + 5, y);
    }
    context.textAlign = 'center';
    const days = view.to - view.from > 3 * 86_400_000;
    for (const time of timeTicks(view.from, view.to, plot.width / (days ? 72 : 92))) {
      const x = xOf(view, plot, time);
      if (x < 24 || x > plot.width - 24) continue;
      const midnight = time % 86_400_000 === 0;
      const text = midnight ? stamp(time).slice(0, -6) : days ? stamp(time) : clock(time).slice(0, 5);
      context.fillText(text, x, plot.height + AXIS / 2);
    }
    context.fillStyle = this.colours.line;
    context.fillRect(plot.left, plot.height, prices.left + prices.width, 1);
    context.fillRect(prices.left, 0, 1, plot.height);
  }

  /** @param {Scene} scene @param {number} mark */
  #mark({ view }, mark) {
    const context = this.#context;
    const { plot, prices } = this.boxes;
    if (mark < view.low || mark > view.high) return;
    const y = Math.round(yOf(view, plot, mark)) + 0.5;
    context.strokeStyle = this.colours.accent;
    context.lineWidth = 1;
    context.setLineDash([3, 3]);
    context.beginPath();
    context.moveTo(0, y);
    context.lineTo(prices.left, y);
    context.stroke();
    context.setLineDash([]);
    this.tag(context, level(mark.toFixed(12)), y, this.colours.accent, this.colours['on-accent']);
  }

  /** A price on its axis. @param {Context} context @param {string} text @param {number} y @param {string} ground @param {string} tone */
  tag(context, text, y, ground, tone) {
    const { prices, plot } = this.boxes;
    const at = Math.max(9, Math.min(plot.height - 9, y));
    context.fillStyle = ground;
    context.fillRect(prices.left + 1, at - 9, prices.width - 1, 18);
    context.fillStyle = tone;
    context.textAlign = 'left';
    context.textBaseline = 'middle';
    context.fillText(text, prices.left + 5, at);
  }

  #crossed = true;

  /** The crosshair, on a canvas above, so that it moves without the rest. @param {HTMLCanvasElement} above @param {{x: number, y: number, time: number, price: number} | null} cross */
  cross(above, cross) {
    // Where none was, none has to be taken away.
    if (cross === null && !this.#crossed) return;
    this.#crossed = cross !== null;
    if (above.width !== this.canvas.width || above.height !== this.canvas.height) [above.width, above.height] = [this.canvas.width, this.canvas.height];
    const context = /** @type {Context} */ (above.getContext('2d'));
    context.setTransform(1, 0, 0, 1, 0, 0);
    context.clearRect(0, 0, above.width, above.height);
    if (cross === null) return;
    context.setTransform(this.ratio, 0, 0, this.ratio, 0, 0);
    const { plot, prices } = this.boxes;
    context.font = this.font;
    // Light and dark dashes take turns: one of them is seen on every colour.
    for (const [tone, shift] of /** @type {[string, number][]} */ ([[this.colours.text, 0], [this.colours.ground, 4]])) {
      context.strokeStyle = tone;
      context.lineDashOffset = shift;
      context.setLineDash([4, 4]);
      context.beginPath();
      context.moveTo(0, Math.round(cross.y) + 0.5);
      context.lineTo(prices.left, Math.round(cross.y) + 0.5);
      if (cross.x < plot.width) {
        context.moveTo(Math.round(cross.x) + 0.5, 0);
        context.lineTo(Math.round(cross.x) + 0.5, plot.height);
      }
      context.stroke();
    }
    context.setLineDash([]);
    this.tag(context, level(cross.price.toFixed(12)), cross.y, this.colours.muted, this.colours.panel);
    if (cross.x >= plot.width) return;
    const text = stamp(cross.time);
    const width = context.measureText(text).width + 10;
    const left = Math.max(0, Math.min(plot.width - width, cross.x - width / 2));
    context.fillStyle = this.colours.muted;
    context.fillRect(left, plot.height + 1, width, AXIS - 2);
    context.fillStyle = this.colours.panel;
    context.textAlign = 'center';
    context.fillText(text, left + width / 2, plot.height + AXIS / 2);
  }

  /** What is drawn, with words below, as a picture to keep. @param {string[]} words @returns {Promise<Blob | null>} */
  png(words) {
    const { ratio, colours } = this;
    const canvas = document.createElement('canvas');
    [canvas.width, canvas.height] = [this.canvas.width, this.canvas.height + Math.round((10 + 16 * words.length) * ratio)];
    const context = /** @type {Context} */ (canvas.getContext('2d'));
    context.fillStyle = colours.panel;
    context.fillRect(0, 0, canvas.width, canvas.height);
    context.drawImage(this.canvas, 0, 0);
    context.setTransform(ratio, 0, 0, ratio, 0, this.canvas.height);
    context.font = this.font;
    context.textBaseline = 'middle';
    context.fillStyle = colours.text;
    words.forEach((text, index) => context.fillText(text, 8, 13 + 16 * index));
    return new Promise((resolve) => canvas.toBlob(resolve, 'image/png'));
  }
}

/**
 * Bars of what was bought, upwards, and of what was sold, downwards.
 *
 * @module analytics/bars
 */

import { colours } from '../chart/paint.js';
import { clock } from '../format.js';
import { dollars } from './model.js';

/** @typedef {import('./model.js').Bar} Bar */

const SCALE_PX = 64;
const TIMES_PX = 20;
const TOP_PX = 8;
/** Lines of a hatching are so far apart. */
const HATCH_PX = 7;
/** Times are written no closer than this. */
const LABEL_PX = 72;

/** Draws into a canvas, when it is told to. */
export class Bars {
  /** The bar that is pointed at, -1 for none. */
  pointed = -1;
  /** @type {Bar[]} */
  bars = [];

  /** @param {HTMLCanvasElement} canvas */
  constructor(canvas) {
    this.canvas = canvas;
    this.colours = colours();
  }

  /** The colours are others now. */
  paint() {
    this.colours = colours();
    this.draw();
  }

  /** Which bar is at this place, -1 for none. @param {number} x in pixels from the left */
  at(x) {
    const index = Math.floor(x / this.#step);
    return index >= 0 && index < this.bars.length ? index : -1;
  }

  get #step() {
    return Math.max(0.1, (this.canvas.clientWidth - SCALE_PX) / Math.max(1, this.bars.length));
  }

  draw() {
    const { canvas, bars, colours } = this;
    const ratio = devicePixelRatio || 1;
    const [width, height] = [canvas.clientWidth, canvas.clientHeight];
    canvas.width = Math.round(width * ratio);
    canvas.height = Math.round(height * ratio);
    const pen = canvas.getContext('2d');
    if (!pen || width === 0) return;
    pen.scale(ratio, ratio);
    const most = Math.max(0, ...bars.map((bar) => Math.max(bar.buy, bar.sell)));
    const bottom = height - TIMES_PX;
    const middle = Math.round((TOP_PX + bottom) / 2);
    const room = middle - TOP_PX;
    pen.font = getComputedStyle(canvas).font;
    this.#frame(pen, width - SCALE_PX, { middle, room, most });
    const step = this.#step;
    const thick = Math.max(1, step > 3 ? Math.floor(step) - 1 : step);
    this.#unknown(pen, step, bottom);
    bars.forEach((bar, index) => {
      const x = step > 3 ? Math.round(index * step) : index * step;
      if (index === this.pointed) {
        pen.fillStyle = colours.line;
        pen.fillRect(x, TOP_PX, thick, bottom - TOP_PX);
      }
      if (most === 0) return;
      const up = sized(bar.buy, most, room);
      const down = sized(bar.sell, most, room);
      pen.fillStyle = colours.buy;
      pen.fillRect(x, middle - up, thick, up);
      pen.fillStyle = colours.sell;
      pen.fillRect(x, middle + 1, thick, down);
    });
    this.#times(pen, height);
  }

  /** @param {CanvasRenderingContext2D} pen @param {number} width @param {{middle: number, room: number, most: number}} place */
  #frame(pen, width, { middle, room, most }) {
    pen.textBaseline = 'middle';
    pen.textAlign = 'left';
    for (const part of [1, 0.5, 0, -0.5, -1]) {
      const y = Math.round(middle - part * room);
      pen.fillStyle = part === 0 ? this.colours.line : this.colours['line-soft'];
      pen.fillRect(0, y, width, 1);
      if (most === 0 || part === 0) continue;
      pen.fillStyle = this.colours.muted;
      pen.fillText(dollars(Math.abs(part) * most), width + 8, y);
    }
  }

  /** Hatch the bars of which something is not known. @param {CanvasRenderingContext2D} pen @param {number} step @param {number} bottom */
  #unknown(pen, step, bottom) {
    const width = Math.ceil(step);
    pen.strokeStyle = this.colours.muted;
    pen.lineWidth = 1;
    this.bars.forEach((bar, index) => {
      if (!bar.unknown) return;
      const x = Math.floor(index * step);
      pen.save();
      pen.beginPath();
      pen.rect(x, TOP_PX, width, bottom - TOP_PX);
      pen.clip();
      pen.globalAlpha = 0.55;
      pen.beginPath();
      // Lines go on from bar to bar, so that a long time is one hatching.
      for (let y = TOP_PX - ((x + TOP_PX) % HATCH_PX) - HATCH_PX; y < bottom + width; y += HATCH_PX) {
        pen.moveTo(x, y + HATCH_PX);
        pen.lineTo(x + width, y + HATCH_PX - width);
      }
      pen.stroke();
      pen.restore();
    });
  }

  /** @param {CanvasRenderingContext2D} pen @param {number} height */
  #times(pen, height) {
    const step = this.#step;
    const minutes = this.bars[0]?.minutes ?? 1;
    const every = [5, 10, 15, 30, 60, 120, 180, 240, 360].find((one) => (one / minutes) * step >= LABEL_PX) ?? 720;
    pen.fillStyle = this.colours.muted;
    pen.textAlign = 'center';
    this.bars.forEach((bar, index) => {
      const x = index * step;
      if (bar.time % (every * 60_000) !== 0 || x < 20 || x > this.canvas.clientWidth - SCALE_PX - 16) return;
      pen.fillText(clock(bar.time).slice(0, 5), x, height - TIMES_PX / 2);
    });
  }
}

/** A small bar is still a bar. @param {number} value @param {number} most @param {number} room */
function sized(value, most, room) {
  return value > 0 ? Math.max(1, Math.round((value / most) * room)) : 0;
}

/**
 * The picture as pixels: drawn once for each choice, so that moving about is copying.
 *
 * @module heatmap/bitmap
 */

import { pooled } from './picture.js';
import { xOf, yOf } from './view.js';

/** @typedef {import('./picture.js').Picture} Picture */
/** @typedef {import('./view.js').View} View */
/** @typedef {import('./view.js').Box} Box */

export class Bitmap {
  /** One for each number of columns that are one. @type {Map<number, HTMLCanvasElement>} */
  #made = new Map();

  /**
   * @param {Picture} picture
   * @param {import('./picture.js').Side} side
   * @param {Uint32Array} palette the pixel of each code
   */
  constructor(picture, side, palette) {
    this.picture = picture;
    this.side = side;
    this.palette = palette;
  }

  /** What it shows has changed. */
  changed() {
    this.#made.clear();
  }

  /** @param {number} factor */
  #canvas(factor) {
    const known = this.#made.get(factor);
    if (known) return known;
    const { rows } = this.picture;
    const found = pooled(this.picture, this.side, factor);
    const canvas = document.createElement('canvas');
    canvas.width = found.columns;
    canvas.height = Math.max(1, rows);
    const context = /** @type {CanvasRenderingContext2D} */ (canvas.getContext('2d'));
    const image = context.createImageData(found.columns, Math.max(1, rows));
    const pixels = new Uint32Array(image.data.buffer);
    for (let row = 0, at = 0; row < rows; row++) {
      // Where nothing is known stays transparent: what lies below is hatched.
      for (let column = 0; column < found.columns; column++, at++) if (found.known[column]) pixels[at] = this.palette[found.cells[at]];
    }
    context.putImageData(image, 0, 0);
    this.#made.set(factor, canvas);
    return canvas;
  }

  /**
   * Copy what is seen of it into a box.
   *
   * @param {CanvasRenderingContext2D} context
   * @param {View} view
   * @param {Box} box
   * @param {number} ratio pixels of the screen in one of the box
   */
  draw(context, view, box, ratio) {
    const { picture } = this;
    const per = (picture.interval / (view.to - view.from)) * box.width * ratio;
    let factor = 1;
    while (per * factor < 1 && factor < 64) factor *= 2;
    const canvas = this.#canvas(factor);
    const [first, last] = [Math.max(view.from, picture.start), Math.min(view.to, picture.end)];
    const [low, high] = [Math.max(view.low, picture.base), Math.min(view.high, picture.top)];
    if (first >= last || low >= high) return;
    const wide = picture.interval * factor;
    const [sx, sy] = [(first - picture.start) / wide, (picture.top - high) / picture.bin];
    const [sw, sh] = [(last - first) / wide, (high - low) / picture.bin];
    const [x, y] = [xOf(view, box, first), yOf(view, box, high)];
    context.imageSmoothingEnabled = false;
    context.drawImage(canvas, sx, sy, sw, sh, x, y, xOf(view, box, last) - x, yOf(view, box, low) - y);
  }
}

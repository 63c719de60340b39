/**
 * What is seen: the picture in its canvas, where it is looked at, and what is pointed at.
 *
 * @module heatmap/stage
 */

import { colours } from '../chart/paint.js';
import { byId, fill } from '../dom.js';
import { stamp } from '../format.js';
import { Bitmap } from './bitmap.js';
import { candlesOf } from './candles.js';
import { gestures } from './gestures.js';
import { Paint } from './paint.js';
import { cumulated } from './profile.js';
import { Tones } from './tones.js';
import { clamped, panned, priceAt, timeAt, xOf, yOf, zoomed } from './view.js';
import { priced, readout, say } from './words.js';

/** @typedef {import('./loading.js').Loading} Loading */
/** @typedef {import('./choices.js').Choices} Choices */
/** @typedef {import('./view.js').View} View */
/** @typedef {import('./view.js').Bounds} Bounds */

/** On a phone, so much is seen at first. */
const NARROW_MS = 2 * 86_400_000;
const SPOKEN_MS = 400;

export class Stage {
  /** @type {View | null} */
  view = null;
  /** What is pointed at. @type {{time: number, price: number} | null} */
  at = null;
  /** How long the last frame took to draw, in milliseconds, and how many there were. */
  took = 0;
  frames = 0;
  /** How dense is how bright. */
  tones;
  /** @type {Bitmap | null} */
  bitmap = null;
  /** @type {import('./profile.js').Sums} */
  sums = { long: [], short: [] };

  #frame = byId('map');
  #canvas = /** @type {HTMLCanvasElement} */ (byId('map-canvas'));
  #above = /** @type {HTMLCanvasElement} */ (byId('map-cross'));
  #paint = new Paint(this.#canvas);
  /** @type {import('./candles.js').Candle[]} */
  #candles = [];
  #drawing = false;
  #due = false;
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #speaking;

  /** @param {Loading} loading @param {Choices} choices */
  constructor(loading, choices) {
    this.loading = loading;
    this.choices = choices;
    this.tones = new Tones(choices);
    new ResizeObserver(() => this.#fit()).observe(this.#frame);
    window.addEventListener('theme', () => {
      this.#fit();
      this.restyle();
    });
    gestures(this.#frame, {
      point: (x, y) => this.#point(x, y),
      leave: () => this.#aim(null),
      pan: (dx, dy) => this.#drag((view, bounds) => panned(view, bounds, this.boxes.plot, dx, dy)),
      zoom: (x, y, across, up) => this.#look((view, bounds) => zoomed(view, bounds, this.#place(view, x, y), across, up)),
      step: (columns, rows) => this.#step(columns, rows),
      nearer: (factor) => this.#look((view, bounds) => zoomed(view, bounds, this.at ?? { time: view.to, price: (view.low + view.high) / 2 }, factor)),
      go: (where) => this.go(where),
    });
    this.#fit();
  }

  get boxes() {
    return this.#paint.boxes;
  }

  get mark() {
    return this.loading.snapshot?.data.current_price ?? null;
  }

  /** @returns {Bounds | null} */
  get bounds() {
    return this.#bounds(this.view ? this.view.to - this.view.from : Infinity);
  }

  /** What can be seen; behind the newest column is a little room. @param {number} span that is seen @returns {Bounds | null} */
  #bounds(span) {
    const { picture, start } = this.loading;
    if (!picture) return null;
    const first = this.choices.model === 'estimated' && start ? Math.min(start, picture.start) : picture.start;
    const room = Math.max(picture.interval, Math.min(picture.end - first, span) / 50);
    return { from: first, to: picture.end + room, low: picture.base, high: picture.top, column: picture.interval, row: picture.bin };
  }

  // -- what is shown

  /** There is another picture, of the same map or not. @param {boolean} same */
  show(same) {
    const { bounds } = this;
    if (!bounds) return;
    this.#fit();
    this.restyle();
    this.prices();
    if (same && this.view) this.view = clamped(this.view, bounds);
    else this.go('last');
  }

  /** The newest map is a newer one. */
  changed() {
    const { picture, snapshot } = this.loading;
    const { bounds } = this;
    if (!picture || !snapshot || !bounds) return;
    this.sums = snapshot.data.current_price === null ? { long: [], short: [] } : cumulated(snapshot.data.levels, snapshot.data.bin, snapshot.data.current_price);
    // Who looks at the newest column goes on doing so.
    const { view } = this;
    if (view && picture.end > view.to) this.view = clamped({ ...view, from: view.from + bounds.to - view.to, to: bounds.to }, bounds);
    // Without a past, the present alone says what is bright.
    if (this.choices.model === 'observed') this.restyle();
    else this.bitmap?.changed();
    this.#prices();
    this.draw();
  }

  /** Sides, scale, threshold or theme are others. */
  restyle() {
    const { picture } = this.loading;
    if (!picture) return;
    const { side, model } = this.choices;
    if (this.bitmap?.picture !== picture || this.bitmap.side !== side || model === 'observed') this.tones.bright = picture.bright(side);
    this.bitmap = new Bitmap(picture, side, this.tones.palette());
    this.draw();
  }

  /** There are other candles. */
  prices() {
    this.#prices();
    this.draw();
  }

  #prices() {
    const { picture, candles } = this.loading;
    if (!picture) return;
    const own = candlesOf(picture);
    const known = [...candles.known.values()].map((one) => ({ ...one, time: one.time * 1000 }));
    // Where the daemon has no candles, the map itself says what was paid.
    const times = new Set(known.map(({ time }) => time));
    this.#candles = [...known, ...own.filter(({ time }) => !times.has(time))].sort((a, b) => a.time - b.time);
  }

  /** @param {'all' | 'first' | 'last'} where */
  go(where) {
    const bounds = where === 'all' ? this.#bounds(Infinity) : this.bounds;
    if (!bounds) return;
    const all = { from: bounds.from, to: bounds.to, low: bounds.low, high: bounds.high };
    const size = this.view && where !== 'all' ? this.view.to - this.view.from : this.boxes.plot.width < 400 && where !== 'all' ? NARROW_MS : Infinity;
    const prices = this.view && where !== 'all' ? { low: this.view.low, high: this.view.high } : {};
    const wide = Math.min(size, all.to - all.from);
    const times = where === 'first' ? { from: all.from, to: all.from + wide } : { from: all.to - wide, to: all.to };
    this.view = clamped({ ...all, ...times, ...prices }, bounds);
    this.draw();
  }

  // -- what is meant

  /** @param {(view: View, bounds: Bounds) => View} moved */
  #look(moved) {
    const { view, bounds } = this;
    if (!view || !bounds) return;
    this.view = moved(view, bounds);
    // Who sees less has less room behind the newest column.
    this.view = clamped(this.view, this.bounds ?? bounds);
    this.draw();
  }

  /** What is dragged has no crosshair: it would only be in the way. @param {(view: View, bounds: Bounds) => View} moved */
  #drag(moved) {
    this.at = null;
    this.#look(moved);
  }

  /** @param {View} view @param {number} x @param {number} y */
  #place(view, x, y) {
    const { plot } = this.boxes;
    return { time: timeAt(view, plot, Math.min(x, plot.width)), price: priceAt(view, plot, y) };
  }

  /** @param {number} x @param {number} y */
  #point(x, y) {
    const { view, boxes } = this;
    if (!view || y > boxes.plot.height) return this.#aim(null);
    const inside = x < boxes.plot.width;
    const { price } = this.#place(view, x, y);
    // The profile is of now.
    this.#aim({ time: inside ? timeAt(view, boxes.plot, x) : Math.max(view.to, this.loading.picture?.end ?? 0), price });
  }

  /** @param {number} columns @param {number} rows */
  #step(columns, rows) {
    const { picture } = this.loading;
    const { view, bounds } = this;
    if (!picture || !view || !bounds) return;
    const { interval, bin } = picture;
    const at = this.at ?? { time: Math.min(view.to, picture.end - 1), price: this.mark ?? (view.low + view.high) / 2 };
    const column = Math.max(0, Math.min(picture.columns - 1, Math.floor((at.time - picture.start) / interval) + (this.at ? columns : 0)));
    const row = Math.max(0, Math.min(picture.rows - 1, Math.floor((at.price - picture.base) / bin) + (this.at ? rows : 0)));
    const next = { time: picture.start + (column + 0.5) * interval, price: picture.base + (row + 0.5) * bin };
    const shift = next.time < view.from ? next.time - view.from : Math.max(0, next.time - view.to);
    const lift = next.price < view.low ? next.price - view.low : Math.max(0, next.price - view.high);
    if (shift || lift) this.#look(() => clamped({ from: view.from + shift, to: view.to + shift, low: view.low + lift, high: view.high + lift }, bounds));
    this.#aim(next);
    clearTimeout(this.#speaking);
    this.#speaking = setTimeout(() => fill(byId('spoken'), byId('readout').textContent), SPOKEN_MS);
  }

  /** @param {{time: number, price: number} | null} at */
  #aim(at) {
    this.at = at;
    this.#soon();
  }

  // -- drawing

  #fit() {
    const { width, height } = this.#frame.getBoundingClientRect();
    if (width < 20 || height < 20) return;
    this.#paint.fit(width, height, Math.min(3, devicePixelRatio || 1), colours(), priced(this.loading.picture?.top ?? 100_000));
    this.render();
  }

  /** Draw all of it with the next frame. */
  draw() {
    this.#due = true;
    this.#soon();
  }

  #soon() {
    if (this.#drawing) return;
    this.#drawing = true;
    requestAnimationFrame(() => {
      this.#drawing = false;
      if (this.#due) this.render();
      else this.#cross();
    });
  }

  /** Draw all of it at once. */
  render() {
    const began = performance.now();
    this.#due = false;
    const { picture, snapshot, dots } = this.loading;
    if (!picture || !this.view || !this.bitmap) return;
    const { side, candles, dots: wanted } = this.choices;
    this.#paint.draw({
      picture,
      bitmap: this.bitmap,
      view: this.view,
      side,
      candles: candles ? this.#candles : [],
      dots: wanted ? dots.all : [],
      levels: snapshot?.data.levels ?? [],
      bin: snapshot?.data.bin ?? picture.bin,
      mark: this.mark,
      sums: this.sums,
      tone: (amount) => this.tones.of(amount),
      before: this.choices.model === 'observed' ? 'no past is kept of an observed map' : `not known before ${stamp(picture.start)}`,
    });
    this.#cross();
    this.frames++;
    this.took = performance.now() - began;
  }

  #cross() {
    const { view, at, boxes } = this;
    const { picture, snapshot } = this.loading;
    const there = view && at && picture ? { ...at, x: Math.max(0, xOf(view, boxes.plot, at.time)), y: yOf(view, boxes.plot, at.price) } : null;
    this.#paint.cross(this.#above, there);
    say(at && picture && snapshot ? readout(picture, at, { mark: this.mark, sums: this.sums }) : null, this.choices.side);
  }

  /** What is seen, with words below, as a picture to keep. @param {string[]} words */
  png(words) {
    return this.#paint.png(words);
  }
}

/**
 * The curve of an account's equity, and which of its points is pointed at.
 *
 * @module traders/equity
 */

import { dollars } from '../analytics/model.js';
import { colours } from '../chart/paint.js';
import { byId, fill, h } from '../dom.js';
import { clock, money, stamp } from '../format.js';
import { gained, steps } from './account.js';
import { signed } from './figures.js';

/** @typedef {{time: number, equity: string}} Sample */

const SCALE_PX = 64;
const TIMES_PX = 20;
const TOP_PX = 10;
const LABEL_PX = 150;

export class EquityCurve {
  /** @type {Sample[]} */
  samples = [];
  #pointed = -1;
  #canvas = /** @type {HTMLCanvasElement} */ (byId('equity-canvas'));
  #frame = byId('equity');
  #colours = colours();

  constructor() {
    const frame = this.#frame;
    frame.addEventListener('pointermove', (event) => this.#point(this.#nearest(event.clientX - frame.getBoundingClientRect().left)));
    frame.addEventListener('pointerleave', () => this.#point(-1));
    frame.addEventListener('blur', () => this.#point(-1));
    frame.addEventListener('keydown', (event) => this.#key(event));
    window.addEventListener('theme', () => {
      this.#colours = colours();
      this.draw();
    });
    new ResizeObserver(() => this.draw()).observe(frame);
  }

  /** @param {Sample[]} samples oldest first */
  show(samples) {
    this.samples = samples;
    if (this.#pointed >= samples.length) this.#pointed = -1;
    this.draw();
  }

  /** Where time and equity are on the canvas. */
  get #place() {
    const { samples } = this;
    const [width, height] = [this.#canvas.clientWidth - SCALE_PX, this.#canvas.clientHeight - TIMES_PX];
    const values = samples.map(({ equity }) => Number(equity));
    const [least, most] = [Math.min(...values), Math.max(...values)];
    const room = most - least || Math.abs(most) * 0.02 || 1;
    const [from, to] = [samples[0].time, samples[samples.length - 1].time];
    return {
      ...{ width, height, least: least - room * 0.05, most: most + room * 0.05, from, to },
      /** @param {number} time */
      x: (time) => (to > from ? ((time - from) / (to - from)) * (width - 8) : 0) + 4,
      /** @param {number} value */
      y: (value) => TOP_PX + (1 - (value - least + room * 0.05) / (room * 1.1)) * (height - TOP_PX),
    };
  }

  draw() {
    const canvas = this.#canvas;
    const ratio = devicePixelRatio || 1;
    canvas.width = Math.round(canvas.clientWidth * ratio);
    canvas.height = Math.round(canvas.clientHeight * ratio);
    const pen = canvas.getContext('2d');
    this.#tell();
    if (!pen || canvas.clientWidth === 0 || this.samples.length < 2) return;
    pen.scale(ratio, ratio);
    pen.font = getComputedStyle(canvas).font;
    const place = this.#place;
    this.#scales(pen, place);
    pen.beginPath();
    this.samples.forEach(({ time, equity }, index) => {
      const [x, y] = [place.x(time), place.y(Number(equity))];
      // What lies between two visits is not known: a step says less than a slope would.
      if (index === 0) pen.moveTo(x, y);
      else {
        pen.lineTo(x, place.y(Number(this.samples[index - 1].equity)));
        pen.lineTo(x, y);
      }
    });
    pen.strokeStyle = this.#colours.accent;
    pen.lineWidth = 1.5;
    pen.lineJoin = 'round';
    pen.stroke();
    const pointed = this.samples[this.#pointed];
    if (!pointed) return;
    pen.fillStyle = this.#colours.accent;
    pen.beginPath();
    pen.arc(place.x(pointed.time), place.y(Number(pointed.equity)), 4, 0, 2 * Math.PI);
    pen.fill();
  }

  /** @param {CanvasRenderingContext2D} pen @param {{width: number, height: number, least: number, most: number, from: number, to: number, x: (time: number) => number, y: (value: number) => number}} place */
  #scales(pen, { width, height, least, most, from, to, x, y }) {
    pen.textBaseline = 'middle';
    for (const value of steps(least, most, 6)) {
      pen.fillStyle = this.#colours['line-soft'];
      pen.fillRect(0, Math.round(y(value)), width, 1);
      pen.fillStyle = this.#colours.muted;
      pen.fillText(value < 0 ? `−${dollars(-value)}` : dollars(value), width + 8, y(value));
    }
    const labels = Math.max(1, Math.floor(width / LABEL_PX));
    for (let index = 0; index <= labels; index++) {
      const time = from + ((to - from) * index) / labels;
      pen.textAlign = index === 0 ? 'left' : index === labels ? 'right' : 'center';
      pen.fillText(stamp(time), x(time), height + TIMES_PX / 2);
    }
    pen.textAlign = 'left';
  }

  #tell() {
    const { samples } = this;
    const pointed = samples[this.#pointed];
    const change = gained(samples);
    if (pointed) fill(byId('equity-legend'), h('b', {}, money(pointed.equity)), h('span', { class: 'quiet' }, ` ${words(pointed.time)}`));
    else if (change !== null) fill(byId('equity-legend'), h('b', {}, signed(change)), h('span', { class: 'quiet' }, ` in ${samples.length} samples since ${stamp(samples[0].time)}`));
    else fill(byId('equity-legend'));
    if (change !== null) this.#frame.setAttribute('aria-label', `Equity: ${signed(change)} since ${words(samples[0].time)}, now ${money(samples[samples.length - 1].equity)}`);
  }

  /** @param {number} px */
  #nearest(px) {
    if (this.samples.length < 2) return -1;
    const { x } = this.#place;
    let best = 0;
    this.samples.forEach(({ time }, index) => {
      if (Math.abs(x(time) - px) < Math.abs(x(this.samples[best].time) - px)) best = index;
    });
    return best;
  }

  /** @param {number} index */
  #point(index) {
    if (index === this.#pointed) return;
    this.#pointed = index;
    this.draw();
  }

  /** @param {KeyboardEvent} event */
  #key(event) {
    const last = this.samples.length - 1;
    const at = this.#pointed < 0 ? last + 1 : this.#pointed;
    const next = { ArrowLeft: at - 1, ArrowRight: at + 1, Home: 0, End: last }[event.key];
    if (next === undefined || last < 1) return;
    event.preventDefault();
    this.#point(Math.max(0, Math.min(last, next)));
    const { time, equity } = this.samples[this.#pointed];
    byId('equity-spoken').textContent = `${words(time)}: ${money(equity)}`;
  }
}

/** @param {number} ms */
function words(ms) {
  return `${stamp(ms, true)} ${clock(ms)}`;
}

/**
 * Alert lines on the price: kept in the browser, and held against what comes.
 *
 * @module chart/alerts
 */

import { remember, remembered } from '../dom.js';

/** @typedef {import('./model.js').Candle} Candle */

/**
 * @typedef {object} Line
 * @property {number | string} id a number of those that are in this browser
 * @property {string} price
 * @property {number} from since when it is watched, in milliseconds
 * @property {number | null} fired when the price was there; null while it was not
 * @property {import('./kept.js').KeptLine} [kept] what the daemon tells of one that it keeps
 */

/** So many lines of a symbol. */
export const LINES_MAX = 20;
const PRICE = /^\d{1,15}(\.\d{1,12})?$/;

/** One symbol's lines. */
export class Alerts {
  /** @type {Line[]} */
  lines = [];
  #symbol = '';
  #ids = 0;
  /** The newest candle that was seen. @type {Candle | null} */
  #last = null;

  /** @param {() => number} now ms @param {() => void} changed */
  constructor(now, changed) {
    this.now = now;
    this.changed = changed;
  }

  /** Have the lines of another symbol. @param {string} symbol */
  open(symbol) {
    this.#symbol = symbol;
    this.#last = null;
    this.lines = read(remembered(`alerts.${symbol}`)).map((line) => ({ ...line, id: ++this.#ids }));
    this.changed();
  }

  /** A new line; null when there are too many, or when that is no price. @param {string} price @returns {Line | null} */
  add(price) {
    if (this.lines.length >= LINES_MAX || !valid(price)) return null;
    const line = { id: ++this.#ids, price, from: this.now(), fired: null };
    this.lines.push(line);
    this.keep();
    return line;
  }

  /** To another price, and watched anew from now on; false when that is no price. @param {Line['id']} id @param {string} price */
  move(id, price) {
    const line = this.lines.find((one) => one.id === id);
    if (!line || !valid(price)) return false;
    Object.assign(line, { price, from: this.now(), fired: null });
    this.keep();
    return true;
  }

  /** @param {Line['id']} id */
  remove(id) {
    this.lines = this.lines.filter((line) => line.id !== id);
    this.keep();
  }

  /** Write them down, as watched until now, and tell. */
  keep() {
    remember(`alerts.${this.#symbol}`, JSON.stringify(this.lines.map(({ price, from, fired }) => ({ price, from, fired }))));
    this.changed();
  }

  /** The page goes: what comes later is looked up in the candles when it is back. */
  leave() {
    if (!this.#last) return;
    const now = this.now();
    for (const line of this.lines) line.from = Math.max(line.from, now);
    this.keep();
  }

  /**
   * Which lines the price was at while nobody looked, by the candles that began since.
   *
   * @param {Candle[]} candles in order
   * @returns {Line[]}
   */
  catchUp(candles) {
    this.#last = candles.at(-1) ?? null;
    return this.#fire((line) => {
      const price = Number(line.price);
      return candles.find(({ time, low, high }) => time * 1000 >= line.from && low <= price && price <= high)?.time ?? null;
    });
  }

  /**
   * Which lines the price came to or went over with this candle.
   *
   * @param {Candle} candle the newest
   * @returns {Line[]}
   */
  put(candle) {
    const before = this.#last;
    if (before && candle.time < before.time) return [];
    this.#last = candle;
    if (!before) return [];
    const same = candle.time === before.time;
    // What is new of it: from where the price was to where it is, and how far it went between.
    const moved = [before.close, candle.close];
    if (!same || candle.low < before.low) moved.push(candle.low);
    if (!same || candle.high > before.high) moved.push(candle.high);
    const [low, high] = [Math.min(...moved), Math.max(...moved)];
    // A line where the price was already is left first, and come back to.
    return this.#fire(({ price }) => (low <= Number(price) && Number(price) <= high && Number(price) !== before.close ? this.now() / 1000 : null));
  }

  /** @param {(line: Line) => number | null} when in seconds @returns {Line[]} */
  #fire(when) {
    const fired = this.lines.filter((line) => {
      const at = line.fired === null ? when(line) : null;
      if (at !== null) line.fired = at * 1000;
      return at !== null;
    });
    if (fired.length > 0) this.keep();
    return fired;
  }
}

/** Whether a line can be there. @param {string} price */
export const valid = (price) => PRICE.test(price) && Number(price) > 0;

/** What was written down; nothing of what makes no sense. @param {string | null} text @returns {Omit<Line, 'id'>[]} */
function read(text) {
  try {
    const found = JSON.parse(text ?? '[]');
    return (Array.isArray(found) ? found : [])
      .filter((line) => valid(String(line?.price)) && Number.isFinite(line.from))
      .slice(0, LINES_MAX)
      .map(({ price, from, fired }) => ({ price: String(price), from, fired: Number.isFinite(fired) ? fired : null }));
  } catch {
    return [];
  }
}

/** Two short tones. Browsers allow it once somebody has clicked on the page. */
export function beep() {
  const audio = new AudioContext();
  const gain = audio.createGain();
  gain.gain.value = 0.15;
  gain.connect(audio.destination);
  for (const [index, pitch] of [880, 1320].entries()) {
    const tone = audio.createOscillator();
    tone.frequency.value = pitch;
    tone.connect(gain);
    tone.start(audio.currentTime + index * 0.16);
    tone.stop(audio.currentTime + index * 0.16 + 0.12);
    if (index === 1) tone.onended = () => audio.close();
  }
}

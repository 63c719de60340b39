/**
 * What is large: it has weight and colour, is marked when it comes, and can be heard. From which value on is chosen here
 * and kept in the browser.
 *
 * @module feed/large
 */

import { byId, remember, remembered } from '../dom.js';
import { amountOf } from './filter.js';

/** @typedef {import('./model.js').Row} Row */

/** What is large where nobody said so. */
const LARGE = '100k';
/** While no more rows come in a second, each is marked; of more only the large ones are. */
const CALM_ROWS = 5;
const SECOND_MS = 1_000;
/** Sounds are not closer than this. */
const APART_MS = 150;
const NOTES = { BUY: 880, SELL: 440 };

/** From a tenth and a hundredth of what is large, what is large, and ten times that: 0 to 4. @param {unknown} notional @param {number} large */
export function weight(notional, large) {
  const part = Number(notional) / large;
  return part >= 10 ? 4 : part >= 1 ? 3 : part >= 0.1 ? 2 : part >= 0.01 ? 1 : 0;
}

/** How many rows came within the last second. */
export class Pace {
  /** @type {{at: number, rows: number}[]} */
  #came = [];

  /** @param {number} rows @param {number} now ms */
  add(rows, now) {
    this.#came.push({ at: now, rows });
    while (this.#came[0].at <= now - SECOND_MS) this.#came.shift();
  }

  get calm() {
    return this.#came.reduce((sum, { rows }) => sum + rows, 0) <= CALM_ROWS;
  }
}

/** The choice of what is large, and the sound. */
export class Large {
  value = amountOf(LARGE);
  #pace = new Pace();
  /** @type {WeakSet<Row>} */
  #heard = new WeakSet();
  #sounded = -APART_MS;
  /** @type {AudioContext | null} */
  #audio = null;

  /** @param {() => void} onChange */
  constructor(onChange) {
    const input = /** @type {HTMLInputElement} */ (byId('large'));
    const button = byId('sound');
    const read = () => {
      const typed = amountOf(input.value);
      const wrong = !(typed > 0);
      input.setAttribute('aria-invalid', String(wrong));
      if (wrong) return false;
      this.value = typed;
      return true;
    };
    input.value = remembered('large') ?? LARGE;
    if (!read()) {
      input.value = LARGE;
      read();
    }
    input.addEventListener('input', () => {
      if (!read()) return;
      remember('large', input.value);
      onChange();
    });
    // What is no amount is put back to what holds, rather than left standing beside it.
    input.addEventListener('change', () => {
      if (!read()) input.value = remembered('large') ?? LARGE;
      read();
    });
    const show = () => {
      button.setAttribute('aria-pressed', String(this.#audio !== null));
      button.title = this.#audio ? 'A tone for each large row: high for buys, low for sells' : 'No sound';
    };
    button.addEventListener('click', () => {
      if (this.#audio) this.#silence();
      else this.#listen();
      remember('sound', this.#audio ? 'on' : 'off');
      show();
    });
    // Browsers let no page sound before somebody touched it.
    if (remembered('sound') === 'on') this.#listen();
    show();
  }

  /** Rows came, or were added to; those that were there before us are nothing new. @param {Row[]} all @param {number} now ms */
  came(all, now) {
    const rows = all.filter(({ arrived }) => arrived > 0);
    if (rows.length === 0) return;
    this.#pace.add(rows.length, now);
    if (!this.#audio) return;
    for (const row of rows) {
      if (weight(row.value.notional, this.value) < 3 || row.value.role === 'counterparty' || this.#heard.has(row)) continue;
      this.#heard.add(row);
      this.#sound(/** @type {'BUY'} */ (row.value.side), now);
    }
  }

  /** Whether a row that came just now is marked. @param {Row} row */
  marked(row) {
    return row.missed > 0 || this.#pace.calm || weight(row.value.notional, this.value) >= 3;
  }

  /** How a row looks. @param {Row} row */
  dress(row) {
    if (row.missed) return '';
    const size = weight(row.value.notional, this.value);
    if (row.parent) return `w${Math.min(size, 1)}`;
    const tone = row.value.role === 'counterparty' ? '' : row.value.side === 'BUY' ? ' up' : row.value.side === 'SELL' ? ' down' : '';
    return `w${size}${size >= 3 ? tone : ''}`;
  }

  #listen() {
    this.#audio = new AudioContext();
    const wake = () => this.#audio?.resume();
    document.addEventListener('pointerdown', wake, { once: true });
    document.addEventListener('keydown', wake, { once: true });
  }

  #silence() {
    this.#audio?.close();
    this.#audio = null;
  }

  /** @param {'BUY' | 'SELL'} side @param {number} now ms */
  #sound(side, now) {
    const audio = this.#audio;
    if (!audio || now - this.#sounded < APART_MS) return;
    this.#sounded = now;
    const [tone, volume] = [audio.createOscillator(), audio.createGain()];
    const ends = audio.currentTime + 0.12;
    tone.frequency.value = NOTES[side] ?? NOTES.BUY;
    volume.gain.setValueAtTime(0.15, audio.currentTime);
    volume.gain.exponentialRampToValueAtTime(0.001, ends);
    tone.connect(volume).connect(audio.destination);
    tone.start();
    tone.stop(ends);
  }
}

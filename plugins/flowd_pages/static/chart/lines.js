/**
 * Alert lines as they are seen and moved: on the chart, in their list, and as notices when the price is there.
 *
 * @module chart/lines
 */

import { byId, fill, h, remember, remembered } from '../dom.js';
import { price } from '../format.js';
import { Alerts, LINES_MAX, beep } from './alerts.js';
import { sinceWords } from './words.js';

/** @typedef {import('./alerts.js').Line} Line */
/** @typedef {import('./view.js').View} View */

/** So near to a line a pointer takes it, in pixels; a finger needs more. */
const REACH_PX = { mouse: 5, other: 14 };
const NOTICES_MAX = 4;

/** The lines of one symbol on one chart. */
export class AlertLines {
  /** @type {View | null} */
  #view = null;
  #symbol = '';
  /** The line that is held. @type {Line | null} */
  #held = null;

  /** @param {() => number} now the daemon's time, in milliseconds */
  constructor(now) {
    this.now = now;
    this.alerts = new Alerts(now, () => this.draw());
    this.#drag(byId('canvas'));
    const sound = /** @type {HTMLInputElement} */ (byId('alert-sound'));
    sound.checked = remembered('alert-sound') === 'yes';
    sound.addEventListener('change', () => {
      remember('alert-sound', sound.checked ? 'yes' : 'no');
      if (sound.checked) beep();
    });
    this.sound = sound;
    byId('alert-add').addEventListener('click', () => this.add(null));
    window.addEventListener('pagehide', () => this.alerts.leave());
  }

  /** Another symbol. @param {string} symbol */
  open(symbol) {
    this.#symbol = symbol;
    fill(byId('alert-notices'));
    this.alerts.open(symbol);
  }

  /** Draw on this chart from now on. @param {View | null} view */
  on(view) {
    this.#view = view;
    this.draw();
  }

  /** A line at a price, or at the last one. @param {number | null} at */
  add(at) {
    const view = this.#view;
    const value = at ?? view?.lastPrice ?? null;
    if (!view?.candles || value === null) return this.#say('There are no candles to put a line on.');
    if (!this.alerts.add(view.written(value))) return this.#say(`${LINES_MAX} lines are the most for a symbol: remove one.`);
    this.#say('A line is at the last price: drag it, or type its price here.');
  }

  /** Candles of a history. @param {import('./model.js').Candle[]} candles in order */
  catchUp(candles) {
    this.#tell(this.alerts.catchUp(candles));
  }

  /** The newest candle moved. @param {import('./model.js').Candle} candle */
  put(candle) {
    this.#tell(this.alerts.put(candle));
  }

  /** Lines, and their list. */
  draw() {
    const { lines } = this.alerts;
    this.#view?.alert(lines);
    byId('alert-count').textContent = lines.length > 0 ? String(lines.length) : '';
    const list = byId('alert-list');
    // A field that is typed in stays.
    if (list.contains(document.activeElement) && list.childElementCount === lines.length) return;
    fill(list, ...lines.map((line) => this.#row(line)));
  }

  /** @param {Line} line */
  #row(line) {
    const input = h('input', { type: 'text', inputmode: 'decimal', 'aria-label': 'Price of the line', value: line.price, maxlength: 28 });
    input.addEventListener('change', () => {
      if (this.alerts.move(line.id, input.value.replaceAll(',', '').trim())) return;
      this.#say(`${input.value} is no price.`);
      input.value = line.price;
    });
    const remove = h('button', { type: 'button', class: 'text-button' }, 'Remove');
    remove.addEventListener('click', () => this.alerts.remove(line.id));
    return h('li', {}, input, h('span', { class: 'quiet' }, line.fired === null ? 'watched' : `reached ${sinceWords(line.fired, this.now())}`), remove);
  }

  /** @param {string} words */
  #say(words) {
    byId('alert-words').textContent = words;
  }

  /** @param {Line[]} fired */
  #tell(fired) {
    if (fired.length === 0) return;
    const notices = byId('alert-notices');
    for (const line of fired) {
      const away = line.fired !== null && this.now() - line.fired > 60_000;
      const close = h('button', { type: 'button', class: 'text-button' }, 'Dismiss');
      const words = `${this.#symbol} was at ${price(line.price)} ${away ? `at ${sinceWords(line.fired ?? 0, this.now())}, while this page was away` : 'just now'}`;
      const notice = h('div', { class: 'notice' }, h('span', {}, words), close);
      close.addEventListener('click', () => notice.remove());
      notices.prepend(notice);
    }
    while (notices.childElementCount > NOTICES_MAX) notices.lastElementChild?.remove();
    if (this.sound.checked) beep();
  }

  /** Lines can be dragged, before the chart library takes the pointer for scrolling. @param {HTMLElement} canvas */
  #drag(canvas) {
    /** @param {PointerEvent} event */
    const height = (event) => event.clientY - canvas.getBoundingClientRect().top;
    /** @param {PointerEvent} event */
    const near = (event) => {
      const reach = event.pointerType === 'mouse' ? REACH_PX.mouse : REACH_PX.other;
      const view = this.#view;
      if (!view?.candles || height(event) > view.pane(0).height) return null;
      return this.alerts.lines.find((line) => Math.abs((view.y(Number(line.price)) ?? -100) - height(event)) <= reach) ?? null;
    };
    canvas.addEventListener('pointerdown', (event) => {
      const found = event.button === 0 ? near(event) : null;
      if (!found) return;
      this.#held = { ...found };
      this.#view?.hold(true);
      canvas.setPointerCapture(event.pointerId);
      event.preventDefault();
    }, true);
    canvas.addEventListener('pointermove', (event) => {
      const [view, held] = [this.#view, this.#held];
      canvas.classList.toggle('on-line', held !== null || near(event) !== null);
      if (!view || !held) return;
      const value = view.priceAt(Math.min(view.pane(0).height, Math.max(0, height(event))));
      if (value === null || value <= 0) return;
      held.price = view.written(value);
      view.alert(this.alerts.lines.map((line) => (line.id === held.id ? { ...line, price: held.price, fired: null } : line)));
    }, true);
    const drop = () => {
      const held = this.#held;
      if (!held) return;
      this.#held = null;
      this.#view?.hold(false);
      this.alerts.move(held.id, held.price);
    };
    canvas.addEventListener('pointerup', drop, true);
    canvas.addEventListener('pointercancel', drop, true);
  }
}

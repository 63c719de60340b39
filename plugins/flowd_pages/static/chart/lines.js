/**
 * Alert lines as they are seen and moved: on the chart, in their list, and as notices when the price is there. Those of
 * this browser and those that the daemon keeps are handled alike.
 *
 * @module chart/lines
 */

import { Admin } from '../admin.js';
import { byId, fill, h, remember, remembered } from '../dom.js';
import { price } from '../format.js';
import { Alerts, LINES_MAX, beep, valid } from './alerts.js';
import { KeptLines, keptWords } from './kept.js';
import { sinceWords } from './words.js';

/** @typedef {import('./alerts.js').Line} Line */
/** @typedef {import('../flowd-client.js').FlowdClient} FlowdClient */
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

  /** @param {FlowdClient} client @param {string} stream of the daemon's alert lines, `''` where it keeps none */
  constructor(client, stream) {
    // The daemon's time, in milliseconds.
    this.now = () => client.now();
    this.alerts = new Alerts(this.now, () => this.draw());
    this.kept = new KeptLines(client, stream, new Admin(() => this.#say('The admin token is forgotten.')), {
      changed: () => this.draw(),
      told: (sentence) => this.#notice([sentence]),
      say: (words) => this.#say(words),
    });
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
    this.kept.open(symbol);
  }

  /** All of them, as they are drawn. @returns {Line[]} */
  get lines() {
    return [...this.alerts.lines, ...this.kept.lines];
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
    this.#paint();
    const { lines } = this;
    byId('alert-count').textContent = lines.length > 0 ? String(lines.length) : '';
    const list = byId('alert-list');
    const { activeElement: active } = document;
    const row = [...list.children].findIndex((one) => one.contains(active));
    // A field that is typed in stays.
    if (active instanceof HTMLInputElement && row >= 0 && list.childElementCount === lines.length) return;
    const place = row < 0 || !active ? -1 : [...list.children[row].children].indexOf(active);
    fill(list, ...lines.map((line) => this.#row(line)));
    // Who works with keys goes on where they were.
    const there = list.children[Math.min(row, lines.length - 1)]?.children[place];
    if (there instanceof HTMLElement) there.focus();
  }

  /** The lines on the chart: one that is dragged is where it is held. */
  #paint() {
    const held = this.#held;
    this.#view?.alert(this.lines.map((line) => (line.id === held?.id ? { ...line, price: held.price, fired: null } : line)));
  }

  /** @param {Line} line */
  #row(line) {
    const input = h('input', { type: 'text', inputmode: 'decimal', 'aria-label': 'Price of the line', value: line.price, maxlength: 28 });
    input.addEventListener('change', () => {
      const price = input.value.replaceAll(',', '').trim();
      if (!valid(price)) this.#say(`${input.value} is no price.`);
      else this.#move(line, price);
      if (!valid(price)) input.value = line.price;
    });
    const remove = h('button', { type: 'button', class: 'text-button' }, 'Remove');
    remove.addEventListener('click', () => (line.kept ? this.kept.remove(line.kept.id) : this.alerts.remove(line.id)));
    const words = line.kept ? keptWords(line.kept, this.now()) : line.fired === null ? 'watched' : `reached ${sinceWords(line.fired, this.now())}`;
    return h('li', {}, input, this.kept.there && this.#where(line), remove, h('span', { class: 'quiet' }, words));
  }

  /** The choice of who keeps a line. @param {Line} line */
  #where(line) {
    const choice = h('select', { 'aria-label': `Who keeps the line at ${line.price}` }, h('option', { value: 'here' }, 'in this browser'), h('option', { value: 'daemon' }, 'on the daemon'));
    choice.value = line.kept ? 'daemon' : 'here';
    choice.addEventListener('change', async () => {
      if (line.kept) {
        if (await this.kept.remove(line.kept.id)) this.alerts.add(line.price);
      } else if (await this.kept.add(line.price)) this.alerts.remove(line.id);
      this.draw();
    });
    return choice;
  }

  /** @param {Line} line @param {string} price */
  #move(line, price) {
    if (line.kept) this.kept.move(line.kept.id, price);
    else this.alerts.move(line.id, price);
  }

  /** @param {string} words */
  #say(words) {
    byId('alert-words').textContent = words;
  }

  /** @param {Line[]} fired */
  #tell(fired) {
    this.#notice(fired.map((line) => {
      const away = line.fired !== null && this.now() - line.fired > 60_000;
      return `${this.#symbol} was at ${price(line.price)} ${away ? `at ${sinceWords(line.fired ?? 0, this.now())}, while this page was away` : 'just now'}`;
    }));
  }

  /** Say these on the chart. @param {string[]} sentences */
  #notice(sentences) {
    if (sentences.length === 0) return;
    const notices = byId('alert-notices');
    for (const words of sentences) {
      const close = h('button', { type: 'button', class: 'text-button' }, 'Dismiss');
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
      return this.lines.find((line) => Math.abs((view.y(Number(line.price)) ?? -100) - height(event)) <= reach) ?? null;
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
      this.#paint();
    }, true);
    const drop = () => {
      const held = this.#held;
      if (!held) return;
      this.#held = null;
      this.#view?.hold(false);
      this.#move(held, held.price);
    };
    canvas.addEventListener('pointerup', drop, true);
    canvas.addEventListener('pointercancel', drop, true);
  }
}

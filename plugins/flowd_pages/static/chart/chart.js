/**
 * The page `/chart/SYMBOL`: what is loaded is drawn, and what the user chooses is loaded.
 *
 * @module chart/chart
 */

import { at, byId, fill, h, here, remember, remembered, segments } from '../dom.js';
import { FlowdClient } from '../flowd-client.js';
import { connectionBadge, themeButton } from '../shell.js';
import { Drawing } from './drawing.js';
import { Loading } from './loading.js';
import { COMPARISONS, whyNot } from './model.js';
import { Orders } from './orders.js';
import { options } from './options.js';
import { SYMBOL, symbolOf, symbolSearch } from './search.js';
import { demandWords } from './words.js';
import { current } from './zone.js';

const { dataset } = document.documentElement;

class ChartPage {
  client = new FlowdClient();
  orders = new Orders(() => this.client.now());
  loading = new Loading(
    this.client,
    {
      symbol: dataset.symbol ?? 'BTCUSDT',
      frame: new URLSearchParams(location.search).get('timeframe') ?? remembered('timeframe'),
      charts: dataset.charts ?? '',
    },
    {
      orders: {
        put: (stream, records, first) => {
          this.orders.put(stream, records, first);
          this.drawing.orders(records);
        },
        hole: (stream, missed) => this.orders.hole(stream, missed),
        none: (title, words, lines) => this.orders.none(title, words, lines),
      },
      wait: () => this.drawing.wait(),
      found: ({ sampled, approximate }) => {
        byId('sampled').hidden = !sampled;
        byId('approximate').hidden = !approximate;
      },
      offered: () => this.#offer(),
      loaded: () => this.drawing.show(),
      changed: () => this.drawing.draw(),
      bars: (changed) => this.drawing.bars(changed),
      candles: (news) => this.drawing.candles(news),
      gaps: () => this.drawing.shade(),
      missing: (title, words, lines) => this.drawing.instead(h('h2', {}, title), h('p', {}, words), h('pre', { class: 'lines' }, lines)),
      failed: (title, words) => this.#failed(title, words),
      lacking: (words, lines) => this.#lacking(words, lines),
      demanded: (state) => this.#demanded(state),
      silent: (why) => this.#badge.silent(why),
    },
  );
  drawing = new Drawing(this.loading);

  #badge = connectionBadge(this.client);
  #search;
  /** Show the buttons of the timeframes that there are. */
  #offer;

  constructor() {
    themeButton();
    this.orders.wait(this.symbol);
    this.#search = this.#symbols();
    this.#offer = this.#choices();
    this.#switch('net');
    this.#switch('rooted');
    this.#switch('split');
    options(this.drawing, {
      zone: () => this.#zone(),
      png: async () => {
        const { picture, save } = await import('./picture.js');
        const { view } = this;
        if (view && this.loading.loaded) await save(picture(view, this.symbol, this.frame.name, this.client.now()), `${this.symbol}-${this.frame.name}-${new Date(this.client.now()).toISOString().slice(0, 19).replace(/\D/g, '')}.png`);
      },
      print: async () => {
        const { picture, print } = await import('./picture.js');
        const { view } = this;
        if (view && this.loading.loaded) print(() => picture(view, this.symbol, this.frame.name, this.client.now()));
      },
    });
    this.#zone();
    byId('latest').addEventListener('click', () => this.drawing.home());
    document.addEventListener('click', (event) => {
      for (const id of ['candleless', 'demanded', 'sampled', 'approximate']) {
        const more = /** @type {HTMLDetailsElement} */ (byId(id));
        if (event.target instanceof Node && !more.contains(event.target)) more.open = false;
      }
    });
    // The plain address has no symbol, and which one it stood for is not asked anew on the way back.
    history.replaceState({ symbol: this.symbol }, '');
    window.addEventListener('popstate', ({ state }) => {
      const symbol = symbolOf(decodeURIComponent(here().split('/')[2] ?? '')) || String(state?.symbol ?? '');
      if (SYMBOL.test(symbol)) this.#open(symbol);
    });
    setInterval(() => {
      this.orders.tick();
      this.drawing.tick();
      this.loading.tick();
    }, 1000);
    this.loading.load();
  }

  get symbol() {
    return this.loading.symbol;
  }

  get frame() {
    return this.loading.frame;
  }

  get timeline() {
    return this.loading.timeline;
  }

  get view() {
    return this.drawing.view;
  }

  /** Resolves when what is shown has been loaded. */
  ready() {
    return this.loading.ready();
  }

  // -- what comes

  /** Loading failed. @param {string} title @param {string} words */
  #failed(title, words) {
    const again = h('button', { class: 'text-button', type: 'button' }, 'Try again');
    again.addEventListener('click', () => this.loading.load());
    this.drawing.instead(h('h2', {}, title), h('p', { class: 'quiet' }, words), again);
  }

  /** Say which lines bring candles; without lines, nothing. @param {string} words @param {string} lines */
  #lacking(words, lines) {
    byId('candleless').hidden = lines === '';
    fill(byId('candleless-words'), words);
    fill(byId('candleless-lines'), lines);
  }

  /** Say that candles are there because somebody asked, and how they stand. @param {import('./words.js').OnDemand | null} state */
  #demanded(state) {
    const chip = byId('demanded');
    chip.hidden = state === null;
    if (!state) return;
    const still = state.failing !== null;
    chip.classList.toggle('warned', still);
    fill(byId('demanded-name'), still ? 'on demand: standing still' : 'on demand');
    fill(byId('demanded-words'), demandWords(state, this.symbol, this.client.now()));
  }

  // -- what the user does

  #symbols() {
    return symbolSearch({
      symbol: this.symbol,
      load: () => this.loading.symbols(),
      open: (symbol) => {
        history.pushState({ symbol }, '', at(`/chart/${encodeURIComponent(symbol)}${location.search}`));
        this.#open(symbol);
      },
    });
  }

  /** The buttons of the timeframes and of the comparisons that they allow. @returns {() => void} show those that there are */
  #choices() {
    const comparisons = segments(
      byId('comparison'),
      [
        { value: 'off', label: 'Off', title: 'No comparison' },
        { value: 'day', label: '1 d', title: 'The same span one day earlier, as a line' },
        { value: 'week', label: '1 w', title: 'The same span one week earlier, as a line' },
      ],
      this.drawing.comparison,
      (value) => this.drawing.compareWith(value),
    );
    const fit = () => {
      for (const name of Object.keys(COMPARISONS)) comparisons.disable(name, whyNot(this.frame, name, this.loading.offered));
      const { comparison } = this.drawing;
      const possible = comparison === 'off' || !whyNot(this.frame, comparison);
      comparisons.mark(possible ? comparison : 'off');
    };
    const choices = () => this.loading.offered.map(({ name }) => ({ value: name, label: name }));
    let there = choices();
    const frames = segments(
      byId('timeframes'),
      there,
      this.frame.name,
      (name) => {
        remember('timeframe', name);
        history.replaceState(history.state, '', `${location.pathname}?timeframe=${name}`);
        this.loading.choose(name);
        fit();
      },
    );
    fit();
    return () => {
      // Buttons that stay the same keep the focus.
      if (JSON.stringify(choices()) !== JSON.stringify(there)) frames.offer((there = choices()));
      frames.mark(this.frame.name);
      fit();
    };
  }

  /** Times are shown in another zone: say in which. */
  #zone() {
    const { name } = current();
    const words = name === 'UTC' ? 'All times UTC' : `Times ${current().label(this.client.now())} (${name}), days UTC`;
    const foot = document.querySelector('.foot > span');
    if (foot) foot.textContent = words;
    this.orders.redraw();
    this.drawing.zone();
  }

  /** A button that is on or off, and remembered. @param {'net' | 'rooted' | 'split'} name */
  #switch(name) {
    const button = byId(name);
    const press = () => button.setAttribute('aria-pressed', String(this.drawing[name]));
    button.addEventListener('click', () => {
      this.drawing.toggle(name);
      press();
    });
    press();
  }

  /** Show another symbol, on the same connection. @param {string} symbol */
  #open(symbol) {
    if (symbol === this.symbol) return;
    this.#search.set(symbol);
    document.title = `${symbol} · flowd`;
    byId('chart').setAttribute('aria-label', symbol);
    /** @type {Element} */ (document.querySelector('h1')).textContent = `${symbol} liquidations`;
    this.orders.wait(symbol);
    this.drawing.open(symbol);
    this.loading.open(symbol);
  }
}

/** For tests and for the curious. */
Object.assign(window, { flowdChart: new ChartPage() });

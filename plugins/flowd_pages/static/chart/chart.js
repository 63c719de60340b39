/**
 * The page `/chart/SYMBOL`: what is loaded is drawn, and what the user chooses is loaded.
 *
 * @module chart/chart
 */

import { byId, fill, h, remember, remembered, segments } from '../dom.js';
import { FlowdClient } from '../flowd-client.js';
import { change, count, short, stamp } from '../format.js';
import { connectionBadge, themeButton } from '../shell.js';
import { Loading } from './loading.js';
import { COMPARISONS, totals, whyNot } from './model.js';
import { Orders } from './orders.js';
import { SYMBOL, symbolOf, symbolSearch } from './search.js';
import { POINTS_MAX, View } from './view.js';
import { amount, barWords, candleWords, days, ghost, signed } from './words.js';

/** @typedef {import('./model.js').Bar} Bar */
/** @typedef {import('./model.js').Candle} Candle */

const DAY_S = 86_400;

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
      orders: this.orders,
      wait: () => this.#wait(),
      found: ({ sampled }) => {
        byId('sampled').hidden = !sampled;
      },
      offered: () => this.#offer(),
      loaded: () => this.#show(),
      changed: () => this.#draw(),
      bars: (changed) => this.#bars(changed),
      candles: (news) => this.#candles(news),
      gaps: () => this.#shade(),
      missing: (title, words, lines) => this.#instead(h('h2', {}, title), h('p', {}, words), h('pre', { class: 'lines' }, lines)),
      failed: (title, words) => this.#failed(title, words),
      lacking: (words, lines) => this.#lacking(words, lines),
      silent: (why) => this.#badge.silent(why),
    },
  );
  comparison = remembered('comparison') ?? 'off';
  signed = remembered('signed') === 'yes';
  rooted = remembered('rooted') === 'yes';
  /** @type {View | null} */
  view = null;

  #badge = connectionBadge(this.client);
  #search;
  /** Show the buttons of the timeframes that there are. */
  #offer;
  /** @type {number | null} where the crosshair is, in seconds */
  #pointed = null;
  #summing = false;

  constructor() {
    themeButton();
    this.orders.wait(this.symbol);
    this.#search = this.#symbols();
    this.#offer = this.#choices();
    this.#switch('signed');
    this.#switch('rooted');
    this.#keys();
    byId('latest').addEventListener('click', () => this.view?.home());
    document.addEventListener('click', (event) => {
      for (const id of ['candleless', 'sampled']) {
        const more = /** @type {HTMLDetailsElement} */ (byId(id));
        if (event.target instanceof Node && !more.contains(event.target)) more.open = false;
      }
    });
    window.addEventListener('theme', () => {
      this.view?.paint();
      this.#redraw();
    });
    window.addEventListener('popstate', () => {
      const symbol = symbolOf(decodeURIComponent(location.pathname.split('/')[2] ?? ''));
      if (SYMBOL.test(symbol)) this.#open(symbol);
    });
    setInterval(() => {
      this.orders.tick();
      this.#tick();
      this.loading.tick();
    }, 1000);
    new ResizeObserver(() => this.#place()).observe(byId('canvas'));
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

  /** Resolves when what is shown has been loaded. */
  ready() {
    return this.loading.ready();
  }

  // -- what comes

  /** Loading failed. @param {string} title @param {string} words */
  #failed(title, words) {
    const again = h('button', { class: 'text-button', type: 'button' }, 'Try again');
    again.addEventListener('click', () => this.loading.load());
    this.#instead(h('h2', {}, title), h('p', { class: 'quiet' }, words), again);
  }

  /** Say which lines bring candles; without lines, nothing. @param {string} words @param {string} lines */
  #lacking(words, lines) {
    byId('candleless').hidden = lines === '';
    fill(byId('candleless-words'), words);
    fill(byId('candleless-lines'), lines);
  }

  /** What was waited for is here. */
  #show() {
    this.#makeView();
    this.#draw();
    this.view?.home();
  }

  /** @param {Bar[]} changed in order */
  #bars(changed) {
    const { view } = this;
    if (!view) return;
    const longer = view.extend(Math.max(...changed.map((bar) => bar.time)));
    view.volumePlot.put(changed, () => this.timeline.all());
    if (longer || (this.#shift && changed.some((bar) => bar.time + this.#shift <= view.end))) this.#compare();
    this.#empty();
    this.#legends();
    this.#sum();
  }

  /** @param {Candle[]} news */
  #candles(news) {
    if (!this.view?.candlePlot) return;
    if (this.view.extend(Math.max(...news.map((one) => one.time)))) this.#compare();
    this.view.candlePlot.put(news, () => this.loading.candlesInOrder());
    this.view.prices(news);
    this.#legends();
  }

  /** Hatch the times of which nothing is known. */
  #shade() {
    this.view?.shade(this.timeline.gaps);
  }

  // -- drawing

  /** A chart with candles or without; the one there is, if it is such a one. */
  #makeView() {
    const { library, withCandles } = this.loading;
    if (!library || (this.view && Boolean(this.view.candles) === withCandles)) return;
    this.view?.remove();
    this.view = new View(library, byId('canvas'), withCandles);
    this.view.heights(this.signed, this.rooted);
    this.view.chart.subscribeCrosshairMove((event) => {
      this.#pointed = typeof event.time === 'number' ? event.time : null;
      this.#legends();
    });
    this.view.chart.timeScale().subscribeVisibleLogicalRangeChange(() => this.#sum());
  }

  /** Everything, in its place. */
  #draw() {
    if (!this.view) return;
    const { width, keep } = this.frame;
    const now = Math.floor(this.client.now() / 1000);
    const end = Math.max(Math.floor(now / width) * width, this.timeline.newest?.time ?? 0);
    const start = Math.ceil((now - keep) / width) * width - width;
    this.loading.trim(start);
    this.view.span(start, end, width);
    this.view.volumePlot.reset(this.timeline.all());
    const candles = this.loading.candlesInOrder();
    this.view.prices(candles);
    this.view.candlePlot?.reset(candles);
    this.#shade();
    byId('loading').hidden = true;
    this.#empty();
    this.#place();
    this.#compare();
    this.#legends();
    this.#sum();
  }

  /** The same with other colours or signs. */
  #redraw() {
    if (!this.view || !this.loading.loaded) return;
    this.view.heights(this.signed, this.rooted);
    this.view.volumePlot.reset(this.timeline.all());
    this.#compare();
    this.#legends();
  }

  /** Legends belong to the top of their panes. */
  #place() {
    const { view } = this;
    if (!view) return;
    const legends = view.candles ? [byId('legend-price'), byId('legend-volume')] : [byId('legend-volume')];
    requestAnimationFrame(() => {
      if (this.view !== view) return;
      for (const [index, legend] of legends.entries()) {
        legend.style.top = `${view.pane(index).top}px`;
        view.leave(index, legend.offsetHeight + 8);
      }
    });
  }

  /** Say so where there is nothing to see. */
  #empty() {
    const overlay = byId('overlay');
    if (this.timeline.size > 0 || this.loading.candles.size > 0) {
      overlay.hidden = true;
      return;
    }
    this.#instead(h('p', {}, `No forced order of ${this.symbol} in the last ${days(this.frame.keep)}. Bars appear as they happen.`));
    overlay.classList.add('light');
  }

  /** Show this instead of a chart. @param {...import('../dom.js').Child} children */
  #instead(...children) {
    const overlay = byId('overlay');
    overlay.classList.remove('light');
    fill(overlay, h('div', {}, ...children));
    overlay.hidden = false;
    byId('loading').hidden = true;
    for (const ghost of document.querySelectorAll('#summary .skeleton')) ghost.replaceWith('–');
  }

  /** Nothing is known yet. */
  #wait() {
    this.view?.clear();
    this.#pointed = null;
    for (const fact of document.querySelectorAll('[data-fact]')) fill(fact, ghost());
    byId('overlay').hidden = true;
    byId('loading').hidden = false;
    byId('legend-price').hidden = byId('legend-volume').hidden = true;
  }

  /** A second has passed: time goes on also when nothing happens. */
  #tick() {
    if (!this.view || !this.loading.loaded || this.client.status === 'disconnected') return;
    const { width } = this.frame;
    if (this.view.extend(Math.floor(this.client.now() / 1000 / width) * width)) this.#compare();
    if (this.view.points > POINTS_MAX) this.#draw();
  }

  #legends() {
    const { view } = this;
    if (!view || !this.loading.loaded) return;
    const [priceLegend, volumeLegend] = [byId('legend-price'), byId('legend-volume')];
    priceLegend.hidden = view.candles === null;
    volumeLegend.hidden = false;
    if (view.candles) {
      const time = this.#pointed ?? Math.max(...this.loading.candles.keys());
      const shown = this.loading.candles.get(time);
      const words = candleWords(shown, this.loading.candles.size > 0);
      fill(priceLegend, h('strong', {}, this.symbol), h('span', { class: 'key' }, this.frame.name), ...words);
    }
    const time = this.#pointed ?? this.timeline.newest?.time;
    const words = view.candles
      ? [h('strong', {}, 'Liquidations')]
      : [h('strong', {}, this.symbol), h('span', { class: 'key' }, `${this.frame.name} liquidations`), h('span', { class: 'warned' }, this.loading.noCandles || 'no candle source is configured')];
    if (time !== undefined) {
      const before = this.#shift ? this.timeline.at(time - this.#shift) : undefined;
      words.push(...barWords(this.timeline, time, this.frame.width === DAY_S));
      if (before) words.push(h('span', { class: 'key' }, `${COMPARISONS[this.comparison].words}: net ${signed(before.delta)}`));
    }
    fill(volumeLegend, ...words);
  }

  /** The totals of what can be seen, at most once per frame. */
  #sum() {
    if (this.#summing) return;
    this.#summing = true;
    requestAnimationFrame(() => {
      this.#summing = false;
      const range = this.view?.visible();
      if (!this.loading.loaded || !range) return;
      const bars = this.timeline.all();
      const now = totals(bars, range.from, range.to);
      const shift = this.#shift;
      const words = COMPARISONS[this.comparison]?.words ?? '';
      // Before that, the earlier span is not kept any more.
      const from = Math.max(range.from, Math.floor(this.client.now() / 1000) - this.frame.keep + shift);
      const compared = shift > 0 && bars.length > 0 && bars[0].time + shift <= range.to && from <= range.to;
      const then = compared ? totals(bars, from - shift, range.to - shift) : null;
      const same = compared ? totals(bars, from, range.to) : now;
      /** @param {string} name @param {string} text @param {number} value @param {number} [earlier] @param {string} [earlierText] */
      const fact = (name, text, value, earlier, earlierText) => {
        const versus = earlier === undefined ? null : h('span', { class: 'versus', title: `${words}: ${earlierText}${from > range.from ? `, compared since ${stamp(from * 1000)}` : ''}` }, `${change(value, earlier)} vs ${earlierText}`);
        fill(/** @type {Element} */ (document.querySelector(`[data-fact=${name}]`)), h('span', {}, text), versus);
      };
      fact('buy', `▲ ${amount(now.buy)}`, same.buy, then?.buy, then ? amount(then.buy) : '');
      fact('sell', `▼ ${amount(now.sell)}`, same.sell, then?.sell, then ? amount(then.sell) : '');
      fact('net', signed((now.buy - now.sell).toFixed(2)), 0);
      fact('count', count(now.count), same.count, then?.count, then ? count(then.count) : '');
      const day = this.frame.width === DAY_S;
      fact('span', `${stamp(range.from * 1000, day)} – ${stamp((range.to + (day ? 0 : this.frame.width)) * 1000, day)}`, 0);
    });
  }

  // -- comparing

  /** How far back is compared, in seconds; 0 for not at all. */
  get #shift() {
    const { shift } = COMPARISONS[this.comparison] ?? { shift: 0 };
    return shift && !whyNot(this.frame, this.comparison) ? shift : 0;
  }

  /** Draw the earlier span, if there is to be one: it is ours too, and goes on as time does. */
  #compare() {
    const shift = this.#shift;
    this.view?.compare(shift ? this.timeline.all() : [], shift);
  }

  // -- what the user does

  #symbols() {
    return symbolSearch({
      symbol: this.symbol,
      load: () => this.loading.symbols(),
      open: (symbol) => {
        history.pushState(null, '', `/chart/${encodeURIComponent(symbol)}${location.search}`);
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
      this.comparison,
      (value) => {
        this.comparison = value;
        remember('comparison', value);
        this.#compare();
        this.#legends();
        this.#sum();
      },
    );
    const fit = () => {
      for (const name of Object.keys(COMPARISONS)) comparisons.disable(name, whyNot(this.frame, name, this.loading.offered));
      const possible = this.comparison === 'off' || !whyNot(this.frame, this.comparison);
      comparisons.mark(possible ? this.comparison : 'off');
    };
    const choices = () => this.loading.offered.map(({ name }) => ({ value: name, label: name }));
    let there = choices();
    const frames = segments(
      byId('timeframes'),
      there,
      this.frame.name,
      (name) => {
        remember('timeframe', name);
        history.replaceState(null, '', `${location.pathname}?timeframe=${name}`);
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

  /** A button that is on or off, and remembered. @param {'signed' | 'rooted'} name */
  #switch(name) {
    const button = byId(name);
    const press = () => button.setAttribute('aria-pressed', String(this[name]));
    button.addEventListener('click', () => {
      this[name] = !this[name];
      remember(name, this[name] ? 'yes' : 'no');
      press();
      this.#redraw();
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
    this.loading.open(symbol);
  }

  #keys() {
    byId('chart').addEventListener('keydown', (event) => {
      const { view } = this;
      if (!view || !this.loading.loaded || event.ctrlKey || event.metaKey || event.altKey) return;
      const { width } = this.frame;
      const step = { ArrowLeft: -width, ArrowRight: width }[event.key];
      if (step) {
        const newest = Math.floor(this.client.now() / 1000 / width) * width;
        const from = this.#pointed ?? newest - (step > 0 ? width : -width);
        const time = Math.max(newest - this.frame.keep, Math.min(newest, from + step));
        const bar = this.timeline.at(time);
        view.point(time, bar);
        this.#pointed = time;
        this.#legends();
        this.#speak(time, bar);
      } else if (event.key === '+' || event.key === '-') view.zoom(event.key === '+' ? 0.7 : 1 / 0.7);
      else if (event.key === 'End') view.home();
      else if (event.key === 'Escape') view.chart.clearCrosshairPosition();
      else return;
      event.preventDefault();
    });
  }

  /** @param {number} time @param {Bar | undefined} bar */
  #speak(time, bar) {
    const shown = this.loading.candles.get(time);
    const words = [stamp(time * 1000)];
    if (shown) words.push(`close ${shown.text}`);
    words.push(bar ? `shorts ${short(bar.buy)}, longs ${short(bar.sell)}, ${bar.count} orders` : 'nothing known');
    byId('spoken').textContent = words.join(', ');
  }
}

/** For tests and for the curious. */
Object.assign(window, { flowdChart: new ChartPage() });

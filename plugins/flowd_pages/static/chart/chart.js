/**
 * The page `/chart/SYMBOL`: history by REST, everything live over one WebSocket.
 *
 * History and stream need no order between them: a bucket is always told with its full totals, which only grow, so the
 * larger of two tellings is the newer one.
 *
 * @module chart/chart
 */

import { byId, fill, h, remember, remembered, segments } from '../dom.js';
import { FlowdClient } from '../flowd-client.js';
import { change, count, short, stamp } from '../format.js';
import { connectionBadge, themeButton } from '../shell.js';
import { RequestError, ask, candleHistory, sources, symbols, volumeHistory } from './data.js';
import { COMPARISONS, TIMEFRAMES, Timeline, barOfPoint, barOfRecord, candle, joined, timeframe, totals, whyNot } from './model.js';
import { Orders } from './orders.js';
import { SYMBOL, symbolSearch } from './search.js';
import { POINTS_MAX, View } from './view.js';
import { CANDLE_LINES, VOLUME_LINES, amount, barWords, candleWords, days, ghost, signed } from './words.js';

/** @typedef {import('../flowd-client.js').Subscription} Subscription */
/** @typedef {import('./model.js').Bar} Bar */
/** @typedef {import('./model.js').Candle} Candle */
/** @typedef {import('./model.js').Span} Span */

const RETRY_AFTER_MS = 5_000;

const { dataset } = document.documentElement;

class ChartPage {
  symbol = dataset.symbol ?? 'BTCUSDT';
  frame = timeframe(new URLSearchParams(location.search).get('timeframe') ?? remembered('timeframe'));
  comparison = remembered('comparison') ?? 'off';
  signed = remembered('signed') === 'yes';
  rooted = remembered('rooted') === 'yes';
  client = new FlowdClient();
  orders = new Orders();
  timeline = new Timeline(this.frame.width);
  /** @type {Map<number, Candle>} */
  candles = new Map();
  /** @type {View | null} */
  view = null;
  /** @type {Map<number, Bar>} the bars of the earlier span, at their own times */
  before = new Map();
  /** Since when the earlier span is known, in seconds of the shown time. */
  beforeFrom = 0;

  /** @type {typeof import('lightweight-charts') | null} */
  #library = null;
  /** @type {import('./data.js').Sources | null} */
  #sources = null;
  /** @type {Map<string, Subscription>} */
  #follows = new Map();
  /** @type {Span[]} gaps as the history says */
  #toldGaps = [];
  /** @type {Map<number, Span | null>} outages as the stream says; null while open */
  #outages = new Map();
  #loading = new AbortController();
  #loaded = false;
  /** Whether loading ended with nothing to see: it is tried again with the next connection. */
  #broken = false;
  #noCandles = '';
  /** @type {number | null} where the crosshair is, in seconds */
  #pointed = null;
  #summing = false;
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #retry;
  /** @type {(() => void)[]} */
  #waiting = [];

  constructor() {
    themeButton();
    connectionBadge(this.client);
    this.orders.wait(this.symbol);
    this.#tools();
    this.#keys();
    this.client.addEventListener('status', () => {
      if (this.client.status !== 'connected') return;
      if (this.#broken) this.load();
      else if (this.#loaded && this.view?.candles) this.#loadCandles(this.#loading.signal).catch(() => {});
    });
    window.addEventListener('theme', () => {
      this.view?.paint();
      this.#redraw();
    });
    window.addEventListener('popstate', () => {
      const symbol = decodeURIComponent(location.pathname.split('/')[2] ?? '').toUpperCase();
      if (SYMBOL.test(symbol)) this.#open(symbol);
    });
    setInterval(() => this.#tick(), 1000);
    new ResizeObserver(() => this.#place()).observe(byId('canvas'));
    this.load();
  }

  /** Resolves when what is shown has been loaded. @returns {Promise<void>} */
  ready() {
    return this.#loaded ? Promise.resolve() : new Promise((resolve) => this.#waiting.push(resolve));
  }

  // -- loading

  /** Load what is to be shown, from nothing. */
  async load() {
    clearTimeout(this.#retry);
    this.#loading.abort();
    this.#loading = new AbortController();
    const { signal } = this.#loading;
    this.#loaded = this.#broken = false;
    this.#wait();
    try {
      const found = (this.#sources = sources(await ask('/status', {}, signal)));
      byId('sampled').hidden = !found.sampled;
      this.#follow(found);
      if (!found.volume) {
        this.#missing('Liquidation volume is not configured', 'Add these lines to the configuration and restart the daemon:', VOLUME_LINES);
        return;
      }
      if (!(await this.#haveLibrary()) || signal.aborted) return;
      await Promise.all([this.#loadVolume(signal), found.candles.length > 0 && this.#loadCandles(signal)]);
      if (signal.aborted) return;
      this.#makeView(found.candles.length > 0 && !this.#noCandles);
      this.#loaded = true;
      this.#draw();
      this.view?.home();
      this.#compare();
      for (const resolve of this.#waiting.splice(0)) resolve();
    } catch (error) {
      if (!signal.aborted) this.#failed(error);
    }
  }

  /** @returns {Promise<boolean>} whether the chart library is there */
  async #haveLibrary() {
    const path = dataset.charts;
    if (!path) {
      this.#missing('The chart library is not installed', 'Install Node.js with npm where flowd was installed from, then:', 'make pages');
      return false;
    }
    this.#library ??= await import(path);
    return true;
  }

  /** A chart with candles or without; the one there is, if it is such a one. @param {boolean} withCandles */
  #makeView(withCandles) {
    if (!this.#library || (this.view && Boolean(this.view.candles) === withCandles)) return;
    this.view?.remove();
    this.view = new View(this.#library, byId('canvas'), withCandles);
    this.view.heights(this.signed, this.rooted);
    this.view.chart.subscribeCrosshairMove((event) => {
      this.#pointed = typeof event.time === 'number' ? event.time : null;
      this.#legends();
    });
    this.view.chart.timeScale().subscribeVisibleLogicalRangeChange(() => this.#sum());
  }

  /** @param {AbortSignal} signal */
  async #loadVolume(signal) {
    const end = Math.floor(this.client.now());
    const history = await volumeHistory(this.symbol, this.frame.name, end - this.frame.keep * 1000, end, signal);
    if (signal.aborted) return;
    this.#toldGaps = history.gaps ?? [];
    this.#tellGaps();
    this.timeline.add(history.data.map(barOfPoint));
  }

  /** @param {AbortSignal} signal */
  async #loadCandles(signal) {
    const end = Math.floor(this.client.now());
    try {
      const history = await candleHistory(this.symbol, this.frame.name, end - this.frame.keep * 1000, end, signal);
      if (signal.aborted) return;
      this.#noCandles = '';
      for (const point of history.data) this.#takeCandle(candle(point));
    } catch (error) {
      if (signal.aborted || !(error instanceof RequestError)) throw error;
      this.#noCandles = error.message;
    }
    if (this.#loaded) this.#draw();
  }

  /** @param {Candle | null} found @returns {boolean} whether it is news: a candle's volume only grows */
  #takeCandle(found) {
    if (!found || found.time % this.frame.width !== 0) return false;
    const known = this.candles.get(found.time);
    if (known && (known.volume > found.volume || (known.closed && !found.closed))) return false;
    this.candles.set(found.time, found);
    return true;
  }

  /** @param {unknown} error */
  #failed(error) {
    this.#broken = true;
    const message = error instanceof Error ? error.message : String(error);
    const status = error instanceof RequestError ? error.status : -1;
    if (status === 404 && this.#sources?.volume) {
      this.#missing('The history of volume is not served', 'Add these lines to the configuration and restart the daemon:', VOLUME_LINES.slice(VOLUME_LINES.indexOf('[sinks')));
      return;
    }
    const again = h('button', { class: 'text-button', type: 'button' }, 'Try again');
    again.addEventListener('click', () => this.load());
    this.#overlay(h('h2', {}, status === 0 ? 'The daemon does not answer' : 'This could not be loaded'), h('p', { class: 'quiet' }, message), again);
    if (status === 0 || status >= 500) this.#retry = setTimeout(() => this.load(), RETRY_AFTER_MS);
  }

  /** @param {string} title @param {string} words @param {string} lines */
  #missing(title, words, lines) {
    this.#broken = true;
    this.#overlay(h('h2', {}, title), h('p', {}, words), h('pre', { class: 'lines' }, lines));
  }

  // -- following

  /** @param {import('./data.js').Sources} found */
  #follow(found) {
    if (found.orders) {
      this.#set(found.orders, { filter: { symbol: this.symbol }, limit: 50 }, {
        records: (records, { first }) => this.orders.put(records, first),
        gap: (gap) => this.orders.hole(gap.last - gap.first + 1),
        error: (mistake) => this.orders.none(h('strong', {}, 'No orders'), h('span', {}, mistake.message)),
      });
    } else {
      this.orders.none(h('strong', {}, 'No forced orders here'), h('span', {}, 'Add a source of them to the configuration:'), h('pre', { class: 'lines' }, '[sources.force-orders]\nkind = "binance-force-order"'));
    }
    if (found.volume) {
      this.#set(found.volume, { filter: { symbol: this.symbol, timeframe: this.frame.name }, limit: 200 }, {
        records: (records) => this.#takeBars(records.map((record) => barOfRecord(record.value))),
        gap: () => this.load(),
        reset: () => this.load(),
      });
    }
    for (const stream of found.candles) {
      this.#set(stream, { filter: { symbol: this.symbol, interval: this.frame.name }, limit: 3 }, {
        records: (records) => this.#takeCandles(records.map((record) => candle(record.value))),
        reset: () => this.#loadCandles(this.#loading.signal).catch(() => {}),
      });
    }
    if (found.outages && found.orders) {
      this.#set('outages', { filter: { component: found.orders } }, {
        records: (records, { first }) => {
          if (first) this.#outages.clear();
          for (const { value } of records) this.#outages.set(value.from_ms, value.to_ms === null ? null : [value.from_ms, value.to_ms]);
          this.#tellGaps();
          if (this.#loaded) this.#draw();
        },
      });
    }
  }

  /** Follow a stream so, whether it was followed before or not. @param {string} stream @param {import('../flowd-client.js').Wish} wish @param {import('../flowd-client.js').Handlers} handlers */
  #set(stream, wish, handlers) {
    const known = this.#follows.get(stream);
    if (!known) this.#follows.set(stream, this.client.follow(stream, wish, handlers));
    else if (JSON.stringify(known.wish) !== JSON.stringify(wish)) known.change(wish);
  }

  /** @param {Bar[]} bars */
  #takeBars(bars) {
    const had = this.timeline.size;
    const changed = this.timeline.add(bars);
    if (!this.#loaded || !this.view || changed.length === 0) return;
    this.view.extend(Math.max(...changed.map((bar) => bar.time)));
    this.view.volumePlot.put(changed, () => this.timeline.all());
    if (had === 0) this.#empty();
    this.#legends();
    this.#sum();
  }

  /** @param {(Candle | null)[]} candles */
  #takeCandles(candles) {
    const news = /** @type {Candle[]} */ (candles.filter((one) => this.#takeCandle(one)));
    // There were none of this symbol when the chart was made.
    if (this.#loaded && this.#noCandles && news.length > 0) this.load();
    if (!this.#loaded || !this.view?.candlePlot || news.length === 0) return;
    this.view.extend(Math.max(...news.map((one) => one.time)));
    this.view.candlePlot.put(news, () => this.#candlesInOrder());
    this.view.prices(news);
    this.#legends();
  }

  #candlesInOrder() {
    return [...this.candles.values()].sort((a, b) => a.time - b.time);
  }

  /** What is known about times without data, from the history and from the stream. */
  #tellGaps() {
    const now = this.client.now();
    const streamed = [...this.#outages].map(([from, gap]) => /** @type {Span} */ (gap ?? [from, now]));
    const begun = new Set(this.#outages.keys());
    // The stream knows better when a gap that was open ended.
    const told = this.#toldGaps.filter(([from]) => !begun.has(from));
    this.timeline.gaps = joined([...told, ...streamed]);
  }

  // -- drawing

  /** Everything, in its place. */
  #draw() {
    if (!this.view) return;
    const { width, keep } = this.frame;
    const now = Math.floor(this.client.now() / 1000);
    const end = Math.max(Math.floor(now / width) * width, this.timeline.newest?.time ?? 0);
    const start = Math.ceil((now - keep) / width) * width - width;
    this.timeline.trim(start);
    for (const time of this.candles.keys()) if (time < start) this.candles.delete(time);
    this.view.span(start, end, width);
    this.view.volumePlot.reset(this.timeline.all());
    const candles = this.#candlesInOrder();
    this.view.prices(candles);
    this.view.candlePlot?.reset(candles);
    this.view.shade(this.timeline.gaps);
    byId('loading').hidden = true;
    this.#empty();
    this.#legends();
    this.#place();
    this.#sum();
  }

  /** The same with other colours or signs. */
  #redraw() {
    if (!this.view || !this.#loaded) return;
    this.view.heights(this.signed, this.rooted);
    this.view.volumePlot.reset(this.timeline.all());
    this.view.compare([...this.before.values()], this.#shift);
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
    if (this.timeline.size > 0 || this.candles.size > 0) {
      overlay.hidden = true;
      return;
    }
    this.#overlay(h('p', {}, `No forced order of ${this.symbol} in the last ${days(this.frame.keep)}. Bars appear as they happen.`));
    overlay.classList.add('light');
  }

  /** @param {...import('../dom.js').Child} children */
  #overlay(...children) {
    const overlay = byId('overlay');
    overlay.classList.remove('light');
    fill(overlay, h('div', {}, ...children));
    overlay.hidden = false;
    byId('loading').hidden = true;
    for (const ghost of document.querySelectorAll('#summary .skeleton')) ghost.replaceWith('–');
  }

  /** Nothing is known yet. */
  #wait() {
    this.timeline = new Timeline(this.frame.width);
    this.#toldGaps = [];
    this.#tellGaps();
    this.candles.clear();
    this.#noCandles = '';
    this.before.clear();
    this.view?.clear();
    this.#pointed = null;
    for (const fact of document.querySelectorAll('[data-fact]')) fill(fact, ghost());
    byId('overlay').hidden = true;
    byId('loading').hidden = false;
    byId('legend-price').hidden = byId('legend-volume').hidden = true;
  }

  /** A second has passed: time goes on also when nothing happens. */
  #tick() {
    if (!this.view || !this.#loaded) return;
    const { width } = this.frame;
    const end = Math.floor(this.client.now() / 1000 / width) * width;
    if (this.client.status !== 'disconnected') {
      this.view.extend(end);
      if (this.view.points > POINTS_MAX) this.#draw();
    }
    if ([...this.#outages.values()].includes(null)) {
      this.#tellGaps();
      this.view.shade(this.timeline.gaps);
    }
  }

  #legends() {
    const { view } = this;
    if (!view || !this.#loaded) return;
    const [priceLegend, volumeLegend] = [byId('legend-price'), byId('legend-volume')];
    priceLegend.hidden = view.candles === null;
    volumeLegend.hidden = false;
    if (view.candles) {
      const time = this.#pointed ?? Math.max(...this.candles.keys());
      const shown = this.candles.get(time);
      const words = candleWords(shown, this.candles.size > 0);
      fill(priceLegend, h('strong', {}, this.symbol), h('span', { class: 'key' }, this.frame.name), ...words);
    }
    const time = this.#pointed ?? this.timeline.newest?.time;
    const words = view.candles
      ? [h('strong', {}, 'Liquidations')]
      : [h('strong', {}, this.symbol), h('span', { class: 'key' }, `${this.frame.name} liquidations`), h('span', { class: 'warned', title: CANDLE_LINES }, this.#noCandles || 'no candle source is configured')];
    if (time !== undefined) {
      const before = this.#shift ? this.before.get(time - this.#shift) : undefined;
      words.push(...barWords(this.timeline, time, this.frame.name === '1d'));
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
      if (!this.#loaded || !range) return;
      const now = totals(this.timeline.all(), range.from, range.to);
      const { words, shift } = COMPARISONS[this.comparison] ?? { words: '', shift: 0 };
      const from = Math.max(range.from, this.beforeFrom);
      const compared = this.before.size > 0 && from <= range.to;
      const then = compared ? totals([...this.before.values()], from - shift, range.to - shift) : null;
      const same = compared ? totals(this.timeline.all(), from, range.to) : now;
      /** @param {string} name @param {string} text @param {number} value @param {number} [earlier] @param {string} [earlierText] */
      const fact = (name, text, value, earlier, earlierText) => {
        const versus = earlier === undefined ? null : h('span', { class: 'versus', title: `${words}: ${earlierText}${from > range.from ? `, compared since ${stamp(from * 1000)}` : ''}` }, `${change(value, earlier)} vs ${earlierText}`);
        fill(/** @type {Element} */ (document.querySelector(`[data-fact=${name}]`)), h('span', {}, text), versus);
      };
      fact('buy', `▲ ${amount(now.buy)}`, same.buy, then?.buy, then ? amount(then.buy) : '');
      fact('sell', `▼ ${amount(now.sell)}`, same.sell, then?.sell, then ? amount(then.sell) : '');
      fact('net', signed((now.buy - now.sell).toFixed(2)), 0);
      fact('count', count(now.count), same.count, then?.count, then ? count(then.count) : '');
      const day = this.frame.name === '1d';
      fact('span', `${stamp(range.from * 1000, day)} – ${stamp((range.to + (day ? 0 : this.frame.width)) * 1000, day)}`, 0);
    });
  }

  // -- comparing

  get #shift() {
    return COMPARISONS[this.comparison]?.shift ?? 0;
  }

  /** Load the earlier span, if there is to be one. */
  async #compare() {
    this.before.clear();
    this.view?.compare([], 0);
    const { signal } = this.#loading;
    const shift = this.#shift;
    if (!shift || whyNot(this.frame, this.comparison) || !this.#loaded) {
      this.#sum();
      this.#legends();
      return;
    }
    const now = Math.floor(this.client.now() / 1000);
    this.beforeFrom = now - this.frame.keep + shift;
    try {
      const history = await volumeHistory(this.symbol, this.frame.name, (now - this.frame.keep) * 1000, (now - shift) * 1000, signal);
      if (signal.aborted || shift !== this.#shift) return;
      const earlier = new Timeline(this.frame.width);
      earlier.gaps = history.gaps ?? [];
      earlier.add(history.data.map(barOfPoint));
      for (const bar of earlier.all()) this.before.set(bar.time, bar);
      this.view?.compare([...this.before.values()], shift);
    } catch {
      // The comparison is an extra: what is shown stays right without it.
    }
    this.#sum();
    this.#legends();
  }

  // -- what the user does

  #tools() {
    const search = symbolSearch({
      symbol: this.symbol,
      load: async () => (this.#sources ? symbols(this.#sources) : []),
      open: (symbol) => {
        history.pushState(null, '', `/chart/${encodeURIComponent(symbol)}${location.search}`);
        this.#open(symbol);
      },
    });
    this.#search = search;
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
      },
    );
    const offer = () => {
      for (const name of Object.keys(COMPARISONS)) comparisons.disable(name, whyNot(this.frame, name));
      const possible = this.comparison === 'off' || !whyNot(this.frame, this.comparison);
      comparisons.mark(possible ? this.comparison : 'off');
    };
    segments(
      byId('timeframes'),
      TIMEFRAMES.map(({ name }) => ({ value: name, label: name })),
      this.frame.name,
      (name) => {
        this.frame = timeframe(name);
        remember('timeframe', name);
        history.replaceState(null, '', `${location.pathname}?timeframe=${name}`);
        offer();
        this.load();
      },
    );
    offer();
    this.#switch('signed');
    this.#switch('rooted');
    byId('latest').addEventListener('click', () => this.view?.home());
    document.addEventListener('click', (event) => {
      const more = /** @type {HTMLDetailsElement} */ (byId('sampled'));
      if (event.target instanceof Node && !more.contains(event.target)) more.open = false;
    });
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

  /** @type {{set: (name: string) => void} | null} */
  #search = null;

  /** Show another symbol, on the same connection. @param {string} symbol */
  #open(symbol) {
    if (symbol === this.symbol) return;
    this.symbol = symbol;
    this.#search?.set(symbol);
    document.title = `${symbol} · flowd`;
    byId('chart').setAttribute('aria-label', symbol);
    /** @type {Element} */ (document.querySelector('h1')).textContent = `${symbol} liquidations`;
    this.orders.wait(symbol);
    this.load();
  }

  #keys() {
    byId('chart').addEventListener('keydown', (event) => {
      const { view } = this;
      if (!view || !this.#loaded || event.ctrlKey || event.metaKey || event.altKey) return;
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
    const shown = this.candles.get(time);
    const words = [stamp(time * 1000)];
    if (shown) words.push(`close ${shown.text}`);
    words.push(bar ? `shorts ${short(bar.buy)}, longs ${short(bar.sell)}, ${bar.count} orders` : 'nothing known');
    byId('spoken').textContent = words.join(', ');
  }
}

/** For tests and for the curious. */
Object.assign(window, { flowdChart: new ChartPage() });

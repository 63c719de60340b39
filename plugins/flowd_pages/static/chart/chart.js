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
import { RequestError, ask, candleFrames, candleHistory, sources, symbols, volumeFrames, volumeHistory } from './data.js';
import { Gaps } from './gaps.js';
import { COMPARISONS, TIMEFRAMES, Timeline, barOfPoint, barOfRecord, candle, choice, timeframes, totals, whyNot } from './model.js';
import { ORDERS_MAX, Orders } from './orders.js';
import { SYMBOL, symbolOf, symbolSearch } from './search.js';
import { POINTS_MAX, View } from './view.js';
import { ORDER_LINES, VOLUME_LINES, amount, barWords, candleLines, candleWords, days, ghost, signed } from './words.js';

/** @typedef {import('../flowd-client.js').Subscription} Subscription */
/** @typedef {import('./model.js').Bar} Bar */
/** @typedef {import('./model.js').Candle} Candle */

const RETRY_AFTER_MS = 5_000;
const DAY_S = 86_400;

const { dataset } = document.documentElement;

class ChartPage {
  symbol = dataset.symbol ?? 'BTCUSDT';
  /** The timeframes that there are. */
  offered = TIMEFRAMES;
  /** The timeframe that was asked for; null while nobody did. */
  wanted = new URLSearchParams(location.search).get('timeframe') ?? remembered('timeframe');
  frame = choice(this.offered, this.wanted);
  comparison = remembered('comparison') ?? 'off';
  signed = remembered('signed') === 'yes';
  rooted = remembered('rooted') === 'yes';
  client = new FlowdClient();
  orders = new Orders(() => this.client.now());
  timeline = new Timeline(this.frame.width);
  /** @type {Map<number, Candle>} */
  candles = new Map();
  /** @type {View | null} */
  view = null;

  /** @type {typeof import('lightweight-charts') | null} */
  #library = null;
  /** @type {import('./data.js').Sources | null} */
  #sources = null;
  /** @type {Map<string, Subscription>} */
  #follows = new Map();
  #gaps = new Gaps();
  #loading = new AbortController();
  #loaded = false;
  /** Whether we know which timeframes this daemon has. */
  #asked = false;
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
    this.#badge = connectionBadge(this.client);
    this.orders.wait(this.symbol);
    this.#tools();
    this.#keys();
    this.client.addEventListener('status', () => {
      // The next daemon may be another.
      if (this.client.status === 'disconnected') this.#asked = false;
      if (this.client.status !== 'connected') return;
      if (this.#broken) this.load();
      else if (this.#loaded && this.view?.candles) this.#loadCandles(this.#loading.signal).catch(() => {});
    });
    window.addEventListener('theme', () => {
      this.view?.paint();
      this.#redraw();
    });
    window.addEventListener('popstate', () => {
      const symbol = symbolOf(decodeURIComponent(location.pathname.split('/')[2] ?? ''));
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
      await this.#choose(found, signal);
      if (signal.aborted) return;
      this.#follow(found);
      if (!found.volume) {
        this.#missing('Liquidation volume is not configured', 'Add these lines to the configuration and restart the daemon:', VOLUME_LINES);
        return;
      }
      if (!(await this.#haveLibrary()) || signal.aborted) return;
      if (found.candles.length === 0) this.#lacking('No source of candles is configured. Add these lines to the configuration and restart the daemon:', this.#candleLines());
      await Promise.all([this.#loadVolume(signal), found.candles.length > 0 && this.#loadCandles(signal)]);
      if (signal.aborted) return;
      this.#makeView(found.candles.length > 0 && !this.#noCandles);
      this.#loaded = true;
      this.#draw();
      this.view?.home();
      for (const resolve of this.#waiting.splice(0)) resolve();
    } catch (error) {
      if (!signal.aborted) this.#failed(error);
    }
  }

  /** Learn which timeframes there are, and show one of them. @param {import('./data.js').Sources} found @param {AbortSignal} signal */
  async #choose(found, signal) {
    if (this.#asked || !found.volume) return;
    const names = await volumeFrames(found.volume, this.symbol);
    const offered = timeframes(names);
    this.offered = offered.length > 0 ? offered : TIMEFRAMES;
    const open = this.offered.every(({ name }) => name !== this.wanted) && found.candles.length > 0;
    const withCandles = open ? await candleFrames(this.symbol) : [];
    if (signal.aborted) return;
    const frame = choice(this.offered, this.wanted, withCandles);
    this.#asked = names.length > 0;
    this.wanted = frame.name;
    if (frame.name !== this.frame.name) {
      this.frame = frame;
      this.timeline = new Timeline(frame.width);
    }
    this.#offer();
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
    this.#gaps.told = history.gaps ?? [];
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
      this.#lacking('', '');
      for (const point of history.data) this.#takeCandle(candle(point));
    } catch (error) {
      if (signal.aborted || !(error instanceof RequestError)) throw error;
      this.#noCandles = error.message;
      if (error.code === 'UNKNOWN_INTERVAL' && error.allowed.length > 0) this.#noCandles += `; there are ${error.allowed.join(', ')}`;
      if (error.code === 'NOT_FOUND') {
        this.#noCandles = 'candles are not served';
        this.#lacking('Candles come in, but nothing serves their history. Add these lines to the configuration and restart the daemon:', this.#candleLines());
      }
    }
    if (this.#loaded) this.#draw();
  }

  #candleLines() {
    return candleLines(this.#sources?.candles ?? [], this.frame.name, this.symbol);
  }

  /** Say which lines bring candles; without lines, nothing. @param {string} words @param {string} lines */
  #lacking(words, lines) {
    byId('candleless').hidden = lines === '';
    fill(byId('candleless-words'), words);
    fill(byId('candleless-lines'), lines);
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
      this.#set(found.orders, { filter: { symbol: this.symbol }, limit: ORDERS_MAX }, {
        records: (records, { first }) => this.orders.put(records, first),
        gap: (gap) => this.orders.hole(gap.last - gap.first + 1),
        error: (mistake) => this.orders.none('No orders', mistake.message),
      });
    } else {
      this.orders.none('No forced orders here', 'Add a source of them to the configuration:', ORDER_LINES);
    }
    if (found.volume) {
      this.#set(found.volume, { filter: { symbol: this.symbol, timeframe: this.frame.name }, limit: 200 }, {
        records: (records) => this.#takeBars(records.filter(({ value }) => this.#shown(value, value.timeframe)).map(({ value }) => barOfRecord(value))),
        gap: () => this.load(),
        reset: () => this.load(),
      });
    }
    for (const stream of found.candles) {
      this.#set(stream, { filter: { symbol: this.symbol, interval: this.frame.name }, limit: 3 }, {
        records: (records) => this.#takeCandles(records.filter(({ value }) => this.#shown(value, value.interval)).map(({ value }) => candle(value))),
        reset: () => this.#loadCandles(this.#loading.signal).catch(() => {}),
      });
    }
    const components = [...(found.orders ? [found.orders] : []), ...found.candles];
    if (found.outages && components.length > 0) {
      this.#set('outages', { filter: { component: components } }, {
        records: (records, { first }) => {
          this.#gaps.put(records, first, components, found.orders);
          this.#badge.silent(this.#gaps.silent);
          this.#tellGaps();
          if (this.#loaded) this.#draw();
        },
      });
    }
  }

  /** Whether a record is of what is shown: one of the choice before may still be on its way. @param {any} value @param {string} name */
  #shown(value, name) {
    return value.symbol === this.symbol && name === this.frame.name;
  }

  /** Follow a stream so, whether it was followed before or not. @param {string} stream @param {import('../flowd-client.js').Wish} wish @param {import('../flowd-client.js').Handlers} handlers */
  #set(stream, wish, handlers) {
    const known = this.#follows.get(stream);
    if (!known) this.#follows.set(stream, this.client.follow(stream, wish, handlers));
    else if (JSON.stringify(known.wish) !== JSON.stringify(wish)) known.change(wish);
  }

  /** @param {Bar[]} bars */
  #takeBars(bars) {
    const { size } = this.timeline;
    const changed = this.timeline.add(bars);
    const { view } = this;
    if (!this.#loaded || !view || changed.length === 0) return;
    const longer = view.extend(Math.max(...changed.map((bar) => bar.time)));
    view.volumePlot.put(changed, () => this.timeline.all());
    if (longer || (this.#shift && changed.some((bar) => bar.time + this.#shift <= view.end))) this.#compare();
    if (size === 0) this.#empty();
    this.#legends();
    this.#sum();
  }

  /** @param {(Candle | null)[]} candles */
  #takeCandles(candles) {
    const news = /** @type {Candle[]} */ (candles.filter((one) => this.#takeCandle(one)));
    // There were none of this symbol when the chart was made.
    if (this.#loaded && this.#noCandles && news.length > 0) this.load();
    if (!this.#loaded || !this.view?.candlePlot || news.length === 0) return;
    if (this.view.extend(Math.max(...news.map((one) => one.time)))) this.#compare();
    this.view.candlePlot.put(news, () => this.#candlesInOrder());
    this.view.prices(news);
    this.#legends();
  }

  #candlesInOrder() {
    return [...this.candles.values()].sort((a, b) => a.time - b.time);
  }

  /** Bars that lie in a gap are not known to be empty. */
  #tellGaps() {
    this.timeline.gaps = this.#gaps.spans(this.client.now());
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
    this.#place();
    this.#compare();
    this.#legends();
    this.#sum();
  }

  /** The same with other colours or signs. */
  #redraw() {
    if (!this.view || !this.#loaded) return;
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
    this.#gaps.told = [];
    this.#tellGaps();
    this.candles.clear();
    this.#noCandles = '';
    this.#lacking('', '');
    this.view?.clear();
    this.#pointed = null;
    for (const fact of document.querySelectorAll('[data-fact]')) fill(fact, ghost());
    byId('overlay').hidden = true;
    byId('loading').hidden = false;
    byId('legend-price').hidden = byId('legend-volume').hidden = true;
  }

  /** A second has passed: time goes on also when nothing happens. */
  #tick() {
    this.orders.tick();
    if (!this.view || !this.#loaded) return;
    const { width } = this.frame;
    const end = Math.floor(this.client.now() / 1000 / width) * width;
    if (this.client.status !== 'disconnected') {
      if (this.view.extend(end)) this.#compare();
      if (this.view.points > POINTS_MAX) this.#draw();
    }
    if (this.#gaps.open) {
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
      : [h('strong', {}, this.symbol), h('span', { class: 'key' }, `${this.frame.name} liquidations`), h('span', { class: 'warned' }, this.#noCandles || 'no candle source is configured')];
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
      if (!this.#loaded || !range) return;
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
        this.#legends();
        this.#sum();
      },
    );
    const fit = () => {
      for (const name of Object.keys(COMPARISONS)) comparisons.disable(name, whyNot(this.frame, name, this.offered));
      const possible = this.comparison === 'off' || !whyNot(this.frame, this.comparison);
      comparisons.mark(possible ? this.comparison : 'off');
    };
    const choices = () => this.offered.map(({ name }) => ({ value: name, label: name }));
    let there = choices();
    const frames = segments(
      byId('timeframes'),
      there,
      this.frame.name,
      (name) => {
        this.frame = choice(this.offered, name);
        this.wanted = name;
        remember('timeframe', name);
        history.replaceState(null, '', `${location.pathname}?timeframe=${name}`);
        fit();
        this.load();
      },
    );
    this.#offer = () => {
      // Buttons that stay the same keep the focus.
      if (JSON.stringify(choices()) !== JSON.stringify(there)) frames.offer((there = choices()));
      frames.mark(this.frame.name);
      fit();
    };
    fit();
    this.#switch('signed');
    this.#switch('rooted');
    byId('latest').addEventListener('click', () => this.view?.home());
    document.addEventListener('click', (event) => {
      for (const id of ['candleless', 'sampled']) {
        const more = /** @type {HTMLDetailsElement} */ (byId(id));
        if (event.target instanceof Node && !more.contains(event.target)) more.open = false;
      }
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
  /** @type {ReturnType<typeof connectionBadge>} */
  #badge;
  /** Show the buttons of the timeframes that there are. */
  #offer = () => {};

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

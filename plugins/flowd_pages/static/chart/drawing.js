/**
 * The chart with all that stands in and above it: legends, sums of what can be seen, and words where nothing can.
 *
 * @module chart/drawing
 */

import { byId, fill, h, remember, remembered } from '../dom.js';
import { dollars } from '../format.js';
import { DOUBTS } from '../words.js';
import { COMPARISONS, whyNot } from './model.js';
import { AlertLines } from './lines.js';
import { Marks } from './marks.js';
import { summarise } from './summary.js';
import { POINTS_MAX, View } from './view.js';
import { barWords, candleWords, days, ghost, signed, sinceWords, spanTime } from './words.js';

/** @typedef {import('./loading.js').Loading} Loading */
/** @typedef {import('./model.js').Bar} Bar */
/** @typedef {import('./model.js').Candle} Candle */

const DAY_S = 86_400;

/** Draws what was loaded. What is drawn it asks for each time, and never keeps. */
export class Drawing {
  /** Which earlier span is drawn beside: a name of `COMPARISONS`, or `off`. */
  comparison = remembered('comparison') ?? 'off';
  net = remembered('net') === 'yes';
  rooted = remembered('rooted') === 'yes';
  split = remembered('split') === 'yes';
  /** @type {View | null} */
  view = null;

  /** The large liquidations, on the price. */
  marks = new Marks();
  /** The alert lines. */
  lines;

  #known;
  /** @type {number | null} where the crosshair is, in seconds */
  #pointed = null;
  #summing = false;

  /** @param {Loading} known */
  constructor(known) {
    this.#known = known;
    this.lines = new AlertLines(known.client, document.documentElement.dataset.alertLines ?? '');
    this.lines.open(known.symbol);
    this.#keys();
    window.addEventListener('theme', () => {
      this.view?.paint();
      this.#redraw();
    });
    new ResizeObserver(() => this.#place()).observe(byId('canvas'));
  }

  // -- what comes

  /** Nothing is known yet. */
  wait() {
    this.view?.clear();
    this.#pointed = null;
    for (const fact of document.querySelectorAll('[data-fact]')) fill(fact, ghost());
    byId('overlay').hidden = true;
    byId('loading').hidden = false;
    byId('legend-price').hidden = byId('legend-volume').hidden = true;
  }

  /** What was waited for is here. */
  show() {
    this.#makeView();
    this.draw();
    this.home();
    this.lines.catchUp(this.#known.candlesInOrder());
    this.reloadMarks();
  }

  /** Another symbol. @param {string} symbol */
  open(symbol) {
    this.marks.forget();
    this.lines.open(symbol);
  }

  /** Forced orders, new or remembered. @param {import('../flowd-client.js').FlowdRecord[]} records */
  orders(records) {
    if (this.marks.put(records)) this.#mark();
  }

  /** Ask for what is to be marked, with the least value as it is now. */
  async reloadMarks() {
    const { signal, sources, symbol } = this.#known;
    this.#mark();
    if (sources) await this.marks.load(sources, symbol, signal);
    if (!signal.aborted) this.#mark();
  }

  #mark() {
    if (this.view && this.#known.loaded) this.view.mark(this.marks.markers(this.#known.frame.width, this.view.colours));
  }

  /** Times are shown in another zone: labels are made anew, and what is seen stays. */
  zone() {
    if (!this.view || !this.#known.loaded) return;
    const range = this.view.chart.timeScale().getVisibleLogicalRange();
    this.view.clear();
    this.draw();
    if (range) this.view.chart.timeScale().setVisibleLogicalRange(range);
  }

  /** Everything, in its place. */
  draw() {
    if (!this.view) return;
    const { frame, timeline } = this.#known;
    const { width, keep } = frame;
    const now = Math.floor(this.#known.client.now() / 1000);
    const end = Math.max(Math.floor(now / width) * width, timeline.newest?.time ?? 0);
    const start = Math.ceil((now - keep) / width) * width - width;
    this.#known.trim(start);
    this.view.span(start, end, width);
    this.#manner();
    this.view.volumePlot.reset(timeline.all());
    const candles = this.#known.candlesInOrder();
    this.view.prices(candles, this.#known.step);
    this.view.candlePlot?.reset(candles);
    this.view.marketPlot?.reset(candles);
    this.#mark();
    this.shade();
    byId('loading').hidden = true;
    this.#empty();
    this.#place();
    this.#compare();
    this.#legends();
    this.#sum();
  }

  /** @param {Bar[]} changed in order */
  bars(changed) {
    const { view } = this;
    if (!view) return;
    const longer = view.extend(Math.max(...changed.map((bar) => bar.time)));
    view.volumePlot.put(changed, () => this.#known.timeline.all());
    if (longer || (this.#shift && changed.some((bar) => bar.time + this.#shift <= view.end))) this.#compare();
    this.#empty();
    this.#legends();
    this.#sum();
  }

  /** @param {Candle[]} news */
  candles(news) {
    if (!this.view?.candlePlot) return;
    if (this.view.extend(Math.max(...news.map((one) => one.time)))) this.#compare();
    this.view.candlePlot.put(news, () => this.#known.candlesInOrder());
    this.view.marketPlot?.put(news, () => this.#known.candlesInOrder());
    this.view.prices(news, this.#known.step);
    for (const one of news) this.lines.put(one);
    this.#legends();
  }

  /** Hatch the times of which nothing is known. */
  shade() {
    const { frame, timeline } = this.#known;
    const { begins } = timeline;
    const words = begins === null ? '' : `not known: counted since ${sinceWords(begins, this.#known.client.now(), frame.width === DAY_S)}`;
    this.view?.shade(timeline.gaps, begins === null ? null : { ms: begins, words });
  }

  /** A second has passed: time goes on also when nothing happens. */
  tick() {
    const { client, frame, loaded } = this.#known;
    if (!this.view || !loaded || client.status === 'disconnected') return;
    const { width } = frame;
    if (this.view.extend(Math.floor(client.now() / 1000 / width) * width)) this.#compare();
    if (this.view.points > POINTS_MAX) this.draw();
  }

  /** Show this instead of a chart. @param {...import('../dom.js').Child} children */
  instead(...children) {
    const overlay = byId('overlay');
    overlay.classList.remove('light');
    fill(overlay, h('div', {}, ...children));
    overlay.hidden = false;
    byId('loading').hidden = true;
    for (const ghost of document.querySelectorAll('#summary .skeleton')) ghost.replaceWith('–');
  }

  // -- what the user does

  /** The newest bars. */
  home() {
    this.view?.home();
  }

  /** Draw another earlier span beside, or none. @param {string} comparison */
  compareWith(comparison) {
    this.comparison = comparison;
    remember('comparison', comparison);
    this.#compare();
    this.#legends();
    this.#sum();
  }

  /** Draw bars in another way. @param {'net' | 'rooted' | 'split'} name */
  toggle(name) {
    this[name] = !this[name];
    remember(name, this[name] ? 'yes' : 'no');
    this.#redraw();
  }

  #keys() {
    byId('chart').addEventListener('keydown', (event) => {
      const { view } = this;
      if (!view || !this.#known.loaded || event.ctrlKey || event.metaKey || event.altKey) return;
      const { client, frame, timeline } = this.#known;
      const { width } = frame;
      const step = { ArrowLeft: -width, ArrowRight: width }[event.key];
      if (step) {
        const newest = Math.floor(client.now() / 1000 / width) * width;
        const from = this.#pointed ?? newest - (step > 0 ? width : -width);
        const time = Math.max(newest - frame.keep, Math.min(newest, from + step));
        const bar = timeline.at(time);
        view.point(time, bar);
        this.#pointed = time;
        this.#legends();
        this.#speak(time, bar);
      } else if (event.key === '+' || event.key === '-') view.zoom(event.key === '+' ? 0.7 : 1 / 0.7);
      else if (event.key === 'End') view.home();
      else if (event.key === 'a' || event.key === 'A') this.lines.add(null);
      else if (event.key === 'Escape') view.chart.clearCrosshairPosition();
      else return;
      event.preventDefault();
    });
  }

  /** @param {number} time @param {Bar | undefined} bar */
  #speak(time, bar) {
    const shown = this.#known.candles.get(time);
    const words = [spanTime(time * 1000, this.#known.frame.width === DAY_S)];
    if (shown) words.push(`close ${shown.text}${shown.incomplete ? `, ${DOUBTS.incomplete.word}` : ''}`);
    const why = this.#known.timeline.why(time);
    const none = why === 'gap' ? 'no data' : why === 'before' ? 'not known' : 'none';
    words.push(bar ? `shorts ${dollars(bar.buy)}, longs ${dollars(bar.sell)}, ${bar.count} orders${bar.incomplete ? `, ${DOUBTS.incomplete.word}` : ''}` : none);
    byId('spoken').textContent = words.join(', ');
  }

  // -- drawing

  /** A chart with candles or without; the one there is, if it is such a one. */
  #makeView() {
    const { library, withCandles } = this.#known;
    if (!library || (this.view && Boolean(this.view.candles) === withCandles)) return;
    this.view?.remove();
    this.view = new View(library, byId('canvas'), withCandles);
    this.lines.on(this.view);
    this.view.chart.subscribeCrosshairMove((event) => {
      this.#pointed = typeof event.time === 'number' ? event.time : null;
      this.#legends();
    });
    this.view.chart.timeScale().subscribeVisibleLogicalRangeChange(() => this.#sum());
  }

  #manner() {
    const { net, rooted, split } = this;
    const { venues } = this.#known.timeline;
    this.view?.manner({ net, rooted, split, venues });
    // With one venue there is nothing to split by.
    byId('split').hidden = venues.length < 2;
  }

  /** The same with other colours or heights. */
  #redraw() {
    if (!this.view || !this.#known.loaded) return;
    this.#manner();
    this.view.volumePlot.reset(this.#known.timeline.all());
    this.view.candlePlot?.reset(this.#known.candlesInOrder());
    this.view.marketPlot?.reset(this.#known.candlesInOrder());
    this.lines.draw();
    this.#mark();
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
    const { candles, frame, symbol, timeline } = this.#known;
    const overlay = byId('overlay');
    if (timeline.size > 0 || candles.size > 0) {
      overlay.hidden = true;
      return;
    }
    const now = this.#known.client.now();
    const whole = timeline.begins !== null && timeline.begins <= now - frame.keep * 1000;
    const since = timeline.begins === null ? 'is known' : `since ${sinceWords(timeline.begins, now, frame.width === DAY_S)}, when counting began`;
    this.instead(h('p', {}, `No forced order of ${symbol} ${whole ? `in the last ${days(frame.keep)}` : since}. Bars appear as they happen.`));
    overlay.classList.add('light');
  }

  #legends() {
    const { view } = this;
    const { candles, frame, loaded, noCandles, symbol, timeline } = this.#known;
    if (!view || !loaded) return;
    const [priceLegend, volumeLegend] = [byId('legend-price'), byId('legend-volume')];
    priceLegend.hidden = view.candles === null;
    volumeLegend.hidden = false;
    if (view.candles) {
      const time = this.#pointed ?? Math.max(...candles.keys());
      const words = candleWords(candles.get(time), candles.size > 0, this.#known.step);
      fill(priceLegend, h('strong', {}, symbol), h('span', { class: 'key' }, frame.name), ...words);
    }
    const time = this.#pointed ?? timeline.newest?.time;
    const words = view.candles
      ? [h('strong', {}, 'Liquidations')]
      : [h('strong', {}, symbol), h('span', { class: 'key' }, `${frame.name} liquidations`), h('span', { class: 'warned' }, noCandles || 'no candle source is configured')];
    if (time !== undefined) {
      const before = this.#shift ? timeline.at(time - this.#shift) : undefined;
      words.push(...barWords(timeline, time, frame.width === DAY_S));
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
      const { client, frame, loaded, timeline } = this.#known;
      const range = this.view?.visible();
      if (loaded && range) summarise(timeline, frame, range, this.comparison, this.#shift, client.now());
    });
  }

  // -- comparing

  /** How far back is compared, in seconds; 0 for not at all. */
  get #shift() {
    const { shift } = COMPARISONS[this.comparison] ?? { shift: 0 };
    return shift && !whyNot(this.#known.frame, this.comparison) ? shift : 0;
  }

  /** Draw the earlier span, if there is to be one: it is ours too, and goes on as time does. */
  #compare() {
    const shift = this.#shift;
    this.view?.compare(shift ? this.#known.timeline.all() : [], shift);
  }
}

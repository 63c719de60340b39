/**
 * The chart of a coin's price with a trader's events on it, as it is drawn.
 *
 * @module traders/pricechart
 */

import { GapShading, colours, dressed, manners, xOf } from '../chart/paint.js';
import { priceDecimals } from '../format.js';
import { EventMarks } from './markers.js';
import { placed } from './prices.js';

/** @typedef {typeof import('lightweight-charts')} Library */
/** @typedef {import('lightweight-charts').UTCTimestamp} Time */
/** @typedef {import('../chart/model.js').Candle} Candle */
/** @typedef {import('../chart/model.js').Span} Span */
/** @typedef {import('./prices.js').Plan} Plan */

/**
 * What is drawn of one coin.
 *
 * @typedef {object} Shown
 * @property {Plan} plan
 * @property {Candle[]} candles in order
 * @property {{time: number, value: number}[]} points prices where there is no candle
 * @property {Span[]} gaps of which no price is known
 * @property {any[]} events in the order of time
 * @property {any} position the present one, null when there is none
 * @property {string} price how one is written
 */

/** Half of a time that is written below, and a bit. */
const EDGE_PX = 24;

/** @param {number} seconds */
const at = (seconds) => /** @type {Time} */ (seconds);

export class PriceChart {
  /** @type {Plan} */
  #plan = { start: 0, end: 0, width: 60, interval: null };
  /** @type {import('./prices.js').Placed[]} */
  #marks = [];
  #ends = '';
  #span = '';
  /** How each line of the position is taken away. @type {(() => void)[]} */
  #lines = [];

  /** @param {Library} library @param {HTMLElement} element */
  constructor(library, element) {
    this.element = element;
    this.colours = colours();
    this.dashed = library.LineStyle.Dashed;
    this.chart = library.createChart(element, { ...manners(library), timeScale: { minBarSpacing: 0.2, borderVisible: false, lockVisibleTimeRangeOnResize: true } });
    const quiet = { lastValueVisible: false, priceLineVisible: false, crosshairMarkerVisible: false };
    // Every span of time has its place, also when nothing is known of it.
    this.grid = this.chart.addSeries(library.LineSeries, { ...quiet, priceScaleId: 'grid', lineVisible: false });
    const autoscaleInfoProvider = (/** @type {() => import('lightweight-charts').AutoscaleInfo | null} */ original) => this.#scaled(original());
    this.candles = this.chart.addSeries(library.CandlestickSeries, { borderVisible: false, priceLineVisible: false, autoscaleInfoProvider });
    this.points = this.chart.addSeries(library.LineSeries, { ...quiet, lineVisible: false, pointMarkersVisible: true, pointMarkersRadius: 2, autoscaleInfoProvider });
    const toX = (/** @type {number} */ ms) => xOf(this.chart.timeScale(), this.#plan, ms);
    this.shading = new GapShading(this.colours, toX, false);
    this.events = new EventMarks(this.colours, toX, (price) => this.#scale.priceToCoordinate(price));
    this.chart.panes()[0].attachPrimitive(this.shading);
    // What belongs to a pane is drawn below all series: marks belong to the one that always has data.
    this.grid.attachPrimitive(this.events);
    this.paint();
  }

  /** The series that knows where a price is: one without data does not. */
  get #scale() {
    return this.candles.data().length > 0 ? this.candles : this.points;
  }

  /** Events belong to what is seen, also where no candle reaches. @param {import('lightweight-charts').AutoscaleInfo | null} info */
  #scaled(info) {
    const range = this.chart.timeScale().getVisibleLogicalRange();
    if (!info?.priceRange || !range) return info;
    const { start, width } = this.#plan;
    let { minValue, maxValue } = info.priceRange;
    for (const { event, price } of this.#marks) {
      const bar = (event.time_ms / 1000 - start) / width;
      if (price === null || bar < range.from - 1 || bar > range.to + 1) continue;
      minValue = Math.min(minValue, price);
      maxValue = Math.max(maxValue, price);
    }
    const more = maxValue > minValue ? 0 : Math.abs(maxValue) * 0.005 || 1;
    return { ...info, priceRange: { minValue: minValue - more, maxValue: maxValue + more } };
  }

  /** Take the colours of the theme as it is now. */
  paint() {
    Object.assign(this.colours, colours());
    const c = this.colours;
    this.chart.applyOptions(dressed(c));
    this.candles.applyOptions({ upColor: c.buy, downColor: c.sell, wickUpColor: c.buy, wickDownColor: c.sell });
    this.points.applyOptions({ color: c.muted });
    this.#ends = '';
  }

  /** Leave room for a legend on top. @param {number} pixels */
  leave(pixels) {
    const height = this.chart.panes()[0].getHeight();
    if (height > 40) this.chart.priceScale('right').applyOptions({ scaleMargins: { top: Math.min(0.4, (pixels + 14) / height), bottom: 0.12 } });
  }

  /** @param {Shown} shown @param {any} chosen */
  draw({ plan, candles, points, gaps, events, position, price }, chosen) {
    this.#plan = plan;
    this.#marks = events.map(placed);
    const span = `${plan.start}/${plan.end}/${plan.width}`;
    if (span !== this.#span) {
      this.#span = span;
      const times = [];
      for (let time = plan.start; time <= plan.end; time += plan.width) times.push({ time: at(time), value: 0 });
      this.grid.setData(times);
      this.chart.timeScale().applyOptions({ timeVisible: plan.width < 86_400 });
    }
    const precision = priceDecimals(price);
    const priceFormat = /** @type {const} */ ({ type: 'price', precision, minMove: 1 / 10 ** precision });
    this.candles.applyOptions({ priceFormat });
    this.points.applyOptions({ priceFormat });
    this.candles.setData(candles.map(({ time, open, high, low, close }) => ({ time: at(time), open, high, low, close })));
    this.points.setData(points.map(({ time, value }) => ({ time: at(time), value })));
    this.shading.show(gaps);
    this.#hold(position, candles.length > 0);
    this.choose(chosen);
  }

  /** Lines where the present position began, and where it would be liquidated. @param {any} position @param {boolean} candles */
  #hold(position, candles) {
    const { entry_price: entry, liquidation_price: end } = position ?? {};
    const ends = `${entry}/${end}/${candles}`;
    if (ends === this.#ends) return;
    this.#ends = ends;
    for (const remove of this.#lines.splice(0)) remove();
    const series = this.#scale;
    for (const { price, title, color } of [
      { price: entry, title: 'entry', color: this.colours.accent },
      { price: end, title: 'liquidation', color: this.colours.warn },
    ]) {
      if (!(Number(price) > 0)) continue;
      const line = series.createPriceLine({ price: Number(price), title, color, lineWidth: 1, lineStyle: this.dashed, axisLabelColor: color, axisLabelTextColor: this.colours.panel });
      this.#lines.push(() => series.removePriceLine(line));
    }
  }

  /** @param {any} event null for none */
  choose(event) {
    this.events.show(this.#marks, event);
  }

  /** The event at this place, null when none is near. @param {{x: number, y: number} | undefined} point */
  eventAt(point) {
    return point ? this.events.at(point.x, point.y, this.chart.panes()[0].getHeight()) : null;
  }

  /** Whether a price lies above or below what is seen; '' where it can be seen. @param {unknown} price */
  beyond(price) {
    const y = this.#scale.priceToCoordinate(Number(price));
    if (y === null) return '';
    return y < 0 ? 'above' : y > this.chart.panes()[0].getHeight() ? 'below' : '';
  }

  /** Show all of it, and so much beside that no time at an end is cut off. */
  whole() {
    const scale = this.chart.timeScale();
    const { start, end, width } = this.#plan;
    const last = (end - start) / width;
    const more = (EDGE_PX * (last + 1)) / Math.max(1, scale.width() - 2 * EDGE_PX);
    this.chart.priceScale('right').applyOptions({ autoScale: true });
    scale.setVisibleLogicalRange({ from: -0.5 - more, to: last + 0.5 + more });
  }

  /** @param {number} factor below 1 to see less @param {any} around the event that stays where it is, null for the newest */
  zoom(factor, around) {
    const scale = this.chart.timeScale();
    const range = scale.getVisibleLogicalRange();
    if (!range) return;
    const fixed = around ? (around.time_ms / 1000 - this.#plan.start) / this.#plan.width : range.to;
    scale.setVisibleLogicalRange({ from: fixed - (fixed - range.from) * factor, to: fixed + (range.to - fixed) * factor });
  }

  /** Let an event be seen. @param {any} event */
  reveal(event) {
    const scale = this.chart.timeScale();
    const range = scale.getVisibleLogicalRange();
    const bar = (event.time_ms / 1000 - this.#plan.start) / this.#plan.width;
    if (!range || (bar >= range.from && bar <= range.to)) return;
    const half = (range.to - range.from) / 2;
    scale.setVisibleLogicalRange({ from: bar - half, to: bar + half });
  }
}

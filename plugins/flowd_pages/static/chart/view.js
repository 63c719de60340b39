/**
 * The chart itself: candles above, liquidations below, on one time scale.
 *
 * @module chart/view
 */

import { dollars, grouped } from '../format.js';
import { LiquidationBars } from './bars.js';
import { titleOf } from './kept.js';
import { Plot } from './model.js';
import { GapShading, colours, dressed, manners, xOf } from './paint.js';
import { decimalsOf } from './words.js';
import { barTime, current, tick, zonedScale } from './zone.js';

/** @typedef {typeof import('lightweight-charts')} Library */
/** @typedef {import('lightweight-charts').UTCTimestamp} Time */
/** @typedef {import('./model.js').Bar} Bar */
/** @typedef {import('./model.js').Candle} Candle */
/** @typedef {import('./model.js').Span} Span */

/** How many bars are seen at first. */
const BARS_FIRST = 140;
/** Beyond so many points per series, the oldest are forgotten. */
export const POINTS_MAX = 4000;

const DAY_S = 86_400;

/** @param {number} seconds */
const at = (seconds) => /** @type {Time} */ (seconds);

/** One symbol's chart. It is thrown away and made anew when what it shows becomes another kind of thing. */
export class View {
  /** The first time of the grid, in seconds. */
  #start = 0;
  #end = 0;
  #width = 60;
  #precision = -1;
  /** @type {Map<number | string, import('lightweight-charts').IPriceLine>} */
  #lines = new Map();

  /**
   * @param {Library} library
   * @param {HTMLElement} element
   * @param {boolean} withCandles
   */
  constructor(library, element, withCandles) {
    this.colours = colours();
    const daily = () => this.#width >= DAY_S;
    const { localization, ...manner } = manners(library);
    /** @type {import('lightweight-charts').IChartApi} */
    this.chart = /** @type {any} */ (
      library.createChartEx(element, zonedScale(library, daily), {
        ...manner,
        localization: { ...localization, timeFormatter: (/** @type {any} */ time) => barTime(time * 1000, daily()) },
        timeScale: /** @type {any} */ ({
          rightOffset: 4,
          minBarSpacing: 0.6,
          borderVisible: false,
          lockVisibleTimeRangeOnResize: true,
          tickMarkFormatter: (/** @type {any} */ time, /** @type {number} */ type) => tick(daily() ? time * 1000 : current().shift(time * 1000), type),
        }),
      })
    );
    // Every span of time has its place, also when nothing happened in it: positions are even and gaps have a width.
    this.grid = this.chart.addSeries(library.LineSeries, {
      priceScaleId: 'grid',
      lineVisible: false,
      lastValueVisible: false,
      priceLineVisible: false,
      crosshairMarkerVisible: false,
    });
    const pane = withCandles ? 1 : 0;
    this.candles = withCandles ? this.chart.addSeries(library.CandlestickSeries, { borderVisible: false, priceLineWidth: 1 }) : null;
    /** What was traded, faintly below the candles. */
    this.market = withCandles
      ? this.chart.addSeries(library.HistogramSeries, { priceScaleId: 'market', lastValueVisible: false, priceLineVisible: false })
      : null;
    this.market?.priceScale().applyOptions({ scaleMargins: { top: 0.84, bottom: 0 } });
    this.markers = this.candles ? library.createSeriesMarkers(this.candles, [], { autoScale: false }) : null;
    this.bars = new LiquidationBars(this.colours);
    /** @type {import('lightweight-charts').PriceFormatCustom} */
    const priceFormat = { type: 'custom', formatter: (/** @type {number} */ value) => dollars(this.bars.amount(value).toFixed(2)), minMove: 0.01 };
    this.volume = this.chart.addCustomSeries(
      /** @type {any} */ (this.bars),
      {
        lastValueVisible: false,
        priceLineVisible: false,
        priceFormat,
      },
      pane,
    );
    const earlier = () =>
      this.chart.addSeries(
        library.LineSeries,
        {
          lineType: library.LineType.WithSteps,
          lineWidth: 1,
          lastValueVisible: false,
          priceLineVisible: false,
          crosshairMarkerVisible: false,
          priceFormat,
        },
        pane,
      );
    /** Shorts and longs of the span that is compared with. */
    this.earlier = [earlier(), earlier()];
    if (withCandles) {
      this.chart.panes()[0].setStretchFactor(2);
      this.chart.panes()[1].setStretchFactor(1);
    }
    // Only liquidations are missed where a source was away: candles are fetched again.
    this.shading = new GapShading(this.colours, (ms) => this.#x(ms), true);
    this.chart.panes()[pane].attachPrimitive(this.shading);
    /** @type {Plot<Bar, any>} */
    this.volumePlot = new Plot(/** @type {any} */ (this.volume), (bar) => ({ ...bar, time: at(bar.time) }));
    /** @type {Plot<Candle, any> | null} */
    this.candlePlot = this.candles
      ? new Plot(/** @type {any} */ (this.candles), ({ time, open, high, low, close, incomplete }) => ({ time: at(time), open, high, low, close, ...(incomplete ? this.#pale(close >= open) : {}) }))
      : null;
    /** @type {Plot<Candle, any> | null} */
    this.marketPlot = this.market
      ? new Plot(/** @type {any} */ (this.market), ({ time, open, close, volume }) => ({ time: at(time), value: volume, color: this.colours[close >= open ? 'buy-faint' : 'sell-faint'] }))
      : null;
    this.paint();
  }

  /** Take the colours of the theme as it is now. */
  paint() {
    Object.assign(this.colours, colours());
    const c = this.colours;
    this.chart.applyOptions(dressed(c));
    this.candles?.applyOptions({ upColor: c.buy, downColor: c.sell, wickUpColor: c.buy, wickDownColor: c.sell });
    for (const line of this.earlier) line.applyOptions({ color: c.ghost });
    this.volume.applyOptions({ color: c.muted });
  }

  /** Lay out the time from `start` to `end`, seconds, both on bars. @param {number} start @param {number} end @param {number} width */
  span(start, end, width) {
    [this.#start, this.#end, this.#width] = [start, end, width];
    const times = [];
    for (let time = start; time <= end; time += width) times.push({ time: at(time), value: 0 });
    this.grid.setData(times);
    this.chart.timeScale().applyOptions({ timeVisible: width < DAY_S });
  }

  /** The time goes on. @param {number} end seconds @returns {boolean} whether there are more bars now */
  extend(end) {
    const before = this.#end;
    for (let time = this.#end + this.#width; time <= end; time += this.#width) this.grid.update({ time: at(time), value: 0 });
    this.#end = Math.max(this.#end, end);
    return this.#end > before;
  }

  /** The last time of the grid, in seconds. */
  get end() {
    return this.#end;
  }

  get points() {
    return (this.#end - this.#start) / this.#width + 1;
  }

  /** Nothing is shown. */
  clear() {
    this.volumePlot.reset([]);
    this.candlePlot?.reset([]);
    this.marketPlot?.reset([]);
    this.markers?.setMarkers([]);
    for (const line of this.earlier) line.setData([]);
    this.grid.setData([]);
    this.shading.show([]);
  }

  /** Show the newest bars, as at first. */
  home() {
    const points = this.points;
    this.chart.priceScale('right').applyOptions({ autoScale: true });
    const seen = Math.min(points, Math.max(40, Math.min(BARS_FIRST, Math.floor(this.chart.timeScale().width() / 6))));
    this.chart.timeScale().setVisibleLogicalRange({ from: points - seen, to: points + 3 });
  }

  /** How many decimals prices have. @param {Candle[]} candles as many as one of the newest of these @param {string | null} step or as the exchange's own */
  prices(candles, step) {
    const said = candles.slice(-20).flatMap((one) => one.said ?? one.text);
    const precision = Math.max(0, ...(step === null ? said : [step]).map(decimalsOf));
    if (!this.candles || (said.length === 0 && step === null) || precision === this.#precision) return;
    this.#precision = precision;
    const formatter = (/** @type {number} */ value) => grouped(value.toFixed(precision));
    this.candles.applyOptions({ priceFormat: { type: 'custom', formatter, minMove: 1 / 10 ** precision } });
  }

  /** A price with as many decimals as prices have. @param {number} value */
  written(value) {
    return value.toFixed(this.#precision < 0 ? 2 : this.#precision);
  }

  /** The newest close; null without candles. @returns {number | null} */
  get lastPrice() {
    const last = /** @type {any} */ (this.candles?.data().at(-1));
    return last?.close ?? null;
  }

  /** The price at a height, in pixels. @param {number} y @returns {number | null} */
  priceAt(y) {
    return this.candles?.coordinateToPrice(y) ?? null;
  }

  /** How far below the top a price is, in pixels. @param {number} price @returns {number | null} */
  y(price) {
    return this.candles?.priceToCoordinate(price) ?? null;
  }

  /** Whether the pointer is for something else than scrolling. @param {boolean} held */
  hold(held) {
    this.chart.applyOptions({ handleScroll: held ? false : { mouseWheel: true, pressedMouseMove: true, horzTouchDrag: true, vertTouchDrag: false }, handleScale: !held });
  }

  /** Draw these lines, and no others. @param {import('./alerts.js').Line[]} lines */
  alert(lines) {
    for (const [id, drawn] of this.#lines) {
      if (lines.some((line) => line.id === id)) continue;
      this.candles?.removePriceLine(drawn);
      this.#lines.delete(id);
    }
    for (const { id, price, fired, kept } of lines) {
      const options = { price: Number(price), color: fired === null ? this.colours.accent : this.colours.muted, lineStyle: kept ? 0 : fired === null ? 2 : 1, title: titleOf({ fired, kept }) };
      const drawn = this.#lines.get(id);
      if (drawn) drawn.applyOptions(options);
      else if (this.candles) this.#lines.set(id, this.candles.createPriceLine({ ...options, lineWidth: 1, axisLabelVisible: true }));
    }
  }

  /** Mark these on the price, as far as there are candles. @param {any[]} markers in order */
  mark(markers) {
    const first = Number(this.candles?.data()[0]?.time ?? Infinity);
    this.markers?.setMarkers(markers.filter(({ time }) => time >= first && time <= this.#end));
  }

  /** @param {Bar[]} bars of an earlier span @param {number} shift seconds */
  compare(bars, shift) {
    const shown = bars.map((bar) => ({ time: bar.time + shift, bar })).filter(({ time }) => time >= this.#start && time <= this.#end);
    const [shorts, longs] = this.earlier;
    shorts.setData(shown.map(({ time, bar }) => ({ time: at(time), value: this.bars.height(bar.buy) })));
    longs.setData(shown.map(({ time, bar }) => ({ time: at(time), value: -this.bars.height(bar.sell) })));
  }

  /** Hatch what is not known. @param {Span[]} gaps milliseconds @param {{ms: number, words: string} | null} begins before when nothing is known at all */
  shade(gaps, begins) {
    const first = this.#start * 1000;
    this.shading.show(gaps, begins && begins.ms > first ? { span: [first, begins.ms], words: begins.words } : null);
  }

  /** How bars are drawn from now on. @param {Partial<Pick<LiquidationBars, 'net' | 'rooted' | 'split' | 'venues'>>} manner */
  manner(manner) {
    Object.assign(this.bars, manner);
  }

  /** Leave room for a legend on top of a pane. @param {number} index @param {number} pixels */
  leave(index, pixels) {
    const { height } = this.pane(index);
    if (height < 40) return;
    const volume = index === this.chart.panes().length - 1;
    const bottom = volume ? 0.04 : 0.06;
    this.chart.priceScale('right', index).applyOptions({ scaleMargins: { top: Math.min(0.5, pixels / height), bottom } });
  }

  /** The first and last bar's time that can be seen, in seconds; null when none can. */
  visible() {
    const range = this.chart.timeScale().getVisibleLogicalRange();
    if (!range || this.#end === 0) return null;
    const from = Math.max(this.#start, this.#start + Math.ceil(range.from) * this.#width);
    const to = Math.min(this.#end, this.#start + Math.floor(range.to) * this.#width);
    return from <= to ? { from, to } : null;
  }

  /** Put the crosshair on a bar. @param {number} time seconds @param {Bar | undefined} bar */
  point(time, bar) {
    this.chart.setCrosshairPosition(bar ? this.bars.height(bar.buy) : 0, at(time), this.volume);
    const range = this.visible();
    if (range && time < range.from) this.#scroll(range.from - time);
    if (range && time > range.to) this.#scroll(range.to - time);
  }

  /** @param {number} seconds to the left */
  #scroll(seconds) {
    const scale = this.chart.timeScale();
    scale.scrollToPosition(scale.scrollPosition() - seconds / this.#width, false);
  }

  /** @param {number} factor below 1 to see less */
  zoom(factor) {
    const scale = this.chart.timeScale();
    const range = scale.getVisibleLogicalRange();
    if (range) scale.setVisibleLogicalRange({ from: range.to - (range.to - range.from) * factor, to: range.to });
  }

  /** Where a pane begins and how high it is, in pixels. @param {number} index */
  pane(index) {
    let top = 0;
    for (let before = 0; before < index; before++) top += this.chart.panes()[before].getHeight() + 1;
    return { top, height: this.chart.panes()[index].getHeight() };
  }

  remove() {
    this.chart.remove();
  }

  /** How a candle is drawn of which parts are missing. @param {boolean} up */
  #pale(up) {
    const color = this.colours[up ? 'buy-faint' : 'sell-faint'];
    return { color, wickColor: color };
  }

  /** Where a time is, in pixels. @param {number} ms */
  #x(ms) {
    return xOf(this.chart.timeScale(), { start: this.#start, end: this.#end, width: this.#width }, ms);
  }
}

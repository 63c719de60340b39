/**
 * What was liquidated in each span of time: shorts go up from the line, longs hang below it.
 *
 * @module chart/bars
 */

/** @typedef {import('./model.js').Bar} Bar */
/** @typedef {import('./paint.js').Colours} Colours */
/** @typedef {Bar & {time: import('lightweight-charts').UTCTimestamp, delta: string}} BarItem */

const HOLLOW_FROM_PX = 4;
/** So far above and below the line reaches what marks a bar of which something was missed. */
const FOOT_PX = 2;
/** What venues are filled with, in the order of their names. */
export const VENUE_COLOURS = /** @type {const} */ (['part-1', 'part-3', 'part-2', 'part-5', 'part-4']);

/**
 * Both sides of every bar: shorts full and up, longs hollow and down. On request with the net as a line, with square
 * roots as heights, or filled by venue. A view of the library's custom series.
 */
export class LiquidationBars {
  /** @type {any} */
  #data = null;
  /** Whether the net is drawn as a line over them. */
  net = false;
  rooted = false;
  /** Whether each side is filled by venue, where bars tell venues. */
  split = false;
  /** The venues there are, in order. @type {string[]} */
  venues = [];

  /** @param {Colours} colours */
  constructor(colours) {
    this.colours = colours;
  }

  /** How high an amount is drawn; negative ones hang below the line. @param {string | number} amount */
  height(amount) {
    const size = Number(amount);
    return this.rooted ? Math.sign(size) * Math.sqrt(Math.abs(size)) : size;
  }

  /** The amount that a height stands for, on either side of the line. @param {number} height */
  amount(height) {
    return this.rooted ? height * height : Math.abs(height);
  }

  renderer() {
    return {
      /** @param {any} target @param {(price: number) => number | null} toY */
      draw: (target, toY) => target.useBitmapCoordinateSpace((/** @type {any} */ scope) => this.#draw(scope, toY)),
    };
  }

  /** @param {any} scope @param {(price: number) => number | null} toY */
  #draw({ context, bitmapSize, horizontalPixelRatio: wide, verticalPixelRatio: high }, toY) {
    const data = this.#data;
    const zero = toY(0);
    if (!data?.visibleRange || zero === null) return;
    const width = Math.max(1, Math.floor(data.barSpacing * 0.72 * wide));
    const line = Math.max(1, Math.floor(wide));
    const base = Math.round(zero * high);
    /** @param {number} height */
    const pixels = (height) => Math.round((toY(height) ?? zero) * high);
    context.fillStyle = this.colours.faint;
    context.fillRect(0, base, bitmapSize.width, line);
    for (let index = data.visibleRange.from; index < data.visibleRange.to; index++) {
      const { x, originalData: item } = data.bars[index];
      if (item.count === 0) continue;
      const left = Math.round(x * wide - width / 2);
      for (const [side, sign] of /** @type {const} */ ([['buy', 1], ['sell', -1]])) {
        if (Number(item[side]) === 0) continue;
        const size = Math.max(line, sign * (base - pixels(sign * this.height(item[side]))));
        const top = sign > 0 ? base - size : base;
        if (this.split && item.venues) this.#parts(context, item, side, sign, { left, width, base, size });
        else if (sign > 0 || width < HOLLOW_FROM_PX * wide || size < 3 * line) {
          context.fillStyle = this.colours[side];
          context.fillRect(left, top, width, size);
        } else {
          context.fillStyle = this.colours['sell-soft'];
          context.fillRect(left, top, width, size);
          context.strokeStyle = this.colours.sell;
          context.lineWidth = line;
          context.strokeRect(left + line / 2, top + line / 2, width - line, size - line);
        }
      }
      if (item.incomplete) {
        context.fillStyle = this.colours.warn;
        context.fillRect(left - line, base - FOOT_PX * line, width + 2 * line, 2 * FOOT_PX * line);
      }
    }
    if (this.net) this.#line(context, data, (height) => pixels(height), wide);
  }

  /**
   * One side of a bar, filled by venue from the line outwards.
   *
   * @param {any} context
   * @param {BarItem} item
   * @param {'buy' | 'sell'} side
   * @param {1 | -1} sign
   * @param {{left: number, width: number, base: number, size: number}} place
   */
  #parts(context, item, side, sign, { left, width, base, size }) {
    let done = 0;
    for (const part of item.venues ?? []) {
      const share = (Number(part[side]) / Number(item[side])) * size;
      const [from, to] = [Math.round(done), Math.round(done + share)];
      done += share;
      context.fillStyle = this.colours[venueColour(this.venues, part.venue)];
      context.fillRect(left, sign > 0 ? base - to : base + from, width, to - from);
    }
  }

  /** The net of each bar, as a line with steps. @param {any} context @param {any} data @param {(height: number) => number} y @param {number} wide */
  #line(context, data, y, wide) {
    const half = (data.barSpacing / 2) * wide;
    context.beginPath();
    let last = -Infinity;
    for (let index = data.visibleRange.from; index < data.visibleRange.to; index++) {
      const { x, originalData: item } = data.bars[index];
      const [left, at] = [x * wide - half, y(this.height(item.delta))];
      // Where bars are left out, nobody knows the net.
      if (left - last > half) context.moveTo(left, at);
      else context.lineTo(left, at);
      context.lineTo((last = left + 2 * half), at);
    }
    context.strokeStyle = this.colours.text;
    context.lineWidth = 2 * Math.max(1, Math.floor(wide));
    context.stroke();
  }

  /** @param {any} data */
  update(data) {
    this.#data = data;
  }

  /** @param {BarItem} item */
  priceValueBuilder(item) {
    return [-this.height(item.sell), this.height(item.buy)];
  }

  /** @param {any} item @returns {item is import('lightweight-charts').CustomSeriesWhitespaceData<any>} */
  isWhitespace(item) {
    return item.delta === undefined;
  }

  defaultOptions() {
    return {};
  }
}

/** What a venue is filled with. @param {string[]} venues all of them, in order @param {string} venue @returns {keyof Colours} */
export function venueColour(venues, venue) {
  return VENUE_COLOURS[Math.max(0, venues.indexOf(venue)) % VENUE_COLOURS.length];
}

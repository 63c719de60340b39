/**
 * The past of a map as rows of prices by columns of time, each cell one byte: how dense it is.
 *
 * Code 0 is nothing, code c a density of 2^((c-1)/8) quote units: steps of 9 %.
 *
 * @module heatmap/picture
 */

/** Steps to each doubling. */
const STEPS = 8;
/** What is known of a column. */
export const UNKNOWN = 0;
export const KNOWN = 1;
/** Known, but open interest was missing: positions that were opened or closed meanwhile are not in it. */
export const BLIND = 2;
/** How many columns are left free for what is to come. */
const SPARE = 288;

/** @typedef {{price: number, long_density: number, short_density: number}} Level */
/** @typedef {'both' | 'long' | 'short'} Side */

/** @param {number} code @returns {number} quote units */
export function density(code) {
  return code ? 2 ** ((code - 1) / STEPS) : 0;
}

/** @param {number} amount quote units */
export function codeOf(amount) {
  return amount >= 1 ? Math.min(255, Math.round(Math.log2(amount) * STEPS) + 1) : 0;
}

/** @param {string} text base64 @returns {Uint8Array<ArrayBuffer>} */
export function bytes(text) {
  const found = atob(text);
  const made = new Uint8Array(found.length);
  for (let index = 0; index < found.length; index++) made[index] = found.charCodeAt(index);
  return made;
}

/**
 * Runs of equal codes, spelled out. Throws where they are not as many as there must be.
 *
 * @param {{codes: string, lengths: string}} runs base64: codes are bytes, lengths two bytes each, the lower first
 * @param {number} size
 */
export function spelled({ codes, lengths }, size) {
  const [which, long] = [bytes(codes), bytes(lengths)];
  const cells = new Uint8Array(size);
  let at = 0;
  for (let run = 0; run < which.length; run++) {
    const end = at + long[2 * run] + 256 * long[2 * run + 1];
    if (which[run]) cells.fill(which[run], at, end);
    at = end;
  }
  if (at !== size || long.length !== 2 * which.length) throw new Error('the picture is cut off');
  return cells;
}

/** Columns lie `interval` apart from `start` on, also where nothing is known; rows go up from `base`, each `bin` high. */
export class Picture {
  /** @param {{start: number, interval: number, columns: number, base: number, bin: number, rows: number}} grid */
  constructor({ start, interval, columns, base, bin, rows }) {
    this.start = start;
    this.interval = interval;
    /** How many there are; more have room. */
    this.columns = columns;
    this.base = base;
    this.bin = bin;
    this.rows = rows;
    this.width = columns + SPARE;
    this.long = new Uint8Array(this.width * rows);
    this.short = new Uint8Array(this.width * rows);
    /** What is known of each column. */
    this.known = new Uint8Array(this.width);
    /** The price at the end of each, and its extremes; NaN where unknown. */
    this.close = new Float64Array(this.width).fill(NaN);
    this.low = new Float64Array(this.width).fill(NaN);
    this.high = new Float64Array(this.width).fill(NaN);
  }

  /** What a timeseries says; null when it has no column. @param {any} told @returns {Picture | null} */
  static of(told) {
    /** @type {number[]} */
    const times = told.times;
    if (times.length === 0) return null;
    const interval = told.interval_ms ?? 300_000;
    const start = times[0];
    const columns = Math.round((times[times.length - 1] - start) / interval) + 1;
    const made = new Picture({ start, interval, columns, base: told.base, bin: told.bin, rows: told.bins });
    const places = times.map((time) => Math.round((time - start) / interval));
    for (const side of /** @type {const} */ (['long', 'short'])) {
      const cells = spelled(told[side], times.length * told.bins);
      for (let row = 0, cell = 0; row < told.bins; row++) {
        for (let index = 0; index < places.length; index++) made[side][row * made.width + places[index]] = cells[cell++];
      }
    }
    const blind = new Set(told.oi_missing);
    places.forEach((place, index) => {
      made.known[place] = blind.has(times[index]) ? BLIND : KNOWN;
      made.close[place] = told.close[index];
      made.low[place] = told.low[index];
      made.high[place] = told.high[index];
    });
    return made;
  }

  /** The end of the newest column, ms. */
  get end() {
    return this.start + this.columns * this.interval;
  }

  /** The upper edge of the highest row. */
  get top() {
    return this.base + this.rows * this.bin;
  }

  /** Which column holds a time; -1 when none does. @param {number} time ms */
  column(time) {
    const column = Math.floor((time - this.start) / this.interval);
    return column >= 0 && column < this.columns ? column : -1;
  }

  /** Which row holds a price; -1 when none does. @param {number} price */
  row(price) {
    const row = Math.floor((price - this.base) / this.bin + 1e-9);
    return row >= 0 && row < this.rows ? row : -1;
  }

  /** @param {number} column @param {number} row @param {Side} side of both, the denser: they are never added */
  code(column, row, side) {
    const at = row * this.width + column;
    if (side === 'both') return Math.max(this.long[at], this.short[at]);
    return this[side][at];
  }

  /**
   * A map as it is now: the column of its time, and where a candle ended just then, also that candle's.
   *
   * @param {{timestamp: string, data: any}} snapshot
   * @returns {boolean} false when columns before it are missing, or there is no room for it
   */
  live({ timestamp, data }) {
    const time = Date.parse(timestamp);
    const column = Math.floor((time - this.start) / this.interval);
    if (!(column >= 0 && column < this.width)) return false;
    // Older than what is there.
    if (column < this.columns - 1) return true;
    const whole = column <= this.columns;
    const [long, short] = [this.#spread(data.levels, 'long_density'), this.#spread(data.levels, 'short_density')];
    // What a candle left behind is told at its end, which is when the next one begins.
    const ended = (time - this.start) % this.interval === 0 && column > 0;
    for (const at of ended ? [column - 1, column] : [column]) {
      for (let row = 0; row < this.rows; row++) {
        this.long[row * this.width + at] = codeOf(long[row]);
        this.short[row * this.width + at] = codeOf(short[row]);
      }
      this.known[at] = data.oi_missing ? BLIND : KNOWN;
    }
    this.columns = Math.max(this.columns, column + 1);
    this.traded(column, data.current_price);
    return whole;
  }

  /** A price was paid in a column. @param {number} column @param {number | null} price */
  traded(column, price) {
    if (price === null || !Number.isFinite(price)) return;
    this.close[column] = price;
    this.low[column] = Number.isNaN(this.low[column]) ? price : Math.min(this.low[column], price);
    this.high[column] = Number.isNaN(this.high[column]) ? price : Math.max(this.high[column], price);
  }

  /** @param {Level[]} levels @param {'long_density' | 'short_density'} side */
  #spread(levels, side) {
    const sums = new Float64Array(this.rows);
    for (const level of levels) {
      const row = this.row(level.price);
      if (row >= 0) sums[row] += level[side];
    }
    return sums;
  }

  /** Spans of time in which nothing was known, and those without open interest. @param {number} state @returns {[number, number][]} ms */
  spans(state) {
    /** @type {[number, number][]} */
    const found = [];
    for (let column = 0; column < this.columns; column++) {
      if (this.known[column] !== state) continue;
      const from = this.start + column * this.interval;
      const last = found[found.length - 1];
      if (last && last[1] === from) last[1] += this.interval;
      else found.push([from, from + this.interval]);
    }
    return found;
  }

  /** The code that all but one in a thousand of the cells that hold something stay below. @param {Side} side */
  bright(side) {
    const counts = new Uint32Array(256);
    let all = 0;
    for (let row = 0; row < this.rows; row++) {
      for (let column = 0; column < this.columns; column++) counts[this.code(column, row, side)]++;
    }
    for (let code = 1; code < 256; code++) all += counts[code];
    let left = Math.ceil(all / 1000);
    for (let code = 255; code > 0; code--) {
      left -= counts[code];
      if (left <= 0 && counts[code]) return code;
    }
    return 1;
  }
}

/**
 * Cells for a bitmap in which `factor` columns are one, the densest of them, so that thin levels stay to be seen.
 *
 * @param {Picture} picture
 * @param {Side} side
 * @param {number} factor
 * @returns {{cells: Uint8Array, known: Uint8Array, columns: number}} rows from the highest to the lowest
 */
export function pooled(picture, side, factor) {
  const columns = Math.ceil(picture.columns / factor);
  const cells = new Uint8Array(columns * picture.rows);
  const known = new Uint8Array(columns);
  for (let column = 0; column < picture.columns; column++) {
    const to = Math.floor(column / factor);
    known[to] = Math.max(known[to], picture.known[column] ? 1 : 0);
  }
  const { long, short, width, rows } = picture;
  for (let row = 0; row < rows; row++) {
    const [from, to] = [row * width, (rows - 1 - row) * columns];
    for (let column = 0; column < picture.columns; column++) {
      const [a, b] = [side === 'short' ? 0 : long[from + column], side === 'long' ? 0 : short[from + column]];
      const code = a > b ? a : b;
      const at = to + Math.floor(column / factor);
      if (code > cells[at]) cells[at] = code;
    }
  }
  return { cells, known, columns };
}

/**
 * What charts have in common: colours, manners, where times are, and times of which nothing is known.
 *
 * @module chart/paint
 */

import { stamp } from '../format.js';

/** @typedef {import('./model.js').Span} Span */

const NAMES = /** @type {const} */ ([
  ...['ground', 'panel', 'text', 'accent', 'on-accent', 'muted', 'faint', 'line', 'line-soft'],
  ...['buy', 'sell', 'sell-soft', 'buy-faint', 'sell-faint', 'warn', 'ghost', 'part-1', 'part-2', 'part-3', 'part-4', 'part-5'],
]);

/**
 * The colours of the tokens, as the canvas wants them.
 *
 * @typedef {Record<typeof NAMES[number], string>} Colours
 */

/** @returns {Colours} */
export function colours() {
  const probe = document.createElement('i');
  document.body.append(probe);
  const found = Object.fromEntries(
    NAMES.map((name) => {
      probe.style.color = `var(--${name})`;
      return [name, getComputedStyle(probe).color];
    }),
  );
  probe.remove();
  return /** @type {Colours} */ (found);
}

/** How a chart looks in these colours. @param {Colours} c */
export function dressed(c) {
  return {
    layout: {
      background: { color: c.panel },
      textColor: c.muted,
      fontSize: 11,
      fontFamily: getComputedStyle(document.body).fontFamily,
      attributionLogo: true,
      panes: { separatorColor: c.line, separatorHoverColor: c.line },
    },
    grid: { vertLines: { color: c['line-soft'] }, horzLines: { color: c['line-soft'] } },
    crosshair: {
      vertLine: { color: c.faint, labelBackgroundColor: c.faint },
      horzLine: { color: c.faint, labelBackgroundColor: c.faint },
    },
  };
}

/** What every chart does, however it looks. @param {typeof import('lightweight-charts')} library */
export function manners(library) {
  return {
    autoSize: true,
    localization: { locale: 'en-GB', timeFormatter: (/** @type {any} */ time) => `${stamp(time * 1000)} UTC` },
    rightPriceScale: { borderVisible: false, minimumWidth: 64 },
    crosshair: { mode: library.CrosshairMode.Normal },
    handleScroll: { vertTouchDrag: false },
  };
}

/**
 * Where a time is, in pixels. Spans of time, `width` seconds each from `start` to `end`, are even, so between them too.
 *
 * @param {import('lightweight-charts').ITimeScaleApi<import('lightweight-charts').Time>} scale
 * @param {{start: number, end: number, width: number}} grid
 * @param {number} ms
 */
export function xOf(scale, { start, end, width }, ms) {
  if (end === 0) return null;
  const clamped = Math.max(start, Math.min(end + width, ms / 1000));
  const logical = (clamped - start) / width - 0.5;
  const [low, high] = [Math.floor(logical), Math.floor(logical) + 1];
  const left = scale.logicalToCoordinate(/** @type {any} */ (low));
  const right = scale.logicalToCoordinate(/** @type {any} */ (high));
  return left === null || right === null ? null : left + (right - left) * (logical - low);
}

const HATCH_PX = 7;
/** However wide the zoom, a time of which nothing is known is as wide as this. */
const GAP_LEAST_PX = 3;
/** So narrow that hatching would not be seen as such. */
const SOLID_BELOW_PX = 14;
const STRIP_PX = 3;
/** So far from the left the chart library's logo reaches. */
const LOGO_PX = 56;

/**
 * Hatches the times of which nothing is known, over a whole pane: outages, and the time before anything was counted. One
 * of the library's pane primitives.
 */
export class GapShading {
  /** @type {(() => void) | null} */
  #redraw = null;
  /** @type {Span[]} */
  gaps = [];
  /** What lies before all that is known. @type {{span: Span, words: string} | null} */
  before = null;

  /**
   * @param {Colours} colours
   * @param {(ms: number) => number | null} toX where a time is, in pixels of the pane
   * @param {boolean} named whether to write `no data` where there is room
   */
  constructor(colours, toX, named) {
    this.colours = colours;
    this.toX = toX;
    this.named = named;
    /** @type {import('lightweight-charts').IPanePrimitivePaneView[]} */
    this.views = [{ zOrder: () => 'bottom', renderer: () => ({ draw: (target) => this.#draw(target) }) }];
  }

  /** @param {{requestUpdate: () => void}} parameter */
  attached({ requestUpdate }) {
    this.#redraw = requestUpdate;
  }

  paneViews() {
    return this.views;
  }

  /** @param {Span[]} gaps @param {{span: Span, words: string} | null} [before] */
  show(gaps, before = null) {
    this.gaps = gaps;
    this.before = before;
    this.#redraw?.();
  }

  /** @param {any} target */
  #draw(target) {
    target.useMediaCoordinateSpace((/** @type {any} */ { context, mediaSize: { width, height } }) => {
      /** @type {Span[]} */
      const taken = [];
      const before = this.before && this.#hatch(context, this.before.span, this.colours.muted, 0.25, width, height);
      const gaps = this.gaps.map((gap) => this.#hatch(context, gap, this.colours.warn, 0.45, width, height));
      for (const gap of gaps) this.#name(context, gap, 'no data', this.colours.warn, height, taken);
      // A gap may lie in the time before: what is said of that stands beside what is said of the gap.
      this.#name(context, before, this.before?.words ?? '', this.colours.muted, height, taken);
    });
  }

  /** @param {any} context @param {Span} span @param {string} colour @param {number} alpha @param {number} width @param {number} height @returns {Span | null} where it is, in pixels; null where it is not seen */
  #hatch(context, [from, to], colour, alpha, width, height) {
    const [left, right] = [this.toX(from), this.toX(to)];
    if (left === null || right === null || right < 0 || left > width) return null;
    const start = Math.max(0, left);
    const end = Math.min(width, Math.max(right, left + GAP_LEAST_PX));
    context.save();
    context.beginPath();
    context.rect(start, 0, end - start, height);
    context.clip();
    context.fillStyle = context.strokeStyle = colour;
    const solid = end - start < SOLID_BELOW_PX;
    context.globalAlpha = solid ? 0.4 : alpha / 5;
    context.fillRect(start, 0, end - start, height);
    context.globalAlpha = alpha;
    context.lineWidth = 1;
    context.beginPath();
    for (let x = Math.floor((start - height) / HATCH_PX) * HATCH_PX; !solid && x < end; x += HATCH_PX) {
      context.moveTo(x, height);
      context.lineTo(x + height, 0);
    }
    context.stroke();
    context.globalAlpha = 1;
    context.fillRect(start, height - STRIP_PX, end - start, STRIP_PX);
    context.restore();
    return [start, end];
  }

  /** Write what a hatched span is, where there is room. @param {any} context @param {Span | null} span pixels @param {string} words @param {string} colour @param {number} height @param {Span[]} taken where words are; becomes longer */
  #name(context, span, words, colour, height, taken) {
    if (!this.named || !span) return;
    context.save();
    context.font = '11px system-ui, sans-serif';
    const room = context.measureText(words).width + 12;
    const middle = placeOf(span, room, taken);
    if (middle !== null) {
      taken.push([middle - room / 2, middle + room / 2]);
      // What is hatched is hard to read on.
      context.fillStyle = this.colours.panel;
      context.fillRect(middle - room / 2, height - 24, room, 16);
      context.fillStyle = colour;
      context.textAlign = 'center';
      context.fillText(words, middle, height - 12);
    }
    context.restore();
  }
}

/**
 * Where words can stand in a span without lying on others: their middle, in the widest part that is free; null where there is no
 * room. The logo in the corner is avoided as far as may be.
 *
 * @param {Span} span pixels
 * @param {number} room that they need
 * @param {Span[]} taken where others stand
 */
export function placeOf(span, room, taken) {
  /** @type {Span[]} */
  let free = [span];
  for (const [from, to] of taken) {
    free = free.flatMap(([left, right]) => /** @type {Span[]} */ ([[left, Math.min(right, from)], [Math.max(left, to), right]]).filter(([low, high]) => low < high && low >= left && high <= right));
  }
  const [left, right] = free.reduce((best, part) => (part[1] - part[0] > best[1] - best[0] ? part : best), /** @type {Span} */ ([0, 0]));
  if (right - left <= room) return null;
  return Math.max((left + right) / 2, Math.min(right - room / 2, LOGO_PX + room / 2));
}

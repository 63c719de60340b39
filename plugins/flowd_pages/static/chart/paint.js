/**
 * What the chart library does not draw by itself: bars whose shape says the side, and times without data.
 *
 * @module chart/paint
 */

import { stamp } from '../format.js';

/** @typedef {import('./model.js').Bar} Bar */
/** @typedef {import('./model.js').Span} Span */
/** @typedef {Bar & {time: import('lightweight-charts').UTCTimestamp, delta: string}} BarItem */

/**
 * The colours of the tokens, as the canvas wants them.
 *
 * @typedef {Record<'ground'|'panel'|'text'|'accent'|'on-accent'|'muted'|'faint'|'line'|'line-soft'|'buy'|'sell'|'sell-soft'|'warn'|'ghost', string>} Colours
 */

/** @returns {Colours} */
export function colours() {
  const probe = document.createElement('i');
  document.body.append(probe);
  const names = ['ground', 'panel', 'text', 'accent', 'on-accent', 'muted', 'faint', 'line', 'line-soft', 'buy', 'sell', 'sell-soft', 'warn', 'ghost'];
  const found = Object.fromEntries(
    names.map((name) => {
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

const HOLLOW_FROM_PX = 4;
const HATCH_PX = 7;

/**
 * Net liquidations: height is |delta|. Net shorts are full bars, net longs hollow ones; signed, they hang below the line.
 * A view of the library's custom series.
 */
export class LiquidationBars {
  /** @type {any} */
  #data = null;
  signed = false;
  rooted = false;

  /** @param {Colours} colours */
  constructor(colours) {
    this.colours = colours;
  }

  /** @param {BarItem} item */
  height(item) {
    const delta = Number(item.delta);
    const size = this.rooted ? Math.sqrt(Math.abs(delta)) : Math.abs(delta);
    return this.signed && delta < 0 ? -size : size;
  }

  /** The amount that a height stands for. @param {number} height */
  amount(height) {
    return this.rooted ? height * Math.abs(height) : height;
  }

  renderer() {
    return {
      /** @param {any} target @param {(price: number) => number | null} toY */
      draw: (target, toY) => target.useBitmapCoordinateSpace((/** @type {any} */ scope) => this.#draw(scope, toY)),
    };
  }

  /** @param {any} scope @param {(price: number) => number | null} toY */
  #draw({ context, horizontalPixelRatio: wide, verticalPixelRatio: high }, toY) {
    const data = this.#data;
    const zero = toY(0);
    if (!data?.visibleRange || zero === null) return;
    const width = Math.max(1, Math.floor(data.barSpacing * 0.72 * wide));
    const line = Math.max(1, Math.floor(wide));
    const base = Math.round(zero * high);
    for (let index = data.visibleRange.from; index < data.visibleRange.to; index++) {
      const { x, originalData: item } = data.bars[index];
      const end = toY(this.height(item));
      if (end === null || Number(item.delta) === 0) continue;
      const left = Math.round(x * wide - width / 2);
      const y = Math.round(end * high);
      const [top, size] = y < base ? [y, Math.max(line, base - y)] : [base, Math.max(line, y - base)];
      const buys = !item.delta.startsWith('-');
      if (buys || width < HOLLOW_FROM_PX * wide || size < 3 * line) {
        context.fillStyle = buys ? this.colours.buy : this.colours.sell;
        context.fillRect(left, top, width, size);
      } else {
        context.fillStyle = this.colours['sell-soft'];
        context.fillRect(left, top, width, size);
        context.strokeStyle = this.colours.sell;
        context.lineWidth = line;
        context.strokeRect(left + line / 2, top + line / 2, width - line, size - line);
      }
    }
  }

  /** @param {any} data */
  update(data) {
    this.#data = data;
  }

  /** @param {BarItem} item */
  priceValueBuilder(item) {
    return [0, this.height(item)];
  }

  /** @param {any} item @returns {item is import('lightweight-charts').CustomSeriesWhitespaceData<any>} */
  isWhitespace(item) {
    return item.delta === undefined;
  }

  defaultOptions() {
    return {};
  }
}

/**
 * Hatches the times in which nothing was known, over a whole pane. One of the library's pane primitives. */
export class GapShading {
  /** @type {(() => void) | null} */
  #redraw = null;
  /** @type {Span[]} */
  gaps = [];

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

  /** @param {Span[]} gaps */
  show(gaps) {
    this.gaps = gaps;
    this.#redraw?.();
  }

  /** @param {any} target */
  #draw(target) {
    target.useMediaCoordinateSpace((/** @type {any} */ { context, mediaSize: { width, height } }) => {
      for (const [from, to] of this.gaps) {
        const [left, right] = [this.toX(from), this.toX(to)];
        if (left === null || right === null || right < 0 || left > width) continue;
        const start = Math.max(0, left);
        const end = Math.min(width, Math.max(right, left + 2));
        context.save();
        context.beginPath();
        context.rect(start, 0, end - start, height);
        context.clip();
        context.globalAlpha = 0.08;
        context.fillStyle = this.colours.warn;
        context.fillRect(start, 0, end - start, height);
        context.globalAlpha = 0.28;
        context.strokeStyle = this.colours.warn;
        context.lineWidth = 1;
        context.beginPath();
        for (let x = Math.floor((start - height) / HATCH_PX) * HATCH_PX; x < end; x += HATCH_PX) {
          context.moveTo(x, height);
          context.lineTo(x + height, 0);
        }
        context.stroke();
        if (this.named && end - start > 56) {
          context.globalAlpha = 1;
          context.fillStyle = this.colours.warn;
          context.font = '11px system-ui, sans-serif';
          context.textAlign = 'center';
          context.fillText('no data', (start + end) / 2, height - 8);
        }
        context.restore();
      }
    });
  }
}

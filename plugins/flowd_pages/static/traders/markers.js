/**
 * Events as marks on a price: a shape and a word for each kind, and never a colour alone.
 *
 * @module traders/markers
 */

/** @typedef {import('../chart/paint.js').Colours} Colours */
/** @typedef {import('./prices.js').Placed} Placed */

/** How each kind is drawn in words: a disc, a plus, a minus, a ring, a diamond, a cross. */
export const GLYPHS = { OPEN: '●', INCREASE: '+', DECREASE: '−', CLOSE: '○', FLIP: '◆', LIQUIDATED: '✕' };

const RADIUS = 5;
const FLOOR_PX = 12;
const NEAR_PX = 22;
const WHISKER_PX = 8;

/** What an event is drawn as. @param {any} event */
export function kindOf(event) {
  return event.liquidated ? 'LIQUIDATED' : String(event.event);
}

/** Draws events over all else. One of the library's series primitives. */
export class EventMarks {
  /** In the order of time. @type {Placed[]} */
  marks = [];
  /** @type {any} the event that is pointed at */
  chosen = null;
  /** @type {(() => void) | null} */
  #redraw = null;

  /**
   * @param {Colours} colours
   * @param {(ms: number) => number | null} toX
   * @param {(price: number) => number | null} toY
   */
  constructor(colours, toX, toY) {
    this.colours = colours;
    this.toX = toX;
    this.toY = toY;
    /** @type {import('lightweight-charts').IPrimitivePaneView[]} */
    this.views = [{ zOrder: () => 'top', renderer: () => ({ draw: (target) => this.#draw(target) }) }];
  }

  /** @param {{requestUpdate: () => void}} parameter */
  attached({ requestUpdate }) {
    this.#redraw = requestUpdate;
  }

  paneViews() {
    return this.views;
  }

  /** @param {Placed[]} marks in the order of time @param {any} chosen */
  show(marks, chosen) {
    this.marks = marks;
    this.chosen = chosen;
    this.#redraw?.();
  }

  /** The event at this place of the pane, null when none is near. @param {number} x @param {number} y @param {number} height */
  at(x, y, height) {
    let best = null;
    let least = NEAR_PX;
    for (const mark of this.marks) {
      const place = this.#place(mark, height);
      if (!place) continue;
      const distance = Math.hypot(place.x - x, place.y - y);
      if (distance > least) continue;
      [best, least] = [mark.event, distance];
    }
    return best;
  }

  /** Where no price is known, an event stands at the bottom. @param {Placed} mark @param {number} height */
  #place({ event, price }, height) {
    const x = this.toX(event.time_ms);
    const y = price === null ? height - FLOOR_PX : this.toY(price);
    return x === null || y === null ? null : { x, y };
  }

  /** @param {any} target */
  #draw(target) {
    target.useMediaCoordinateSpace((/** @type {any} */ { context, mediaSize: { width, height } }) => {
      /** @type {{x: number, y: number, mark: Placed}[]} */
      const seen = [];
      for (const mark of this.marks) {
        const place = this.#place(mark, height);
        if (!place || place.x < -RADIUS || place.x > width + RADIUS) continue;
        seen.push({ ...place, mark });
      }
      for (const { x, y, mark } of seen) this.#whisker(context, x, y, mark.event);
      for (const { x, y, mark } of seen) this.#mark(context, x, y, mark);
      this.#words(context, width, seen);
    });
  }

  /** Two states were compared: it lies somewhere between them. @param {CanvasRenderingContext2D} pen @param {number} x @param {number} y @param {any} event */
  #whisker(pen, x, y, event) {
    const from = event.sampled ? this.toX(event.from_ms) : null;
    if (from === null || x - from < WHISKER_PX) return;
    pen.fillStyle = this.#colour(event);
    pen.fillRect(from, y - 0.5, x - from, 1);
    pen.fillRect(from, y - 3, 1, 6);
  }

  /** @param {CanvasRenderingContext2D} pen @param {number} x @param {number} y @param {Placed} mark */
  #mark(pen, x, y, { event }) {
    pen.save();
    pen.translate(x, y);
    pen.lineJoin = 'round';
    const kind = kindOf(event);
    // What lies behind must not be read as a part of the shape.
    pen.fillStyle = this.colours.panel;
    pen.beginPath();
    pen.arc(0, 0, RADIUS + 1.5, 0, 2 * Math.PI);
    pen.fill();
    if (event.id === this.chosen?.id) {
      pen.strokeStyle = this.colours.accent;
      pen.lineWidth = 2;
      pen.stroke();
    }
    pen.fillStyle = pen.strokeStyle = this.#colour(event);
    pen.lineWidth = 2.5;
    pen.beginPath();
    if (kind === 'OPEN') {
      pen.arc(0, 0, RADIUS, 0, 2 * Math.PI);
      pen.fill();
    } else if (kind === 'CLOSE') {
      pen.arc(0, 0, RADIUS - 1, 0, 2 * Math.PI);
      pen.stroke();
    } else if (kind === 'FLIP') {
      for (const [dx, dy] of [[0, -1], [1, 0], [0, 1], [-1, 0]]) pen.lineTo(dx * (RADIUS + 1), dy * (RADIUS + 1));
      pen.closePath();
      pen.fill();
    } else {
      const arms = kind === 'LIQUIDATED' ? [[-0.8, -0.8], [-0.8, 0.8]] : kind === 'INCREASE' ? [[-1, 0], [0, -1]] : [[-1, 0]];
      for (const [dx, dy] of arms) {
        pen.moveTo(dx * RADIUS, dy * RADIUS);
        pen.lineTo(-dx * RADIUS, -dy * RADIUS);
      }
      pen.stroke();
    }
    if (event.side === 'LONG' || event.side === 'SHORT') this.#side(pen, event.side === 'LONG' ? -1 : 1);
    pen.restore();
  }

  /** A small arrow, up for longs and down for shorts. @param {CanvasRenderingContext2D} pen @param {number} way */
  #side(pen, way) {
    const foot = way * (RADIUS + 4);
    pen.beginPath();
    pen.moveTo(-3, foot);
    pen.lineTo(3, foot);
    pen.lineTo(0, foot + way * 4);
    pen.closePath();
    pen.fill();
  }

  /** A word for each, the newest first, where there is room for it. @param {CanvasRenderingContext2D} pen @param {number} width @param {{x: number, y: number, mark: Placed}[]} seen */
  #words(pen, width, seen) {
    pen.font = `10px ${getComputedStyle(document.body).fontFamily}`;
    pen.textBaseline = 'middle';
    const room = RADIUS + 9;
    const taken = seen.map(({ x, y }) => ({ left: x - RADIUS, right: x + RADIUS, top: y - room, bottom: y + room }));
    const order = seen.map((one, index) => ({ ...one, index })).sort((a, b) => Number(b.mark.event.id === this.chosen?.id) - Number(a.mark.event.id === this.chosen?.id) || b.index - a.index);
    for (const { x, y, mark } of order) {
      const { event } = mark;
      const text = `${kindOf(event)} ${event.side}${mark.price === null ? ', price not known' : ''}`;
      const wide = pen.measureText(text).width;
      const free = [x + RADIUS + 4, x - RADIUS - 4 - wide].find((left) => {
        const box = { left, right: left + wide, top: y - 6, bottom: y + 6 };
        if (left < 0 || box.right > width) return false;
        return taken.every((one) => one.right < box.left || one.left > box.right || one.bottom < box.top || one.top > box.bottom);
      });
      if (free === undefined) continue;
      taken.push({ left: free, right: free + wide, top: y - 6, bottom: y + 6 });
      pen.lineWidth = 3;
      pen.strokeStyle = this.colours.panel;
      pen.strokeText(text, free, y);
      pen.fillStyle = this.#colour(event);
      pen.fillText(text, free, y);
    }
  }

  /** @param {any} event */
  #colour({ side }) {
    return side === 'LONG' ? this.colours.buy : side === 'SHORT' ? this.colours.sell : this.colours.muted;
  }
}

/**
 * How the picture is moved and pointed at: mouse, wheel, fingers, keyboard.
 *
 * @module heatmap/gestures
 */

/**
 * Called with what is meant; places are in pixels of the element.
 *
 * @typedef {object} Meant
 * @property {(x: number, y: number) => void} point
 * @property {() => void} leave
 * @property {(dx: number, dy: number) => void} pan
 * @property {(x: number, y: number, across: number, up: number) => void} zoom
 * @property {(columns: number, rows: number) => void} step
 * @property {(factor: number) => void} nearer from the keyboard
 * @property {(where: 'all' | 'first' | 'last') => void} go
 */

/** How much a turn of the wheel zooms. */
const WHEEL = 0.0016;

/** @param {HTMLElement} element @param {Meant} meant */
export function gestures(element, meant) {
  /** Fingers or buttons that are down. @type {Map<number, {x: number, y: number}>} */
  const held = new Map();
  const place = (/** @type {MouseEvent} */ event) => {
    const { left, top } = element.getBoundingClientRect();
    return { x: event.clientX - left, y: event.clientY - top };
  };
  element.addEventListener('wheel', (event) => {
    event.preventDefault();
    const { x, y } = place(event);
    if (Math.abs(event.deltaX) > Math.abs(event.deltaY)) return meant.pan(-event.deltaX, 0);
    const factor = Math.exp(Math.max(-400, Math.min(400, event.deltaY * (event.deltaMode ? 24 : 1))) * WHEEL);
    // Shift zooms prices alone, Control (a pinch on a trackpad) both, else the time.
    meant.zoom(x, y, event.shiftKey ? 1 : factor, event.shiftKey || event.ctrlKey ? factor : 1);
  }, { passive: false });
  element.addEventListener('pointerdown', (event) => {
    if (event.button !== 0) return;
    held.set(event.pointerId, place(event));
    element.setPointerCapture(event.pointerId);
    element.classList.add('held');
  });
  element.addEventListener('pointermove', (event) => {
    const now = place(event);
    const before = held.get(event.pointerId);
    if (!before) return meant.point(now.x, now.y);
    const other = [...held].find(([id]) => id !== event.pointerId)?.[1];
    held.set(event.pointerId, now);
    if (!other) return meant.pan(now.x - before.x, now.y - before.y);
    const middle = { x: (now.x + other.x) / 2, y: (now.y + other.y) / 2 };
    const apart = (/** @type {{x: number, y: number}} */ one) => Math.max(20, Math.hypot(one.x - other.x, one.y - other.y));
    const factor = apart(before) / apart(now);
    meant.pan((now.x - before.x) / 2, (now.y - before.y) / 2);
    meant.zoom(middle.x, middle.y, factor, factor);
  });
  const up = (/** @type {PointerEvent} */ event) => {
    held.delete(event.pointerId);
    if (held.size > 0) return;
    element.classList.remove('held');
    // A tap points, and what it points at stays to be read.
    if (event.type === 'pointerup') meant.point(place(event).x, place(event).y);
  };
  element.addEventListener('pointerup', up);
  element.addEventListener('pointercancel', up);
  element.addEventListener('pointerleave', (event) => event.pointerType === 'mouse' && meant.leave());
  element.addEventListener('dblclick', () => meant.go('all'));
  element.addEventListener('keydown', (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const far = event.shiftKey ? 12 : 1;
    const steps = { ArrowLeft: [-far, 0], ArrowRight: [far, 0], ArrowUp: [0, far], ArrowDown: [0, -far] }[event.key];
    if (steps) meant.step(steps[0], steps[1]);
    else if (event.key === '+' || event.key === '=') meant.nearer(0.7);
    else if (event.key === '-' || event.key === '_') meant.nearer(1 / 0.7);
    else if (event.key === '0') meant.go('all');
    else if (event.key === 'Home') meant.go('first');
    else if (event.key === 'End') meant.go('last');
    else if (event.key === 'Escape') meant.leave();
    else return;
    event.preventDefault();
  });
}
